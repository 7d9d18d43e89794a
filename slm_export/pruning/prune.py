"""What `--prune` asks for, decided on the reference: which parts go, and the smaller model that is left."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from slm_export.errors import ExportError, InputError, UsageError
from slm_export.metrics import IMPOSSIBLE
from slm_export.outputs import Array, Tokens, all_rows
from slm_export.pruning.asked import MULTIPLE, Asked, kept_heads, kept_neurons
from slm_export.pruning.importance import by_activation, by_weights, strongest
from slm_export.pruning.layers import find_blocks, least_missed, require_removable
from slm_export.pruning.sparse import magnitude_masks, put_zeros
from slm_export.pruning.surgery import Cut, Pruning, Units, apply, skipped, without
from slm_export.pruning.units import close, find_units, of_kind
from slm_export.records import record

Progress = Callable[[str, int, int], None]
POWERS = {"l1": 1, "l2": 2}
WHAT = {"ffn": "feed-forward part whose neurons", "heads": "attention whose heads"}
WHY = {
    "ffn": "gate and up may be one matrix (as ModernBERT's), or a norm may stand between up and down",
    "heads": "heads may share something (relative positions, fused projections), or there is one only",
}


@record
class Prunable:
    """What there is to take out of a model, by name: the blocks of its longest chain, and units of the kinds that are
    asked for."""

    blocks: tuple[str, ...]
    units: tuple[Units, ...]


@record
class Pruned:
    """The pruned model, float32, and how to make it of the reference again; `masks` by Linear are weights that stay,
    and `hidden` the blocks of the reference that make what the pruned model's blocks are to make."""

    module: Any
    pruning: Pruning
    masks: dict[str, Any]
    hidden: dict[str, str]


def find_prunable(module: Any, task: ModuleType, asked: Asked) -> Prunable:
    """Raises InputError or UsageError if the model has no part of a kind that is asked for: before any measuring."""
    answer = partial(_made_up, module, task)
    blocks = require_removable(module, answer, layers=asked.layers) if asked.layers else find_blocks(module, answer)
    units = find_units(module, answer) if asked.ffn or asked.heads else ()
    return Prunable(blocks=blocks, units=tuple(_require_units(module, units, asked)))


def prune(
    module: Any,
    task: ModuleType,
    asked: Asked,
    tokens: Sequence[Tokens],
    progress: Progress,
    prunable: Prunable | None = None,
) -> Pruned:
    """A smaller copy of the reference's `module`. `tokens` are calibration samples: blocks need some, and importance by
    activation. `prunable` is what `find_prunable` found, if that is known."""
    found = prunable or find_prunable(module, task, asked)
    blocks: tuple[str, ...] = ()
    if asked.layers:
        blocks = _least_missed(module, found, task, asked, tokens, partial(progress, "leaving blocks out in turn"))
    staying = [u for u in found.units if not u.consumer.startswith(tuple(f"{b}." for b in blocks))]
    progress("measuring what matters", 0, 1)
    with skipped(module, blocks):
        pruning = Pruning(blocks=blocks, cuts=_cuts(module, task, staying, asked, tokens))
    smaller = copy.deepcopy(module)
    apply(smaller, pruning)
    _require_same(smaller, module, pruning, task)
    masks = magnitude_masks(smaller, asked.weights) if asked.weights else {}
    put_zeros(smaller, masks)
    return Pruned(module=smaller, pruning=pruning, masks=masks, hidden=_hidden(found.blocks, blocks))


def _made_up(module: Any, task: ModuleType) -> Array:
    """What the model answers to a made-up text."""
    rows = module.get_input_embeddings().weight.shape[0]
    ids = tuple(int(i) for i in np.random.default_rng(0).integers(min(5, rows - 1), rows, 11))
    return all_rows(task.run(module, [Tokens(input_ids=ids)]))


def _least_missed(
    module: Any,
    found: Prunable,
    task: ModuleType,
    asked: Asked,
    tokens: Sequence[Tokens],
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    expected = all_rows(task.run(module, tokens), fill=IMPOSSIBLE)

    def harm() -> float:
        return float(task.harm(expected, all_rows(task.run(module, tokens), fill=IMPOSSIBLE)))

    return least_missed(module, found.blocks, harm, layers=asked.layers, progress=progress)


def _require_same(smaller: Any, module: Any, pruning: Pruning, task: ModuleType) -> None:
    """What was taken out one by one must also be the same as not hearing it when all of it is gone."""
    with ExitStack() as unheard:
        unheard.enter_context(skipped(module, pruning.blocks))
        for cut in pruning.cuts:
            gone = sorted(set(range(cut.units.count)) - set(cut.kept))
            unheard.enter_context(without(module, cut.units, gone))
        expected = _made_up(module, task)
    if not close(_made_up(smaller, task), expected):
        raise ExportError(
            "taking these parts out of the model is not the same as not hearing them",
            where=", ".join((*pruning.blocks, *(c.units.consumer for c in pruning.cuts))),
            why="the model gives some of them something of their own",
            next_step="ask --prune for one kind of part at a time, to see which it is",
        )


def _cuts(
    module: Any, task: ModuleType, units: Sequence[Units], asked: Asked, tokens: Sequence[Tokens]
) -> tuple[Cut, ...]:
    if asked.by == "activation":
        scores = by_activation(module, units, lambda: task.run(module, tokens)) if units else []
    else:
        scores = [by_weights(module, u, power=POWERS[asked.by]) for u in units]
    return tuple(
        Cut(units=u, kept=strongest(s, kept_of(u, asked)))
        for u, s in zip(units, scores, strict=True)
        if kept_of(u, asked) < u.count
    )


def kept_of(units: Units, asked: Asked) -> int:
    return kept_neurons(units.count, asked.ffn) if units.kind == "ffn" else kept_heads(units.count, asked.heads)


def _require_units(module: Any, units: Sequence[Units], asked: Asked) -> list[Units]:
    """Those of the kinds that are asked for, each of which loses some."""
    wanted: list[Units] = []
    for kind in (k for k in ("ffn", "heads") if getattr(asked, k)):
        share, found = getattr(asked, kind), of_kind(units, kind)
        if not found:
            raise InputError(
                f"--prune {kind}={share:g}: this model has no {WHAT[kind]} can be taken out",
                where=type(module).__name__,
                why=WHY[kind],
                next_step=f"leave {kind} out of --prune",
            )
        if all(kept_of(u, asked) == u.count for u in found):
            rule = f"neurons stay in multiples of {MULTIPLE}" if kind == "ffn" else "heads go whole, and one stays"
            raise UsageError(
                f"--prune {kind}={share:g} takes nothing away: the parts have {found[0].count} each",
                where=found[0].consumer,
                why=rule,
                next_step="give a larger share",
            )
        wanted += found
    return wanted


def _hidden(chain: Sequence[str], blocks: Sequence[str]) -> dict[str, str]:
    """Each block that stays, by its new name, learns what the reference has behind it and those that went next."""
    holder = chain[0].rpartition(".")[0] if chain else ""
    pairs: dict[str, str] = {}
    for name in chain:
        if name not in blocks:
            pairs[f"{holder}.{len(pairs)}"] = name
        elif pairs:
            pairs[f"{holder}.{len(pairs) - 1}"] = name
    return pairs
