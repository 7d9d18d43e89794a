"""Static ranges for XNNPACK: the quantize and dequantize operators that its partitioner fuses around an operator."""

from __future__ import annotations

import copy
from typing import Any

import torch

from slm_export.exporters.decomposed import OPERATORS, ChannelScales, Dequantize, Quantize
from slm_export.exporters.executorch_weights import quantized_layer
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.points import Forms
from slm_export.quantization.weights import QuantizedTensor


def forms(compressed: Compressed) -> Forms:
    def other(name: str, layer: Any) -> Any:
        written = copy.copy(layer)  # the layer's own parameters are shared with the reference
        written._parameters = dict(layer._parameters)
        return quantized_layer(compressed.tensors.get(name), written) or written

    return Forms(
        quantize=Quantize,
        dequantize=Dequantize,
        linear=lambda name, layer: StaticLinear(compressed.tensors[name], layer.bias),
        layer=other,
    )


class StaticLinear(torch.nn.Module):
    """int8 weights, between two quantized tensors."""

    def __init__(self, tensor: QuantizedTensor, bias: Any) -> None:
        super().__init__()
        self.register_buffer("ints", tensor.ints)
        self.channels = ChannelScales(tensor.scales)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = OPERATORS.dequantize_per_channel.default(self.ints, *self.channels())
        return torch.nn.functional.linear(x, weight, self.bias)
