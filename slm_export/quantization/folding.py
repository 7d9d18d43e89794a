"""Scaling a layer's inputs without changing what the model answers, so that what matters most rounds best.

Lin et al., "AWQ: Activation-aware Weight Quantization", 2023, for weights, and Xiao et al., "SmoothQuant", 2022, for
inputs: multiply the columns of a Linear with s and divide what makes its input by s. Here 1/s goes into the producer's
own weights (a norm's, or a Linear's rows), and where that is possible is not looked up by architecture: a fold is a
guess that is kept if the model, run with it, answers as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slm_export.quantization.gptq import output_error
from slm_export.quantization.weights import quantize
from slm_export.records import record

EXPONENTS = (0.0, 0.15, 0.3, 0.45, 0.6)
TOLERANCE = 1e-4  # of the largest output


@record
class Fold:
    """1/s goes into the weight (and bias) of `producer`, a norm or a Linear; s into the columns of the consumers."""

    producer: str
    consumers: tuple[str, ...]


def find_folds(block: Any, run: Callable[[], Any]) -> tuple[Fold, ...]:
    """The folds of one block of a model that leave `run()`, a tensor that depends on the block, as it is.

    Norms' first, then Linears' in the order they run. A layer is a consumer of one fold at most, and the producer of
    one.
    """
    found: list[Fold] = []
    expected = run()
    for fold in _candidates(block, run):
        taken = {n for f in found for n in f.consumers}
        free = fold.producer not in {f.producer for f in found} and not taken & set(fold.consumers)
        if free and _is_neutral(block, fold, run, expected):
            found.append(fold)
    return tuple(found)


def _candidates(block: Any, run: Callable[[], Any]) -> list[Fold]:
    """Layers that are given the very tensor that a norm made; Linears of the right width behind another one."""
    made: dict[str, Any] = {}
    given: dict[str, Any] = {}
    hooks = []
    for name, module in block.named_modules():
        if _is_norm(module) or _is_linear(module):
            hooks.append(module.register_forward_hook(lambda _, args, out, n=name: _note(n, args, out, given, made)))
    run()
    for hook in hooks:
        hook.remove()
    linears = [n for n in given if _is_linear(block.get_submodule(n))]
    norms = [n for n in made if _is_norm(block.get_submodule(n))]
    behind = [Fold(producer=n, consumers=tuple(c for c in linears if given[c] is made[n])) for n in norms]
    sharing = {c: tuple(o for o in linears if given[o] is given[c]) for c in linears}
    pairs = [
        Fold(producer=p, consumers=sharing[c])
        for i, c in enumerate(linears)
        for p in reversed(linears[:i])
        if block.get_submodule(p).out_features == block.get_submodule(c).in_features and c == sharing[c][0]
    ]
    return [f for f in (*behind, *pairs) if f.consumers]


def _note(name: str, args: Any, out: Any, given: dict[str, Any], made: dict[str, Any]) -> None:
    if name not in given:  # a shared layer's first call
        given[name], made[name] = args[0], out


def _is_norm(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return type(module).__name__.endswith("Norm") and weight is not None and weight.dim() == 1


def _is_linear(module: Any) -> bool:
    import torch

    return type(module) is torch.nn.Linear


def _is_neutral(block: Any, fold: Fold, run: Callable[[], Any], expected: Any) -> bool:
    """Tried with powers of two, so that taking it back leaves every weight as it was."""
    import torch

    width = block.get_submodule(fold.consumers[0]).in_features
    scale = 2.0 ** torch.randint(-1, 2, (width,), generator=torch.Generator().manual_seed(0))
    apply(block, fold, scale)
    got = run()
    apply(block, fold, 1 / scale)
    return bool((got - expected).abs().max() <= TOLERANCE * expected.abs().max())


def apply(block: Any, fold: Fold, scale: Any) -> None:
    """Fold `scale` [inputs of the consumers] in, in place."""
    producer = block.get_submodule(fold.producer)
    producer.weight.data = producer.weight.data / (scale if producer.weight.dim() == 1 else scale[:, None])
    if getattr(producer, "bias", None) is not None:
        producer.bias.data = producer.bias.data / scale
    for name in fold.consumers:
        layer = block.get_submodule(name)
        layer.weight.data = layer.weight.data * scale


def best_scale(sizes: Any, error: Callable[[Any], float]) -> Any:
    """The s [inputs] of the least `error(s)`, of a few powers of `sizes`, the inputs' root mean squares; ones if none
    helps."""
    sizes = sizes.clamp_min(1e-6 * float(sizes.max()) + 1e-12)
    best, least = sizes**0, float("inf")
    for exponent in EXPONENTS:
        scale = sizes**exponent
        scale = scale / (scale.max() * scale.min()).sqrt()
        found = error(scale)
        if found < least:
            best, least = scale, found
    return best


def weight_error(weights: Sequence[Any], hessian: Any, scale: Any, *, bits: int, group: int | None) -> float:
    """What rounding the scaled weights to nearest does to the outputs: their squared errors, summed."""
    rounded = (quantize(w * scale, bits=bits, group=group).dequantized() / scale for w in weights)
    return sum(output_error(w - r, hessian) for w, r in zip(weights, rounded, strict=True))
