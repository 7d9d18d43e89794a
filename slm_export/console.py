"""What the commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import slm_export
from slm_export.errors import SlmExportError, UsageError, VerificationError
from slm_export.records import to_json, write_json

REPORT_KINDS = (".md", ".json")


def run_export(flags: Mapping[str, Any]) -> int:
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
        _echo_log(result.error)
    return result.error.exit_code if result.error else 0


def _export(flags: Mapping[str, Any]) -> Any:
    from slm_export.planning import plan_run

    plan = plan_run(flags, Path.cwd())
    report = plan.settings.get("report")
    if report and Path(report.value).suffix not in REPORT_KINDS:
        raise UsageError(f"--report {report.value} is neither {' nor '.join(REPORT_KINDS)}")
    as_json = bool(plan.settings["json"].value)
    say = Speaker(quiet=as_json)
    say.plan(plan)

    from slm_export.pipeline import Listener, execute
    from slm_export.report.run_record import run_record

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
    from slm_export.report.junit import Case, write_junit

    if flags.get("json"):
        failed = {"bundle": None, "verdict": "fail", "exit_code": err.exit_code, "error": err.to_json()}
        click.echo(json.dumps(failed, indent=1))
    if flags.get("junit"):
        write_junit(Path(flags["junit"]), "slm-export", [Case(name="export", failure=str(err))])


def _echo_log(err: SlmExportError) -> None:
    for note in getattr(err, "__notes__", ()):
        if note.startswith("log: "):
            click.echo(f"  {note}", err=True)


def tell(err: SlmExportError) -> int:
    """Print an error as people read it, and give its exit code."""
    click.echo(f"error: {err}", err=True)
    _echo_log(err)
    return err.exit_code


def _write_files(result: Any) -> None:
    from slm_export.report.junit import write_junit
    from slm_export.report.run_record import junit_cases, run_record

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


class Speaker:
    """Progress for people: the plan, a line per stage, and a bar while one lasts. Quiet speaks on stderr only."""

    def __init__(self, *, quiet: bool) -> None:
        self._err = quiet
        self._stage = ""
        self._live = sys.stderr.isatty()

    def _say(self, text: str) -> None:
        click.echo(text, err=self._err)

    def plan(self, plan: Any) -> None:
        from slm_export.report.table import columns

        shown = [[name, _value(s.value), s.origin] for name, s in plan.settings.items()]
        shown += [["formats", ", ".join(f"{c.format} {c.scheme}" for c in plan.choices if not c.refused), ""]]
        self._say(columns([["setting", "value", "from"], *shown]))
        for note in plan.notes:
            self._say(f"note: {note}")
        self._say("")

    def started(self, name: str) -> None:
        self._stage = name

    def progress(self, what: str, done: int, total: int) -> None:
        if self._live:
            bar = f"[{'#' * (20 * done // max(1, total)):20}] {done}/{total}" if total > 1 else ""
            click.echo(f"\r\x1b[K{self._stage}: {what} {bar}", nl=False, err=True)

    def finished(self, stage: Any) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
        self._say(
            f"{stage.name:26} {stage.seconds:6.1f} s  CPU {stage.cpu_seconds:6.1f} s  peak {stage.peak_rss_mb:5.0f} MB"
        )

    def result(self, result: Any) -> None:
        from slm_export.report.table import summary

        self._say("\n" + summary(result))
        if result.bundle:
            self._say("")
            for path in sorted(p for p in result.bundle.rglob("*") if p.is_file()):
                self._say(f"{path.stat().st_size:>12,}  {path}")
        passed = sum(f.error is None for f in result.formats)
        self._say(
            f"\n{passed} of {len(result.formats)} artifacts passed" + ("" if result.bundle else "; nothing was written")
        )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def run_verify(path: Path, *, formats: Sequence[str], as_json: bool, junit: Path | None) -> int:
    from slm_export.bundle.verify import find_bundles
    from slm_export.report.junit import Case, write_junit

    done = [slm_export.verify_bundle(bundle, formats=formats) for bundle in find_bundles(path)]
    if as_json:
        click.echo(json.dumps(to_json(done), indent=1))
    else:
        for verification in done:
            click.echo(verification.bundle)
            for check in verification.checks:
                word = {True: "ok", False: "FAIL", None: "skip"}[check.ok]
                click.echo(f"  {word:5} {check.name}: {check.detail}")
    if junit:
        cases = [
            Case(
                name=f"{Path(v.bundle).name}: {c.name}",
                failure=c.detail if c.ok is False else None,
                skipped=c.detail if c.ok is None else None,
            )
            for v in done
            for c in v.checks
        ]
        write_junit(junit, "slm-export verify", cases)
    failed = [f"{v.bundle}: {c.name}" for v in done for c in v.failed]
    if failed:
        raise VerificationError(
            f"{len(failed)} checks failed",
            where="\n         ".join(failed),
            next_step="export the bundle again, or fetch it again from where it was built",
        )
    return 0


def run_inspect(file: Path, *, as_json: bool, top: int) -> int:
    facts = slm_export.inspect_file(file)
    if as_json:
        click.echo(json.dumps(to_json(facts), indent=1))
        return 0
    from slm_export.report.table import columns

    click.echo(f"{file}: {facts.format}, {facts.scheme}, {file.stat().st_size:,} bytes")
    for side, specs in (("input", facts.inputs), ("output", facts.outputs)):
        for spec in specs:
            click.echo(f"{side:7} {spec.name} {spec.dtype} [{', '.join(map(str, spec.shape))}]")
    for signature in facts.signatures:
        click.echo(f"signature {signature.name}: {signature.sequence} tokens")
    memory = facts.memory
    click.echo(f"memory  weights {memory.weights_bytes:,} bytes, activations {memory.activations_bytes:,} bytes")
    if facts.delegation_share is not None:
        click.echo(f"delegated {facts.delegation_share:.0%} of operators")
    click.echo("operators " + ", ".join(f"{n} {op}" for op, n in facts.ops.items()))
    largest = sorted(facts.tensors, key=lambda t: -t.bytes)[:top]
    rows = [[f"{t.bytes:,}", t.dtype, "x".join(map(str, t.shape)), t.name] for t in largest]
    click.echo(columns([["bytes", "dtype", "shape", "tensor"], *rows]))
    click.echo(f"{len(facts.tensors)} tensors in all")
    return 0


def run_targets(name: str | None, *, as_json: bool) -> int:
    from slm_export import targets

    if name is None:
        profiles = [targets.load(n) for n in targets.names()]
        if as_json:
            click.echo(json.dumps(to_json(profiles), indent=1))
        else:
            from slm_export.report.table import columns

            rows = [[p.name, ", ".join(p.runtimes), p.summary] for p in profiles]
            click.echo(columns([["target", "formats", "what it is"], *rows]))
        return 0
    click.echo(
        json.dumps(to_json(targets.load(name)), indent=1) if as_json else _profile_toml(to_json(targets.load(name)))
    )
    return 0


def _profile_toml(data: Mapping[str, Any]) -> str:
    """A resolved profile as TOML, as a user's own file may hold it."""
    blocks = [_pairs({k: v for k, v in data.items() if k not in ("runtimes", "shapes", "budgets", "limits")})]
    blocks += [f"[runtimes.{name}]\n{_pairs(table)}" for name, table in data["runtimes"].items()]
    blocks += [f"[{name}]\n{_pairs(data[name])}" for name in ("shapes", "budgets") if _pairs(data[name])]
    blocks += [f"[[limits]]\n{_pairs({**row, **row['bounds'], 'bounds': None})}" for row in data["limits"]]
    return "\n\n".join(blocks)


def _pairs(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in table.items() if v is not None)


def run_doctor(*, as_json: bool) -> int:
    from slm_export.report.table import columns

    backends = slm_export.check_backends()
    if as_json:
        click.echo(json.dumps(to_json(backends), indent=1))
        return 0
    rows = [
        [b.name, "usable" if b.usable else "missing", ", ".join(f"{d} {v}" for d, v in b.versions.items()), b.note]
        for b in backends
    ]
    click.echo(columns([["backend", "state", "versions", "note"], *rows]))
    for backend in backends:
        if backend.install:
            click.echo(f"\n{backend.name}:\n  {backend.install}")
    return 0
