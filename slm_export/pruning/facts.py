"""What was taken away and what healing brought back, for reports and manifests."""

from __future__ import annotations

from typing import Any

from slm_export.distillation import Distilled
from slm_export.pruning.asked import Asked
from slm_export.pruning.prune import Pruned
from slm_export.pruning.sparse import Deflated
from slm_export.pruning.surgery import Cut
from slm_export.records import record


@record
class Kept:
    """Of one part: how many neurons or heads it had, and has."""

    before: int
    after: int


@record
class PruningFacts:
    """Layers and blocks by their names in the source; `neurons` and `heads` by the Linear behind them."""

    asked: str
    by: str
    blocks_removed: tuple[str, ...]
    neurons: dict[str, Kept]
    heads: dict[str, Kept]
    zeros: float  # share of the Linears' weights
    parameters_before: int
    parameters: int
    learned_by: str  # the loss of healing: one of distillation.LOSSES
    healing: Distilled | None
    deflated: Deflated | None


def facts(
    asked: Asked, reference: Any, made: Pruned, *, learned_by: str, healing: Distilled | None, deflated: Deflated | None
) -> PruningFacts:
    return PruningFacts(
        asked=str(asked),
        by=asked.by,
        blocks_removed=made.pruning.blocks,
        neurons=_kept(made.pruning.cuts, "ffn"),
        heads=_kept(made.pruning.cuts, "heads"),
        zeros=_zeros(made.masks),
        parameters_before=_count(reference),
        parameters=_count(made.module),
        learned_by=learned_by,
        healing=healing,
        deflated=deflated,
    )


def _kept(cuts: tuple[Cut, ...], kind: str) -> dict[str, Kept]:
    return {c.units.consumer: Kept(before=c.units.count, after=len(c.kept)) for c in cuts if c.units.kind == kind}


def _zeros(masks: dict[str, Any]) -> float:
    total = sum(m.numel() for m in masks.values())
    return 1 - sum(int(m.sum()) for m in masks.values()) / total if total else 0.0


def _count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())
