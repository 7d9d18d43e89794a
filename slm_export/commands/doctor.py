"""slm-export doctor."""

from __future__ import annotations

import json

import click

import slm_export
from slm_export.records import to_json
from slm_export.report.columns import columns


def run(*, as_json: bool) -> int:
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
