"""Static ranges as PyTorch's own quantize and dequantize operators, which XNNPACK's partitioner and LiteRT's converter
fuse around the operator between them."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed

from slm_export.quantplan import StaticRange

OPERATORS = torch.ops.quantized_decomposed


class Quantize(torch.nn.Module):
    def __init__(self, range_: StaticRange) -> None:
        super().__init__()
        self.range = (range_.scale, range_.zero_point, -128, 127, torch.int8)

    def forward(self, x: torch.Tensor) -> Any:
        return OPERATORS.quantize_per_tensor.default(x, *self.range)


class Dequantize(Quantize):
    def forward(self, x: torch.Tensor) -> Any:
        return OPERATORS.dequantize_per_tensor.default(x, *self.range)


class ChannelScales(torch.nn.Module):
    """What a per-channel operator takes behind a weight [outputs, inputs]."""

    def __init__(self, scales: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros_like(scales, dtype=torch.int64))

    def forward(self) -> tuple[Any, ...]:
        return (self.scales, self.zeros, 0, -127, 127, torch.int8)
