"""Reads .onnx files."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Memory, TensorSpec
from slm_export.errors import InputError
from slm_export.quantplan import StaticRange
from slm_export.readers.facts import FileFacts, StoredTensor, StoredWeight, peak_bytes, scheme_of

DIMENSIONS = {"batch_size": "batch", "sequence_length": "sequence"}
_LENGTHS = (
    "sequence_length", "encoder_sequence_length", "decoder_sequence_length", "past_decoder_sequence_length",
    "past_sequence_length", "total_sequence_length",
)  # fmt: skip
_STATIC = {"QLinearMatMul", "QGemm", "QLinearConv"}


def read(path: Path, *, max_length: int = 128) -> FileFacts:
    """Facts of an .onnx file; activation bytes are for batch 1 at `max_length` tokens.

    Raises InputError if onnx cannot parse it.
    """
    model = _load(path)
    graph = model.graph
    stored = {t.name: t for t in graph.initializer}
    return FileFacts(
        format="onnx",
        scheme=scheme_of(_matrix_products(graph, stored)),
        inputs=tuple(_spec(v) for v in graph.input),
        outputs=tuple(_spec(v) for v in graph.output),
        signatures=(),
        ops=dict(Counter(n.op_type for n in _nodes(graph)).most_common()),
        tensors=tuple(_stored(t) for t in graph.initializer),
        memory=Memory(
            weights_bytes=sum(_bytes(t) for t in graph.initializer),
            activations_bytes=_activations(graph, {"batch_size": 1, **dict.fromkeys(_LENGTHS, max_length)}),
        ),
    )


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
    except (DecodeError, OSError, ValueError) as err:
        raise InputError(f"{path} is not an ONNX model: {err}", where=str(path)) from err
    if not model.graph.node:
        raise InputError(f"{path} is not an ONNX model: it has no graph", where=str(path))
    return model


def _nodes(graph: Any) -> Iterator[Any]:
    """The graph's nodes and those of its branches."""
    for node in graph.node:
        yield node
        for branch in _branches(node):
            yield from _nodes(branch)


def _branches(node: Any) -> list[Any]:
    return [a.g for a in node.attribute if a.HasField("g")]


def _dtype(elem_type: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(DIMENSIONS.get(d.dim_param, d.dim_param) or d.dim_value for d in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_dtype(tensor.elem_type), shape=shape)


def _bytes(tensor: Any) -> int:
    return int(math.prod(tensor.dims)) * np.dtype(_dtype(tensor.data_type)).itemsize


def _stored(tensor: Any) -> StoredTensor:
    dtype = _dtype(tensor.data_type)
    return StoredTensor(name=tensor.name, dtype=dtype, shape=tuple(tensor.dims), bytes=_bytes(tensor))


def _matrix_products(graph: Any, stored: dict[str, Any]) -> set[tuple[str, str]]:
    made_by = {name: node for node in _nodes(graph) for name in node.output}
    kinds = set()
    for node in _nodes(graph):
        if node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
            kinds.add(("int8", "dynamic"))
        elif node.op_type == "MatMulNBits":
            level = next((a.i for a in node.attribute if a.name == "accuracy_level"), 0)
            kinds.add((f"int{_bits(node)}", "dynamic" if level == 4 else "float"))
        elif node.op_type in _STATIC:
            kinds.add(("int8", "static"))
        elif node.op_type in ("MatMul", "Gemm"):
            weight = _weight_dtype(node.input[1], stored, made_by)
            if weight:
                kinds.add((weight, _fixed(node.input[0], stored, made_by)))
    return kinds


def _bits(node: Any) -> int:
    """Of a MatMulNBits: 4 where the file does not say."""
    return next((int(a.i) for a in node.attribute if a.name == "bits"), 4)


def _fixed(name: str, stored: dict[str, Any], made_by: dict[str, Any]) -> str:
    """Whether an activation was quantized with scales fixed in the file: QuantizeLinear, then DequantizeLinear."""
    node = made_by.get(name)
    if node is None or node.op_type != "DequantizeLinear":
        return "float"
    zero = stored.get(node.input[2]) if len(node.input) > 2 else None
    return "static16" if zero is not None and _dtype(zero.data_type) in ("int16", "uint16") else "static"


def _weight_dtype(name: str, stored: dict[str, Any], made_by: dict[str, Any]) -> str:
    """The stored dtype of a MatMul's weight, seen through Cast, Transpose and DequantizeLinear; "" if computed."""
    while name not in stored and name in made_by:
        node = made_by[name]
        if node.op_type not in ("Cast", "Transpose", "DequantizeLinear"):
            return ""
        name = node.input[0]
    dtype = _dtype(stored[name].data_type) if name in stored else ""
    return "int8" if dtype == "uint8" else dtype  # offset by 128


def _activations(graph: Any, dims: dict[str, int]) -> int:
    sizes = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        shape = [_dimension(d, dims) for d in tensor.shape.dim]
        if tensor.elem_type and None not in shape:
            sizes[value.name] = math.prod(s for s in shape if s) * np.dtype(_dtype(tensor.elem_type)).itemsize
    steps = [(list(n.input), list(n.output)) for n in graph.node]
    kept = [v.name for v in (*graph.input, *graph.output)]
    branches = [_activations(branch, dims) for node in graph.node for branch in _branches(node)]
    return peak_bytes(steps, sizes, kept=kept) + max(branches, default=0)


def _dimension(dim: Any, dims: dict[str, int]) -> int | None:
    if not dim.dim_param:
        return int(dim.dim_value)
    terms = [_product(term, dims) for term in re.split(r"\s*\+\s*", dim.dim_param)]
    return None if None in terms else sum(t for t in terms if t is not None)


def _product(term: str, dims: dict[str, int]) -> int | None:
    factors = [dims.get(f, int(f) if f.isdigit() else None) for f in re.split(r"\s*\*\s*", term)]
    return None if None in factors else math.prod(f for f in factors if f is not None)


def weights(path: Path) -> Iterator[StoredWeight]:
    """Every table stored as `<layer>.ints` with `<layer>.scales`, as slm-export's exporter names them; rows that are
    stored apart, as `<layer>[first:end].ints`, together."""
    import onnx

    graph = _load(path).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    joined = {n.output[0]: list(n.input) for n in _nodes(graph) if n.op_type == "Concat"}
    products = [n for n in _nodes(graph) if n.op_type == "MatMulNBits"]
    bits = {part: _bits(n) for n in products for part in joined.get(n.input[1], [n.input[1]])}
    parts: dict[str, list[tuple[int, StoredWeight]]] = {}
    for name, ints in stored.items():
        if name.endswith(".ints"):
            part = _table(name.removesuffix(".ints"), ints, stored, bits.get(name))
            layer, first = _rows(part.name)
            parts.setdefault(layer, []).append((first, part))
    for layer, found in parts.items():
        ordered = [part for _, part in sorted(found, key=lambda f: f[0])]
        yield StoredWeight(
            name=layer,
            ints=np.concatenate([part.ints for part in ordered]),
            scales=np.concatenate([part.scales for part in ordered]),
        )


def _rows(name: str) -> tuple[str, int]:
    """A layer's name, and the first of its rows that a part holds."""
    layer, _, rows = name.removesuffix("]").partition("[")
    return layer, int(rows.partition(":")[0] or 0)


def _table(layer: str, ints: Any, stored: dict[str, Any], bits: int | None) -> StoredWeight:
    scales = stored[f"{layer}.scales"]
    if bits == 4:  # MatMulNBits: [outputs, groups, group / 2], two to a byte, offset by 8
        low, high = ints & 15, ints >> 4
        both = np.stack([low, high], axis=-1).astype(np.int8) - 8
        return _weight(layer, both.reshape(len(ints), -1), scales.reshape(len(ints), -1))
    if ints.dtype == np.uint8 and ints.ndim == 2:  # MatMulInteger [inputs, outputs], offset by 128
        ints = (ints.astype(np.int16) - 128).astype(np.int8)
    if ints.dtype == np.uint8:  # MatMulNBits: [outputs, blocks, block], offset by 128, a scale for each block
        blocks = scales.reshape(len(ints), -1)
        channels = blocks[:, 0] if (blocks == blocks[:, :1]).all() else blocks
        return _weight(layer, (ints.astype(np.int16) - 128).astype(np.int8).reshape(len(ints), -1), channels)
    if scales.ndim == 2:  # an embedding table [rows, width], scales [rows, 1] or [rows, groups]
        return _weight(layer, ints, scales[:, 0] if scales.shape[1] == 1 else scales)
    return _weight(layer, np.ascontiguousarray(ints.T), scales)  # MatMulInteger: [inputs, outputs]


def ranges(path: Path) -> list[StaticRange]:
    """Those of every QuantizeLinear whose scale is stored."""
    import onnx

    graph = _load(path).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    pairs = [[stored.get(name) for name in n.input[1:]] for n in _nodes(graph) if n.op_type == "QuantizeLinear"]
    return [_range(scale, zero) for scale, zero in pairs if scale is not None and scale.ndim == 0]


def _range(scale: Any, zero: Any) -> StaticRange:
    """As signed integers; ONNX's are unsigned."""
    bits = 8 * int(zero.dtype.itemsize)
    offset = (1 << (bits - 1)) if zero.dtype.kind == "u" else 0
    return StaticRange(scale=float(scale), zero_point=int(zero) - offset, bits=bits)


def _weight(layer: str, ints: Any, scales: Any) -> StoredWeight:
    return StoredWeight(name=layer.removeprefix("model."), ints=ints, scales=scales.astype(np.float32))
