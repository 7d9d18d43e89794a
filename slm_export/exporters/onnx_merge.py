"""Two decoders, for the first token and for those after, as one graph that stores their weights once."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import onnx_ir as ir

FLAG = "use_cache_branch"  # the name transformers.js and optimum know


def merge_decoders(first: Any, later: Any) -> Any:
    """An onnx_ir model with the inputs and outputs of both, in which the input `use_cache_branch`, bool [1], chooses.

    Inputs of one name are one. An output that `later` lacks, such as present.N.encoder.key, is there its input
    past_key_values.N.encoder.key: what comes out always goes in again. Both models are used up.
    """
    outer = _Outer()
    names = [value.name for value in first.graph.outputs]
    branches = [outer.branch(model.graph, names, prefix) for model, prefix in ((first, "first"), (later, "later"))]
    flag = ir.Value(name=FLAG, type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([1]))
    chosen = ir.node("If", [flag], {"then_branch": branches[1], "else_branch": branches[0]}, num_outputs=len(names))
    for value, name, like in zip(chosen.outputs, names, branches[0].outputs, strict=True):
        value.name, value.type, value.shape = name, like.type, _loose(like.shape)
    graph = ir.Graph(
        [*outer.inputs.values(), flag],
        chosen.outputs,
        nodes=[*outer.constants.values(), chosen],
        initializers=list(outer.initializers.values()),
        opset_imports={**later.graph.opset_imports, **first.graph.opset_imports},
        name="decoder",
    )
    return ir.Model(graph, ir_version=first.ir_version, producer_name=first.producer_name)


def _loose(shape: Any) -> Any:
    """Of a cache: its length is one thing in one branch and another in the other."""
    return ir.Shape(["past_decoder_sequence_length + 1" if str(d) == "decoder_sequence_length" and i == 2 else d
                     for i, d in enumerate(shape)])  # fmt: skip


class _Outer:
    """What both branches share: inputs by name, weights by content, and what is computed of weights alone, such as a
    transposed table, which the runtime then folds once and not once a branch."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.initializers: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}

    def branch(self, graph: Any, names: list[str], prefix: str) -> Any:
        """The nodes of `graph` as a branch with outputs `names`, its inputs and weights taken out of it."""
        outputs = {value.name: value for value in graph.outputs}
        nodes = [node for node in self._taken_apart(graph) if not self._hoisted(node)]
        for node in nodes:
            for value in node.outputs:
                value.name = f"{prefix}/{value.name}"
        for name in names:
            if name not in outputs:
                nodes.append(self._passed_on(name, prefix))
                outputs[name] = nodes[-1].outputs[0]
        return ir.Graph([], [outputs[n] for n in names], nodes=nodes, name=prefix)

    def _taken_apart(self, graph: Any) -> list[Any]:
        """Its nodes, reading what is shared."""
        for value in list(graph.inputs):
            self._replace(value, self.inputs.setdefault(value.name, value))
        for value in list(graph.initializers.values()):
            self._replace(value, self.initializers.setdefault(_content(value), value))
        self._unique_names()
        nodes = list(graph)
        for container in (graph.outputs, graph.inputs, graph.initializers):
            container.clear()
        for node in nodes:
            graph.remove(node)
        return nodes

    def _passed_on(self, name: str, prefix: str) -> Any:
        source = self.inputs[name.replace("present.", "past_key_values.")]
        node = ir.node("Identity", [source], num_outputs=1)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"{prefix}/{name}", source.type, source.shape
        return node

    def _replace(self, value: Any, by: Any) -> None:
        if value is not by:
            value.replace_all_uses_with(by)

    def _unique_names(self) -> None:
        """Names that torch made by counting mean one weight in one branch and another in the other."""
        uses = Counter(value.name for value in self.initializers.values())
        for number, value in enumerate(self.initializers.values()):
            if value.name.startswith("val_") or uses[value.name] > 1:
                value.name = f"weight_{number}"

    def _hoisted(self, node: Any) -> bool:
        """Whether the node computes with weights alone: it then belongs to no branch."""
        constant = {id(v) for v in self.initializers.values()}
        constant |= {id(v) for n in self.constants.values() for v in n.outputs}
        if not node.inputs or any(id(v) not in constant for v in node.inputs):
            return False
        key = repr((node.op_type, [v.name for v in node.inputs], sorted(map(str, node.attributes.values()))))
        known = self.constants.setdefault(key, node)
        for number, (old, new) in enumerate(zip(node.outputs, known.outputs, strict=True)):
            self._replace(old, new)
            new.name = f"constant_{list(self.constants).index(key)}_{number}"
        return True


def _content(value: Any) -> str:
    """What makes two weights one. Integers and scales keep their layer's name, by which a reader pairs them."""
    tensor = value.const_value
    name = value.name if value.name.endswith((".ints", ".scales")) else ""
    return f"{name} {tensor.dtype} {tensor.shape} {hashlib.sha256(tensor.numpy().tobytes()).hexdigest()}"
