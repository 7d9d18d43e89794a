"""Text classification: a text, or a pair, to logits over labels; the answer is the label with the largest logit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from slm_export.metrics import accuracy, drop_interval, flips, kl_divergence, wilson_interval
from slm_export.outputs import Array, Tokens, all_rows
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured, best, by_class, lead

AUTO_CLASS = "AutoModelForSequenceClassification"
SAMPLES = "text"
MOST_SAMPLES = None
TRUNCATION = "longest_first"
TOLERATED_HARM = 1.25e-4
TAUGHT_BY = "distribution"
LOSS = ("accuracy_drop", "flip_rate")
INPUTS = encoder.INPUTS
OUTPUTS = {"logits": ("batch", "labels")}
GOLDEN_COLUMNS = None
tokenize, retokenize = encoder.tokenize, encoder.retokenize


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    return outputs["logits"][row : row + 1]


graph = partial(encoder.graph, outputs=tuple(OUTPUTS))
run = partial(encoder.run, outputs=tuple(OUTPUTS), cut=cut)


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence of the answers, nats."""
    return float(kl_divergence(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> str:
    index = int(best(matrix)[0])
    return labels[index] if index >= 0 else "NaN"


def margin(matrix: Array, tokens: Tokens) -> float:
    return lead(matrix)


def settings(source: Any) -> dict[str, Any]:
    return {}


def measure(judged: Judged) -> Measured:
    """Flips and their rate with its interval; with labels, accuracy before, after and its drop."""
    before, after = best(all_rows(judged.before)), best(all_rows(judged.after))
    changed = flips(before, after)
    values = {"flips": float(changed), "flip_rate": changed / len(before)}
    intervals: dict[str, tuple[float, ...]] = {"flip_rate": wilson_interval(changed, len(before))}
    if judged.targets is None:
        return Measured(answers=values, intervals=intervals, classes=by_class(judged.labels, before, before, after))
    truth = np.array([t[0] for t in judged.targets], np.int64)
    values["accuracy_reference"] = accuracy(truth, before)
    values["accuracy"] = accuracy(truth, after)
    values["accuracy_drop"] = values["accuracy_reference"] - values["accuracy"]
    intervals["accuracy_drop"] = drop_interval(truth == before, truth == after)
    intervals["accuracy"] = wilson_interval(int((truth == after).sum()), len(truth))
    return Measured(answers=values, intervals=intervals, classes=by_class(judged.labels, truth, before, after))
