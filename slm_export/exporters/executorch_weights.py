"""Integers into a model that torch.export lowers to XNNPACK."""

from __future__ import annotations

from typing import Any

from slm_export.quantization.weights import QuantizedTensor


def quantized_layer(tensor: QuantizedTensor | None, layer: Any) -> Any | None:
    """What stands for a Linear or Embedding of the module, its integers in it; None: the layer itself, which may have
    been changed in place."""
    import torch

    if isinstance(layer, torch.nn.Embedding):
        layer.padding_idx = None  # to_executorch lacks a kernel for a quantized lookup with one
        if tensor is not None:
            layer.weight = torch.nn.Parameter(_lookup(tensor), requires_grad=False)
        return None
    return None if tensor is None else _dynamic_linear(tensor, layer.bias)


def _dynamic_linear(tensor: QuantizedTensor, bias: Any) -> Any:
    """int8 activations with one range per token, as XNNPACK computes them when it runs.

    torchao's tensor subclass lowers to the same bytes, and takes half as long again: its operators are traced
    piece by piece in every pass.
    """
    import torch

    from slm_export.exporters.decomposed import OPERATORS, ChannelScales

    class DynamicLinear(torch.nn.Module):
        weight = None  # T5 looks whether there is one

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ints", tensor.ints)
            self.bias = bias
            if tensor.group is None:
                self.channels = ChannelScales(tensor.scales)
            else:
                self.register_buffer("scales", tensor.scales.contiguous())
                self.register_buffer("zeros", torch.zeros_like(tensor.scales, dtype=torch.int8))

        def forward(self, x: Any) -> Any:
            scale, zero = OPERATORS.choose_qparams_per_token_asymmetric(x, torch.int8)
            ints = OPERATORS.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
            rounded = OPERATORS.dequantize_per_token(ints, scale, zero, -128, 127, torch.int8, torch.float32)
            return torch.nn.functional.linear(rounded, self._weight(), self.bias)

        def _weight(self) -> Any:
            if tensor.group is None:
                return OPERATORS.dequantize_per_channel.default(self.ints, *self.channels())
            largest = 2 ** (tensor.bits - 1)
            return OPERATORS.dequantize_per_channel_group(
                self.ints, self.scales, self.zeros, -largest, largest - 1, torch.int8, tensor.group, torch.float32
            )

    return DynamicLinear()


def _lookup(tensor: QuantizedTensor) -> Any:
    """As torchao's tensor subclass, which becomes embedding_byte."""
    import torch
    from torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor import IntxUnpackedToInt8Tensor

    scales = tensor.scales.reshape(len(tensor.ints), -1).contiguous()
    return IntxUnpackedToInt8Tensor(
        qdata=tensor.ints,
        scale=scales,
        zero_point=torch.zeros_like(scales, dtype=torch.int8),
        target_dtype=torch.int8,
        block_size=(1, tensor.group or tensor.ints.shape[1]),
        dtype=torch.float32,
        activation_quantization=None,
    )
