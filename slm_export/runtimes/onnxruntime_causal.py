"""Causal language models in ONNX Runtime: one graph that reads any number of tokens and hands the cache back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slm_export.artifact import Artifact

State = dict[str, Any]


class CausalSession:
    """See tasks/text_generation.py. A state is the cache: {past_key_values.N.key: float32 [1, heads, read, width]}."""

    def __init__(self, session: Any, artifact: Artifact) -> None:
        self._session = session
        self._cache = [s for s in artifact.parts[0].inputs if s.name.startswith("past_key_values.")]

    def start(self) -> State:
        return {s.name: np.zeros((1, int(s.shape[1]), 0, int(s.shape[3])), np.float32) for s in self._cache}

    def read(self, state: State, ids: Sequence[int]) -> tuple[State, Any]:
        whole = state[self._cache[0].name].shape[2] + len(ids)
        feed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, whole), np.int64)}
        made = self._session.run({**feed, **state})
        logits = made.pop("logits")[0]
        return {name.replace("present.", "past_key_values."): value for name, value in made.items()}, logits

    def last(self, state: State, ids: Sequence[int]) -> tuple[State, Any]:
        state, logits = self.read(state, ids)
        return state, logits[-1]
