"""slm-export run: which of its options belong to which executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from slm_export.errors import UsageError

OWN = {"host": ("text", "pair", "most", "raw"), "adb": ("serial", "apk", "timeout", "report", "adb")}


def fitting(ctx: click.Context, executor: str) -> dict[str, Any]:
    """The options of `executor`. Raises UsageError if some of another were given, or the host has no text."""
    others = [name for other, names in OWN.items() if other != executor for name in names]
    given = [name for name in others if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        told = ", ".join(name.upper() if name == "text" else f"--{name}" for name in given)
        raise UsageError(f"--executor {executor} knows no {told}", next_step="slm-export run --help")
    options = {name: ctx.params[name] for name in OWN[executor]}
    if options.get("text", "") is None:
        raise UsageError("there is no TEXT to answer", next_step='slm-export run BUNDLE "a text", or --executor adb')
    return options


def run(executor: str, options: dict[str, Any], bundle: Path, *, format: str | None, as_json: bool) -> int:
    if executor == "adb":
        from slm_export.commands import selftest

        return selftest.run(bundle, format=format, as_json=as_json, **options)
    from slm_export.commands import ask

    return ask.run(bundle, options.pop("text"), format=format, as_json=as_json, **options)
