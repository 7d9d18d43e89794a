"""Integers into a model that torch.export lowers to XNNPACK, as torchao's tensor subclass."""

from __future__ import annotations

from typing import Any

from slm_export.quantization.weights import QuantizedTensor


def carry(tensor: QuantizedTensor | None, layer: Any) -> None:
    """Put the integers into a Linear or Embedding, in place."""
    import torch

    if isinstance(layer, torch.nn.Embedding):
        layer.padding_idx = None  # to_executorch lacks a kernel for a quantized lookup with one
    if tensor is not None:
        weight = _integers(tensor, dynamic=isinstance(layer, torch.nn.Linear))
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)


def _integers(tensor: QuantizedTensor, *, dynamic: bool) -> Any:
    import torch
    from torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor import (
        IntxUnpackedToInt8Tensor,
        IntxUnpackedToInt8TensorActivationQuantization,
    )

    scales = tensor.scales.reshape(len(tensor.ints), -1).contiguous()
    return IntxUnpackedToInt8Tensor(
        qdata=tensor.ints,
        scale=scales,
        zero_point=torch.zeros_like(scales, dtype=torch.int8),
        target_dtype=torch.int4 if tensor.bits == 4 else torch.int8,
        block_size=(1, tensor.group or tensor.ints.shape[1]),
        dtype=torch.float32,
        activation_quantization=IntxUnpackedToInt8TensorActivationQuantization.INT8_ASYM_PER_TOKEN if dynamic else None,
    )
