"""Which blocks of a model may go: those without which the answers change least, found one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slm_export.errors import InputError, UsageError
from slm_export.pruning.surgery import remove_blocks, skipped
from slm_export.pruning.units import MISFITS, Answer, close
from slm_export.quantization.blocks import find_chains


def find_blocks(module: Any, answer: Answer) -> tuple[str, ...]:
    """The blocks of the model's longest chain, in the order they run; none where blocks are shared or no chain."""
    chains = find_chains(module, [answer])
    return max((c.names for c in chains), key=len, default=())


def require_removable(module: Any, answer: Answer, *, layers: int) -> tuple[str, ...]:
    """The blocks of which `layers` may go.

    Raises UsageError if there are not more than that, InputError if the model has no blocks that can be left out.
    """
    blocks = find_blocks(module, answer)
    if not blocks:
        raise InputError(
            f"--prune layers={layers}: this model has no blocks to take out",
            where=type(module).__name__,
            why="its blocks are shared (as ALBERT's), or do not hand their hidden states on to each other alone",
            next_step="leave layers out of --prune",
        )
    if layers >= len(blocks):
        raise UsageError(
            f"--prune layers={layers} leaves nothing: the model has {len(blocks)} blocks",
            next_step=f"take out {len(blocks) - 1} at most",
        )
    if not _answers_without(module, blocks[-1], answer):
        raise InputError(
            f"--prune layers={layers}: taking a block out of this model is not the same as skipping it",
            where=blocks[-1],
            why="the model counts its blocks, or gives each something of its own",
            next_step="leave layers out of --prune",
        )
    return blocks


def _answers_without(module: Any, block: str, answer: Answer) -> bool:
    """Tried on the last one: removing it answers like handing its hidden states on."""
    with skipped(module, [block]):
        expected = answer()
    holder, _, number = block.rpartition(".")
    parts = module.get_submodule(holder)
    whole = parts[int(number)]
    remove_blocks(module, [block])
    try:
        return close(answer(), expected)
    except MISFITS:
        return False
    finally:
        parts.insert(int(number), whole)


def least_missed(
    module: Any,
    blocks: tuple[str, ...],
    harm: Callable[[], float],
    *,
    layers: int,
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    """Greedily, the blocks without which `harm()` of the model's answers is least."""
    gone: list[str] = []
    total = sum(len(blocks) - i for i in range(layers))
    done = 0
    for _ in range(layers):
        costs = {}
        for block in blocks:
            if block in gone:
                continue
            with skipped(module, [*gone, block]):
                costs[block] = harm()
            done += 1
            progress(done, total)
        gone.append(min(costs, key=lambda b: costs[b]))
    return tuple(b for b in blocks if b in gone)
