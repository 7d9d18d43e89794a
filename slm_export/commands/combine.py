"""slm-export combine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

import slm_export


def run(bundles: Sequence[Path], *, name: str, out: Path) -> int:
    click.echo(slm_export.combine_bundles(bundles, name=name, out=out))
    return 0
