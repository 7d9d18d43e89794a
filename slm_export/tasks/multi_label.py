"""Text classification with several labels a text, or none: those whose logit is above 0, a probability of one half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_export.metrics import f1, flips, kl_divergence, ratio_drop_interval, wilson_interval
from slm_export.outputs import Array, Tokens, all_rows
from slm_export.tasks import text_classification
from slm_export.tasks.measured import ClassChange, Judged, Measured

SAMPLES = "label set"
TAUGHT_BY = "decisions"
LOSS = ("micro_f1_drop", "flip_rate")
Flags = npt.NDArray[np.bool_]


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence of the labels' answers, each yes or no, nats."""
    return float(kl_divergence(_yes_or_no(expected), _yes_or_no(got)).mean())


def _yes_or_no(rows: Array) -> Array:
    """Logits [rows, labels] as two-way logits [rows * labels, 2], whose softmax is the sigmoid."""
    return np.stack([rows.ravel(), np.zeros(rows.size, np.float32)], axis=1)


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> list[str]:
    return [label for label, logit in zip(labels, matrix[0], strict=True) if logit > 0]


def margin(matrix: Array, tokens: Tokens) -> float:
    return float(np.abs(matrix).min())


def settings(source: Any) -> dict[str, Any]:
    return {"problem_type": "multi_label_classification", "threshold": 0.5}


def measure(judged: Judged) -> Measured:
    """Texts whose set of labels changed; with labels, the micro F1 before, after and its drop."""
    before, after = all_rows(judged.before) > 0, all_rows(judged.after) > 0
    changed = flips(np.zeros(len(before), np.int64), (before != after).any(axis=1).astype(np.int64))
    values = {"flips": float(changed), "flip_rate": changed / len(before)}
    intervals: dict[str, tuple[float, ...]] = {"flip_rate": wilson_interval(changed, len(before))}
    truth = before
    if judged.targets is not None:
        truth = np.zeros_like(before)
        for row, indices in enumerate(judged.targets):
            truth[row, list(indices)] = True
        values["micro_f1_reference"] = f1(truth, before)
        values["micro_f1"] = f1(truth, after)
        values["micro_f1_drop"] = values["micro_f1_reference"] - values["micro_f1"]
        intervals["micro_f1_drop"] = ratio_drop_interval(_counts(truth, before), _counts(truth, after))
    return Measured(answers=values, intervals=intervals, classes=_by_label(judged.labels, truth, before, after))


def _counts(truth: Flags, answers: Flags) -> npt.NDArray[np.float64]:
    """Of each text twice the labels that are right, and those given plus those there: the parts of the F1."""
    return np.stack([2 * (truth & answers).sum(1), truth.sum(1) + answers.sum(1)], axis=1).astype(np.float64)


def _by_label(labels: Sequence[str], truth: Flags, before: Flags, after: Flags) -> dict[str, ClassChange]:
    """Of the texts that have a label: for how many it changed, and the share that is given it."""
    return {
        label: ClassChange(
            samples=int(mine.sum()),
            flips=int((b[mine] != a[mine]).sum()),
            accuracy_reference=float(b[mine].mean()),
            accuracy=float(a[mine].mean()),
        )
        for label, mine, b, a in zip(labels, truth.T, before.T, after.T, strict=True)
        if mine.any()
    }


def __getattr__(name: str) -> Any:
    """What is not said here is as in text classification."""
    return getattr(text_classification, name)
