"""A target is data: one TOML file, read and checked here.

`extends = "other"` takes everything from another profile and overrides what the file says: tables are merged key by
key, and so are the `[[limits]]` rows of one (task, scheme, format). All problems of a file are collected and told at
once.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from slm_export.errors import UsageError, nearest
from slm_export.targets.checking import ROW_KEYS, TEXTS, problems
from slm_export.targets.profile import Budgets, Limits, RuntimeSpec, Shapes, TargetProfile


def names() -> list[str]:
    """The built-in targets, without the abstract ones that others extend."""
    return sorted(n for n in _built_in() if not _parse(_built_in()[n]).get("abstract"))


def load(target: str | Path) -> TargetProfile:
    """Read a target by name, or a user's own profile by the path of its .toml file.

    Raises UsageError listing every problem of the file.
    """
    merged = _merged(_find(str(target), near=None), seen=())
    found = problems(merged)
    if found:
        raise UsageError(
            f"target profile {target} has {len(found)} problem{'s' if len(found) > 1 else ''}",
            where="\n         ".join(found),
            next_step="mend the file; `slm-export targets android-arm64` prints a complete profile",
        )
    return _build(merged)


def _built_in() -> dict[str, Path]:
    folder = Path(str(resources.files("slm_export.targets")))
    return {p.stem: p for p in folder.glob("*.toml")}


def _find(target: str, *, near: Path | None) -> Path:
    if target in _built_in():
        return _built_in()[target]
    path = (near.parent / target) if near else Path(target)
    if path.suffix == ".toml" and path.is_file():
        return path
    why = "no such file" if path.suffix == ".toml" else nearest(target, names())
    raise UsageError(
        f"unknown target {target!r}", why=why, next_step="give a name of `slm-export targets` or the path of a .toml"
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} is not valid TOML: {err}", where=str(path)) from err
    if isinstance(data.get("limits"), list):
        data["limits"] = [single for row in data["limits"] for single in _by_scheme(row)]
    return data


def _by_scheme(row: Any) -> list[Any]:
    """A limits row of several schemes as one of each."""
    if isinstance(row, dict) and isinstance(row.get("scheme"), list):
        return [{**row, "scheme": scheme} for scheme in row["scheme"]]
    return [row]


def _merged(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        chain = " -> ".join(p.stem for p in (*seen, path))
        raise UsageError(f"target profiles extend each other in a circle: {chain}", where=str(path))
    own = _parse(path)
    own.setdefault("name", path.stem)
    if "extends" not in own:
        return own
    base = _merged(_find(str(own.pop("extends")), near=path), seen=(*seen, path))
    base.pop("abstract", None)
    return _overlay(base, own)


def _overlay(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in own.items():
        if key == "limits" and isinstance(value, list):
            result[key] = _merged_rows(base.get("limits"), value)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _overlay(result[key], value)
        else:
            result[key] = value
    return result


def _merged_rows(base: Any, own: list[Any]) -> list[Any]:
    """Rows of one (task, scheme, format) merged: loosening one bound keeps the others. What is no table stays."""
    rows: dict[Any, dict[str, Any]] = {}
    broken = [r for r in own if not _keyed(r)]
    for row in [*(base if isinstance(base, list) else []), *own]:
        if _keyed(row):
            key = _row_key(row)
            inherited = {k: v for k, v in rows.get(key, {}).items() if k != "why"}  # a new bound has its own reason
            rows[key] = {**inherited, **row}
    return [*rows.values(), *broken]


def _keyed(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(k, str | None) for k in _row_key(row))


def _row_key(row: dict[str, Any]) -> tuple[Any, Any, Any]:
    return row.get("task"), row.get("scheme"), row.get("format", "*")


def _build(data: dict[str, Any]) -> TargetProfile:
    def tuples(table: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}

    rows = [
        Limits(
            task=r["task"],
            scheme=r["scheme"],
            format=r.get("format", "*"),
            why=r["why"],
            bounds={k: float(v) for k, v in r.items() if k not in ROW_KEYS},
        )
        for r in data["limits"]
    ]
    return TargetProfile(
        name=data["name"],
        **{key: data[key] for key in TEXTS},
        executors=tuple(data["executors"]),
        runtimes={f: RuntimeSpec(**tuples(t)) for f, t in data["runtimes"].items()},
        shapes=Shapes(**tuples(data["shapes"])),
        budgets=Budgets(**data.get("budgets", {})),
        limits=tuple(rows),
    )
