"""ExecuTorch, through its Python runtime, which links libtorch; where torch is not, through executorch_native."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact
from slm_export.errors import DependencyError
from slm_export.requirements import tested
from slm_export.runtimes.fixed_cache import FixedCacheDecoder
from slm_export.runtimes.padding import pad_to
from slm_export.runtimes.stepwise import StepwiseSession


class Session:
    """Uses what executorch.runtime wraps: importing that one takes ExecuTorch's compiler with it, three CPU seconds."""

    def __init__(self, path: Path, artifact: Artifact) -> None:
        import torch

        _C = _bindings()
        _register("kernels/quantized")
        if _is_causal(artifact):
            _register("extension/llm/custom_ops")  # attention with a cache
        _C._unsafe_reset_threadpool(1)
        torch.set_num_threads(1)  # attention with a cache asks torch's threads, which wait spinning for one another
        self._program = _C._load_program(str(path))  # a method does not keep its program alive
        self._methods = {n: (self._program.load_method(n), part) for n, part in artifact.methods.items()}

    def run(self, inputs: dict[str, Any], part: str = "forward") -> dict[str, Any]:
        import torch

        method, specs = self._methods[part]
        arrays = [np.ascontiguousarray(inputs[s.name], s.dtype) for s in specs.inputs]
        values = method.call([torch.from_numpy(a) for a in arrays])
        return {s.name: np.array(v.numpy()) for s, v in zip(specs.outputs, values, strict=True)}

    def told(self, name: str) -> Any:
        """The constant that the program answers with."""
        return self._program.load_method(name).call([])[0]


def _bindings() -> Any:
    import torch  # noqa: F401, first: the next one links it
    from executorch.extension.pybindings import _C

    return _C


def _register(folder: str) -> None:
    """The operators of the library in a folder of the executorch package."""
    import executorch.extension
    import torch

    (library,) = (Path(executorch.extension.__path__[0]).parent / folder).glob("*aot_lib.*")
    torch.ops.load_library(library)


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
    """A session; for an encoder-decoder a generation.Decoder; for a causal model a text_generation.Session."""
    session = _session(path, artifact)
    if _is_causal(artifact):
        return _causal(session, artifact)
    if artifact.parts:
        return FixedCacheDecoder(artifact, lambda part, inputs: session.run(inputs, part), integer=np.int64)
    return _Bounded(session, artifact)


def _is_causal(artifact: Artifact) -> bool:
    return [part.name for part in artifact.parts] == ["forward"]


def _causal(session: Session, artifact: Artifact) -> StepwiseSession:
    most = session.told("get_max_seq_len")

    def ahead(position: int, ids: Sequence[int]) -> tuple[int, Any]:
        if position + len(ids) > artifact.max_length:
            raise ValueError(f"the artifact's cache has room for {artifact.max_length} tokens")
        for at in range(0, len(ids), most):
            tokens, start = ids[at : at + most], position + at
            made = session.run({"tokens": np.array([tokens]), "start": np.array([start])})
        return position + len(ids), made["logits"][0, -1]

    return StepwiseSession(0, ahead)


def _session(path: Path, artifact: Artifact) -> Any:
    if find_spec("torch") is None:
        if _is_causal(artifact):
            raise DependencyError(
                "running a causal language model's .pte needs torch",
                why="ExecuTorch's attention with a cache is in no library of its wheel that does without",
                next_step=f"pip install {tested('torch')}",
            )
        from slm_export.runtimes.executorch_native import Session as NativeSession

        return NativeSession(path, artifact)
    return Session(path, artifact)


def load() -> None:
    if find_spec("torch") is not None:
        _bindings()


def version() -> str:
    from importlib import metadata

    return metadata.version("executorch")
