"""Artifact: one model file in one format and scheme, and what was recorded about it."""

from __future__ import annotations

import hashlib
from dataclasses import field
from pathlib import Path

from slm_export.generation import Rules
from slm_export.quantplan import QuantPlan
from slm_export.records import record


@record
class FileRecord:
    path: str  # relative to the manifest
    bytes: int
    sha256: str


@record
class TensorSpec:
    """An input or output; a dimension is a number, or the name of one that varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@record
class Signature:
    """One length bucket of a .tflite."""

    name: str
    sequence: int


@record
class Part:
    """One named graph of an artifact: a file of its own, or a method or signatures of one file.

    Where a .pte's arguments have no names, these are their order; a .tflite has a signature for each length.
    """

    name: str  # "encode" and "decode", "prefill" and "decode", "decode", or "forward"
    path: str  # relative to the manifest
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@record
class Memory:
    """Bytes the runtime needs, read off the file: weights as stored, and the most that live at once beside them. And
    measured: the most that opening it and a first, short answer took, beside the runtime's code."""

    weights_bytes: int
    activations_bytes: int
    first_load_bytes: int | None = None


@record
class RuntimeRecord:
    package: str
    version: str
    oldest: str  # the oldest version this very artifact was seen to pass in
    backend: str
    options: dict[str, str] = field(default_factory=dict)  # of the session it passed with, which an app must set too


@record
class Artifact:
    format: str
    scheme: str  # read back from the file
    path: str
    files: tuple[FileRecord, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parts: tuple[Part, ...] = ()  # of a model that generates; inputs are then the first's, outputs the last's
    generation: Rules | None = None  # how its answers are made
    signatures: tuple[Signature, ...] = ()
    batch: int | None = None  # the most texts one call takes; None: any number
    max_length: int
    pad_id: int
    runtime: RuntimeRecord
    memory: Memory
    delegation_share: float | None = None  # of operators, 0 to 1, that the backend takes over; None: no delegation
    layers_carried: int = 0  # quantized layers whose integers and scales were read back equal
    plan: QuantPlan

    @property
    def methods(self) -> dict[str, Part]:
        """The methods of a .pte."""
        only = Part(name="forward", path=self.path, inputs=self.inputs, outputs=self.outputs)
        return {part.name: part for part in self.parts or (only,)}


def file_record(path: Path, *, root: Path) -> FileRecord:
    data = path.read_bytes()
    relative = path.relative_to(root).as_posix()
    return FileRecord(path=relative, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
