"""slm-export targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from slm_export import targets
from slm_export.records import to_json
from slm_export.report.columns import columns


def run(name: str | None, *, as_json: bool) -> int:
    if name is None:
        profiles = [targets.load(n) for n in targets.names()]
        if as_json:
            click.echo(json.dumps(to_json(profiles), indent=1))
        else:
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
