"""slm-export pack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

import slm_export


def run(bundle: Path, kind: str, *, out: Path, formats: Sequence[str], **maven: str) -> int:
    made = slm_export.pack_bundle(bundle, kind, out=out, formats=formats, **maven)
    for file in sorted(p for p in made.rglob("*") if p.is_file() and p.suffix in (".md", ".aar", ".kts")):
        click.echo(f"{file.stat().st_size:12,}  {file}")
    return 0
