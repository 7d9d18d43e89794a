"""An artifact in an older runtime, judged by some of the rows where all of them would take minutes: on these it may be
no worse than in the version that it was judged in by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from slm_export.names import METRICS
from slm_export.outputs import Outputs
from slm_export.parity.check import Truth
from slm_export.parity.report import ParityReport
from slm_export.targets import Limits

SLACK = 0.1  # of what the other version lost: kernels of two versions differ


def on_rows(truth: Truth, rows: Sequence[int]) -> Truth:
    """The truth of these evaluation rows, which are those that lowering is judged by."""

    def some(values: Any) -> Any:
        return None if values is None else tuple(values[r] for r in rows)

    return replace(
        truth,
        targets=some(truth.targets),
        slices=some(truth.slices),
        tokens=some(truth.tokens),
        wanted=some(truth.wanted),
        lowering_rows=tuple(range(len(rows))),
        reference=picked(truth.reference, rows),
    )


def picked(outputs: Outputs, rows: Sequence[int]) -> Outputs:
    said = None if outputs.said is None else tuple(outputs.said[r] for r in rows)
    return replace(outputs, evaluation=tuple(outputs.evaluation[r] for r in rows), said=said)


def no_worse(limits: Limits, report: ParityReport) -> Limits:
    """The limits, and where `report` has the other version beyond one, what that measured and a little."""
    values = {**report.numbers, **report.answers}
    return replace(limits, bounds={m: _looser(m, b, values.get(m)) for m, b in limits.bounds.items()})


def _looser(metric: str, bound: float, value: float | None) -> float:
    """The bound itself where the other version keeps it."""
    if value is None:
        return bound
    if METRICS[metric][0] == "<=":
        return bound if value <= bound else value * (1 + SLACK)
    return bound if value >= bound else value - (1 - value) * SLACK
