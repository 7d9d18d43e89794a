"""`--scheme auto`: of all schemes and mixtures a format has, the smallest within an accuracy budget, or the best that
fits a size.

Candidates are ordered by size: 4 bits, then 4 bits with ever more of the most sensitive layers in 8, then 8 bits, then
float. Quality follows the same order, so the first that is good enough is the smallest that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from slm_export.errors import ExportError
from slm_export.quantization.schemes import SCHEMES
from slm_export.quantplan import QuantPlan
from slm_export.records import record

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of 4-bit weights that get 8 bits: a group of layers at a time
GROUP_SCALE_BYTES = 2  # float16 or bfloat16: they are on a grid that both hold


@record
class Candidate:
    scheme: str
    int8_share: float


@record
class Trial:
    """A candidate, what it is estimated to take, and what it lost on the samples held out for the search."""

    scheme: str
    int8_share: float
    int8_layers: tuple[str, ...]  # those of 4-bit schemes that got 8 bits, most sensitive first
    megabytes: float
    metric: str
    drop: float | None  # None: not measured, because it does not fit
    within: bool


def candidates(schemes: Sequence[str]) -> list[Candidate]:
    """Of a format's schemes; where it has int8 activations, weight-only ones of the same bits are no smaller."""
    faster = {s.removesuffix("a8-dynamic") for s in schemes if s.endswith("a8-dynamic")}
    kept = [s for s in schemes if s not in faster]
    return [
        Candidate(scheme=s, int8_share=share) for s in kept for share in (SHARES if SCHEMES[s].bits == 4 else (0.0,))
    ]


def smallest_within(ordered: Iterable[Candidate], tried: Callable[[Candidate], Trial]) -> list[Trial]:
    """The trials up to the first within the budget, which is the last of them.

    `ordered` by size. Raises ExportError if none is within it.
    """
    trials = []
    for candidate in ordered:
        trials.append(tried(candidate))
        if trials[-1].within:
            return trials
    losses = [(t.drop, t.scheme, t.metric) for t in trials if t.drop is not None]
    if losses:
        drop, scheme, metric = min(losses)
        found = f"the closest, {scheme}, has {metric} {drop:.4g} on the rows held out"
    else:
        found = f"the smallest takes about {min(t.megabytes for t in trials):.2f} MB"
    raise ExportError(
        "no scheme of this format is within the budget",
        where=found,
        next_step="allow more with --max-drop or --max-size, or give more --calibration-samples",
    )


def estimated_bytes(module: Any, plan: QuantPlan) -> int:
    """Of the weights in a file: integers, scales (of a channel float32) and floats, every tensor once."""
    total, seen = 0, set()
    for name, parameter in module.named_parameters():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        layer = plan.layers.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        bits = layer.bits if layer else 32
        total += parameter.numel() * bits // 8
        if layer and layer.group:
            total += parameter.numel() // layer.group * GROUP_SCALE_BYTES
        elif bits == 8:
            total += 4 * len(parameter)
    return total
