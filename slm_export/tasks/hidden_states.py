"""Hidden states of a plain encoder: a vector for each token, as the model itself gives them, without pooling."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from slm_export.outputs import Array, Tokens
from slm_export.tasks import encoder, feature_extraction
from slm_export.tasks.measured import Judged, Measured

OUTPUTS = {"last_hidden_state": ("batch", "sequence", "width")}
GOLDEN_COLUMNS = 32


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    return outputs["last_hidden_state"][row, : len(tokens.input_ids)]


graph = partial(encoder.graph, outputs=tuple(OUTPUTS))
run = partial(encoder.run, outputs=tuple(OUTPUTS), cut=cut)


def settings(source: Any) -> dict[str, Any]:
    return {"pooling": None}


def measure(judged: Judged) -> Measured:
    """Nearest neighbours, by the mean of a text's vectors."""
    before, after = (np.stack([m.mean(axis=0) for m in matrices]) for matrices in (judged.before, judged.after))
    return feature_extraction.neighbour_agreement(before, after)


def __getattr__(name: str) -> Any:
    """What is not said here is as in sentence embeddings."""
    return getattr(feature_extraction, name)
