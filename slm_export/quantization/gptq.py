"""GPTQ: rounding one column after the other, each time moving the rest of the row to make up for the error.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022: columns in
descending order of the Hessian's diagonal, groups and their scales fixed before. The Hessian is X'X / n of the inputs X
[n, inputs] a layer is given, so that tr(D H D') is the mean squared error of its outputs for a change D of its weight.
"""

from __future__ import annotations

from typing import Any

from slm_export.quantization.weights import (
    RANGES,
    QuantizedTensor,
    grouped,
    on_grid,
    quantize_searched,
    tensor_of,
)

DAMPING = 0.01  # of the mean of the Hessian's diagonal
BLOCK = 96  # columns whose errors are carried on together
BLEND = 0.5  # of the correction for inputs that are already off
BLEND_DAMPING = 0.05


def quantize_gptq(
    weight: Any, hessian: Any, *, bits: int, group: int | None, shift: Any | None = None
) -> QuantizedTensor:
    """Scales searched by the Hessian's diagonal, then GPTQ and a refit of the scales, twice.

    weight float32 [outputs, inputs], hessian float32 [inputs, inputs]. `shift` is (F - X)'X / n for the inputs F that
    the float model would give: the weight aimed at then makes up for half of what was lost before this layer.
    Raises ValueError if the weight holds NaN or infinity.
    """
    import torch

    wanted = weight if shift is None else corrected(weight, hessian, shift)
    tensor = quantize_searched(wanted, bits=bits, group=group, importance=hessian.diagonal())
    scales = tensor.scales.reshape(len(weight), -1)
    order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    carried = _inverse_factor(hessian[order][:, order])
    for _ in range(2):
        ints = _columns(wanted, order, carried, scales, bits=bits)
        scales = _refit(wanted, ints, hessian, scales, group=group)
    return tensor_of(ints, scales, bits=bits, group=group)


def corrected(weight: Any, hessian: Any, shift: Any) -> Any:
    """The weight W + BLEND * W G H^-1, G the shift, whose answers to shifted inputs lie nearer to the float model's."""
    import torch

    damped = hessian.clone()
    damped.diagonal().add_(BLEND_DAMPING * hessian.diagonal().mean())
    return weight + BLEND * torch.linalg.solve(damped, (weight @ shift).T).T


def output_error(change: Any, hessian: Any) -> float:
    """tr(D H D'): the mean squared error of the outputs, summed over them."""
    return float(((change @ hessian) * change).sum())


def _columns(weight: Any, order: Any, carried: Any, scales: Any, *, bits: int) -> Any:
    """int8 [outputs, inputs] under fixed scales [outputs, groups]; columns in `order`, each one's error carried on by
    the rows of `carried`."""
    import torch

    inputs = weight.shape[1]
    scale = scales.repeat_interleave(inputs // scales.shape[1], 1)[:, order]
    left = weight[:, order].clone()
    made = torch.empty_like(left)
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        ints, errors = _block(left[:, start:end], scale[:, start:end], carried[start:end, start:end], bits=bits)
        made[:, start:end] = ints
        left[:, end:] -= errors @ carried[start:end, end:]
    back = torch.empty_like(made)
    back[:, order] = made
    return back.to(torch.int8)


def _block(weight: Any, scale: Any, carried: Any, *, bits: int) -> tuple[Any, Any]:
    """Integers and errors of neighbouring columns; transposed, because rows lie together in memory."""
    import torch

    left, scale = weight.T.contiguous(), scale.T.contiguous()
    ints, errors = torch.empty_like(left), torch.empty_like(left)
    for j in range(len(left)):
        ints[j] = torch.round(left[j] / scale[j]).clamp_(*RANGES[bits])
        errors[j] = (left[j] - ints[j] * scale[j]) / carried[j, j]
        left[j + 1 :] -= carried[j, j + 1 :, None] * errors[j]
    return ints.T, errors.T


def _inverse_factor(hessian: Any) -> Any:
    """The upper Cholesky factor of the damped Hessian's inverse. Inputs that never were anything are left alone."""
    import torch

    damped = hessian.double()
    damped.diagonal().add_(max(DAMPING * float(damped.diagonal().mean()), 1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()


def _refit(weight: Any, ints: Any, hessian: Any, scales: Any, *, group: int | None) -> Any:
    """One Gauss-Seidel sweep over the groups' scales, minimizing tr(D H D') for fixed integers."""
    size = group or weight.shape[1]
    parts, scales = grouped(ints.float(), group), scales.clone()
    change = weight - (parts * scales[..., None]).reshape(weight.shape)
    gradient = change @ hessian
    for g in range(scales.shape[1]):
        columns, part = slice(g * size, (g + 1) * size), parts[:, g]
        against = (gradient[:, columns] * part).sum(1)
        curvature = ((part @ hessian[columns, columns]) * part).sum(1) + 1e-12
        moved = on_grid((scales[:, g] + against / curvature).clamp_min(1e-6), group)
        gradient -= (part * (moved - scales[:, g])[:, None]) @ hessian[columns]
        scales[:, g] = moved
    return scales
