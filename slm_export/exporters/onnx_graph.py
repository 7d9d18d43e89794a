"""Passes over the graph torch.onnx made, before it is saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def tidy(model: Any, *, halved: Iterable[npt.NDArray[np.float32]] = ()) -> None:
    """Make the graph smaller, faster and reproducible, in place. `halved` are the weights to store as float16."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass

    # Q, K and V quantize the same activations: once is enough.
    CommonSubexpressionEliminationPass()(model)
    _keep_layer_norms_apart(model.graph)
    _store_as_half(model.graph, halved)
    _store_group_scales_as_half(model.graph)
    _strip(model)


def with_zero_points(model: Any) -> bool:
    """Give every MatMulInteger's weight a zero point of its own, in place, and say whether that could be done.

    Where a session is told to, and the processor needs it, ONNX Runtime makes such weights unsigned; up to 1.29 only
    those with a zero point. A weight or zero point that two nodes share it makes twice, and then refuses the file.
    """
    products = [node for node in model.graph if node.op_type == "MatMulInteger"]
    if any(len(node.inputs[1].uses()) > 1 for node in products):
        return False
    for node in products:
        name = f"{node.inputs[1].name}.zero_point"
        zero = ir.Value(name=name, const_value=ir.tensor(np.array(0, np.int8), name=name))
        zero.dtype, zero.shape = ir.DataType.INT8, ir.Shape([])
        model.graph.register_initializer(zero)
        node.resize_inputs(4)
        node.replace_input_with(3, zero)
    return True


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
