"""ExecuTorch, through its Python runtime, which links libtorch; where torch is not, through executorch_native."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact
from slm_export.runtimes.padding import pad_to


class Session:
    def __init__(self, path: Path, artifact: Artifact) -> None:
        import executorch.kernels.quantized  # noqa: F401, registers the quantized kernels
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(1)
        self._program = Runtime.get().load_program(path)  # a method does not keep its program alive
        self._method = self._program.load_method("forward")
        self._inputs = [s.name for s in artifact.inputs]
        self._outputs = [s.name for s in artifact.outputs]

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        import torch

        arguments = [torch.from_numpy(np.ascontiguousarray(inputs[n], np.int64)) for n in self._inputs]
        values = self._method.execute(arguments)
        return {n: np.array(v.numpy()) for n, v in zip(self._outputs, values, strict=True)}


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


def open(path: Path, artifact: Artifact) -> _Bounded:
    if find_spec("torch") is None:
        from slm_export.runtimes.executorch_native import Session as NativeSession

        return _Bounded(NativeSession(path, artifact), artifact)
    return _Bounded(Session(path, artifact), artifact)


def version() -> str:
    from importlib import metadata

    return metadata.version("executorch")
