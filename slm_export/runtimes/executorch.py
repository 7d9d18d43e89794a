"""ExecuTorch, through its Python runtime, which links libtorch; where torch is not, through executorch_native."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact
from slm_export.runtimes.fixed_cache import FixedCacheDecoder
from slm_export.runtimes.padding import pad_to


class Session:
    def __init__(self, path: Path, artifact: Artifact) -> None:
        import executorch.kernels.quantized  # noqa: F401, registers the quantized kernels
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(1)
        self._program = Runtime.get().load_program(path)  # a method does not keep its program alive
        self._methods = {n: (self._program.load_method(n), part) for n, part in artifact.methods.items()}

    def run(self, inputs: dict[str, Any], part: str = "forward") -> dict[str, Any]:
        import torch

        method, specs = self._methods[part]
        arrays = [np.ascontiguousarray(inputs[s.name], s.dtype) for s in specs.inputs]
        values = method.execute([torch.from_numpy(a) for a in arrays])
        return {s.name: np.array(v.numpy()) for s, v in zip(specs.outputs, values, strict=True)}


class _Bounded:
    """Refuses what the artifact's kernels would fail on one by one, or not at all; pads where its shape is fixed."""

    def __init__(self, session: Any, artifact: Artifact) -> None:
        self._session, self._largest = session, (artifact.batch or 1, artifact.max_length)
        self._fixed = all(isinstance(size, int) for spec in artifact.inputs for size in spec.shape)
        self._fill = {"input_ids": artifact.pad_id}

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        shape = next(iter(inputs.values())).shape
        if shape[0] > self._largest[0] or shape[1] > self._largest[1]:
            raise ValueError(f"the artifact takes at most {list(self._largest)}, not {list(shape)}")
        if self._fixed:
            rows, length = self._largest
            inputs = {k: pad_to(v, rows=rows, length=length, fill=self._fill.get(k, 0)) for k, v in inputs.items()}
        outputs: dict[str, Any] = self._session.run(inputs)
        return {name: value[: shape[0]] for name, value in outputs.items()}


def open(path: Path, artifact: Artifact) -> Any:
    """A session, or for an encoder-decoder a generation.Decoder."""
    session = _session(path, artifact)
    if artifact.parts:
        return FixedCacheDecoder(artifact, lambda part, inputs: session.run(inputs, part), integer=np.int64)
    return _Bounded(session, artifact)


def _session(path: Path, artifact: Artifact) -> Any:
    if find_spec("torch") is None:
        from slm_export.runtimes.executorch_native import Session as NativeSession

        return NativeSession(path, artifact)
    return Session(path, artifact)


def version() -> str:
    from importlib import metadata

    return metadata.version("executorch")
