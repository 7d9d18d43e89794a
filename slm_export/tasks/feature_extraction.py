"""Sentence embeddings: a text to one vector. Pooling, dense layers and normalization are part of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from slm_export.metrics import cosine, wilson_interval
from slm_export.outputs import Array, Tokens, all_rows
from slm_export.records import to_json
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured

AUTO_CLASS = "AutoModel"
SAMPLES = "single text"
MOST_SAMPLES = None
TRUNCATION = "longest_first"
TOLERATED_HARM = 1e-3
TAUGHT_BY = "vectors"
LOSS = ("neighbour_agreement",)
INPUTS = encoder.INPUTS
OUTPUTS = {"sentence_embedding": ("batch", "width")}
GOLDEN_COLUMNS = None
tokenize, retokenize = encoder.tokenize, encoder.retokenize


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    return outputs["sentence_embedding"][row : row + 1]


graph = partial(encoder.graph, outputs=tuple(OUTPUTS))
run = partial(encoder.run, outputs=tuple(OUTPUTS), cut=cut)


def harm(expected: Array, got: Array) -> float:
    """One minus the mean cosine."""
    return float(1 - cosine(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> None:
    """There is none: the embedding itself is."""


def margin(matrix: Array, tokens: Tokens) -> float:
    return 0.0


def settings(source: Any) -> dict[str, Any]:
    """What is part of the graph, and how embeddings are to be compared."""
    settings: dict[str, Any] = to_json(source.embedding)
    return settings


def measure(judged: Judged) -> Measured:
    """Share of samples whose nearest neighbour among the others, by cosine, is the reference's."""
    return neighbour_agreement(all_rows(judged.before), all_rows(judged.after))


def neighbour_agreement(before: Array, after: Array) -> Measured:
    """Of vectors [samples, width]."""
    nearest, found = _neighbours(before), _neighbours(after)
    same = int((nearest == found).sum())
    return Measured(
        answers={"neighbour_agreement": same / len(nearest)},
        intervals={"neighbour_agreement": wilson_interval(same, len(nearest))},
        classes={},
    )


def _neighbours(rows: Array) -> Any:
    """Index of each row's nearest other row [rows]; its own where it is alone. Computed in blocks of 512 rows."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norm > 0, norm, 1)
    found = []
    for start in range(0, len(unit), 512):
        similarity = unit[start : start + 512] @ unit.T
        similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))] = -np.inf
        found.append(similarity.argmax(axis=1))
    return np.concatenate(found)
