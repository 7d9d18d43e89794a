"""What a run gives back."""

from __future__ import annotations

from pathlib import Path

from slm_export.artifact import Artifact
from slm_export.errors import SlmExportError
from slm_export.parity.report import ParityReport
from slm_export.planning import RunPlan
from slm_export.records import record
from slm_export.stages import StageResult


@record
class FormatResult:
    """What became of one format: an artifact and its parity report, and the error that keeps it out of the bundle."""

    format: str
    scheme: str
    artifact: Artifact | None
    report: ParityReport | None
    error: SlmExportError | None
    deflated_bytes: int | None = None  # of the artifact's files, zlib level 6, where weights were set to zero


@record
class RunResult:
    plan: RunPlan
    bundle: Path | None  # None: nothing passed, and whatever stood there before still stands
    formats: tuple[FormatResult, ...]
    stages: tuple[StageResult, ...]
    packed: Path | None = None  # what an app's build takes, where the target asks for it
    markdown: str = ""  # the report for people

    @property
    def error(self) -> SlmExportError | None:
        """The error to exit with: a failed export before a closed gate before a broken budget."""
        return min((f.error for f in self.formats if f.error), key=lambda e: e.exit_code, default=None)
