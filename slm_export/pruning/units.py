"""Finding what can go from a block alone, by watching the model run and by trying.

A guess is a Linear and the Linears before it that share one input and are as wide as it: up, or gate and up, before a
feed-forward's down; query, key and value before an attention's output. It is kept if leaving units out changes nothing
of what the others say, nor of the answers if these units were not heard anyway. That is tried with loud weights, so
that attention is sharp and nothing too faint to show. The narrowest unit for which it holds is what the model is made
of: one neuron, or a whole head, whose rows a model cannot miss singly. No architecture is looked up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from slm_export.outputs import Array
from slm_export.pruning.surgery import Units, columns, cut_for_now, without
from slm_export.quantization.blocks import candidates

Answer = Callable[[], Array]
TOLERANCE = 1e-4  # of the largest answer
LOUD = 3.0  # standard deviation of what Linears say while units are looked for
# What torch says of shapes that do not fit; a wrong guess may do that.
MISFITS = (RuntimeError, ValueError, IndexError)


def find_units(module: Any, answer: Answer) -> tuple[Units, ...]:
    """The units of each block of the model, in the order in which they run. `answer()` runs it on some made-up text."""
    given = _inputs(module, answer)
    found: list[Units] = []
    for guess in _guesses(module, given):
        taken = {name for units in found for name in (*units.producers, units.consumer)}
        if guess.consumer in {u.consumer for u in found} or taken & set(guess.producers):
            continue
        found += _narrowest(module, guess, given, answer, known=[u.width for u in found])
    return tuple(found)


def _guesses(module: Any, given: Mapping[str, Any]) -> Iterator[Units]:
    """Consumers with the Linears before them, in the same block, that could make their input; the nearest first."""
    for block in candidates(module):
        names = [n for n in given if n.startswith(f"{block}.")]
        for i, consumer in enumerate(names):
            width = module.get_submodule(consumer).in_features
            tried: list[tuple[str, ...]] = []
            for first in reversed(names[:i]):
                same = tuple(
                    n for n in names[:i] if given[n] is given[first] and module.get_submodule(n).out_features == width
                )
                if same and same not in tried:
                    tried.append(same)
                    yield Units(producers=same, consumer=consumer, width=1, count=width)


def _inputs(module: Any, answer: Answer) -> dict[str, Any]:
    """What each Linear is given when it first runs, in the order in which they do."""
    import torch

    given: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        given.setdefault(name, value)

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, n=name: keep(n, args[0]))
        for name, layer in module.named_modules()
        if type(layer) is torch.nn.Linear
    ]
    try:
        answer()
    finally:
        for hook in hooks:
            hook.remove()
    return given


def _narrowest(
    module: Any, guess: Units, given: Mapping[str, Any], answer: Answer, *, known: Sequence[int]
) -> list[Units]:
    """The units of the least width that the model can do without, or none.

    Heads need several Linears before them, so one alone is tried by neurons only. Heads of a model are alike: after
    neurons, of which any number could go, widths that were found before are tried first.
    """
    divisors = [w for w in range(1, guess.count // 2 + 1) if guess.count % w == 0]
    widths = divisors if len(guess.producers) > 1 else divisors[:1]
    with loud(module, guess, given):
        for width in sorted(widths, key=lambda w: (w > 1, w not in known, w)):
            units = replace(guess, width=width, count=guess.count // width)
            if _leave_alone(module, units, answer):
                return [units]
    return []


@contextmanager
def loud(module: Any, units: Units, given: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, producers are scaled to say numbers of LOUD standard deviations, and the consumer hears all of
    them: its weight is random. Small weights, as of attention that looks nowhere in particular, would hide a misfit."""
    import torch

    layers = [module.get_submodule(name) for name in (*units.producers, units.consumer)]
    whole = [(m.weight.data, None if m.bias is None else m.bias.data) for m in layers]
    try:
        with torch.inference_mode():
            scales = [LOUD / max(float(module.get_submodule(n)(given[n]).std()), 1e-9) for n in units.producers]
        for layer, scale in zip(layers, scales, strict=False):
            layer.weight.data = layer.weight.data * scale
            if layer.bias is not None:
                layer.bias.data = layer.bias.data * scale
        shape, chance = layers[-1].weight.shape, torch.Generator().manual_seed(0)
        layers[-1].weight.data = torch.randn(shape, generator=chance) / (LOUD * math.sqrt(shape[1]))
        yield
    finally:
        for layer, (weight, bias) in zip(layers, whole, strict=True):
            layer.weight.data = weight
            if bias is not None:
                layer.bias.data = bias


def _leave_alone(module: Any, units: Units, answer: Answer) -> bool:
    """Whether leaving half of them out, here and there, changes nothing of what the others say, and answers like not
    hearing them."""
    gone = sorted(np.random.default_rng(0).permutation(units.count)[: units.count // 2].tolist())
    kept = sorted(set(range(units.count)) - set(gone))
    with without(module, units, gone):
        said, expected = _heard(module, units, answer)
    try:
        with cut_for_now(module, units, kept):
            still, got = _heard(module, units, answer)
    except MISFITS:
        return False
    return close(still, said[..., columns(units, kept).numpy()]) and close(got, expected)


def _heard(module: Any, units: Units, answer: Answer) -> tuple[Array, Array]:
    """What the consumer is given when it first runs, and the answer."""
    values: list[Array] = []
    hook = module.get_submodule(units.consumer).register_forward_pre_hook(
        lambda _, args: values.append(args[0].detach().numpy().copy())
    )
    try:
        answered = answer()
    finally:
        hook.remove()
    return values[0], answered


def close(got: Array, expected: Array) -> bool:
    if got.shape != expected.shape:
        return False
    return bool(np.abs(got - expected).max() <= TOLERANCE * np.abs(expected).max())


def of_kind(units: Sequence[Units], kind: str) -> list[Units]:
    return [u for u in units if u.kind == kind]
