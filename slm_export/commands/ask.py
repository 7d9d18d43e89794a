"""slm-export run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import click

import slm_export
from slm_export.asking import Answer
from slm_export.records import to_json


def run(bundle: Path, text: str, *, pair: str | None, format: str | None, most: int, raw: bool, as_json: bool) -> int:
    def say(piece: str) -> None:
        if not as_json:
            click.echo(piece, nl=False)

    with _silent_runtimes():
        done = slm_export.ask(bundle, text, pair=pair, format=format, most=most, raw=raw, say=say)
    if as_json:
        click.echo(json.dumps(to_json(done), ensure_ascii=False))
        return 0
    if done.written_per_second is None and not done.tokens_written:
        click.echo(json.dumps(done.answer, ensure_ascii=False), nl=False)
    click.echo()
    click.echo(_cost(done), err=True)
    return 0


@contextmanager
def _silent_runtimes() -> Iterator[None]:
    """Nothing that runtimes write to the error stream within the block, nor, from C++, to the process's end: LiteRT
    alone tells of forty things that are well."""
    own = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with open(os.devnull, "w") as null, redirect_stderr(null):
            yield
    finally:
        sys.stderr = own


def _cost(done: Answer) -> str:
    parts = [f"{done.artifact}, {done.runtime}", f"{done.tokens_read} tokens read"]
    if done.read_per_second is not None and done.tokens_written:
        parts[1] += f" ({done.read_per_second:.0f}/s)"
        speed = f" ({done.written_per_second:.0f}/s)" if done.written_per_second else ""
        parts.append(f"{done.tokens_written} written{speed}")
    return "; ".join(parts)
