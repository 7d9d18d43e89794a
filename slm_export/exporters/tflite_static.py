"""Static ranges for LiteRT: the converter makes integer operators of quantize and dequantize pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
from litert_torch.quantize.quant_config import QuantConfig

from slm_export.exporters.decomposed import OPERATORS, ChannelScales, Dequantize, Quantize
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.points import Forms
from slm_export.quantization.weights import QuantizedTensor

# Tells the converter that the pairs in the graph are static; the quantizer itself is not used.
QUANT_CONFIG = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(get_symmetric_quantization_config()))


def forms(compressed: Compressed, layer_norm: Callable[[Any], Any]) -> Forms:
    return Forms(
        quantize=Quantize,
        dequantize=Dequantize,
        linear=lambda name, layer: StaticLinear(compressed.tensors[name], layer.bias),
        layer=lambda name, layer: None,
        norm=layer_norm,
    )


class StaticLinear(torch.nn.Module):
    """The converter wants float weights and rounds them itself: what integers stand for rounds to these integers."""

    def __init__(self, tensor: QuantizedTensor, bias: Any) -> None:
        super().__init__()
        self.register_buffer("weight", tensor.dequantized())
        self.channels = ChannelScales(tensor.scales)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ints = OPERATORS.quantize_per_channel.default(self.weight, *self.channels())
        weight = OPERATORS.dequantize_per_channel.default(ints, *self.channels())
        return torch.nn.functional.linear(x, weight, self.bias)
