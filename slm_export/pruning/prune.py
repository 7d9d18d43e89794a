"""What `--prune` asks for, decided on the reference: which parts go, and the smaller model that is left."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
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
from slm_export.pruning.surgery import Cut, Pruning, Units, keep_units, remove_blocks, skipped
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
class Pruned:
    """The pruned model, float32, and how to make it of the reference again; `masks` by Linear are weights that stay,
    and `hidden` the blocks of the reference that make what the pruned model's blocks are to make."""

    module: Any
    pruning: Pruning
    masks: dict[str, Any]
    hidden: dict[str, str]


def require_prunable(module: Any, task: ModuleType, asked: Asked) -> None:
    """Raises InputError or UsageError if the model has no part of a kind that is asked for: before any measuring."""
    answer = partial(_made_up, module, task)
    if asked.layers:
        require_removable(module, answer, layers=asked.layers)
    if asked.ffn or asked.heads:
        _require_units(module, find_units(module, answer), asked)


def prune(module: Any, task: ModuleType, asked: Asked, tokens: Sequence[Tokens], progress: Progress) -> Pruned:
    """A smaller copy of the reference's `module`. `tokens` are calibration samples: blocks need some, and importance by
    activation."""
    answer = partial(_made_up, module, task)
    chain = find_blocks(module, answer)
    blocks: tuple[str, ...] = ()
    if asked.layers:
        blocks = _least_missed(module, chain, task, asked, tokens, partial(progress, "leaving blocks out in turn"))
    smaller = copy.deepcopy(module)
    remove_blocks(smaller, blocks)
    _require_same(smaller, module, blocks, task)
    cuts = _cuts(smaller, task, asked, tokens, progress)
    for cut in cuts:
        keep_units(smaller, cut.units, cut.kept)
    masks = magnitude_masks(smaller, asked.weights) if asked.weights else {}
    put_zeros(smaller, masks)
    return Pruned(
        module=smaller,
        pruning=Pruning(blocks=blocks, cuts=cuts),
        masks=masks,
        hidden=_hidden(chain, blocks),
    )


def _made_up(module: Any, task: ModuleType) -> Array:
    """What the model answers to a made-up text."""
    rows = module.get_input_embeddings().weight.shape[0]
    ids = tuple(int(i) for i in np.random.default_rng(0).integers(min(5, rows - 1), rows, 11))
    return all_rows(task.run(module, [Tokens(input_ids=ids)]))


def _least_missed(
    module: Any,
    chain: tuple[str, ...],
    task: ModuleType,
    asked: Asked,
    tokens: Sequence[Tokens],
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    expected = all_rows(task.run(module, tokens), fill=IMPOSSIBLE)

    def harm() -> float:
        return float(task.harm(expected, all_rows(task.run(module, tokens), fill=IMPOSSIBLE)))

    return least_missed(module, chain, harm, layers=asked.layers, progress=progress)


def _require_same(smaller: Any, module: Any, blocks: Sequence[str], task: ModuleType) -> None:
    with skipped(module, blocks):
        expected = _made_up(module, task)
    if not close(_made_up(smaller, task), expected):
        raise ExportError(
            "taking these blocks out of the model is not the same as skipping them",
            where=", ".join(blocks),
            why="the model gives some of its blocks something of their own",
            next_step="leave layers out of --prune",
        )


def _cuts(module: Any, task: ModuleType, asked: Asked, tokens: Sequence[Tokens], progress: Progress) -> tuple[Cut, ...]:
    if not (asked.ffn or asked.heads):
        return ()
    progress("looking for what can go alone", 0, 1)
    units = _require_units(module, find_units(module, partial(_made_up, module, task)), asked)
    progress("measuring what matters", 0, 1)
    if asked.by == "activation":
        scores = by_activation(module, units, lambda: task.run(module, tokens))
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
