"""What a device reports of a bundle, and what that comes to: verdicts are judged again by the bundle's own bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from slm_export.artifact import Artifact
from slm_export.bundle.manifest import Golden, GoldenOutputs
from slm_export.errors import VerificationError, first_line
from slm_export.records import from_json, record

SCHEMA = 1
FLOAT32_STEP = 1e-6  # a bound may have been a float32 on its way


@record
class DeviceFacts:
    manufacturer: str
    model: str
    android: str
    sdk: int
    abi: str


@record
class LoadedFile:
    path: str
    sha256: str  # of the file that was there
    expected: str  # the manifest's, as the app read it


@record
class ArtifactReport:
    """Errors are None where nothing was run, or the output was no number."""

    path: str
    format: str
    scheme: str
    files: tuple[LoadedFile, ...]
    runtime: str
    cases: int
    max_error: float | None
    allowed_error: float | None
    min_cosine: float | None
    allowed_cosine: float | None
    answers_agree: int
    load_ms: float
    ms_per_case: float
    verdict: str  # pass, fail or skipped
    failures: tuple[str, ...] = ()


@record
class TokenizerReport:
    cases: int
    failures: tuple[str, ...]


@record
class BundleReport:
    name: str
    target: str
    manifest_sha256: str
    verdict: str
    tokenizer: TokenizerReport | None = None
    artifacts: tuple[ArtifactReport, ...]


@record
class Report:
    app: str
    device: DeviceFacts
    bundles: tuple[BundleReport, ...]


@record
class Outcome:
    """`unproven`: why the report says nothing of this artifact. `differs`: how it answered otherwise than recorded."""

    path: str
    format: str
    scheme: str
    report: ArtifactReport | None
    unproven: tuple[str, ...]
    differs: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.unproven and not self.differs


def read(data: bytes, where: str) -> Report:
    """Raises VerificationError if `data` is no report, or of another schema."""
    try:
        report = json.loads(data)
        if report["schema"] != SCHEMA:
            raise VerificationError(
                f"the demo app reports in schema {report['schema']!r}, this slm-export reads {SCHEMA}", where=where,
                next_step="install the demo app that belongs to this slm-export: --apk FILE",
            )  # fmt: skip
        return from_json(Report, report)
    except (KeyError, ValueError, TypeError, AttributeError) as err:
        raise VerificationError(
            "what the device wrote is no report", where=where, why=f"{first_line(err)}; it begins {data[:60]!r}",
            next_step="keep it with --report FILE, and run the app's own self-test",
        ) from err  # fmt: skip


def of_bundle(report: Report, manifest_sha256: str) -> BundleReport:
    """Raises VerificationError if the report is about other bundles, such as one of an earlier run."""
    found = next((b for b in report.bundles if b.manifest_sha256 == manifest_sha256), None)
    if found is None:
        told = ", ".join(f"{b.name} {b.target} ({b.manifest_sha256[:12]})" for b in report.bundles) or "no bundle"
        raise VerificationError(
            "the device reports on another bundle", where=f"manifest.json {manifest_sha256[:12]}",
            why=f"the report is about {told}", next_step="run it again; nothing else may write to the app's folder",
        )  # fmt: skip
    return found


def judge(told: BundleReport, artifacts: Sequence[Artifact], golden: Golden) -> tuple[Outcome, ...]:
    """The outcome of each artifact, by the bundle's own hashes and bounds."""
    reports = {a.path: a for a in told.artifacts}
    return tuple(_outcome(a, reports.get(a.path), golden, told.tokenizer) for a in artifacts)


def _outcome(
    artifact: Artifact, told: ArtifactReport | None, golden: Golden, tokenizer: TokenizerReport | None
) -> Outcome:
    recorded = golden.artifacts.get(artifact.path)
    if told is None:
        unproven, differs = ["the device does not report on it"], list[str]()
    elif recorded is None:
        unproven, differs = ["golden.json does not have it"], []
    else:
        ran = told.cases > 0
        unproven = [*_other_file(artifact, told), *_not_run(told, golden), *(tokenizer.failures if tokenizer else ())]
        unproven += _other_bounds(told, recorded) if ran else ()
        differs = list(_differences(told, golden, recorded)) if ran else []
    return Outcome(
        path=artifact.path, format=artifact.format, scheme=artifact.scheme, report=told,
        unproven=tuple(unproven), differs=tuple(differs),
    )  # fmt: skip


def _other_file(artifact: Artifact, told: ArtifactReport) -> Iterator[str]:
    if (told.format, told.scheme) != (artifact.format, artifact.scheme):
        yield f"the device ran {told.format} {told.scheme}, the manifest has {artifact.format} {artifact.scheme}"
    loaded = {f.path: f.sha256 for f in told.files}
    for file in artifact.files:
        if file.path not in loaded:
            yield f"the device does not tell the SHA-256 of {file.path}"
        elif loaded[file.path] != file.sha256:
            yield f"{file.path} on the device has another SHA-256 than the manifest lists"


def _not_run(told: ArtifactReport, golden: Golden) -> Iterator[str]:
    if told.cases == 0:
        yield " ".join(("it was not run on the device:", *(told.failures or ("the app does not say why",))))
    elif told.cases != len(golden.samples):
        yield f"{told.cases} samples were run, golden.json has {len(golden.samples)}"


def _differences(told: ArtifactReport, golden: Golden, recorded: GoldenOutputs) -> Iterator[str]:
    found = list(_measured(told, golden, recorded))
    yield from found
    if not found and told.verdict != "pass":
        yield " ".join((f"the app's verdict is {told.verdict}:", *(told.failures or ("it does not say why",))))


def _measured(told: ArtifactReport, golden: Golden, recorded: GoldenOutputs) -> Iterator[str]:
    if told.min_cosine is None or not told.min_cosine >= recorded.min_cosine:
        yield f"cosine to the recorded output {_number(told.min_cosine)}, must be >= {recorded.min_cosine}"
    farthest = recorded.max_abs_error
    if farthest is not None and (told.max_error is None or not told.max_error <= farthest):
        yield f"{_number(told.max_error)} from the recorded value, must be <= {farthest:.6f}"
    if any(s.answer is not None for s in golden.samples) and told.answers_agree != told.cases:
        yield f"{told.cases - told.answers_agree} of {told.cases} answers differ"


def _other_bounds(told: ArtifactReport, recorded: GoldenOutputs) -> Iterator[str]:
    bounds = (
        ("cosine", told.allowed_cosine, recorded.min_cosine),
        ("error", told.allowed_error, recorded.max_abs_error),
    )
    for name, used, own in bounds:
        same = used == own if used is None or own is None else math.isclose(used, own, rel_tol=FLOAT32_STEP)
        if not same:
            yield f"the device allowed {_bound(used)} as {name}, golden.json {_bound(own)}"


def _number(value: Any) -> str:
    return "is not a number" if value is None else f"{value:.6f}"


def _bound(value: float | None) -> str:
    return "nothing" if value is None else f"{value:g}"
