"""From flags, slm-export.toml, profile and defaults to one resolved plan, each value with its origin."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slm_export.errors import UsageError, nearest
from slm_export.names import AUTO, FORMATS, SCHEMES
from slm_export.quantization.schemes import SCHEMES as RULES
from slm_export.records import record
from slm_export.targets import TargetProfile

CONFIG_FILE = "slm-export.toml"
UNROLLED_LENGTH = 64  # tokens an LSTM or GRU is unrolled for, where nobody says: lowering takes a minute for two layers

# Every setting: the type a config file must give it. Flags say the same with dashes.
SETTINGS: dict[str, type] = {
    "model": str, "weights": str, "base": str, "task": str, "target": str, "calibration": str, "eval": str,
    "output": str, "name": str, "format": list, "scheme": str, "max-length": int, "batch": int, "seed": int,
    "max-drop": str, "max-size": str, "rounding": str, "int8-share": float, "int8-by": str, "effort": str,
    "prune": str, "prune-by": str, "heal": int,
    "calibration-samples": int, "text-column": str, "label-column": str, "pair-column": str, "slice-column": str,
    "allow-overlap": bool, "revision": str, "json": bool, "junit": str, "report": str,
}  # fmt: skip
DEFAULTS = {"output": "dist", "seed": 0, "calibration-samples": 128, "allow-overlap": False, "json": False}


@record
class Setting:
    value: Any
    origin: str  # "flag", "slm-export.toml", "profile android-arm64", "model", "default"


def read_config(folder: Path) -> dict[str, Any]:
    """slm-export.toml of `folder`, or nothing if there is none. Paths in it are relative to the working
    directory, which is where the command line looks for the file.

    Raises UsageError naming every unknown key and value of the wrong type.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} is not valid TOML: {err}", where=str(path)) from err
    problems = [f"{k}: unknown setting; {nearest(k, SETTINGS)}" for k in data if k not in SETTINGS]
    problems += [
        f"{k}: {v!r} is not {SETTINGS[k].__name__}"
        for k, v in data.items()
        if k in SETTINGS and (type(v) is not SETTINGS[k])
    ]
    if problems:
        raise UsageError(f"{path} cannot be used", where="\n         ".join(problems), next_step="mend the file")
    return data


def merge(flags: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Setting]:
    """Flags over config over defaults; a flag not given is None or empty.

    Raises UsageError for a flag that does not exist, or fewer than one calibration sample.
    """
    for key in flags:
        if key not in SETTINGS:
            raise UsageError(f"there is no setting {key!r}", why=nearest(key, SETTINGS))
    absent = {k for k, v in flags.items() if v is None or v is False or v == ()}
    given = {k: Setting(value=v, origin="flag") for k, v in flags.items() if k not in absent}
    stored = {k: Setting(value=v, origin=CONFIG_FILE) for k, v in config.items()}
    defaults = {k: Setting(value=v, origin="default") for k, v in DEFAULTS.items()}
    settings = {**defaults, **stored, **given}
    if settings["calibration-samples"].value < 1:
        raise UsageError(
            f"calibration-samples is {settings['calibration-samples'].value}, must be at least 1",
            where=settings["calibration-samples"].origin,
        )
    return settings


def require(settings: Mapping[str, Setting], key: str, *, flag: str) -> Any:
    if key not in settings:
        raise UsageError(
            f"no {key} is given", next_step=f"give {flag}, or write {key} = ... into {CONFIG_FILE} in this directory"
        )
    return settings[key].value


@record
class Shape:
    max_length: int
    buckets: tuple[int, ...]
    batch: int


def shapes(
    settings: Mapping[str, Setting],
    profile: TargetProfile,
    max_positions: int | None,
    *,
    unrolled: bool = False,
    causal: bool = False,
) -> tuple[Shape, dict[str, Setting]]:
    """The shapes to export, and where each came from.

    The maximum length is the flag's, else the profile's (of a causal model its `context`), but never more than the
    model has positions for. With
    `unrolled` layers each length is a graph of its own: without a flag it is at most UNROLLED_LENGTH, and there are two
    buckets.
    Raises UsageError if a flag asks for more than that, or for less than 2 tokens.
    """
    usual = profile.shapes.context if causal else profile.shapes.max_length
    length = settings.get("max-length") or Setting(value=usual, origin=f"profile {profile.name}")
    batch = settings.get("batch") or Setting(value=profile.shapes.batch, origin=f"profile {profile.name}")
    if unrolled and length.origin not in ("flag", CONFIG_FILE) and length.value > UNROLLED_LENGTH:
        length = Setting(value=UNROLLED_LENGTH, origin="unrolled layers")
    if max_positions is not None and length.value > max_positions:
        if length.origin in ("flag", CONFIG_FILE):
            raise UsageError(
                f"--max-length {length.value} is more than the model's {max_positions} positions",
                next_step=f"give at most {max_positions}",
            )
        length = Setting(value=max_positions, origin="model")
    if length.value < 2 or batch.value < 1:
        raise UsageError(f"cannot export {length.value} tokens, batch {batch.value}", next_step="at least 2 and 1")
    buckets = tuple(b for b in sorted(profile.shapes.buckets) if b < length.value)
    if unrolled:
        buckets = tuple(b for b in buckets if 2 * b <= length.value)[-1:]
    shape = Shape(max_length=length.value, buckets=(*buckets, length.value), batch=batch.value)
    return shape, {"max-length": length, "batch": batch}


@record
class Choice:
    """A format to export in, or, with a reason, to leave out."""

    format: str
    scheme: str
    refused: str | None = None
    candidates: tuple[str, ...] = ()  # schemes that auto may choose from


def choose_formats(settings: Mapping[str, Setting], profile: TargetProfile, unsupported: Any) -> list[Choice]:
    """Formats and scheme to export.

    `unsupported(format, scheme)` gives the exporter's reason why not, or None. A format named by the user that cannot
    hold the scheme is an error; one that only the profile names is left out with its reason.
    Raises UsageError for unknown names, or if nothing is left.
    """
    named = settings.get("format")
    formats = list(dict.fromkeys(named.value)) if named else [f for f in FORMATS if f in profile.runtimes]
    for format in formats:
        if format not in profile.runtimes:
            raise UsageError(f"target {profile.name} has no format {format!r}", why=nearest(format, profile.runtimes))
    scheme = settings.get("scheme")
    if scheme and scheme.value not in (*SCHEMES, AUTO):
        raise UsageError(f"unknown scheme {scheme.value!r}", why=nearest(scheme.value, (*SCHEMES, AUTO)))
    choices = []
    for format in formats:
        allowed = profile.runtimes[format].schemes
        wanted = scheme.value if scheme else profile.runtimes[format].default_scheme
        if wanted == AUTO:
            able = tuple(s for s in allowed if unsupported(format, s) is None and RULES[s].static_bits is None)
            choices.append(Choice(format=format, scheme=AUTO, candidates=able))
            continue
        refused = unsupported(format, wanted)
        if refused is None and wanted not in allowed:
            refused = f"target {profile.name} allows {', '.join(allowed)}"
        if refused and named:
            raise UsageError(
                f"{format} cannot be exported as {wanted}", why=refused, next_step="choose another --scheme"
            )
        choices.append(Choice(format=format, scheme=wanted, refused=refused))
    if all(c.refused for c in choices):
        reasons = "; ".join(f"{c.format}: {c.refused}" for c in choices)
        raise UsageError(
            "no format of this target can hold the scheme", why=reasons, next_step="choose another --scheme"
        )
    return choices
