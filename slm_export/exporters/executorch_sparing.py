"""What lowering with ExecuTorch 1.5.1 does in vain, or in a roundabout way, and how it is spared: to the same bytes.

Most of its passes trace the whole graph anew, whether it holds what they are about or not.
"""

from __future__ import annotations

import copy
import operator
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

from slm_export.exporters.lazy_modules import compiled_when_run

UNUSUAL = "unusual order"  # of a value's dimensions in memory

# XNNPACK's passes over each of its partitions, idle where no operator's name has one of these in it.
ABOUT = {
    "XNNPACKRemoveCloneOpsTransform": ("clone",),
    "DimOrderOpsRevertPass": ("dim_order",),
    "PropagateCustomMetaPass": (),
    "ChannelsLastTaggedReshapePass": ("convolution", "upsample", "mean", "pool", "max", "prelu", UNUSUAL),
    "ConvertToUpsampleBilinear2d": (),
    "ConvertToLinearPass": ("mm", "linear"),
    "ConvertToSDPAPass": ("softmax",),
    "FuseBatchNormPass": ("batch_norm",),
    "DecomposeBatchNorm": ("batch_norm",),
    "FuseActivationPass": ("relu", "hardtanh"),
    "DecomposeConcatenate": ("cat",),
    "RemoveGetItemPass": ("max_pool2d_with_indices", "max.dim"),
    "InsertPadQDQPass": ("constant_pad_nd",),
    "Conv1dUnsqueezePass": ("convolution",),
    "PReLUReshapePass": ("prelu",),
    "RemoveRedundantCopyPass": ("_to_copy",),
}


@contextmanager
def sparing() -> Iterator[None]:
    import torch
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d
    from executorch.exir import lowered_backend_module
    from executorch.exir.backend.canonical_partitioners.group_partitioner import GroupBasedPartitioner
    from torch.fx import traceback

    program, manager = torch.export.ExportedProgram, xnnpack_preprocess.XNNPACKPassManager
    with ExitStack() as stack:
        stack.enter_context(compiled_when_run())
        for owner, name, instead in (
            # XNNPACK exports four models that upsample images, to look for them in every partition.
            (bilinear_2d, "_get_bilinear_2d_graphs", dict),
            (xnnpack_preprocess, "XNNPACKPassManager", without_idle_passes(manager)),
            (program, "run_decompositions", decomposing_if_needed(program.run_decompositions)),
            (lowered_backend_module, "legalize_graph", sort_in_place),
            # Where a node comes from, handed on at every retracing, and never changed.
            (traceback, "copy", SimpleNamespace(copy=copy.copy, deepcopy=copy.copy)),
            (GroupBasedPartitioner, "_can_merge_partitions", can_be_one),
            *((kind, "call", unless_idle(kind.call, works)) for kind, works in _works_on().items()),
        ):
            stack.enter_context(_replaced(owner, name, instead))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own, was = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, was)
        else:
            delattr(owner, name)


def without_idle_passes(manager: type) -> type:
    class Sparing(manager):
        def transform(self) -> Any:
            program = self.exported_program
            for kind in self.passes:
                about = ABOUT.get(kind.__name__)
                if about is None or is_about(about, program.graph):
                    program = type(self)(program, [kind])._once()
            return program

        def _once(self) -> Any:
            return super().transform()

    return Sparing


def is_about(about: Sequence[str], graph: Any) -> bool:
    """Whether one of a pass's operators, as ABOUT has them, is in the graph."""
    names = {n.target.__name__ for n in graph.nodes if n.op == "call_function"}  # without the arguments' names
    if any(part in name for part in about for name in names):
        return True
    return UNUSUAL in about and any(has_unusual_order(n) for n in graph.nodes)


def has_unusual_order(node: Any) -> bool:
    import torch

    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and tuple(value.dim_order()) != tuple(range(value.dim()))


def decomposing_if_needed(whole: Callable[..., Any]) -> Callable[..., Any]:
    """exir decomposes a program three times, tracing it anew: without a table, which the next one does as well; with
    one; and again, which finds nothing but sizes, and leaves them."""
    import torch

    def needed(program: Any, table: Any = None, **more: Any) -> Any:
        if table is not None:
            found = {n.target for n in program.graph.nodes if n.op == "call_function" and n.target in table}
            if found <= {torch.ops.aten.sym_size.int}:
                return program
        return whole(program, table, **more)

    return needed


def unless_idle(call: Callable[..., Any], works_on: Callable[[Any], bool]) -> Callable[..., Any]:
    import torch
    from torch.fx.passes.infra.pass_base import PassResult

    def called(self: Any, module: Any) -> Any:
        graphs = [m.graph for m in module.modules() if isinstance(m, torch.fx.GraphModule)]
        if any(n.op == "call_function" and works_on(n) for graph in graphs for n in graph.nodes):
            return call(self, module)
        return PassResult(module, False)

    return called


def _works_on() -> Mapping[Any, Callable[[Any], bool]]:
    """exir's own passes, and the nodes that each changes."""
    import torch
    from executorch.exir.passes.const_prop_pass import ConstPropPass
    from executorch.exir.passes.dim_order_ops_registry import DimOrderOpsMap
    from executorch.exir.passes.legalize_portable_dim_order_pass import LegalizePortableDimOrderPass
    from executorch.exir.passes.memory_format_ops_pass import MemoryFormatOpsPass
    from executorch.exir.passes.normalize_transpose_pass import NormalizeTransposePass
    from executorch.exir.passes.remove_mixed_type_operators import RemoveMixedTypeOperators
    from executorch.exir.passes.replace_broken_ops_with_function_ops_pass import ReplaceBrokenOpsWithFunctionalOpsPass
    from executorch.exir.passes.sym_to_tensor_pass import SymToTensorPass

    def takes_unusual_order(node: Any) -> bool:
        return node.target in LegalizePortableDimOrderPass._target_ops and any(
            has_unusual_order(taken) for taken in node.all_input_nodes
        )

    def takes_constants(node: Any) -> bool:
        return all(taken.op == "get_attr" for taken in node.all_input_nodes)

    aten = torch.ops.aten
    promoted = {aten.add, aten.mul, aten.sub, aten.div, aten.minimum}

    def mixes_types(node: Any) -> bool:
        if getattr(node.target, "overloadpacket", None) not in promoted:
            return False
        kinds = {getattr(given.meta.get("val"), "dtype", None) for given in (node, *node.all_input_nodes)}
        return len(kinds) > 1 or len(node.all_input_nodes) < len(node.args)

    def takes_size_as_tensor(node: Any) -> bool:
        wanted = getattr(getattr(node.target, "_schema", None), "arguments", ())
        given = [node.kwargs.get(a.name, node.args[i] if i < len(node.args) else None) for i, a in enumerate(wanted)]
        return any(
            isinstance(argument.type, torch.TensorType)
            and isinstance(value, torch.fx.Node)
            and not isinstance(value.meta.get("val"), torch.Tensor)
            for argument, value in zip(wanted, given, strict=True)
        )

    return {
        ConstPropPass: takes_constants,
        MemoryFormatOpsPass: lambda node: node.target in DimOrderOpsMap,
        RemoveMixedTypeOperators: mixes_types,
        SymToTensorPass: takes_size_as_tensor,
        NormalizeTransposePass: lambda node: node.target is torch.ops.aten.t.default,
        ReplaceBrokenOpsWithFunctionalOpsPass: lambda node: getattr(node.target, "is_view", False),
        LegalizePortableDimOrderPass: takes_unusual_order,
    }


# What torch.fx.passes.tools_common.legalize_graph puts first: assertions, and the sizes that they are about.
SIZES = ("add", "mul", "sub", "floordiv", "truediv", "mod", "le", "lt", "ge", "gt", "eq", "ne")


def sort_in_place(module: Any) -> Any:
    """A graph's nodes so that each is behind those it takes (Kahn 1962), in the order of legalize_graph, which copies
    the graph: once for every partition, and that was a quarter of lowering SmolLM2."""
    import torch

    aten = torch.ops.aten
    first = {
        *(getattr(operator, name) for name in SIZES),
        *(aten.sym_constrain_range.default, aten.sym_constrain_range_for_size.default, aten.scalar_tensor.default),
        *(aten._assert_async.msg, aten._assert_scalar.default),
    }
    nodes = list(module.graph.nodes)
    waits_for = {node: len(node.all_input_nodes) for node in nodes}
    ready = deque(node for node in nodes if not waits_for[node])
    ordered: list[Any] = []
    users: dict[Any, dict[Any, None]] = {node: {} for node in nodes}
    while ready:
        node = ready.popleft()
        ordered.append(node)
        for taken in node.all_input_nodes:
            users[taken][node] = None
        for user in node.users:
            waits_for[user] -= 1
            if not waits_for[user]:
                put = ready.appendleft if user.op == "call_function" and user.target in first else ready.append
                put(user)
    if len(ordered) < len(nodes):
        raise RuntimeError("the graph has a cycle")
    for node in ordered:
        module.graph._root.prepend(node)
        node.users.clear()
        node.users.update(users[node])
    module.recompile()
    return module


def can_be_one(self: Any, one: int, other: int, partitions: Mapping[int, Any]) -> bool:
    """GroupBasedPartitioner's answer, with sets: whether two partitions as one make no cycle."""
    from torch.fx.passes.utils.fuser_utils import validate_partition

    both = {*partitions[one].nodes, *partitions[other].nodes}
    behind = {user for node in both for user in node.users} - both
    if any(not both.isdisjoint(self.dependency_viewer.downstreams_of(node)) for node in behind):
        return False
    return bool(validate_partition(list(both)))
