"""slm-export inspect."""

from __future__ import annotations

import json
from pathlib import Path

import click

import slm_export
from slm_export.readers.facts import Method
from slm_export.records import to_json
from slm_export.report.columns import columns


def run(file: Path, *, as_json: bool, top: int) -> int:
    facts = slm_export.inspect_file(file)
    if as_json:
        click.echo(json.dumps(to_json(facts), indent=1))
        return 0
    click.echo(f"{file}: {facts.format}, {facts.scheme}, {file.stat().st_size:,} bytes")
    for part in facts.methods or (facts,):
        if isinstance(part, Method):
            click.echo(f"method  {part.name}")
        for side, specs in (("input", part.inputs), ("output", part.outputs)):
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
