"""What the commands print, one module a command; how an error is told."""

from __future__ import annotations

import click

from slm_export.errors import SlmExportError


def echo_log(err: SlmExportError) -> None:
    for note in getattr(err, "__notes__", ()):
        if note.startswith("log: "):
            click.echo(f"  {note}", err=True)


def tell(err: SlmExportError) -> int:
    """Print an error as people read it, and give its exit code."""
    click.echo(f"error: {err}", err=True)
    echo_log(err)
    return err.exit_code
