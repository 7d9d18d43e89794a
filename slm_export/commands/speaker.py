"""Progress of a run, for people."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from slm_export.report.columns import columns
from slm_export.report.table import summary

QUIET_SECONDS = 30  # between two lines of a stage that lasts, where no terminal shows a bar


class Speaker:
    """Progress for people: the plan, a line per stage, and a bar while one lasts; in a log a line now and then. Quiet
    speaks on stderr only."""

    def __init__(self, *, quiet: bool) -> None:
        self._err = quiet
        self._stage = ""
        self._live = sys.stderr.isatty()
        self._began = self._spoke = time.monotonic()

    def _say(self, text: str) -> None:
        click.echo(text, err=self._err)

    def plan(self, plan: Any) -> None:
        shown = [[name, _value(s.value), s.origin] for name, s in plan.settings.items()]
        shown += [["formats", ", ".join(f"{c.format} {c.scheme}" for c in plan.choices if not c.refused), ""]]
        self._say(columns([["setting", "value", "from"], *shown]))
        for note in plan.notes:
            self._say(f"note: {note}")
        self._say("")

    def started(self, name: str) -> None:
        self._stage = name
        self._began = self._spoke = time.monotonic()

    def progress(self, what: str, done: int, total: int) -> None:
        if self._live:
            bar = f"[{'#' * (20 * done // max(1, total)):20}] {done}/{total}" if total > 1 else ""
            click.echo(f"\r\x1b[K{self._stage}: {what} {bar}", nl=False, err=True)
        elif time.monotonic() - self._spoke >= QUIET_SECONDS:
            self._spoke = time.monotonic()
            click.echo(f"{self._stage}: {what} {done}/{total}, {self._spoke - self._began:.0f} s so far", err=True)

    def finished(self, stage: Any) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
        self._say(
            f"{stage.name:26} {stage.seconds:6.1f} s  CPU {stage.cpu_seconds:6.1f} s  peak {stage.peak_rss_mb:5.0f} MB"
        )

    def result(self, result: Any) -> None:
        self._say("\n" + summary(result))
        if result.bundle:
            self._say("")
            for path in sorted(p for p in result.bundle.rglob("*") if p.is_file()):
                self._say(f"{path.stat().st_size:>12,}  {path}")
        if result.packed:
            self._say(f"\nfor the app's build: {result.packed}/README.md")
        passed = sum(f.error is None for f in result.formats)
        self._say(
            f"\n{passed} of {len(result.formats)} artifacts passed" + ("" if result.bundle else "; nothing was written")
        )


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
