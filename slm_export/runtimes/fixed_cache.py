"""The decoder of artifacts whose cache has room for every token (ExecuTorch, TFLite)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from slm_export.artifact import Artifact, TensorSpec
from slm_export.records import record

Arrays = dict[str, Any]


@record
class State:
    """A text's part of the cache with its mask, the answer's part, and how many of its tokens are in it."""

    fixed: Arrays
    said: Arrays
    position: int


class FixedCacheDecoder:
    """See generation.py. `run(part, {name: array}) -> {name: array}` runs one of the artifact's parts.

    A text of `length` tokens goes into the encoder as `padded(length)`, and is `cached(padded)` long in the cache.
    """

    def __init__(
        self,
        artifact: Artifact,
        run: Callable[[str, Arrays], Arrays],
        *,
        integer: Any,
        padded: Callable[[int], int] = lambda length: length,
        cached: Callable[[int], int] = lambda length: length,
    ) -> None:
        self._run, self._integer, self._padded, self._cached = run, integer, padded, cached
        self._pad_id, self._longest = artifact.pad_id, artifact.max_length
        self._said = [s for s in artifact.parts[1].inputs if ".decoder." in s.name]

    def encode(self, input_ids: Sequence[int]) -> State:
        length = len(input_ids)
        if length > self._longest:
            raise ValueError(f"the artifact takes at most [1, {self._longest}], not [1, {length}]")
        width = self._padded(length)
        ids = np.full((1, width), self._pad_id, self._integer)
        ids[0, :length] = input_ids
        made = self._run("encode", {"input_ids": ids, "attention_mask": self._mask(length, width)})
        fixed = {name.replace("present.", "past_key_values."): value for name, value in made.items()}
        fixed["encoder_attention_mask"] = self._mask(length, self._cached(width))
        return State(fixed=fixed, said={s.name: _zeros(s) for s in self._said}, position=0)

    def step(self, state: State, token: int) -> tuple[State, Any]:
        room = self._said[0].shape[2]
        if state.position >= int(room):
            raise ValueError(f"the artifact answers with at most {room} tokens")
        now = {
            "input_ids": np.array([[token]], self._integer),
            "position": np.array([state.position], self._integer),
        }
        made = self._run("decode", {**now, **state.fixed, **state.said})
        logits = made.pop("logits")[0, 0]
        said = {name: value.copy() for name, value in state.said.items()}
        for name, value in made.items():
            said[name.replace("present.", "past_key_values.")][:, :, state.position] = value[:, :, 0]
        return State(fixed=state.fixed, said=said, position=state.position + 1), logits

    def _mask(self, length: int, width: int) -> Any:
        return (np.arange(width) < length).astype(self._integer)[None]


def _zeros(spec: TensorSpec) -> Any:
    return np.zeros([int(d) for d in spec.shape], np.float32)
