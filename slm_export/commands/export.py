"""slm-export export: the main job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from slm_export.commands import echo_log
from slm_export.commands.speaker import Speaker
from slm_export.errors import SlmExportError, UsageError
from slm_export.pipeline import Listener, execute
from slm_export.planning import plan_run
from slm_export.records import write_json
from slm_export.report.junit import Case, write_junit
from slm_export.report.run_record import junit_cases, run_record

REPORT_KINDS = (".md", ".json")


def run(flags: Mapping[str, Any]) -> int:
    """Export, tell what happens, and give the exit code."""
    try:
        result = _export(flags)
    except SlmExportError as err:
        _tell_machines(flags, err)
        raise
    for done in result.formats:
        if done.error:
            click.echo(f"error: {done.error}", err=True)
    if result.error:
        echo_log(result.error)
    return result.error.exit_code if result.error else 0


def _export(flags: Mapping[str, Any]) -> Any:
    plan = plan_run(flags, Path.cwd())
    report = plan.settings.get("report")
    if report and Path(report.value).suffix not in REPORT_KINDS:
        raise UsageError(f"--report {report.value} is neither {' nor '.join(REPORT_KINDS)}")
    as_json = bool(plan.settings["json"].value)
    say = Speaker(quiet=as_json)
    say.plan(plan)
    listener = Listener(started=say.started, progress=say.progress, finished=say.finished)
    result = execute(plan, listener)
    _write_files(result)
    if as_json:
        click.echo(json.dumps(run_record(result), indent=1, allow_nan=False))
    else:
        say.result(result)
    return result


def _tell_machines(flags: Mapping[str, Any], err: SlmExportError) -> None:
    """A run that ends before there is a result still answers --json and --junit."""
    if flags.get("json"):
        failed = {"bundle": None, "verdict": "fail", "exit_code": err.exit_code, "error": err.to_json()}
        click.echo(json.dumps(failed, indent=1))
    if flags.get("junit"):
        write_junit(Path(flags["junit"]), "slm-export", [Case(name="export", failure=str(err))])


def _write_files(result: Any) -> None:
    settings = result.plan.settings
    write_json(result.plan.out / f"{result.plan.name}.run.json", run_record(result))
    if "junit" in settings:
        write_junit(Path(settings["junit"].value), f"slm-export {result.plan.name}", junit_cases(result))
    if "report" in settings:
        path = Path(settings["report"].value)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_json(path, {"run": run_record(result), "reports": [f.report for f in result.formats if f.report]})
        else:
            path.write_text(result.markdown, encoding="utf-8")
