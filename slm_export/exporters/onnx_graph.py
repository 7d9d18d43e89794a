"""Passes over the graph torch.onnx made, before it is saved."""

from __future__ import annotations

from typing import Any

import numpy as np


def tidy(model: Any, *, half_weights: bool) -> None:
    """Make the graph smaller, faster and reproducible, in place."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass

    # Q, K and V quantize the same activations: once is enough.
    CommonSubexpressionEliminationPass()(model)
    _keep_layer_norms_apart(model.graph)
    if half_weights:
        _store_weights_as_half(model.graph)
    _strip(model)


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


def _store_weights_as_half(graph: Any) -> None:
    """Store float32 matrices as float16, with a Cast that the runtime folds at load. Biases and norms stay float32."""
    import onnx_ir as ir

    for value in list(graph.initializers.values()):
        if value.dtype != ir.DataType.FLOAT or len(value.shape) < 2 or value.const_value.size == 1:
            continue
        half = ir.Value(name=f"{value.name}.half", const_value=None)
        half.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=half.name)
        half.dtype, half.shape = ir.DataType.FLOAT16, value.shape
        cast = ir.node("Cast", [half], {"to": ir.DataType.FLOAT}, num_outputs=1)
        cast.outputs[0].name, cast.outputs[0].dtype, cast.outputs[0].shape = (
            f"{value.name}.float",
            value.dtype,
            value.shape,
        )
        value.replace_all_uses_with(cast.outputs[0])
        del graph.initializers[value.name]
        graph.register_initializer(half)
        graph.insert_before(graph[0], cast)


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
