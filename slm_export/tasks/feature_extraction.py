"""Sentence embeddings: a text to one vector. Pooling, dense layers and normalization are part of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from slm_export.metrics import cosine, wilson_interval
from slm_export.outputs import Array, Matrices, Tokens, all_rows
from slm_export.records import to_json
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured

AUTO_CLASS = "AutoModel"
SAMPLES = "text"
TOLERATED_HARM = 1e-3
INPUTS = encoder.INPUTS
tokenize, retokenize = encoder.tokenize, encoder.retokenize
OUTPUTS = {"sentence_embedding": ("batch", "width")}


def graph(module: Any) -> Any:
    """(input_ids, attention_mask) to {"sentence_embedding": float32 [batch, width]}; see encoder.graph."""
    return encoder.graph(module, tuple(OUTPUTS))


def run(module: Any, tokens: Sequence[Tokens], *, progress: Callable[[int], None] | None = None) -> Matrices:
    return encoder.run(module, tokens, tuple(OUTPUTS), cut, progress)


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    return outputs["sentence_embedding"][row : row + 1]


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
    before, after = (_neighbours(all_rows(m)) for m in (judged.before, judged.after))
    same = int((before == after).sum())
    return Measured(
        answers={"neighbour_agreement": same / len(before)},
        intervals={"neighbour_agreement": wilson_interval(same, len(before))},
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
