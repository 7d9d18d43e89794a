"""What every exporter takes and gives, and how it checks its own output."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from slm_export import readers, tasks
from slm_export.artifact import Artifact, RuntimeRecord, TensorSpec, file_record
from slm_export.errors import ExportError
from slm_export.generation import Rules
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.points import Forms, trace, write
from slm_export.quantization.weights import as_numpy
from slm_export.quantplan import QuantPlan, StaticRange
from slm_export.readers.facts import FileFacts, StoredWeight
from slm_export.records import record


@record
class ExportRequest:
    """The shapes an artifact must take, and what to record of its runtime."""

    task: str
    inputs: tuple[str, ...]  # names, in the order of a .pte's arguments; each int64 [batch, sequence]
    max_length: int
    buckets: tuple[int, ...]
    batch: int
    pad_id: int
    runtime: RuntimeRecord
    generation: Rules | None = None  # of a task that generates
    tokenizer: str | None = None  # the folder of the bundle's tokenizer, for runners that want it beside the artifact


@record
class Exported:
    """An artifact, and its weight-only twin: the same integers with float activations, never bundled."""

    artifact: Artifact
    twin: Artifact | None


def float_twin(artifact: Artifact, path: Path, *, root: Path) -> Artifact:
    """The record of a twin with float activations, whose integers are not read back: most are float32 by now."""
    return replace(
        artifact,
        path=path.relative_to(root).as_posix(),
        files=(file_record(path, root=root),),
        scheme="fp32",
        layers_carried=0,
        plan=artifact.plan.weights_only(),
    )


TRACED_LENGTH = 7  # tokens; any number that is no other dimension


def sample_inputs(names: Sequence[str], *, batch: int, length: int) -> dict[str, Any]:
    """Traceable inputs {name: int64 [batch, length]}; values do not matter, shapes do."""
    import torch

    ids = torch.arange(batch * length, dtype=torch.int64).reshape(batch, length) % 7 + 1
    return {name: ids if name == "input_ids" else torch.ones_like(ids) for name in names}


def copy_structure(module: Any) -> Any:
    """A copy whose layers can be swapped; parameters and buffers are the original's, not copied."""
    import copy
    from itertools import chain

    return copy.deepcopy(module, {id(t): t for t in chain(module.parameters(), module.buffers())})


def static_graph(compressed: Compressed, request: ExportRequest, forms: Forms) -> Any:
    """The task's graph with the plan's static ranges, to be lowered in place of `tasks.graph`."""
    import torch

    graph = tasks.get(request.task).graph(copy_structure(compressed.module))
    sample = sample_inputs(request.inputs, batch=2, length=min(TRACED_LENGTH, request.max_length))
    traced = trace(graph, sample, max_length=request.max_length)

    class StaticGraph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = write(traced, compressed, forms)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            return self.model(input_ids, attention_mask, *([] if token_type_ids is None else [token_type_ids]))

    return StaticGraph().eval()


NO_STATIC_GENERATION = "static ranges are found for encoders only: a decoder's cache has none"


def replace_layers(module: Any, make: Callable[[str, Any], Any | None]) -> None:
    """Swap, in place, every submodule for which `make(name, submodule)` gives another one."""
    for name, layer in list(module.named_modules()):
        new = make(name, layer) if name else None
        if new is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(parent), attribute, new)


def checked_artifact(
    path: Path,
    compressed: Compressed,
    request: ExportRequest,
    *,
    format: str,
    root: Path,
    batch: int | None,
    scheme: str,
) -> Artifact:
    """Read the written file back and record it.

    Raises ExportError if the file's scheme is not `scheme`, an input or output is missing, the integers and scales of
    any quantized layer are not in it exactly, or a static range is not in it.
    """
    reader = readers.get(path)
    facts = reader.read(path, max_length=request.max_length)
    if facts.scheme != scheme:
        raise ExportError(
            f"the {format} file came out as {facts.scheme}, not {scheme}",
            where=path.name,
            why="the lowering dropped or changed the quantization",
        )
    require_halved([facts], compressed)
    require_ranges(reader.ranges(path), compressed.plan, format=format)
    task = tasks.get(request.task)
    return Artifact(
        format=format,
        scheme=facts.scheme,
        path=path.relative_to(root).as_posix(),
        files=(file_record(path, root=root),),
        inputs=_named(facts.inputs, dict.fromkeys(request.inputs, ("batch", "sequence")), request),
        outputs=_named(facts.outputs, task.OUTPUTS, request),
        signatures=facts.signatures,
        batch=batch,
        max_length=request.max_length,
        pad_id=request.pad_id,
        runtime=request.runtime,
        memory=facts.memory,
        delegation_share=facts.delegation_share,
        layers_carried=require_carried(list(reader.weights(path)), compressed, format=format),
        plan=compressed.plan,
    )


def _named(
    specs: Sequence[TensorSpec], declared: Mapping[str, Sequence[str]], request: ExportRequest
) -> tuple[TensorSpec, ...]:
    """The specs in the task's order. A .pte has positions instead of names, and upper bounds instead of dimensions."""
    by_name = {s.name: s for s in specs}
    if set(by_name) == set(declared):
        return tuple(by_name[n] for n in declared)
    if len(specs) != len(declared) or not all(re.fullmatch("(in|out)put_[0-9]+", s.name) for s in specs):
        raise ExportError(f"the file has {', '.join(by_name)} where the task has {', '.join(declared)}")
    return tuple(
        replace(spec, name=name, shape=tuple(map(partial(_dimension, request), spec.shape, dimensions)))
        for spec, (name, dimensions) in zip(specs, declared.items(), strict=True)
    )


def _dimension(request: ExportRequest, size: int | str, meaning: str) -> int | str:
    """A dimension of a .pte by its meaning: an upper bound (text) becomes a name, or a number if it is fixed."""
    if isinstance(size, int):
        return size
    varies = meaning == "sequence" or (meaning == "batch" and request.batch > 1)
    return meaning if varies else int(size.removeprefix("<="))


def require_halved(files: Sequence[FileFacts], compressed: Compressed) -> None:
    """Raises ExportError unless every layer that the plan halves is stored as float16, whole or as several matrices of
    its inputs (a converter may take fused projections apart): a file that holds some of them as float32 reads back as
    fp16 all the same.
    """
    named = {n: compressed.module.get_submodule(n) for n, p in compressed.plan.layers.items() if p.bits == 16}
    weights = list({id(layer.weight): _shape(layer) for layer in named.values()}.values())  # a tied one is stored once
    halved = Counter(tuple(sorted(t.shape)) for file in files for t in file.tensors if t.dtype == "float16")
    expected = Counter(tuple(sorted(shape)) for shape in weights)
    parts = _outputs(halved - expected)
    missing: Counter[tuple[int, ...]] = Counter()
    for shape, count in (expected - halved).items():
        ways = [(outputs, inputs) for outputs, inputs in weights if tuple(sorted((outputs, inputs))) == shape]
        inputs = next((inputs for outputs, inputs in ways if parts[inputs] >= count * outputs), None)
        if inputs is None:
            missing[shape] = count
        else:
            parts[inputs] -= count * math.prod(shape) // inputs
    if missing:
        shape, count = next(iter(missing.items()))
        raise ExportError(
            f"{missing.total()} weights that the plan halves are not float16 in the file",
            where=f"{count} of shape {list(shape)}",
            why="the format's converter left them as they were",
        )


def _shape(layer: Any) -> tuple[int, int]:
    """Of its weight; read off the layer, because an exporter may have given the weight up."""
    sizes = ("out_features", "in_features") if hasattr(layer, "in_features") else ("num_embeddings", "embedding_dim")
    outputs, inputs = (getattr(layer, s) for s in sizes)
    return outputs, inputs


def _outputs(shapes: Counter[tuple[int, ...]]) -> Counter[int]:
    """Of all matrices with a number of inputs, on either side, together."""
    found: Counter[int] = Counter()
    for shape, count in shapes.items():
        for inputs in set(shape) if len(shape) == 2 else ():
            found[inputs] += count * math.prod(shape) // inputs
    return found


def _digest(ints: Any, scales: Any) -> str:
    return hashlib.sha256(ints.tobytes() + scales.tobytes()).hexdigest()


def require_carried(stored: list[StoredWeight], compressed: Compressed, *, format: str) -> int:
    """How many layers carry integers. Raises ExportError if any of them is not stored as computed."""
    in_file = Counter(_digest(w.ints, w.scales) for w in stored)
    missing = [n for n, t in compressed.tensors.items() if not in_file[_digest(*as_numpy(t))]]
    if missing:
        raise ExportError(
            f"{len(missing)} of {len(compressed.tensors)} quantized layers are not in the {format} file as computed",
            where=missing[0],
            why="the format's converter changed their integers or scales",
        )
    return len(compressed.tensors)


PRINTED = {"executorch": 6e-7}  # what a scale loses in flatc's six decimals, by which .pte files are read


def require_ranges(stored: Sequence[StaticRange], plan: QuantPlan, *, format: str) -> None:
    """Raises ExportError if a static range of the plan is not one of those in the file."""
    scales: dict[tuple[int, int], list[float]] = defaultdict(list)
    for range_ in stored:
        scales[range_.zero_point, range_.bits].append(range_.scale)

    def found(range_: StaticRange) -> bool:
        same = scales[range_.zero_point, range_.bits]
        return any(abs(scale - range_.scale) <= PRINTED.get(format, 0.0) for scale in same)

    missing = [name for name, range_ in plan.ranges.items() if not found(range_)]
    if missing:
        raise ExportError(
            f"{len(missing)} of {len(plan.ranges)} static ranges are not in the {format} file as computed",
            where=missing[0],
            why="the format's converter changed or dropped them",
        )
