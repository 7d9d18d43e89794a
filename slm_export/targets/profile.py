"""A target is data: one TOML file, read and checked here.

`extends = "other"` takes everything from another profile and overrides what the file says; tables are merged key by
key, `[[limits]]` rows by (task, scheme, format). All problems of a file are collected and told at once.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from importlib import resources
from pathlib import Path
from typing import Any

from slm_export.errors import UsageError, nearest
from slm_export.names import FORMATS, METRICS, SCHEMES, TASKS
from slm_export.records import record


@record
class RuntimeSpec:
    """One runtime of a target: what runs artifacts of a format there."""

    package: str  # the runtime's Python package, which is what parity runs on this host
    version: str  # the version the profile was tested with
    oldest: str  # the oldest version that must answer right
    backend: str
    schemes: tuple[str, ...]
    default_scheme: str


@record
class Shapes:
    max_length: int  # tokens
    buckets: tuple[int, ...]  # sequence lengths of a .tflite's signatures, tokens
    batch: int


@record
class Budgets:
    """Upper bounds; a missing one is not checked."""

    artifact_mb: float | None = None  # 1 MB = 10**6 bytes
    ram_mb: float | None = None


@record
class Limits:
    """Thresholds for one task and scheme: {metric: bound}, on the side names.METRICS says; and why."""

    task: str
    scheme: str
    format: str  # "*" for every format
    bounds: dict[str, float]
    why: str


@record
class TargetProfile:
    name: str
    summary: str
    os: str
    isa: str
    abi: str
    bundle: str
    executors: tuple[str, ...]
    runtimes: dict[str, RuntimeSpec]
    shapes: Shapes
    budgets: Budgets
    limits: tuple[Limits, ...]

    def limits_for(self, *, task: str, scheme: str, format: str) -> Limits | None:
        """The row for this artifact; a row that names the format wins over a `*` row."""
        rows = [r for r in self.limits if r.task == task and r.scheme == scheme and r.format in (format, "*")]
        return max(rows, key=lambda r: r.format == format, default=None)


OPERATING_SYSTEMS = ("android", "ios", "linux")
BUNDLES = ("directory",)
EXECUTORS = ("host",)
_TOP = {"name", "extends", "abstract", "runtimes", "shapes", "budgets", "limits"}
_TEXTS = ("summary", "os", "isa", "abi", "bundle")
_ROW_KEYS = ("task", "scheme", "format", "why")


def names() -> list[str]:
    """The built-in targets, without the abstract ones that others extend."""
    return sorted(n for n in _built_in() if not _parse(_built_in()[n]).get("abstract"))


def load(target: str | Path) -> TargetProfile:
    """Read a target by name, or a user's own profile by the path of its .toml file.

    Raises UsageError listing every problem of the file.
    """
    merged = _merged(_find(str(target), near=None), seen=())
    problems = _problems(merged)
    if problems:
        raise UsageError(
            f"target profile {target} has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            where="\n         ".join(problems),
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
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} is not valid TOML: {err}", where=str(path)) from err


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
            rows = {_row_key(r): r for r in [*base.get("limits", []), *value] if isinstance(r, dict)}
            result[key] = list(rows.values())
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _overlay(result[key], value)
        else:
            result[key] = value
    return result


def _row_key(row: dict[str, Any]) -> tuple[Any, Any, Any]:
    return row.get("task"), row.get("scheme"), row.get("format", "*")


def _problems(data: dict[str, Any]) -> list[str]:
    found = _unknown("", data, _TOP | set(_TEXTS) | {"executors"})
    found += [f"{key}: missing" for key in (*_TEXTS, "executors", "runtimes", "shapes", "limits") if key not in data]
    found += [f"{key}: must be text" for key in _TEXTS if key in data and not isinstance(data[key], str)]
    found += _value("os", data.get("os"), OPERATING_SYSTEMS)
    found += _value("bundle", data.get("bundle"), BUNDLES)
    found += [p for e in data.get("executors", []) for p in _value("executors", e, EXECUTORS)]
    for format, table in data.get("runtimes", {}).items():
        found += _value("runtimes", format, FORMATS)
        found += _table_problems(f"runtimes.{format}", table, RuntimeSpec)
        if isinstance(table, dict):
            found += _scheme_problems(f"runtimes.{format}", table)
    found += _table_problems("shapes", data.get("shapes", {}), Shapes) if "shapes" in data else []
    found += _table_problems("budgets", data.get("budgets", {}), Budgets)
    found += [p for i, row in enumerate(data.get("limits", []), 1) for p in _limits_problems(f"limits row {i}", row)]
    return found


def _scheme_problems(where: str, table: dict[str, Any]) -> list[str]:
    schemes = table.get("schemes", [])
    found = [p for s in schemes for p in _value(f"{where}.schemes", s, SCHEMES)]
    default = table.get("default_scheme")
    if default is not None and isinstance(schemes, list) and default not in schemes:
        found.append(f"{where}.default_scheme: {default!r} is not among its schemes {schemes}")
    return found


def _table_problems(where: str, table: Any, cls: type) -> list[str]:
    if not isinstance(table, dict):
        return [f"{where}: must be a table"]
    hints = typing.get_type_hints(cls)
    required = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]
    found = _unknown(f"{where}.", table, hints)
    found += [f"{where}.{key}: missing" for key in required if key not in table]
    found += [
        f"{where}.{key}: {table[key]!r} is not {_kind(hint)}"
        for key, hint in hints.items()
        if key in table and not _fits(table[key], hint)
    ]
    return found


def _limits_problems(where: str, row: Any) -> list[str]:
    if not isinstance(row, dict):
        return [f"{where}: must be a table"]
    found = _unknown(f"{where}: ", row, {*METRICS, *_ROW_KEYS})
    found += [f"{where}: {key} is missing" for key in ("task", "scheme", "why") if key not in row]
    found += _value(f"{where}: task", row.get("task"), TASKS)
    found += _value(f"{where}: scheme", row.get("scheme"), SCHEMES)
    found += _value(f"{where}: format", row.get("format", "*"), (*FORMATS, "*"))
    found += [f"{where}: {k} must be a number" for k in METRICS if k in row and not _fits(row[k], float)]
    return found


def _unknown(prefix: str, table: dict[str, Any], known: Any) -> list[str]:
    return [f"{prefix}{key}: unknown key; {nearest(key, known)}" for key in table if key not in known]


def _value(where: str, value: Any, choices: Any) -> list[str]:
    return [] if value is None or value in choices else [f"{where}: unknown {value!r}; {nearest(str(value), choices)}"]


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list) and all(_fits(v, typing.get_args(hint)[0]) for v in value)
    if hint is str:
        return isinstance(value, str)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value > 0 and isinstance(value, int) if hint is int else number


def _kind(hint: Any) -> str:
    kinds = {str: "text", int: "a positive whole number"}
    if typing.get_origin(hint) is tuple:
        return f"a list, each item {_kind(typing.get_args(hint)[0])}"
    return kinds.get(hint, "a number")


def _build(data: dict[str, Any]) -> TargetProfile:
    def tuples(table: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}

    rows = [
        Limits(
            task=r["task"],
            scheme=r["scheme"],
            format=r.get("format", "*"),
            why=r["why"],
            bounds={k: float(v) for k, v in r.items() if k not in _ROW_KEYS},
        )
        for r in data["limits"]
    ]
    return TargetProfile(
        name=data["name"],
        **{key: data[key] for key in _TEXTS},
        executors=tuple(data["executors"]),
        runtimes={f: RuntimeSpec(**tuples(t)) for f, t in data["runtimes"].items()},
        shapes=Shapes(**tuples(data["shapes"])),
        budgets=Budgets(**data.get("budgets", {})),
        limits=tuple(rows),
    )
