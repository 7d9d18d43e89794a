"""What a run did, for scripts: the --json output and the .run.json file beside the bundle."""

from __future__ import annotations

import os
import platform
from typing import Any

from slm_export.planning import RunPlan
from slm_export.records import to_json
from slm_export.report.junit import Case
from slm_export.results import FormatResult, RunResult


def run_record(result: RunResult) -> dict[str, Any]:
    """Times and peaks are here and not in the bundle, so that the bundle's bytes do not change from run to run."""
    error = result.error
    return {
        "bundle": str(result.bundle) if result.bundle else None,
        "packed": str(result.packed) if result.packed else None,
        "verdict": "pass" if error is None else "fail",
        "exit_code": error.exit_code if error else 0,
        "target": result.plan.profile.name,
        "settings": resolved_settings(result.plan),
        "notes": list(result.plan.notes),
        "formats": [_format(f) for f in result.formats],
        "stages": to_json(result.stages),
        "host": {"machine": platform.machine(), "system": platform.platform(), "cpus": os.cpu_count()},
    }


def resolved_settings(plan: RunPlan) -> dict[str, Any]:
    return {name: to_json(setting) for name, setting in plan.settings.items()}


def _format(done: FormatResult) -> dict[str, Any]:
    return {
        "format": done.format,
        "scheme": done.scheme,
        "path": done.artifact.path if done.artifact else None,
        "bytes": sum(f.bytes for f in done.artifact.files) if done.artifact else None,
        "verdict": "pass" if done.error is None else "fail",
        "numbers": to_json(done.report.numbers) if done.report else {},
        "answers": to_json(done.report.answers) if done.report else {},
        "error": done.error.to_json() if done.error else None,
    }


def junit_cases(result: RunResult) -> list[Case]:
    seconds = {f.format: sum(s.seconds for s in result.stages if f"-{f.format}" in s.name) for f in result.formats}
    return [
        Case(
            name=f"{done.format} {done.scheme}",
            failure=str(done.error) if done.error else None,
            seconds=seconds[done.format],
        )
        for done in result.formats
    ]
