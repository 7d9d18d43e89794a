"""Causal language models in LiteRT: prompts through the `prefill_N` signatures, the last token through `decode`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import litertlm
from slm_export.artifact import Artifact
from slm_export.records import record
from slm_export.runtimes.stepwise import StepwiseSession

HIDDEN = np.float32(-1e9)  # what is added to the scores of tokens that come later


@record
class State:
    """The cache {name: float32}, and how many tokens are in it."""

    cache: dict[str, Any]
    position: int


def open_causal(path: Path, artifact: Artifact) -> StepwiseSession:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=bytes(litertlm.model(path)), num_threads=1)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    prefills = sorted(int(name.removeprefix("prefill_")) for name in runners if name.startswith("prefill_"))
    specs = [s for s in artifact.parts[0].inputs if s.name.startswith("kv_cache_")]
    held = int(specs[0].shape[2])
    empty = {s.name: np.zeros([int(size) for size in s.shape], np.float32) for s in specs}

    def call(name: str, state: State, ids: Sequence[int], width: int) -> tuple[State, dict[str, Any]]:
        tokens, positions = np.zeros((1, width), np.int32), np.arange(width, dtype=np.int32) + state.position
        tokens[0, : len(ids)] = ids
        mask = np.where(np.arange(held)[None] <= positions[:, None], np.float32(0), HIDDEN)[None, None]
        made = runners[name](tokens=tokens, input_pos=positions, mask=mask, **state.cache)
        cache = {name: made.pop(name) for name in state.cache}
        return State(cache=cache, position=state.position + len(ids)), made

    def ahead(state: State, ids: Sequence[int]) -> tuple[State, Any]:
        if state.position + len(ids) > artifact.max_length:
            raise ValueError(f"the artifact's cache has room for {artifact.max_length} tokens")
        prompt = list(ids[:-1])
        while prompt:
            width = next((n for n in prefills if n >= len(prompt)), prefills[-1])
            piece, prompt = prompt[:width], prompt[width:]
            state, _ = call(f"prefill_{width}", state, piece, width)
        state, made = call("decode", state, ids[-1:], 1)
        return state, made["logits"][0, -1]

    return StepwiseSession(State(cache=empty, position=0), ahead)
