"""From torch.export's programs to ExecuTorch's, with XNNPACK."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# XNNPACK's passes (ExecuTorch 1.5.1) that change nothing where no operator's name has one of these in it.
ABOUT = {
    "XNNPACKRemoveCloneOpsTransform": ("clone",),
    "DimOrderOpsRevertPass": ("dim_order",),
    "PropagateCustomMetaPass": (),
    "ChannelsLastTaggedReshapePass": ("convolution", "upsample", "mean", "pool", "max", "prelu"),
    "ConvertToUpsampleBilinear2d": (),
    "ConvertToSDPAPass": ("softmax",),
    "FuseBatchNormPass": ("batch_norm",),
    "DecomposeBatchNorm": ("batch_norm",),
    "FuseActivationPass": ("relu", "hardtanh"),
    "DecomposeConcatenate": ("cat",),
    "RemoveGetItemPass": ("getitem",),
    "InsertPadQDQPass": ("constant_pad_nd",),
    "Conv1dUnsqueezePass": ("convolution",),
    "PReLUReshapePass": ("prelu",),
    "RemoveRedundantCopyPass": ("_to_copy",),
}


def lower(programs: Mapping[str, Any], *, custom_operators: bool = False, told: Mapping[str, Any] | None = None) -> Any:
    """The program with these methods, not yet written; `told` are constants that it answers methods of their names
    with."""
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack._passes import XNNPACKPassManager
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower

    # XNNPACK's preprocessing exports four models that upsample images, to look for them in every partition.
    bilinear_2d._get_bilinear_2d_graphs = dict
    xnnpack_preprocess.XNNPACKPassManager = _sparing(XNNPACKPassManager)
    programs = {name: _without_tanh_gelu(program) for name, program in programs.items()}
    with _decomposing_if_needed():
        edge = to_edge_transform_and_lower(
            programs,
            partitioner={name: [XnnpackPartitioner()] for name in programs},
            compile_config=EdgeCompileConfig(_check_ir_validity=not custom_operators),
            constant_methods=dict(told or {}),
        )
    return edge.to_executorch(
        ExecutorchBackendConfig(do_quant_fusion_and_const_prop=True, extract_delegate_segments=True)
    )


def _without_tanh_gelu(program: Any) -> Any:
    """GELU's tanh form written out: XNNPACK's part of ExecuTorch 1.5.1 computes the exact one wherever it finds either,
    and Gemma's logits are off by 6e-4."""
    import torch

    gelu = torch.ops.aten.gelu.default
    if not any(n.target is gelu and n.kwargs.get("approximate") == "tanh" for n in program.graph.nodes):
        return program

    def written_out(x: Any, *, approximate: str = "none") -> Any:
        if approximate != "tanh":
            return NotImplemented
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    return program.run_decompositions({gelu: written_out})


@contextmanager
def _decomposing_if_needed() -> Iterator[None]:
    """exir decomposes a program three times, tracing it anew: without a table, which the next one does as well; with
    one; and again, which finds nothing but sizes, and leaves them."""
    import torch

    whole = torch.export.ExportedProgram.run_decompositions

    def needed(program: Any, table: Any = None, **more: Any) -> Any:
        if table is not None:
            found = {n.target for n in program.graph.nodes if n.op == "call_function" and n.target in table}
            if found <= {torch.ops.aten.sym_size.int}:
                return program
        return whole(program, table, **more)

    torch.export.ExportedProgram.run_decompositions = needed
    try:
        yield
    finally:
        torch.export.ExportedProgram.run_decompositions = whole


def _sparing(manager: type) -> type:
    """XNNPACK's passes without those that have nothing to do: each traces the whole partition anew."""

    class Sparing(manager):
        def transform(self) -> Any:
            program = self.exported_program
            for kind in self.passes:
                names = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
                about = ABOUT.get(kind.__name__)
                if about is None or any(part in name for part in about for name in names):
                    program = type(self)(program, [kind])._once()
            return program

        def _once(self) -> Any:
            return super().transform()

    return Sparing
