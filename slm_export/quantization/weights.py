"""Integer weights: what they are, the grid their scales lie on, and the two ways to find them without looking at how a
layer's errors mix: rounding to the absolute maximum, and searching the scale.

Symmetric, zero point 0. int8 runs from -127 to 127 (ai-edge-quantizer clips so), int4 from -8 to 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from slm_export.records import record

RANGES = {8: (-127, 127), 4: (-8, 7)}
SMALLEST_SCALE = 6.2e-5  # of a group: the smallest normal float16, rounded up to bfloat16's grid
SMALLEST_CHANNEL_SCALE = SMALLEST_SCALE / 127  # keeps an all-zero channel's scale positive
SEARCHED = {8: (0.80, 1.0, 0.01), 4: (0.70, 1.10, 0.02)}  # shares of the absolute maximum: from, to, step


@record
class QuantizedTensor:
    """`ints * scales` is the weight. ints int8 [outputs, inputs]; scales float32 [outputs], or with a group
    [outputs, inputs / group], each for `group` neighbours along the input."""

    ints: Any
    scales: Any
    bits: int = 8
    group: int | None = None

    def dequantized(self) -> Any:
        return (grouped(self.ints.float(), self.group) * by_group(self.scales)).reshape(self.ints.shape)


def grouped(weight: Any, group: int | None) -> Any:
    """[outputs, inputs] as [outputs, groups, group]; one group without one."""
    return weight.reshape(weight.shape[0], -1, group or weight.shape[1])


def by_group(scales: Any) -> Any:
    """Scales as they multiply with `grouped` weights."""
    return scales[:, None, None] if scales.dim() == 1 else scales[..., None]


def on_grid(scales: Any, group: int | None) -> Any:
    """The nearest scales that every format holds exactly: XNNPACK keeps a group's scale as bfloat16 and LiteRT as
    float16, so both are rounded to, in this order; a channel's scale is float32 everywhere."""
    import torch

    if group is None:
        return scales.clamp_min(SMALLEST_CHANNEL_SCALE)
    return scales.clamp_min(SMALLEST_SCALE).to(torch.bfloat16).to(torch.float16).float()


def quantize(weight: Any, *, bits: int = 8, group: int | None = None) -> QuantizedTensor:
    """Round a float32 weight [outputs, inputs] to the nearest step of its channel's or group's absolute maximum.

    Raises ValueError if the weight holds NaN or infinity.
    """
    _require_finite(weight)
    scales = on_grid(grouped(weight, group).abs().amax(2) / RANGES[bits][1], group)
    return nearest(weight, scales, bits=bits, group=group)


def quantize_searched(weight: Any, *, bits: int, group: int | None, importance: Any | None = None) -> QuantizedTensor:
    """The scales whose rounding errs least, by the squared error weighted with `importance` [inputs] (the mean squares
    of what the layer is given; None: all alike), after one least-squares refit.

    Raises ValueError if the weight holds NaN or infinity.
    """
    import torch

    _require_finite(weight)
    x = grouped(weight, group)
    weighted = torch.ones_like(x[:1]) if importance is None else grouped(importance[None], group)
    largest = x.abs().amax(2).clamp_min(1e-8)
    best = _Best(x, weighted, bits, group)
    first, last, step = SEARCHED[bits]
    for share in np.arange(first, last + step / 2, step):
        best.offer(largest * float(share) / RANGES[bits][1])
    ints = torch.round(x / by_group(best.scales)).clamp(*RANGES[bits])
    fitted = (x * ints * weighted).sum(2) / ((ints * ints * weighted).sum(2) + 1e-12)
    best.offer(fitted)
    return nearest(weight, best.scales, bits=bits, group=group)


class _Best:
    """The best scale seen so far for every group."""

    def __init__(self, x: Any, importance: Any, bits: int, group: int | None) -> None:
        import torch

        self._x, self._importance, self._range, self._group = x, importance, RANGES[bits], group
        self.scales = torch.ones_like(x[..., 0])
        self._error = torch.full_like(self.scales, float("inf"))

    def offer(self, scales: Any) -> None:
        import torch

        scales = on_grid(scales.reshape(self.scales.shape), self._group)
        rounded = torch.round(self._x / by_group(scales)).clamp(*self._range) * by_group(scales)
        error = ((self._x - rounded) ** 2 * self._importance).sum(2)
        better = error < self._error
        self.scales = torch.where(better, scales, self.scales)
        self._error = torch.where(better, error, self._error)


def nearest(weight: Any, scales: Any, *, bits: int, group: int | None) -> QuantizedTensor:
    """The integers nearest to the weight under given scales [outputs, groups]."""
    import torch

    ints = torch.round(grouped(weight, group) / by_group(scales)).clamp(*RANGES[bits]).to(torch.int8)
    return tensor_of(ints.reshape(weight.shape), scales, bits=bits, group=group)


def tensor_of(ints: Any, scales: Any, *, bits: int, group: int | None) -> QuantizedTensor:
    """From scales [outputs, groups], whether there are groups or not."""
    kept = scales if group is not None else scales.reshape(-1)
    return QuantizedTensor(ints=ints.contiguous(), scales=kept.contiguous(), bits=bits, group=group)


def _require_finite(weight: Any) -> None:
    import torch

    if not bool(torch.isfinite(weight).all()):
        raise ValueError("the weight holds NaN or infinity")


def as_numpy(tensor: QuantizedTensor) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    return tensor.ints.numpy(), tensor.scales.numpy()
