"""Encoder-decoders in ONNX Runtime: an encoder and a merged decoder, whose cache grows by a token a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact

State = dict[str, Any]


class Decoder:
    """See generation.py. `load(path)` gives what runs one file: run({name: array}) -> {name: array}."""

    def __init__(self, paths: Sequence[Path], artifact: Artifact, load: Callable[[Path], Any]) -> None:
        self._encoder, self._decoder = (load(path) for path in paths)
        cache = [s for s in artifact.parts[1].inputs if s.name.startswith("past_key_values.")]
        self._empty = {s.name: np.zeros((1, int(s.shape[1]), 0, int(s.shape[3])), np.float32) for s in cache}

    def encode(self, input_ids: Sequence[int]) -> State:
        ids = np.array([input_ids], np.int64)
        mask = np.ones_like(ids)
        hidden = self._encoder.run({"input_ids": ids, "attention_mask": mask})["last_hidden_state"]
        fixed = {"encoder_attention_mask": mask, "encoder_hidden_states": hidden}
        return {**fixed, **self._empty, "use_cache_branch": np.array([False])}

    def step(self, state: State, token: int) -> tuple[State, Any]:
        made = self._decoder.run({**state, "input_ids": np.array([[token]], np.int64)})
        logits = made.pop("logits")[0, -1]
        cache = {name.replace("present.", "past_key_values."): value for name, value in made.items()}
        return {**state, **cache, "use_cache_branch": np.array([True])}, logits
