"""LiteRT (TFLite): picks the smallest signature that a text fits, and pads up to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact
from slm_export.runtimes.fixed_cache import FixedCacheDecoder
from slm_export.runtimes.padding import pad_to


class Session:
    def __init__(self, path: Path, artifact: Artifact) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._buckets = sorted((s.sequence, s.name) for s in artifact.signatures)
        self._runners: dict[str, Any] = {}
        self._batch = artifact.batch or 1
        self._fill = {"input_ids": artifact.pad_id}

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        rows, length = next(iter(inputs.values())).shape
        fitting = [b for b in self._buckets if b[0] >= length]
        if not fitting or rows > self._batch:
            limit = f"[{self._batch}, {self._buckets[-1][0]}]"
            raise ValueError(f"the artifact takes at most {limit}, not [{rows}, {length}]")
        bucket, name = fitting[0]
        if name not in self._runners:
            self._runners[name] = self._interpreter.get_signature_runner(name)
        padded = {
            k: pad_to(v.astype(np.int32), rows=self._batch, length=bucket, fill=self._fill.get(k, 0))
            for k, v in inputs.items()
        }
        return {k: np.array(v[:rows]) for k, v in self._runners[name](**padded).items()}


def open(path: Path, artifact: Artifact) -> Any:
    """A session; for an encoder-decoder a generation.Decoder; for a causal model a text_generation.Session."""
    if [part.name for part in artifact.parts] == ["prefill", "decode"]:
        from slm_export.runtimes.litert_causal import open_causal

        return open_causal(path, artifact)
    if artifact.parts:
        return _decoder(path, artifact)
    return Session(path, artifact)


def _decoder(path: Path, artifact: Artifact) -> FixedCacheDecoder:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    names = interpreter.get_signature_list()
    runners = {name: interpreter.get_signature_runner(name) for name in names}
    buckets = sorted(int(name.removeprefix("encode_")) for name in names if name.startswith("encode_"))

    def run(part: str, inputs: dict[str, Any]) -> dict[str, Any]:
        name = part if part in runners else f"{part}_{inputs['input_ids'].shape[1]}"
        return {k: np.array(v) for k, v in runners[name](**inputs).items()}

    return FixedCacheDecoder(
        artifact,
        run,
        integer=np.int32,
        padded=lambda length: next(b for b in buckets if b >= length),
        cached=lambda _: buckets[-1],
    )


def load() -> None:
    import ai_edge_litert.interpreter  # noqa: F401


def version() -> str:
    from importlib import metadata

    return metadata.version("ai-edge-litert")
