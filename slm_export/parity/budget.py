"""`--max-drop`: what a user allows quantization to cost, as a bound on the task's own metric."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from slm_export import tasks
from slm_export.errors import UsageError
from slm_export.names import METRICS
from slm_export.records import record
from slm_export.targets import Limits

POINTS = {"chrf_drop": 100.0}  # metrics that run to 100; half a percent of others is .005
AS_SHARE = {"kl_mean": "perplexity_increase"}  # metrics of which the reference has no value, and what a share bounds
WHY = "no more may be lost than --max-drop says"
OF_LOWERING = (
    "lowering_max_abs_error",
    "eager_cosine_gap",
)  # what the artifact is to the compressed model, pruned or not


@record
class MaxDrop:
    """The most that a metric may lose: points of it (.005 of an accuracy of .9 leaves .895), or, if relative, a share
    of the reference's value (leaves .8955). Of a causal model nats of KL divergence, or a share of its perplexity."""

    amount: float
    relative: bool

    def __str__(self) -> str:
        return f"{100 * self.amount:g}%{' of the reference' if self.relative else ''}"


@record
class Loss:
    """What an artifact lost of the task's metric, and the reference's value of it where there is one."""

    metric: str
    drop: float
    reference: float | None


def parse(text: str, *, origin: str) -> MaxDrop:
    """From "0.5%" (half a point), "0.5%rel" (half a percent of the reference's value), or "0.005".

    Raises UsageError for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)(rel)?", text.strip())
    if found is None or float(found[1]) > (100 if found[2] else 1):
        raise UsageError(
            f"--max-drop {text!r} is no amount",
            where=origin,
            next_step="write 0.5% for half a point of the metric, 0.5%rel for that share of the reference's value",
        )
    return MaxDrop(amount=float(found[1]) / (100 if found[2] else 1), relative=found[3] is not None)


def loss(task: str, answers: Mapping[str, float], budget: MaxDrop) -> Loss:
    """By the first of the task's LOSS metrics that was measured. Raises StopIteration if none was."""
    metric = next(m for m in tasks.get(task).LOSS if m in answers)
    metric = AS_SHARE.get(metric, metric) if budget.relative else metric
    drop = answers[metric] if METRICS[metric][0] == "<=" else 1 - answers[metric]
    return Loss(metric=metric, drop=drop, reference=answers.get(f"{metric.removesuffix('_drop')}_reference"))


def allowed(budget: MaxDrop, of: Loss) -> float:
    """Of the metric, given the reference's value of it, if there is one."""
    whole = POINTS.get(of.metric, 1.0)
    return budget.amount * (of.reference if budget.relative and of.reference is not None else whole)


def tightened(limits: Limits, budget: MaxDrop, at_reference: Loss) -> Limits:
    """The limits with the budget among them; the profile's own bound stays where it is tighter.

    `at_reference` is the reference's loss against itself, which says the metric and its value.
    """
    metric, most = at_reference.metric, _bound(budget, at_reference)
    tighter = min if METRICS[metric][0] == "<=" else max
    bound = tighter(most, limits.bounds.get(metric, most))
    return replace(limits, bounds={**limits.bounds, metric: bound}, why=f"{limits.why}; {WHY} ({budget})")


def of_pruned(limits: Limits, budget: MaxDrop, at_reference: Loss) -> Limits:
    """The budget in place of the limits on answers and outputs, which were made for rounding a whole model; what bounds
    lowering stays. A float artifact's largest difference, which was to the reference, is bounded as lowering's then."""
    kept = {m: b for m, b in limits.bounds.items() if m in OF_LOWERING}
    if "max_abs_error" in limits.bounds:
        kept.setdefault("lowering_max_abs_error", limits.bounds["max_abs_error"])
    left_out = ", ".join(f"{m} {METRICS[m][0]} {b:g}" for m, b in limits.bounds.items() if m not in kept)
    why = f"pruned: {WHY} ({budget}), in place of the target's {left_out}; lowering is bounded as ever"
    return replace(limits, bounds={at_reference.metric: _bound(budget, at_reference), **kept}, why=why)


def _bound(budget: MaxDrop, at_reference: Loss) -> float:
    most = allowed(budget, at_reference)
    return most if METRICS[at_reference.metric][0] == "<=" else 1 - most
