"""Passes over the graph torch.onnx made, before it is saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass


def tidy(model: Any, *, halved: Iterable[npt.NDArray[np.float32]] = ()) -> None:
    """Make the graph smaller, faster and reproducible, in place. `halved` are the weights to store as float16."""
    # Q, K and V quantize the same activations: once is enough.
    CommonSubexpressionEliminationPass()(model)
    _keep_layer_norms_apart(model.graph)
    _store_as_half(model.graph, halved)
    _store_group_scales_as_half(model.graph)
    _strip(model)


EMBEDDED_BYTES = 1_900_000_000  # protobuf ends at two gigabytes; larger weights lie beside the graph
DATA_SUFFIX = "_data"  # as transformers.js looks for it
PRODUCTS = {"MatMulInteger": (1, 3), "DequantizeLinear": (0, 2)}  # of weight and zero point among a node's inputs


def guard_int8_products(model: Any) -> None:
    """Let no product of int8 weights saturate, in place.

    On x86 without VNNI, ONNX Runtime adds pairs of uint8 times int8 in 16 bits. Where a session is told to, it makes
    weights unsigned there; up to 1.29 only those with a zero point. A weight, or a zero point, of two products it makes
    twice, and then refuses the file. So each gets a zero point of its own; weights that products share, as ALBERT's,
    are stored unsigned, which processors with VNNI multiply no faster than others.
    """
    for node in model.graph:
        weight, zero = PRODUCTS.get(node.op_type, (0, 0))
        value = node.inputs[weight] if zero else None
        if value is None or value.name not in model.graph.initializers:
            continue
        if value.dtype == ir.DataType.INT8 and sum(use.node.op_type in PRODUCTS for use in value.uses()) > 1:
            _store(value, _unsigned(value.const_value.numpy()))
        _give_zero_point(model.graph, node, value, zero)


def _give_zero_point(graph: Any, node: Any, weight: Any, at: int) -> None:
    """In place of input number `at`; one for all nodes that share the weight."""
    there = node.inputs[at]
    name = f"{weight.name}.zero_point"
    if name not in graph.initializers:
        stored = there.const_value.numpy()
        own = ir.Value(name=name)
        _store(own, _unsigned(stored) if weight.dtype == ir.DataType.UINT8 else stored)
        graph.register_initializer(own)
    node.replace_input_with(at, graph.initializers[name])
    if not there.uses():
        del graph.initializers[there.name]


def make_activations_float(model: Any) -> None:
    """Make an artifact's graph its weight-only twin's, in place: products are of floats, with int8 weights what they
    stand for as float32, with others as they are stored."""
    stored = model.graph.initializers
    for node in list(model.graph.all_nodes()):
        if node.op_type == "MatMulInteger":
            _multiply_floats(stored, node)
        elif node.op_type == "MatMulNBits":
            node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 0)
    RemoveUnusedNodesPass()(model)


def _multiply_floats(stored: Any, node: Any) -> None:
    """Put MatMul in place of DynamicQuantizeLinear, MatMulInteger, Cast and Mul by both scales, of which only Mul's
    output is used elsewhere."""
    quantized, ints, _, zero = node.inputs
    name = ints.name.removesuffix(".ints")
    if f"{name}.float" not in stored:
        offset = ints.const_value.numpy().astype(np.float32) - zero.const_value.numpy().astype(np.float32)
        weight = ir.Value(name=f"{name}.float")
        _store(weight, offset * stored[f"{name}.scales"].const_value.numpy())
        stored[weight.name] = weight
    (cast,) = node.outputs[0].consumers()
    (product,) = cast.outputs[0].consumers()
    product.op_type = "MatMul"
    product.replace_input_with(0, quantized.producer().inputs[0])
    product.replace_input_with(1, stored[f"{name}.float"])


def _unsigned(ints: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    return (ints.astype(np.int16) + 128).astype(np.uint8)


def _store(value: Any, array: npt.NDArray[Any]) -> None:
    value.const_value = ir.tensor(array, name=value.name)
    value.dtype, value.shape = value.const_value.dtype, value.const_value.shape


def _keep_layer_norms_apart(graph: Any) -> None:
    """Write the Add before a LayerNormalization as Sum, which is the same.

    ONNX Runtime fuses Add + LayerNormalization into SkipLayerNormalization, whose CPU kernel took 208 us where the
    two took 31 (128 tokens of 384, 1.31.1): a fifth of an int8 MiniLM. Remove when that kernel is no slower.
    """
    for node in graph:
        if node.op_type == "LayerNormalization":
            before = node.inputs[0].producer()
            if before is not None and before.op_type == "Add":
                before.op_type = "Sum"


def _store_as_half(graph: Any, weights: Iterable[npt.NDArray[np.float32]]) -> None:
    """Store these weights [outputs, inputs] as float16: initializers all of whose rows, or columns, are rows of theirs.
    onnxruntime-genai's builder takes fused projections apart, so that none may be there as a whole."""
    wanted = {_digest(row) for weight in weights for row in weight}
    for value in list(graph.initializers.values()) if wanted else ():
        if value.dtype == ir.DataType.FLOAT and len(value.shape) == 2:
            stored = value.const_value.numpy()
            if any(all(_digest(row) in wanted for row in rows) for rows in (stored, stored.T)):
                _halve(graph, value)


def _store_group_scales_as_half(graph: Any) -> None:
    """Those of groups, which lie on a grid that float16 holds: a sixteenth of an int4 layer's size."""
    for node in list(graph):
        for scales in _parts(node.inputs[2]) if node.op_type == "MatMulNBits" else ():
            if scales.name in graph.initializers and scales.dtype == ir.DataType.FLOAT:
                values = scales.const_value.numpy()
                if np.array_equal(values, values.astype(np.float16).astype(np.float32)):
                    _halve(graph, scales)


def _parts(value: Any) -> Iterable[Any]:
    """What a value is joined of."""
    joined = value.producer()
    return list(joined.inputs) if joined is not None and joined.op_type == "Concat" else [value]


def _halve(graph: Any, value: Any) -> None:
    """Store a float32 initializer as float16 under its name, with a Cast that the runtime folds at load."""
    name, stored = value.name, value.const_value.numpy().astype(np.float16)
    del graph.initializers[name]
    value.name = f"{name}.float"
    half = ir.Value(name=name, const_value=ir.tensor(stored, name=name))
    half.dtype, half.shape = ir.DataType.FLOAT16, value.shape
    cast = ir.node("Cast", [half], {"to": ir.DataType.FLOAT}, num_outputs=1)
    cast.outputs[0].name, cast.outputs[0].dtype, cast.outputs[0].shape = value.name, value.dtype, value.shape
    value.replace_all_uses_with(cast.outputs[0])
    graph.register_initializer(half)
    graph.insert_before(graph[0], cast)


def save(model: Any, path: Path) -> list[Path]:
    """Write the graph, and beside it the weights where one file would be larger than ONNX allows; gives the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if sum(v.const_value.nbytes for v in model.graph.initializers.values()) <= EMBEDDED_BYTES:
        ir.save(model, path)
        return [path]
    ir.save(model, path, external_data=path.name + DATA_SUFFIX)
    return [path, path.with_name(path.name + DATA_SUFFIX)]


def _digest(row: npt.NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()


def _strip(model: Any) -> None:
    """Drop torch's notes: stack traces with this machine's paths, half a megabyte of them."""
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version = "slm-export", None
    graph = model.graph
    graph.metadata_props.clear()
    graph.doc_string = None
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
