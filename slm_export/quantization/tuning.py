"""`--effort high`: scales and norms of a rounded model learn from the float reference; its integers stay.

A scale is trained as its relative change u, with W = grid(s0 (1 + u)) * integers, straight through the grid's rounding
(Bengio et al., 2013); a norm's weight likewise, in units of its mean size. Activations are float meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

from slm_export.distillation import Batching, Distilled, Part, Teacher, distill
from slm_export.distillation.losses import Answers, loss_of
from slm_export.outputs import Tokens
from slm_export.quantization.compressed import Compressed, with_weights
from slm_export.quantization.weights import QuantizedTensor, grouped, on_grid
from slm_export.tasks.encoder import feed

LEARNING_RATE = 5e-4  # of relative changes; 2e-4 and 7e-4 came out alike on MiniLM, 2e-3 did harm
PASSES = 2
LESSONS = 40_000  # tokens, of a model that learns from each; read once: a second pass brings a sixth of the gain


def tune(
    compressed: Compressed,
    reference: Any,
    task: ModuleType,
    tokens: Sequence[Tokens],
    *,
    batching: Batching,
    progress: Callable[[int, int], None],
) -> tuple[Compressed, Distilled]:
    """The same integers with other scales, and other norms among the floats; and how it went. Layers of 8 bits stay as
    they are."""
    import torch

    module = with_weights(compressed).requires_grad_(False)
    narrow = {n: compressed.tensors[n] for n, p in compressed.plan.layers.items() if p.bits == 4}
    norms = {n: p for n, p in module.named_parameters() if _is_norm(module, n)}
    latents = {n: torch.zeros_like(t.scales, requires_grad=True) for n, t in narrow.items()}
    shifts = {n: torch.zeros_like(p, requires_grad=True) for n, p in norms.items()}
    names = tuple(task.OUTPUTS)

    def weights() -> dict[str, Any]:
        made = {f"{n}.weight": _scaled().apply(_scales(t, latents[n]), t) for n, t in narrow.items()}
        return made | {n: _shifted(p, shifts[n]) for n, p in norms.items()}

    def student(part: Part) -> Answers:
        result = torch.func.functional_call(module, weights(), kwargs=feed(part))
        return {n: result[n] for n in names}

    def teacher(part: Part) -> Answers:
        result = reference(**feed(part))
        return {n: result[n] for n in names}

    loss = loss_of(task.OUTPUTS, task.TAUGHT_BY)
    went = distill(
        student=student,
        teacher=Teacher(teacher),
        parameters=[*latents.values(), *shifts.values()],
        samples=tokens,
        loss=loss,
        judge=loss,
        passes=1 if batching.by_tokens else PASSES,
        learning_rate=LEARNING_RATE,
        temperature=1.0,
        batching=batching,
        progress=progress,
    )
    with torch.no_grad():
        scaled = {n: replace(t, scales=_scales(t, latents[n])) for n, t in narrow.items()}
        floats = {n: _shifted(p, shifts[n]).detach() for n, p in norms.items()}
    return replace(compressed, tensors=compressed.tensors | scaled, floats=compressed.floats | floats), went


def _is_norm(module: Any, parameter: str) -> bool:
    owner, _, kind = parameter.rpartition(".")
    return kind == "weight" and "norm" in type(module.get_submodule(owner)).__name__.lower()


def _scales(tensor: QuantizedTensor, latent: Any) -> Any:
    """On the grid that every format holds; the gradient goes past it."""
    wanted = tensor.scales * (1 + latent)
    return wanted + (on_grid(wanted, tensor.group) - wanted).detach()


@cache
def _scaled() -> Any:
    """Integers times scales. Autograd would keep the integers as floats, a second model's worth of memory."""
    import torch

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, scales: Any, tensor: QuantizedTensor) -> Any:
            ctx.tensor = tensor
            return replace(tensor, scales=scales).dequantized()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            tensor = ctx.tensor
            by_weight = grouped(gradient, tensor.group) * grouped(tensor.ints.float(), tensor.group)
            return by_weight.sum(-1).reshape(tensor.scales.shape), None

    return Scaled


def _shifted(norm: Any, shift: Any) -> Any:
    return norm + norm.abs().mean() * shift
