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
WHY = "no more may be lost than --max-drop says"


@record
class MaxDrop:
    """The most that a metric may lose: points of it (.005 of an accuracy of .9 leaves .895), or, if relative, a share
    of the reference's value (leaves .8955)."""

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


def loss(task: str, answers: Mapping[str, float]) -> Loss:
    """By the first of the task's LOSS metrics that was measured. Raises KeyError if none was."""
    metric = next(m for m in tasks.get(task).LOSS if m in answers)
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
    metric, most = at_reference.metric, allowed(budget, at_reference)
    if METRICS[metric][0] == "<=":
        bound = min(most, limits.bounds.get(metric, most))
    else:
        bound = max(1 - most, limits.bounds.get(metric, 1 - most))
    return replace(limits, bounds={**limits.bounds, metric: bound}, why=f"{limits.why}; {WHY} ({budget})")
