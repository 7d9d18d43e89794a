"""Linears that LiteRT's converter would fold with what follows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOWEST = -3.4028234663852886e38  # of float32


def prevent_folding(graph: Any, inputs: Mapping[str, Any]) -> None:
    """Put a maximum with the lowest float behind every Linear whose output meets another layer's parameters next, in
    place. `inputs` are sample inputs of the graph, to see what follows what.

    Of W (V x + b) + c the converter (litert-torch 0.10) makes W V x + (W b + c), and of (V x + b) * g, in batches,
    (g V) x + g b: with the floats V and W, which the file no longer holds once they are quantized. ALBERT's hidden
    states (its embeddings are two Linears in a row) were off by 4e-4 with 4-bit weights, and MobileBERT (NoNorm) had
    to be refused. Remove when the converter can be told not to.
    """
    from torch.nn import Linear

    followed = _followed(graph, inputs)
    for module in list(graph.modules()):
        for name, child in module.named_children():
            if isinstance(child, Linear) and child in followed:
                setattr(module, name, _bounded(child))


def held_apart(x: Any) -> Any:
    """The same, of another operator: a maximum with the lowest float."""
    return x.clamp(min=LOWEST)


def _followed(graph: Any, inputs: Mapping[str, Any]) -> set[Any]:
    """Linears whose output is an argument beside a parameter."""
    import torch
    from torch.overrides import TorchFunctionMode

    by_weight = {id(m.weight): m for m in graph.modules() if isinstance(m, torch.nn.Linear)}
    made: dict[int, tuple[Any, Any]] = {}  # by an output's id; the output is held so that its id stays its own
    found: set[Any] = set()

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if any(isinstance(a, torch.nn.Parameter) for a in args):
                found.update(made[id(a)][0] for a in args if id(a) in made)
            out = function(*args, **(kwargs or {}))
            if function is torch.nn.functional.linear and id(args[1]) in by_weight:
                made[id(out)] = by_weight[id(args[1])], out
            return out

    with torch.no_grad(), Watch():
        graph(**inputs)
    return found


def _bounded(linear: Any) -> Any:
    import torch

    class Bounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, x: Any) -> Any:
            return held_apart(self.linear(x))

    return Bounded()
