"""Whether a profile's TOML can be used: all problems of a file are collected and told at once."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from slm_export.errors import nearest
from slm_export.names import FORMATS, METRICS, PACKS, SCHEMES, TASKS, is_file_name
from slm_export.requirements import RUN_NEEDS, TAKE_OPTIONS
from slm_export.targets.profile import Budgets, RuntimeSpec, Shapes

OPERATING_SYSTEMS = ("android", "ios", "linux")
BUNDLES = ("directory", *PACKS)
EXECUTORS = ("host",)
_TOP = {"name", "extends", "abstract", "runtimes", "shapes", "budgets", "limits"}
TEXTS = ("summary", "os", "isa", "abi", "bundle")
ROW_KEYS = ("task", "scheme", "format", "why")


def problems(data: dict[str, Any]) -> list[str]:
    """Everything wrong with a merged profile, each as "where: what"; nothing means it can be built."""
    found = _unknown("", data, _TOP | set(TEXTS) | {"executors"})
    found += [f"{key}: missing" for key in (*TEXTS, "executors", "runtimes", "shapes", "limits") if key not in data]
    found += [f"{key}: must be text" for key in TEXTS if key in data and not isinstance(data[key], str)]
    found += _value("os", data.get("os"), OPERATING_SYSTEMS)
    found += _value("bundle", data.get("bundle"), BUNDLES)
    found += _name_problems(data.get("name"))
    found += [p for e in _list(data, "executors", found) for p in _value("executors", e, EXECUTORS)]
    if data.get("executors") == []:
        found.append("executors: names none")
    for format, table in _table(data, "runtimes", found).items():
        found += _value("runtimes", format, FORMATS)
        found += _table_problems(f"runtimes.{format}", table, RuntimeSpec)
        if isinstance(table, dict):
            found += _scheme_problems(f"runtimes.{format}", table)
            found += _package_problems(f"runtimes.{format}", format, table)
            found += _option_problems(f"runtimes.{format}", table)
    found += _table_problems("shapes", data["shapes"], Shapes) if "shapes" in data else []
    found += _table_problems("budgets", data.get("budgets", {}), Budgets)
    for number, row in enumerate(_list(data, "limits", found), 1):
        found += _limits_problems(f"limits row {number}", row)
    return found


def _list(data: dict[str, Any], key: str, found: list[str]) -> list[Any]:
    """data[key] if it is a list; else nothing, and a problem."""
    value = data.get(key, [])
    if isinstance(value, list):
        return value
    found.append(f"{key}: must be a list")
    return []


def _table(data: dict[str, Any], key: str, found: list[str]) -> dict[str, Any]:
    """data[key] if it is a table; else nothing, and a problem."""
    value = data.get(key, {})
    if isinstance(value, dict):
        return value
    found.append(f"{key}: must be a table")
    return {}


def _name_problems(name: Any) -> list[str]:
    """A target's name is part of its bundles' folder names."""
    return [] if is_file_name(name) else [f"name: {name!r} cannot be part of a file name"]


def _package_problems(where: str, format: str, table: dict[str, Any]) -> list[str]:
    return _value(f"{where}.package", table.get("package"), tuple(RUN_NEEDS.get(format, ())))


def _option_problems(where: str, table: dict[str, Any]) -> list[str]:
    if not table.get("options") or table.get("package") in TAKE_OPTIONS:
        return []
    return [f"{where}.options: sessions of {' and '.join(TAKE_OPTIONS)} alone take any"]


def _scheme_problems(where: str, table: dict[str, Any]) -> list[str]:
    schemes = table.get("schemes", [])
    if not isinstance(schemes, list):
        return []  # told as a value of the wrong kind
    found = [p for s in schemes for p in _value(f"{where}.schemes", s, SCHEMES)]
    newer = table.get("oldest_for", {})
    found += [p for s in (newer if isinstance(newer, dict) else ()) for p in _value(f"{where}.oldest_for", s, SCHEMES)]
    default = table.get("default_scheme")
    if default is not None and default not in schemes:
        found.append(f"{where}.default_scheme: {default!r} is not among its schemes {schemes}")
    return found


def _table_problems(where: str, table: Any, cls: type) -> list[str]:
    if not isinstance(table, dict):
        return [f"{where}: must be a table"]
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    required = [f.name for f in dataclasses.fields(cls) if f.default is missing and f.default_factory is missing]
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
    found = _unknown(f"{where}: ", row, {*METRICS, *ROW_KEYS})
    found += [f"{where}: {key} is missing" for key in ("task", "scheme", "why") if key not in row]
    found += _value(f"{where}: task", row.get("task"), TASKS)
    found += _value(f"{where}: scheme", row.get("scheme"), SCHEMES)
    found += _value(f"{where}: format", row.get("format", "*"), (*FORMATS, "*"))
    if not set(row) & set(METRICS):
        found.append(f"{where}: no metric is bounded, so it would let everything pass")
    found += [f"{where}: {k} must be a number" for k in METRICS if k in row and not _fits(row[k], float)]
    return found


def _unknown(prefix: str, table: dict[str, Any], known: Any) -> list[str]:
    return [f"{prefix}{key}: unknown key; {nearest(key, known)}" for key in table if key not in known]


def _value(where: str, value: Any, choices: Any) -> list[str]:
    known = value is None or (isinstance(value, str) and value in choices)
    return [] if known else [f"{where}: unknown {value!r}; {nearest(str(value), choices)}"]


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list) and all(_fits(v, typing.get_args(hint)[0]) for v in value)
    if typing.get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(v, typing.get_args(hint)[1]) for v in value.values())
    if hint is str:
        return isinstance(value, str)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value > 0 and isinstance(value, int) if hint is int else number


def _kind(hint: Any) -> str:
    kinds = {str: "text", int: "a positive whole number"}
    if typing.get_origin(hint) is tuple:
        return f"a list, each item {_kind(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return f"a table, each value {_kind(typing.get_args(hint)[1])}"
    return kinds.get(hint, "a number")
