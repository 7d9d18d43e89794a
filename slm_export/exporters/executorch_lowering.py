"""From torch.export's programs to ExecuTorch's, with XNNPACK."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from slm_export.exporters.executorch_sparing import sparing


def lower(programs: Mapping[str, Any], *, custom_operators: bool = False, told: Mapping[str, Any] | None = None) -> Any:
    """The program with these methods, not yet written; `told` are constants that it answers methods of their names
    with."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower

    programs = {name: _without_tanh_gelu(program) for name, program in programs.items()}
    with sparing():
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
