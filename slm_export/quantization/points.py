"""Static ranges in a graph: where they can be put, and how each format writes them.

The task's graph is traced once by torch.export, the same for every format. A *point* is a tensor that an operator
computes, named by the module it is computed in and the operator: `bert.encoder.layer.0.output/add`. What only moves
values (views, transposes) has its source's range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from slm_export.errors import ExportError, first_line
from slm_export.quantization.compressed import Compressed
from slm_export.quantplan import QuantPlan, StaticRange
from slm_export.records import record

COMPUTING = (
    "linear", "addmm", "matmul", "bmm", "add", "sub", "mul", "div", "softmax", "gelu", "relu", "silu", "tanh",
    "sigmoid", "layer_norm", "embedding",
)  # fmt: skip
MOVING = ("view", "reshape", "transpose", "permute", "unsqueeze", "squeeze", "select", "slice", "expand")
NOTHING = ("dropout", "contiguous")  # what they do when a model only answers
MODEL = "model."  # where tasks' graphs hold the model


@record
class Forms:
    """How a format writes the parts: torch modules that torch.export can trace."""

    quantize: Callable[[StaticRange], Any]  # float32 to int8
    dequantize: Callable[[StaticRange], Any]  # and back
    linear: Callable[[str, Any], Any]  # a Linear between two static ranges: its name, and itself
    layer: Callable[[str, Any], Any | None]  # any other Linear or Embedding; None leaves it
    norm: Callable[[Any], Any] | None = None  # a LayerNorm


def trace(graph: Any, sample: Mapping[str, Any], *, max_length: int) -> Any:
    """A task's graph as a torch.fx.GraphModule of ATen operators, for every batch and up to `max_length` tokens.

    `sample` holds its inputs, int64 [2 or more, 2 or more].

    Raises ExportError if torch.export cannot trace it.
    """
    import torch

    varying = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("sequence", min=1, max=max_length)}
    try:
        with torch.no_grad():
            exported = torch.export.export(
                graph, tuple(sample.values()), dynamic_shapes=tuple(varying for _ in sample), strict=False
            )
    except Exception as err:  # torch.export raises its own and plain Python's kinds
        raise ExportError(
            "torch.export cannot trace this model, which static ranges need",
            where=first_line(err),
            next_step="take --scheme w8a8-dynamic",
        ) from err
    module = exported.module(check_guards=False)
    for node in list(module.graph.nodes):
        if _operator(node) in NOTHING:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        elif _operator(node) == "view":
            node.target = torch.ops.aten.reshape.default  # a view wants the contiguous() that is gone
    return torch.fx.GraphModule(module, module.graph)  # torch.export's own refuses eval()


def arguments(module: Any, given: Sequence[Any]) -> list[Any]:
    """What a traced graph takes, of a model's inputs in order: segment ids of 0 where none are given."""
    import torch

    count = sum(n.op == "placeholder" for n in module.graph.nodes)
    return [*given, torch.zeros_like(given[0])][:count]


def points(module: Any) -> dict[str, Any]:
    """The nodes that compute a float tensor, by name. What the graph answers with is none of them: answers stay
    float32."""
    answers = next(n for n in module.graph.nodes if n.op == "output").all_input_nodes
    found, seen = {}, Counter[str]()
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if _operator(node) not in COMPUTING or value is None or not value.is_floating_point() or value.dim() < 2:
            continue
        if any(source(answer) is node for answer in answers):
            continue
        name = f"{_path(node)}/{_operator(node)}".removeprefix("/")
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name}#{seen[name]}"] = node
    return found


def source(node: Any) -> Any:
    """The node that computed what `node` only moves."""
    while _operator(node) in MOVING:
        node = node.args[0]
    return node


def masking(module: Any) -> dict[str, str]:
    """The names of nodes that replace values of a point, with the point's name."""
    named = {node: name for name, node in points(module).items()}
    filling = (n for n in module.graph.nodes if _operator(n) in ("masked_fill", "where"))
    changed = ((node, source(given)) for node in filling for given in node.all_input_nodes)
    return {node.name: named[point] for node, point in changed if point in named}


def layers(module: Any, names: Collection[str]) -> dict[Any, str]:
    """The nodes of Linears and lookups, with the layer's name; one that is shared has several. Only of layers in
    `names`."""
    called = {n: _path(n) for n in module.graph.nodes if _operator(n) in ("linear", "embedding")}
    return {node: name for node, name in called.items() if name in names}


def write(module: Any, compressed: Compressed, forms: Forms) -> Any:
    """The traced graph of the compressed model's task, changed in place: with the plan's ranges and layers as a format
    writes them."""
    called = layers(module, compressed.plan.layers)
    static = {node: compressed.plan.layers[name].activations == "static" for node, name in called.items()}
    for number, (node, range_) in enumerate(_spread(module, compressed.plan).items()):
        users = [user for user in node.users if static.get(user, True)]  # the others quantize what they get themselves
        _quantize(module, node, users, range_, forms, f"range_{number}")
    written: dict[str, Any] = {}
    for node, name in called.items():
        if name not in written:
            layer = compressed.module.get_submodule(name)
            written[name] = (forms.linear if static[node] else forms.layer)(name, layer)
        lookup = _operator(node) == "embedding"
        if lookup:
            node.args = node.args[:2]  # without padding_idx, for which there are no kernels
        if written[name] is not None:
            _replace(module, node, written[name], given=node.args[1 if lookup else 0])
    for node in list(module.graph.nodes):
        if forms.norm is not None and _operator(node) == "layer_norm":
            norm = compressed.module.get_submodule(_path(node))
            _replace(module, node, forms.norm(norm), given=node.args[0])
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return module


def _spread(module: Any, plan: QuantPlan) -> dict[Any, StaticRange]:
    """The ranges by node, those that only move values included."""
    named = points(module)
    missing = sorted(set(plan.ranges) - set(named))
    if missing:
        raise ExportError(
            f"{len(missing)} of {len(plan.ranges)} tensors with static ranges are not in the traced graph",
            where=missing[0],
            why="the model's graph depends on more than its weights and its inputs",
        )
    ranges = {named[name]: range_ for name, range_ in plan.ranges.items()}
    moved = {n: source(n) for n in module.graph.nodes if _operator(n) in MOVING}
    return ranges | {n: ranges[origin] for n, origin in moved.items() if origin in ranges}


def _quantize(module: Any, node: Any, users: list[Any], range_: StaticRange, forms: Forms, name: str) -> None:
    """One quantization, and a way back for each user: XNNPACK and ONNX Runtime fuse the pairs around an operator."""
    if not users:
        return
    module.add_submodule(f"{name}_in", forms.quantize(range_))
    with module.graph.inserting_after(node):
        ints = module.graph.call_module(f"{name}_in", (node,))
    for number, user in enumerate(users):
        module.add_submodule(f"{name}_out_{number}", forms.dequantize(range_))
        with module.graph.inserting_before(user):
            floats = module.graph.call_module(f"{name}_out_{number}", (ints,))
        user.replace_input_with(node, floats)


def _replace(module: Any, node: Any, written: Any, *, given: Any) -> None:
    name = _path(node)
    module.add_submodule(name, written)
    with module.graph.inserting_before(node):
        node.replace_all_uses_with(module.graph.call_module(name, (given,)))
    module.graph.erase_node(node)


def _operator(node: Any) -> str:
    """linear, of aten.linear.default; "" of what is no ATen operator."""
    namespace, _, name = str(node.target).partition(".")
    return name.partition(".")[0] if node.op == "call_function" and namespace == "aten" else ""


def _path(node: Any) -> str:
    """Of the innermost module that a node was traced in, within the model."""
    stack = node.meta.get("nn_module_stack") or {"": ("", "")}
    path: str = list(stack.values())[-1][0]
    return f"{path}.".removeprefix(MODEL).removesuffix(".")
