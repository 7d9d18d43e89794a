"""Reads .pte files: the program with executorch's own parser, XNNPACK's part with the flatc in its wheel."""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Memory, TensorSpec
from slm_export.errors import InputError
from slm_export.quantplan import StaticRange
from slm_export.readers.facts import FileFacts, Method, StoredTensor, StoredWeight, scheme_of
from slm_export.records import record

# executorch.exir.scalar_type.ScalarType by value
DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 11: "bool"}
_XNN_WEIGHTS = {"fp32": "float32", "fp16": "float16", "qcint8": "int8", "qint8": "int8", "qcint4": "int4",
                "qbint4": "int4"}  # fmt: skip
_XNN_ACTIVATIONS = {"fp32": "float", "qdint8": "dynamic", "qint8": "static"}


@record
class _Constant:
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    scales: bytes | None = None
    group: int | None = None


def read(path: Path, *, max_length: int = 128) -> FileFacts:
    """Facts of a .pte file. Names of inputs and outputs are not in it; activation bytes are its memory plan's.

    Raises InputError if executorch cannot parse it.
    """
    file = _load(path)
    plans = [plan for plan in file.program.execution_plan if plan.inputs]  # not what answers with a constant
    graphs = _xnn_graphs(file)
    kernels = Counter(plan.operators[c.op_index].name for plan in plans for c in _kernel_calls(plan))
    delegated = Counter(n["xnode_union_type"] for g in graphs for n in g["xnodes"])
    constants = _constants(file, graphs)
    stored = tuple(
        StoredTensor(name="", dtype=c.dtype, shape=c.shape, bytes=len(c.data) + len(c.scales or b"")) for c in constants
    )
    return FileFacts(
        format="executorch",
        scheme=scheme_of({kind for g in graphs for kind in _matrix_products(g)}),
        inputs=_specs("input", plans[0], plans[0].inputs),
        outputs=_specs("output", plans[-1], plans[-1].outputs),
        signatures=(),
        ops=dict((kernels + delegated).most_common()),
        tensors=stored,
        memory=Memory(
            weights_bytes=sum(t.bytes for t in stored),
            activations_bytes=max(sum(plan.non_const_buffer_sizes[1:]) for plan in plans),
        ),
        delegation_share=delegated.total() / max(1, delegated.total() + kernels.total()),
        methods=tuple(
            Method(name=p.name, inputs=_specs("input", p, p.inputs), outputs=_specs("output", p, p.outputs))
            for p in (plans if len(plans) > 1 else ())
        ),
    )


def _load(path: Path) -> Any:
    from executorch.exir._serialize._program import deserialize_pte_binary

    raw = path.read_bytes()
    if raw[4:6] != b"ET":
        raise InputError(f"{path} is not an ExecuTorch program", why="it lacks the ET mark", where=str(path))
    try:
        return deserialize_pte_binary(raw)
    except Exception as err:  # the parser raises its own, struct's and flatbuffers' kinds
        raise InputError(f"{path} is a damaged ExecuTorch program: {err}", where=str(path)) from err


def _kernel_calls(plan: Any) -> Iterator[Any]:
    for chain in plan.chains:
        for instruction in chain.instructions:
            if type(instruction.instr_args).__name__ == "KernelCall":
                yield instruction.instr_args


def _specs(side: str, plan: Any, indices: Sequence[int]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(f"{side}_{n}", plan.values[i]) for n, i in enumerate(indices))


def _spec(name: str, value: Any) -> TensorSpec:
    tensor = value.val
    bounded = int(tensor.shape_dynamism) != 0
    shape = tuple(f"<={d}" if bounded else int(d) for d in tensor.sizes)
    return TensorSpec(name=name, dtype=DTYPES.get(int(tensor.scalar_type), "?"), shape=shape)


def _xnn_graphs(file: Any) -> list[dict[str, Any]]:
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as xnn

    blobs = []
    for delegate in (d for plan in file.program.execution_plan for d in plan.delegates):
        if delegate.id == "XnnpackBackend":
            data = file.program.backend_delegate_data[delegate.processed.index].data
            header = xnn.XNNHeader.from_bytes(data[: xnn.XNNHeader.EXPECTED_LENGTH])
            blobs.append(bytes(data[header.flatbuffer_offset : header.flatbuffer_offset + header.flatbuffer_size]))
    return _flatbuffers_to_json(blobs, Path(xnn.__file__).with_name("schema.fbs"))


def _flatbuffers_to_json(blobs: Sequence[bytes], schema: Path) -> list[dict[str, Any]]:
    import executorch.data.bin

    if not blobs:
        return []
    flatc = Path(executorch.data.bin.__file__).with_name("flatc")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{i}.bin") for i in range(len(blobs))]
        for file, blob in zip(files, blobs, strict=True):
            file.write_bytes(blob)
        command = [flatc, "--json", "--strict-json", "--raw-binary", "--defaults-json", "-o", folder, schema, "--"]
        done = subprocess.run([*map(str, command), *map(str, files)], capture_output=True, text=True)
        if done.returncode:
            raise InputError("the XNNPACK part of the program is damaged", where=done.stderr.strip()[:200] or None)
        return [json.loads(_with_numbers(f.with_suffix(".json").read_text())) for f in files]


def _with_numbers(text: str) -> str:
    """flatc writes the bounds of a clamp that has none as inf, where Python's reader wants Infinity."""
    return re.sub(r"(: |\[|, )(-?)inf\b", r"\1\2Infinity", text)


def _tensor_value(value: dict[str, Any]) -> dict[str, Any]:
    union: dict[str, Any] = value["xvalue_union"]
    inner: dict[str, Any] = union.get("tensor_value", union)
    return inner


def _matrix_products(graph: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = {
        v["id_out"]: v["datatype"].removeprefix("xnn_datatype_") for v in (_tensor_value(x) for x in graph["xvalues"])
    }
    for node in graph["xnodes"]:
        if node["xnode_union_type"] == "XNNFullyConnected":
            union = node["xnode_union"]
            weight = _XNN_WEIGHTS.get(kinds[union["filter_id"]], kinds[union["filter_id"]])
            yield weight, _XNN_ACTIVATIONS.get(kinds[union["input1_id"]], kinds[union["input1_id"]])


def _constants(file: Any, graphs: list[dict[str, Any]]) -> list[_Constant]:
    """Every constant once: the program's own tensors, and those XNNPACK's graphs name in the data store. Equal ones are
    one, as our exporter stores them."""
    found = [c for plan in file.program.execution_plan for c in _plan_constants(file, plan)]
    found = list({(c.dtype, c.shape, c.data): c for c in found}.values())
    seen: set[str] = set()
    tables = {(c.data, c.scales) for c in found}
    for graph in graphs:
        for value in graph["xvalues"]:
            tensor = _tensor_value(value)
            key = graph["constant_data"][tensor["constant_buffer_idx"]]["named_key"]
            if key and key not in seen:
                seen.add(key)
                constant = _xnn_constant(file, graph, value, tensor, key)
                if (constant.data, constant.scales) not in tables:
                    found.append(constant)
    return found


def _plan_constants(file: Any, plan: Any) -> Iterator[_Constant]:
    scales_of = {
        call.args[0]: call.args[1]
        for call in _kernel_calls(plan)
        if plan.operators[call.op_index].name == "quantized_decomposed::embedding_byte"
    }
    for i, value in enumerate(plan.values):
        if _is_constant(value.val) and i not in scales_of.values():
            yield _program_constant(file, value.val, scales=i in scales_of and plan.values[scales_of[i]].val)


def _is_constant(value: Any) -> bool:
    return type(value).__name__ == "Tensor" and value.data_buffer_idx > 0 and value.allocation_info is None


def _storage(file: Any, tensor: Any) -> bytes:
    return bytes(file.program.constant_buffer[tensor.data_buffer_idx].storage)


def _program_constant(file: Any, tensor: Any, *, scales: Any) -> _Constant:
    return _Constant(
        dtype=DTYPES.get(int(tensor.scalar_type), "?"),
        shape=tuple(tensor.sizes),
        data=_storage(file, tensor),
        scales=_storage(file, scales) if scales else None,
    )


def _xnn_constant(
    file: Any, graph: dict[str, Any], value: dict[str, Any], tensor: dict[str, Any], key: str
) -> _Constant:
    store = file.named_data
    data = bytes(store.buffers[store.pte_data[key].buffer_index])
    scales, params = None, value["xvalue_union"].get("quant_params", {})
    if value["xvalue_union"].get("quant_params_type") in ("PerChannelQuant", "PerChannelGroupQuant"):
        scale_key = graph["constant_data"][params["scale_buffer_idx"]]["named_key"]
        scales = bytes(store.buffers[store.pte_data[scale_key].buffer_index])
    kind = tensor["datatype"].removeprefix("xnn_datatype_")
    return _Constant(
        dtype=_XNN_WEIGHTS.get(kind, kind),
        shape=tuple(tensor["dims"]),
        data=data,
        scales=scales,
        group=params.get("group_size"),
    )


def weights(path: Path) -> Iterator[StoredWeight]:
    """Every quantized matrix [outputs, inputs]: XNNPACK's fully connected weights and embedding_byte tables."""
    file = _load(path)
    for constant in _constants(file, _xnn_graphs(file)):
        if constant.scales is None:
            continue
        size, rows = math.prod(constant.shape), constant.shape[0]
        if constant.dtype == "int4":  # two to a byte, offset by 8; a group's scale is the upper half of a float32
            packed = np.frombuffer(constant.data, np.uint8)[: size // 2]
            ints = np.stack([packed & 15, packed >> 4], axis=-1).astype(np.int8).reshape(constant.shape) - 8
            groups = constant.shape[1] // (constant.group or constant.shape[1])
            halves = np.frombuffer(constant.scales, np.uint16)[: rows * groups].astype(np.uint32)
            scales = (halves << 16).view(np.float32).reshape(rows, groups)
        else:
            ints = np.frombuffer(constant.data, np.int8)[:size].reshape(constant.shape)
            scales = np.frombuffer(constant.scales, np.float32)[:rows]
        yield StoredWeight(name="", ints=ints, scales=scales)


def ranges(path: Path) -> list[StaticRange]:
    """Those of XNNPACK's quantized tensors. flatc prints scales with six decimals."""
    unions = [value["xvalue_union"] for graph in _xnn_graphs(_load(path)) for value in graph["xvalues"]]
    fixed = [u["quant_params"] for u in unions if u.get("quant_params_type") == "PerTensorQuant"]
    return [StaticRange(scale=float(p["scale"]), zero_point=int(p["zero_point"])) for p in fixed]
