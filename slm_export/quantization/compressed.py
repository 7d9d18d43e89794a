"""Compressed: the reference's graph with integer weights and scales, on disk between stages and in eager PyTorch."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from functools import partial
from typing import Any

from slm_export.quantization import activations
from slm_export.quantization.schemes import Layer
from slm_export.quantization.weights import QuantizedTensor
from slm_export.quantplan import QuantPlan
from slm_export.records import record


@record
class Compressed:
    """`module` is the reference's own module (float weights), or what pruning left of it; `tensors` are the integers of
    the plan's layers of 8 bits and fewer, `floats` the parameters that are others than the module's for their sake."""

    module: Any
    plan: QuantPlan
    tensors: dict[str, QuantizedTensor]
    floats: dict[str, Any] = field(default_factory=dict)


def find_layers(module: Any, run: Callable[[int], Any]) -> dict[str, Layer]:
    """Every Linear and Embedding of a torch module by its qualified name.

    `run(n)` answers the n-th of two different samples of one length: a Linear that is given the same both times is
    constant, such as DeBERTa's projections of its relative positions.
    """
    import torch

    kinds = {torch.nn.Linear: "linear", torch.nn.Embedding: "embedding"}
    layers = {name: m for name, m in module.named_modules() if type(m) in kinds or _is_plain_lookup(m)}
    linears = {name: m for name, m in layers.items() if type(m) is torch.nn.Linear}
    first, second = (_first_inputs(linears, partial(run, n)) for n in (0, 1))
    constant = {name for name in first if first[name] == second[name]}
    multiplied = {id(m.weight) for m in linears.values()}
    looked_up = {id(m.weight) for name, m in layers.items() if name not in linears}
    return {
        name: Layer(
            kind=kinds.get(type(m), "embedding"),
            shape=tuple(m.weight.shape),
            constant=name in constant,
            tied=id(m.weight) in (looked_up if name in linears else multiplied),
        )
        for name, m in layers.items()
    }


def _is_plain_lookup(module: Any) -> bool:
    """BART's own embedding scales its rows, usually by one; Gemma's by a buffer, as its graph's builder knows."""
    scale = getattr(module, "embed_scale", None)
    scaled = bool(scale == 1.0) or getattr(scale, "ndim", None) == 0
    return hasattr(module, "num_embeddings") and scaled


def _first_inputs(layers: dict[str, Any], run: Callable[[], Any]) -> dict[str, bytes]:
    """A digest of what each layer is given when it first runs; the tensors together would fill the memory."""
    found: dict[str, bytes] = {}

    def keep(name: str, value: Any) -> None:
        if name not in found:
            found[name] = hashlib.sha256(value.detach().contiguous().numpy()).digest()

    hooks = [m.register_forward_pre_hook(lambda _, args, n=n: keep(n, args[0])) for n, m in layers.items()]
    run()
    for hook in hooks:
        hook.remove()
    return found


def put_floats(module: Any, floats: Mapping[str, Any]) -> None:
    """Give the module, in place, the float parameters that folding changed."""
    for name, value in floats.items():
        module.get_parameter(name).data = value


def with_weights(compressed: Compressed) -> Any:
    """A copy of the module whose weights are what the plan's integers (or half floats) stand for, as float32."""
    import torch

    replaced = [compressed.module.get_submodule(n).weight for n, p in compressed.plan.layers.items() if p.bits <= 16]
    module = copy.deepcopy(compressed.module, {id(weight): weight for weight in replaced})
    put_floats(module, compressed.floats)
    made: dict[int, Any] = {}  # tied weights stay one
    for name, layer in compressed.plan.layers.items():
        target = module.get_submodule(name)
        if layer.bits <= 16 and id(target.weight) not in made:
            values = target.weight.data.half().float() if layer.bits == 16 else compressed.tensors[name].dequantized()
            made[id(target.weight)] = torch.nn.Parameter(values, requires_grad=target.weight.requires_grad)
        if layer.bits <= 16:
            target.weight = made[id(target.weight)]
    return module


@contextmanager
def quantized_activations(module: Any, plan: QuantPlan) -> Iterator[None]:
    """Within the block, the inputs of every Linear are fake-quantized as the plan says."""
    import torch

    hooks = []
    for name, layer in plan.layers.items():
        target = module.get_submodule(name)
        if not isinstance(target, torch.nn.Linear):
            continue
        fake = activations.function(layer.activations, target.in_features, layer.group)
        if fake is not None:
            hooks.append(target.register_forward_pre_hook(lambda _, args, fake=fake: (fake(args[0]), *args[1:])))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
