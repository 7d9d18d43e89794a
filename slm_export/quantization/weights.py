"""Weights to integers, once, in PyTorch space: symmetric int8, one scale per output channel or embedding row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from slm_export.records import record

INT8_MAX = 127  # -128 is left out: ai-edge-quantizer clips narrow, and symmetric kernels are fastest so
SMALLEST_SCALE = 6.2e-5 / INT8_MAX  # keeps an all-zero channel's scale positive


@record
class QuantizedTensor:
    """`ints[r, c] * scales[r]` is the weight; ints int8 [outputs, inputs], scales float32 [outputs]."""

    ints: Any
    scales: Any
    bits: int = 8
    group: int | None = None

    def dequantized(self) -> Any:
        return self.ints.float() * self.scales[:, None]


def quantize(weight: Any) -> QuantizedTensor:
    """Round a float32 weight [outputs, inputs] to the nearest of 255 steps of its channel's absolute maximum.

    Raises ValueError if the weight holds NaN or infinity.
    """
    import torch

    if not bool(torch.isfinite(weight).all()):
        raise ValueError("the weight holds NaN or infinity")
    scales = (weight.abs().amax(dim=1) / INT8_MAX).clamp_min(SMALLEST_SCALE)
    ints = torch.round(weight / scales[:, None]).clamp(-INT8_MAX, INT8_MAX).to(torch.int8)
    return QuantizedTensor(ints=ints.contiguous(), scales=scales.contiguous())


def as_numpy(tensor: QuantizedTensor) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    return tensor.ints.numpy(), tensor.scales.numpy()
