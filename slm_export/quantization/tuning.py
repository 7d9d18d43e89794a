"""`--effort high`: scales and norms of a rounded model learn from the float reference; its integers stay.

A scale is trained as its relative change u, with W = grid(s0 (1 + u)) * integers, straight through the grid's rounding
(Bengio et al., 2013); a norm's weight likewise, in units of its mean size. Activations are float meanwhile.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from types import ModuleType
from typing import Any

from slm_export.distillation import LOSSES, STEP, Answers, Distilled, Part, distill
from slm_export.outputs import Tokens
from slm_export.quantization.compressed import put_floats
from slm_export.quantization.rounding import Rounded
from slm_export.quantization.weights import QuantizedTensor, by_group, grouped, on_grid
from slm_export.tasks.encoder import feed

LEARNING_RATE = 5e-4  # of relative changes; 2e-4 and 7e-4 came out alike on MiniLM, 2e-3 did harm
PASSES = 2
LESSONS = 40_000  # tokens, of a model that learns from each: two passes are about 150 steps of 512, enough for SmolLM2


def tune(
    module: Any,
    reference: Any,
    rounded: Rounded,
    task: ModuleType,
    tokens: Sequence[Tokens],
    *,
    size: int = STEP,
    progress: Callable[[int, int], None],
) -> tuple[Rounded, Distilled]:
    """The same integers with other scales, and other norms among the floats; and how it went. Layers of 8 bits stay as
    they are. `module` is what was rounded: the reference's own, or what pruning left of it; `size` how many samples a
    step sees."""
    import torch

    module = _started(module, rounded)
    narrow = {n: t for n, t in rounded.tensors.items() if t.bits == 4}
    norms = {n: p for n, p in module.named_parameters() if _is_norm(module, n)}
    latents = {n: torch.zeros_like(t.scales, requires_grad=True) for n, t in narrow.items()}
    shifts = {n: torch.zeros_like(p, requires_grad=True) for n, p in norms.items()}

    def weights() -> dict[str, Any]:
        made = {f"{n}.weight": _weight(t, latents[n]) for n, t in narrow.items()}
        return made | {n: _shifted(p, shifts[n]) for n, p in norms.items()}

    names, kind = tuple(task.OUTPUTS), LOSSES[task.TAUGHT_BY]

    def student(part: Part) -> Answers:
        result = torch.func.functional_call(module, weights(), kwargs=feed(part))
        return {n: result[n] for n in names}

    def teacher(part: Part) -> Answers:
        with torch.no_grad():
            result = reference(**feed(part))
        return {n: result[n] for n in names}

    def loss(expected: Answers, got: Answers, temperature: float) -> Any:
        return sum(kind(expected[n], got[n], temperature) for n in names) / len(names)

    went = distill(
        student=student,
        teacher=teacher,
        parameters=[*latents.values(), *shifts.values()],
        samples=tokens,
        loss=loss,
        judge=loss,
        passes=PASSES,
        learning_rate=LEARNING_RATE,
        temperature=1.0,
        size=size,
        progress=progress,
    )
    with torch.no_grad():
        scaled = {n: replace(t, scales=_scales(t, latents[n])) for n, t in narrow.items()}
        floats = {n: _shifted(p, shifts[n]).detach() for n, p in norms.items()}
    return replace(rounded, tensors=rounded.tensors | scaled, floats=rounded.floats | floats), went


def lessons(samples: Sequence[Tokens]) -> Sequence[Tokens]:
    """For a model that every token teaches: the first samples, up to LESSONS tokens, and one at least."""
    ends = accumulate(len(sample.input_ids) for sample in samples)
    return samples[: max(1, sum(end <= LESSONS for end in ends))]


def _started(module: Any, rounded: Rounded) -> Any:
    module = copy.deepcopy(module)
    put_floats(module, rounded.floats)
    for name, tensor in rounded.tensors.items():
        module.get_submodule(name).weight.data = tensor.dequantized()
    return module


def _is_norm(module: Any, parameter: str) -> bool:
    owner, _, kind = parameter.rpartition(".")
    return kind == "weight" and "norm" in type(module.get_submodule(owner)).__name__.lower()


def _scales(tensor: QuantizedTensor, latent: Any) -> Any:
    """On the grid that every format holds; the gradient goes past it."""
    wanted = tensor.scales * (1 + latent)
    return wanted + (on_grid(wanted, tensor.group) - wanted).detach()


def _weight(tensor: QuantizedTensor, latent: Any) -> Any:
    scales = by_group(_scales(tensor, latent))
    return (grouped(tensor.ints.float(), tensor.group) * scales).reshape(tensor.ints.shape)


def _shifted(norm: Any, shift: Any) -> Any:
    return norm + norm.abs().mean() * shift
