"""What a reader tells of a file, and the arithmetic readers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from slm_export.artifact import Memory, Signature, TensorSpec
from slm_export.records import record


@record
class StoredTensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@record
class Method:
    """One of several entry points of a file."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@record
class FileFacts:
    format: str
    scheme: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signatures: tuple[Signature, ...]
    ops: dict[str, int]
    tensors: tuple[StoredTensor, ...]
    memory: Memory
    delegation_share: float | None = None
    methods: tuple[Method, ...] = ()  # where there are several


@record
class StoredWeight:
    """A quantized table in the file: ints int8 [outputs, inputs], also those of 4 bits; scales float32 [outputs], or
    [outputs, groups]; name if the file has it."""

    name: str
    ints: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]


def scheme_of(kinds: set[tuple[str, str]]) -> str:
    """The scheme that (weight dtype, activation kind) pairs of a file's matrix products amount to.

    Activation kinds are "float", "dynamic", "static" and "static16". The coarsest weights and the most quantized
    activations name the scheme; a mix of anything else is called "mixed".
    """
    weights = {w for w, _ in kinds}
    activations = {a for _, a in kinds}
    if not kinds or weights == {"float32"}:
        return "fp32"
    if "float16" in weights and weights <= {"float16", "float32"}:
        return "fp16"
    if weights & {"int8", "int4"} and weights <= {"int8", "int4", "float32"}:
        bits = "w4" if "int4" in weights else "w8"
        if "static16" in activations:
            return "w8a16" if bits == "w8" else "mixed"
        if "static" in activations:
            return "w8a8" if bits == "w8" else "mixed"
        return f"{bits}a8-dynamic" if "dynamic" in activations else bits
    return "mixed"


def peak_bytes(
    steps: Sequence[tuple[Sequence[str], Sequence[str]]], sizes: Mapping[str, int], *, kept: Sequence[str]
) -> int:
    """The most bytes alive at once when `steps` of (inputs, outputs) run in order.

    A value lives from the step that makes it to the last that reads it; `kept` values (the graph's own inputs and
    outputs) live throughout. Values without a size, such as weights, count nothing.
    """
    last = {name: i for i, (reads, _) in enumerate(steps) for name in reads}
    alive = {name: sizes[name] for name in kept if name in sizes}
    peak = sum(alive.values())
    for i, (reads, makes) in enumerate(steps):
        alive.update({name: sizes[name] for name in makes if name in sizes})
        peak = max(peak, sum(alive.values()))
        for name in {*reads, *makes}:
            if name in alive and name not in kept and last.get(name, i) <= i:
                del alive[name]
    return peak
