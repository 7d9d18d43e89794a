"""Regression: a text, or a pair, to one number, the logit itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slm_export.metrics import ratio_drop_interval
from slm_export.outputs import Array, Tokens, all_rows
from slm_export.tasks import text_classification
from slm_export.tasks.measured import Judged, Measured

SAMPLES = "score"
TOLERATED_HARM = 1e-2
TAUGHT_BY = "values"
LOSS = ("error_increase", "value_error_mean")


def harm(expected: Array, got: Array) -> float:
    """Mean absolute difference in standard deviations of the expected values."""
    return float(np.abs(expected - got).mean() / _spread(expected))


def _spread(values: Array) -> float:
    """Standard deviation; 1 where all values are the same."""
    return float(values.std()) or 1.0


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> None:
    """There is none beside the number, which is the output."""


def margin(matrix: Array, tokens: Tokens) -> float:
    return 0.0


def settings(source: Any) -> dict[str, Any]:
    return {"problem_type": "regression"}


def measure(judged: Judged) -> Measured:
    """Mean difference to the reference's values in their standard deviations; with scores, the mean absolute error
    before and after, and its increase in the same unit."""
    before, after = all_rows(judged.before)[:, 0], all_rows(judged.after)[:, 0]
    spread = _spread(before)
    values = {"value_error_mean": float(np.abs(after - before).mean()) / spread}
    intervals: dict[str, tuple[float, ...]] = {}
    if judged.targets is not None:
        truth = np.array([t[0] for t in judged.targets], np.float32)
        values["mean_absolute_error_reference"] = float(np.abs(before - truth).mean())
        values["mean_absolute_error"] = float(np.abs(after - truth).mean())
        increase = values["mean_absolute_error"] - values["mean_absolute_error_reference"]
        values["error_increase"] = increase / spread
        errors = [np.abs(x - truth).astype(np.float64) for x in (after, before)]
        intervals["error_increase"] = ratio_drop_interval(*(np.stack([e, np.full_like(e, spread)], 1) for e in errors))
    return Measured(answers=values, intervals=intervals, classes={})


def __getattr__(name: str) -> Any:
    """What is not said here is as in text classification."""
    return getattr(text_classification, name)
