"""What the flags say about quantization beside the scheme: roundings, mixtures, and what a search has to keep to."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from slm_export import tasks
from slm_export.calibration import CalibrationSet
from slm_export.config import Choice, Setting
from slm_export.errors import InputError, UsageError, nearest
from slm_export.names import AUTO, EFFORTS, RANKINGS, ROUNDINGS
from slm_export.parity import budget
from slm_export.parity.budget import MaxDrop
from slm_export.quantization.schemes import NEEDS_CALIBRATION, SCHEMES
from slm_export.records import record

TAUGHT = 2048  # rows of the calibration file that --effort high teaches, at most
TRIED = 1000  # rows of the calibration file that trials of a search are judged by, at most
TRIED_GENERATED = 200  # where each trial writes the answers anew


@record
class Goal:
    """What may be lost, and how large an artifact may be, megabytes; of auto the aim, of named schemes a gate."""

    max_drop: MaxDrop | None
    max_size: float | None


@record
class Quantizing:
    rounding: str  # of 4-bit weights
    int8_share: float  # of 4-bit weights that get 8 bits after all
    int8_by: str  # how it is told which
    effort: str
    goal: Goal


def goal(settings: Mapping[str, Setting], choices: Sequence[Choice]) -> Goal:
    """Raises UsageError for an amount that cannot be read, or where auto has nothing to aim at."""
    drop, size = settings.get("max-drop"), settings.get("max-size")
    found = Goal(
        max_drop=budget.parse(drop.value, origin=drop.origin) if drop else None,
        max_size=_megabytes(size) if size else None,
    )
    if any(c.scheme == AUTO for c in choices):
        _require_goal(settings, found)
    return found


def tried(settings: Mapping[str, Setting], task: str) -> int:
    """How many calibration rows a search holds out to judge its trials by."""
    if "max-drop" not in settings or "scheme" not in settings or settings["scheme"].value != AUTO:
        return 0
    return TRIED_GENERATED if task in tasks.ENCODER_DECODERS else min(TRIED, tasks.get(task).MOST_SAMPLES or TRIED)


def taught(settings: Mapping[str, Setting]) -> int:
    """How many calibration rows `--effort high` learns from."""
    return TAUGHT if "effort" in settings and settings["effort"].value == "high" else 0


def resolve(
    settings: Mapping[str, Setting], choices: Sequence[Choice], chosen: CalibrationSet | None, aim: Goal, task: str
) -> tuple[Quantizing, dict[str, Setting]]:
    """And the settings that were found for want of a flag.

    Raises UsageError for a flag that means nothing here, InputError where calibration texts are missing.
    """
    _require_calibration(choices, chosen, aim)
    rounding = _rounding(settings, chosen)
    int8_share, int8_by = _int8_share(settings, choices), _int8_by(settings, chosen, task)
    mixes = int8_share > 0 or any(c.scheme == AUTO for c in choices)
    quantizing = Quantizing(
        rounding=rounding.value,
        int8_share=int8_share,
        int8_by=int8_by.value,
        effort=_effort(settings, choices, chosen, task),
        goal=aim,
    )
    found = {"rounding": rounding, **({"int8-by": int8_by} if mixes else {})}
    return quantizing, found if has_4_bits(choices) else {}


def schemes(choices: Collection[Choice]) -> set[str]:
    """All that may be made."""
    return {s for c in choices if not c.refused for s in (c.candidates or (c.scheme,))}


def has_4_bits(choices: Collection[Choice]) -> bool:
    return any(SCHEMES[s].bits == 4 for s in schemes(choices))


def _megabytes(asked: Setting) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+) ?(KB|MB|GB)", asked.value.strip(), flags=re.IGNORECASE)
    if found is None or not float(found[1]):
        raise UsageError(f"--max-size {asked.value!r} is no size", where=asked.origin, next_step="write 25MB")
    return float(found[1]) * {"KB": 1e-3, "MB": 1.0, "GB": 1e3}[found[2].upper()]


def _require_goal(settings: Mapping[str, Setting], found: Goal) -> None:
    if found.max_drop is None and found.max_size is None:
        raise UsageError(
            "--scheme auto needs a goal",
            where=settings["scheme"].origin,
            next_step="say what may be lost with --max-drop 0.5%, or how large it may be with --max-size 25MB",
        )
    if "int8-share" in settings:
        raise UsageError(
            "--int8-share means nothing beside --scheme auto, which finds the share itself",
            where=settings["int8-share"].origin,
            next_step="leave one of the two out",
        )


def _require_calibration(choices: Sequence[Choice], chosen: CalibrationSet | None, aim: Goal) -> None:
    if chosen is not None:
        return
    if any(c.scheme == AUTO for c in choices) and (aim.max_drop or schemes(choices) & NEEDS_CALIBRATION):
        raise InputError(
            f"scheme {AUTO} needs a calibration set",
            why="it quantizes with some of its rows, and judges trials by others",
            next_step="give texts like the app's with --calibration, or name a --scheme",
        )
    if needy := sorted(schemes(choices) & NEEDS_CALIBRATION):
        raise InputError(
            f"scheme {needy[0]} needs a calibration set",
            why="it measures on real texts which layers the rounding of activations hurts; random data would not tell",
            next_step="give texts like the app's with --calibration, or choose --scheme fp32",
        )


def _rounding(settings: Mapping[str, Setting], chosen: CalibrationSet | None) -> Setting:
    """How 4-bit weights are rounded: as asked for, else as well as the data allows."""
    asked, prune = settings.get("rounding"), settings.get("prune")
    sparse = prune is not None and "weights=" in prune.value
    if sparse and (asked is None or asked.value == "awq+gptq"):
        return _keeping_zeros(asked)
    if asked is None:
        return Setting(value="awq+gptq" if chosen else "mse", origin="default" if chosen else "no calibration set")
    if asked.value not in ROUNDINGS:
        raise UsageError(f"unknown rounding {asked.value!r}", where=asked.origin, why=nearest(asked.value, ROUNDINGS))
    if asked.value == "awq+gptq" and chosen is None:
        raise UsageError(
            "--rounding awq+gptq needs a calibration set",
            why="it measures on real texts what each weight's error does to the outputs",
            next_step="give texts like the app's with --calibration, or choose --rounding mse",
        )
    return asked


def _keeping_zeros(asked: Setting | None) -> Setting:
    if asked is None:
        return Setting(value="mse", origin="--prune weights")
    raise UsageError(
        "--rounding awq+gptq and --prune weights=... undo each other",
        where=asked.origin,
        why="GPTQ moves each column's error into the next ones, the zeros among them",
        next_step="choose --rounding mse, or leave weights out of --prune",
    )


def _int8_share(settings: Mapping[str, Setting], choices: Sequence[Choice]) -> float:
    share = settings.get("int8-share")
    if share is None:
        return 0.0
    if not 0 <= share.value <= 1:
        raise UsageError(f"--int8-share {share.value:g} is no share", where=share.origin, next_step="give 0 to 1")
    if not has_4_bits(choices):
        raise UsageError(
            "--int8-share means nothing here: no format gets 4-bit weights",
            where=share.origin,
            next_step="add --scheme w4a8-dynamic",
        )
    return float(share.value)


def _int8_by(settings: Mapping[str, Setting], chosen: CalibrationSet | None, task: str) -> Setting:
    """A causal model's layers say little by their own errors: SmolLM2's KL is .080 by them, .056 by the gradient."""
    asked = settings.get("int8-by")
    if asked is None:
        by_gradient = chosen is not None and task in tasks.CAUSAL
        return Setting(value="gradient" if by_gradient else "hessian", origin="default")
    if asked.value not in RANKINGS:
        raise UsageError(f"unknown ranking {asked.value!r}", where=asked.origin, why=nearest(asked.value, RANKINGS))
    if asked.value != "hessian" and chosen is None:
        raise UsageError(
            f"--int8-by {asked.value} needs a calibration set to measure with", next_step="give --calibration"
        )
    if asked.value == "gradient" and task in tasks.ENCODER_DECODERS:
        raise UsageError(
            f"--int8-by gradient does not know {task} yet", where=asked.origin, next_step="choose hessian or harm"
        )
    return asked


def _effort(
    settings: Mapping[str, Setting], choices: Sequence[Choice], chosen: CalibrationSet | None, task: str
) -> str:
    asked = settings.get("effort")
    if asked is None:
        return "default"
    if asked.value not in EFFORTS:
        raise UsageError(f"unknown effort {asked.value!r}", where=asked.origin, why=nearest(asked.value, EFFORTS))
    if asked.value == "high" and not has_4_bits(choices):
        raise UsageError(
            "--effort high means nothing here: no format gets 4-bit weights",
            where=asked.origin,
            next_step="add --scheme w4a8-dynamic",
        )
    if asked.value == "high" and task in tasks.ENCODER_DECODERS:
        raise UsageError(f"--effort high does not know {task} yet", where=asked.origin)
    if asked.value == "high" and chosen is None:
        raise UsageError("--effort high needs a calibration set to learn from", next_step="give --calibration")
    return str(asked.value)
