"""LiteRT (TFLite): picks the smallest signature that a text fits, and pads up to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact
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


def open(path: Path, artifact: Artifact) -> Session:
    return Session(path, artifact)


def version() -> str:
    from importlib import metadata

    return metadata.version("ai-edge-litert")
