"""What the flags say about pruning and healing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from slm_export import tasks
from slm_export.calibration import CalibrationSet
from slm_export.config import Setting
from slm_export.errors import InputError, UsageError, nearest
from slm_export.names import IMPORTANCES
from slm_export.parity.budget import MaxDrop
from slm_export.pruning.asked import Asked, parse
from slm_export.sources import SourceInfo

PASSES = 4  # over the texts that healing learns from
HEALED = 2048  # rows of the calibration file that healing learns from, at most
NEEDS_PRUNE = ("prune-by", "heal")


def asked(settings: Mapping[str, Setting], source: SourceInfo) -> Asked | None:
    """What is to be taken away, if anything; by what and how it is healed is not known before the data is.

    Raises UsageError for what cannot be read, or means nothing for this model.
    """
    prune = settings.get("prune")
    if prune is None:
        stray = [k for k in NEEDS_PRUNE if k in settings]
        if stray:
            raise UsageError(
                f"--{stray[0]} means nothing without --prune",
                where=settings[stray[0]].origin,
                next_step="add --prune ffn=0.2",
            )
        return None
    found = parse(prune.value, origin=prune.origin)
    if source.task in tasks.ENCODER_DECODERS:
        raise UsageError(f"--prune does not know {source.task} yet", where=prune.origin)
    if source.plain is not None and found.structured:
        raise UsageError(
            "--prune takes neurons, heads and blocks out of transformers only",
            where=source.path,
            why="of a classifier in plain PyTorch nothing is known but its weights",
            next_step="give --prune weights=0.3 alone",
        )
    return found


def healed(settings: Mapping[str, Setting]) -> int:
    """How many calibration rows healing is to learn from."""
    return HEALED if "prune" in settings and ("heal" not in settings or settings["heal"].value) else 0


def resolve(
    settings: Mapping[str, Setting], wanted: Asked | None, chosen: CalibrationSet | None
) -> tuple[Asked | None, dict[str, Setting]]:
    """With what follows from the data; and the settings that were found for want of a flag.

    Raises InputError where calibration texts are missing.
    """
    if wanted is None:
        return None, {}
    if chosen is None:
        _require_no_texts(settings, wanted)
    default = Setting(value="activation" if chosen else "l2", origin="default" if chosen else "no calibration set")
    by = settings.get("prune-by", default)
    if by.value not in IMPORTANCES:
        raise UsageError(f"unknown importance {by.value!r}", where=by.origin, why=nearest(by.value, IMPORTANCES))
    heal = settings.get("heal", Setting(value=PASSES if chosen else 0, origin=default.origin))
    if heal.value < 0:
        raise UsageError(f"heal is {heal.value}, must be 0 or more", where=heal.origin)
    return replace(wanted, by=by.value, passes=heal.value), {"prune-by": by, "heal": heal}


def _require_no_texts(settings: Mapping[str, Setting], wanted: Asked) -> None:
    needy = {
        f"layers={wanted.layers}": wanted.layers > 0,
        "by activation": "prune-by" in settings and settings["prune-by"].value == "activation",
        "with --heal": "heal" in settings and settings["heal"].value > 0,
    }
    for what, needs in needy.items():
        if needs:
            raise InputError(
                f"--prune {what} needs a calibration set",
                why="what goes, and what is left to mend, shows on real texts only",
                next_step="give texts like the app's with --calibration",
            )


def notes(wanted: Asked | None, chosen: CalibrationSet | None, max_drop: MaxDrop | None) -> Iterator[str]:
    if wanted is None:
        return
    if chosen and wanted.passes:
        yield (
            f"healing learns from {len(chosen.taught)} of {chosen.rows} rows of {chosen.file}, "
            f"{wanted.passes} times over"
            + ("; more texts like the app's heal more" if len(chosen.taught) < HEALED else "")
        )
    else:
        yield "the pruned model is not healed" + ("" if chosen else ": there is no --calibration to learn from")
    if max_drop is None:
        yield (
            "pruned, and judged by the thresholds of the scheme, as if it were whole: --max-drop says what pruning may "
            "lose"
        )
    else:
        yield (
            f"pruned: what may be lost is what --max-drop says ({max_drop}), in place of the target's thresholds; "
            "those of lowering stay"
        )
    if wanted.weights:
        yield "--prune weights: zeros compress better in a download; no runtime here runs them faster"
