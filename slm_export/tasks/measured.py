"""What a task is given to compare answers, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_export.outputs import Matrices, Tokens
from slm_export.records import record

Answers = npt.NDArray[np.int64]
GOLDEN_ROWS = 16  # of a text or answer


@record
class Judged:
    """The reference's outputs and the artifact's for the same samples; `targets` are what the data says of each, as
    calibration/labels.py gives it."""

    before: Matrices
    after: Matrices
    tokens: Sequence[Tokens]
    labels: tuple[str, ...]
    targets: Sequence[Sequence[Any]] | None
    said: Sequence[Sequence[int]] | None = None  # the artifact's own answers, token ids
    wanted: Sequence[str] | None = None  # the answers that a data file holds
    decode: Callable[[Sequence[int]], str] | None = None  # token ids to text


@record
class ClassChange:
    """How one label fares: its answers, how many of them changed, accuracy before and after."""

    samples: int
    flips: int
    accuracy_reference: float
    accuracy: float


@record
class Measured:
    """Metrics of names.METRICS, 95 % intervals of some, and the change by label."""

    answers: dict[str, float]
    intervals: dict[str, tuple[float, ...]]
    classes: dict[str, ClassChange]


def by_class(names: Sequence[str], truth: Answers, before: Answers, after: Answers) -> dict[str, ClassChange]:
    """By label of the data (by the reference's answer, if there are no labels)."""
    changes = {}
    for index in np.unique(truth):
        mine = truth == index
        changes[names[index]] = ClassChange(
            samples=int(mine.sum()),
            flips=int((before[mine] != after[mine]).sum()),
            accuracy_reference=float((before[mine] == index).mean()),
            accuracy=float((after[mine] == index).mean()),
        )
    return changes


def best(rows: npt.NDArray[np.float32]) -> Answers:
    """The index of the largest value of each row; -1 for a row with NaN."""
    return np.where(np.isnan(rows).any(axis=-1), -1, np.argmax(rows, axis=-1)).astype(np.int64)


def lead(rows: npt.NDArray[np.float32]) -> float:
    """By how much the best value leads the second, in the row where it does so least."""
    return float(leads(rows).min()) if rows.shape[1] > 1 else 0.0


def leads(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same of each row [rows, 2 values or more]."""
    top = np.partition(rows, -2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def surest_rows(reference: npt.NDArray[np.float32], artifacts: Sequence[npt.NDArray[np.float32]]) -> list[int]:
    """Up to GOLDEN_ROWS, spread over all, where every artifact's best is the reference's, which leads there by as much
    as it does in half of them: in a long text or answer there is always a token that a rounding turns."""
    own, led = best(reference), leads(reference)
    agreed = np.flatnonzero(np.all([best(matrix) == own for matrix in artifacts], axis=0)).tolist()
    sure = [row for row in agreed if led[row] >= np.median(led)] or agreed or [int(np.argmax(led))]
    count = min(GOLDEN_ROWS, len(sure))
    return [sure[i * (len(sure) - 1) // max(1, count - 1)] for i in range(count)]
