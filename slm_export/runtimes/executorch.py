"""ExecuTorch. Its Python runtime links libtorch, so torch comes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact


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
        self._largest = (artifact.batch or 1, artifact.max_length)

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        import torch

        shape = next(iter(inputs.values())).shape
        if shape[0] > self._largest[0] or shape[1] > self._largest[1]:  # the kernels would fail one by one, or not
            raise ValueError(f"the artifact takes at most {list(self._largest)}, not {list(shape)}")
        arguments = [torch.from_numpy(np.ascontiguousarray(inputs[n], np.int64)) for n in self._inputs]
        values = self._method.execute(arguments)
        return {n: np.array(v.numpy()) for n, v in zip(self._outputs, values, strict=True)}


def open(path: Path, artifact: Artifact) -> Session:
    return Session(path, artifact)


def version() -> str:
    from importlib import metadata

    return metadata.version("executorch")
