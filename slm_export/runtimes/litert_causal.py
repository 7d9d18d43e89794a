"""Causal language models in LiteRT: prompts through the `prefill_N` signatures, the last token through `decode`.

The cache stays where the runtime has it: a state is how many of its tokens count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import litertlm
from slm_export.artifact import Artifact, TensorSpec
from slm_export.runtimes.stepwise import StepwiseSession

HIDDEN = np.float32(-1e9)  # what is added to the scores of tokens that come later

Arrays = dict[str, Any]
Call = Callable[[str, Arrays], Any]  # a signature on its inputs but the cache, to its logits or None


def open_causal(path: Path, artifact: Artifact) -> StepwiseSession:
    specs = [s for s in artifact.parts[0].inputs if s.name.startswith("kv_cache_")]
    data, vocabulary = bytes(litertlm.model(path)), int(artifact.parts[1].outputs[0].shape[-1])
    try:
        names, call = _compiled(data, specs, vocabulary)
    except (ImportError, RuntimeError):  # versions before 2.2
        names, call = _interpreted(data, specs)
    prefills = sorted(int(name.removeprefix("prefill_")) for name in names if name.startswith("prefill_"))
    held = int(specs[0].shape[2])

    def run(name: str, position: int, ids: Sequence[int], width: int) -> Any:
        tokens, positions = np.zeros((1, width), np.int32), np.arange(width, dtype=np.int32) + position
        tokens[0, : len(ids)] = ids
        mask = np.where(np.arange(held)[None] <= positions[:, None], np.float32(0), HIDDEN)[None, None]
        return call(name, {"tokens": tokens, "input_pos": positions, "mask": mask})

    def ahead(position: int, ids: Sequence[int]) -> tuple[int, Any]:
        if position + len(ids) > artifact.max_length:
            raise ValueError(f"the artifact's cache has room for {artifact.max_length} tokens")
        last, prompt = position + len(ids) - 1, list(ids[:-1])
        while prompt:
            width = next((n for n in prefills if n >= len(prompt)), prefills[-1])
            piece, prompt = prompt[:width], prompt[width:]
            run(f"prefill_{width}", last - len(prompt) - len(piece), piece, width)
        return last + 1, run("decode", last, ids[-1:], 1)

    return StepwiseSession(0, ahead)


def _compiled(data: bytes, specs: Sequence[TensorSpec], vocabulary: int) -> tuple[Sequence[str], Call]:
    """With the cache as input and output at once, as LiteRT-LM runs it: nothing is copied."""
    from ai_edge_litert.compiled_model import CompiledModel

    model = CompiledModel.from_buffer(data)
    names = list(model.get_signature_list())
    cache = {s.name: model.create_input_buffer_by_name("decode", s.name) for s in specs}
    for spec in specs:
        cache[spec.name].write(_zeros(spec))
    logits = model.create_output_buffer_by_name("decode", "logits")
    buffers = {
        name: {n: model.create_input_buffer_by_name(name, n) for n in ("tokens", "input_pos", "mask")} for name in names
    }

    def call(name: str, inputs: Arrays) -> Any:
        for key, value in inputs.items():
            buffers[name][key].write(value)
        outputs = cache | {"logits": logits} if name == "decode" else cache
        model.run_by_name(name, buffers[name] | cache, outputs)
        return logits.read(vocabulary, np.float32) if name == "decode" else None

    return names, call


def _interpreted(data: bytes, specs: Sequence[TensorSpec]) -> tuple[Sequence[str], Call]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    cache = {s.name: _zeros(s) for s in specs}

    def call(name: str, inputs: Arrays) -> Any:
        made = runners[name](**inputs, **cache)
        cache.update({key: made[key] for key in cache})
        return made["logits"][0, -1] if name == "decode" else None

    return list(runners), call


def _zeros(spec: TensorSpec) -> Any:
    return np.zeros([int(size) for size in spec.shape], np.float32)
