"""What a task is given to compare answers, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_export.metrics import cosine
from slm_export.outputs import Array, Matrices, Tokens
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


def surest_rows(reference: Array, artifacts: Sequence[Array]) -> list[int]:
    """Up to GOLDEN_ROWS, spread over all, that another host answers alike: in a long text or answer there is always a
    token that a rounding turns.

    Every artifact's best is the reference's, and leads with each of them by as much as in half of all rows; and every
    artifact is as near to the reference as in half of all. Where int8 activations are far from it, they are as far from
    themselves on another host: SmolLM2's lowest cosine between reading one by one and at once, .976, was where the
    cosine to the reference was lowest.
    """
    own, led = best(reference), np.min([leads(matrix) for matrix in (reference, *artifacts)], axis=0)
    near = np.min([cosine(reference, matrix) for matrix in artifacts], axis=0)
    agreed = np.all([best(matrix) == own for matrix in artifacts], axis=0)
    sure = agreed & (led >= np.median(led)) & (near >= np.median(near))
    rows = np.flatnonzero(sure if sure.any() else agreed if agreed.any() else led == led.max()).tolist()
    count = min(GOLDEN_ROWS, len(rows))
    return [rows[i * (len(rows) - 1) // max(1, count - 1)] for i in range(count)]
