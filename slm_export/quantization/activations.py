"""Activations as the runtimes quantize them at run time, simulated in eager PyTorch.

Each function takes float32 [batch, ..., features], quantizes every sample of the batch on its own, and gives back
float32. They are what "compressed eager" means for a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STEPS = 255
SMALLEST = 1e-12


def _asymmetric(x: Any, dims: tuple[int, ...]) -> Any:
    import torch

    low = x.amin(dims, keepdim=True).clamp_max(0)
    high = x.amax(dims, keepdim=True).clamp_min(0)
    scale = ((high - low) / STEPS).clamp_min(SMALLEST)
    zero = torch.round(-low / scale).clamp(0, STEPS)
    return ((torch.round(x / scale) + zero).clamp(0, STEPS) - zero) * scale


def per_token(x: Any) -> Any:
    """One range per token (the last dimension), zero always representable."""
    return _asymmetric(x, (-1,))


def per_tensor(x: Any) -> Any:
    """One range per sample."""
    return _asymmetric(x, tuple(range(1, x.dim())))


def per_block(x: Any, *, block: int) -> Any:
    """One symmetric range per `block` features; `block` divides the number of features."""
    import torch

    y = x.reshape(*x.shape[:-1], -1, block)
    scale = (y.abs().amax(-1, keepdim=True) / 127).clamp_min(SMALLEST)
    return (torch.round(y / scale) * scale).reshape(x.shape)


def block_size(features: int) -> int | None:
    """The block a MatMulNBits of this input width uses: the largest of 128, 64, 32, 16 that divides it, or None.

    Larger blocks carry fewer repeated scales and run faster; on MiniLM 128 answered as well as 32.
    """
    return next((b for b in (128, 64, 32, 16) if features % b == 0), None)


def function(granularity: str, features: int, group: int | None = None) -> Callable[[Any], Any] | None:
    """The function for a plan's `activations`, or None for float. `group` is that of the weights."""
    if granularity == "per-block":
        block = group or block_size(features)
        if block is None:
            raise ValueError(f"no block size divides {features}")
        return lambda x: per_block(x, block=block)
    return {"float": None, "per-token": per_token, "per-tensor": per_tensor}[granularity]
