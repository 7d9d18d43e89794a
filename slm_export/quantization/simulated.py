"""The compressed model as its plan means it, eager: integers for weights, activations quantized."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slm_export.quantization import activations
from slm_export.quantization.compressed import Compressed, quantized_activations, with_weights
from slm_export.quantization.points import Forms, arguments, write
from slm_export.quantization.ranges import fake
from slm_export.quantplan import StaticRange


@contextmanager
def simulated(compressed: Compressed, traced: Callable[[], Any]) -> Iterator[Any]:
    """The module to run. `traced` gives the task's graph, traced from the compressed model's module; only static
    schemes ask for it."""
    if not compressed.plan.ranges:
        module = with_weights(compressed)
        with quantized_activations(module, compressed.plan):
            yield module
        return
    graph = write(traced(), compressed, _forms(compressed))
    yield lambda **inputs: graph(*arguments(graph, list(inputs.values())))


def _forms(compressed: Compressed) -> Forms:
    import torch

    class Fake(torch.nn.Module):
        def __init__(self, range_: StaticRange) -> None:
            super().__init__()
            self.range = range_

        def forward(self, x: Any) -> Any:
            return fake(x, self.range)

    class Linear(torch.nn.Module):
        """With what the integers stand for, given activations as the plan's layer finds them."""

        def __init__(self, name: str, layer: Any, find: Callable[[Any], Any] | None) -> None:
            super().__init__()
            tensor = compressed.tensors.get(name)
            self.weight = layer.weight if tensor is None else tensor.dequantized()
            self.bias, self.find = layer.bias, find

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.linear(x if self.find is None else self.find(x), self.weight, self.bias)

    def other(name: str, layer: Any) -> Any:
        plan, tensor = compressed.plan.layers[name], compressed.tensors.get(name)
        if isinstance(layer, torch.nn.Linear):
            return Linear(name, layer, activations.function(plan.activations, layer.in_features, plan.group))
        return None if tensor is None else torch.nn.Embedding.from_pretrained(tensor.dequantized())

    return Forms(
        quantize=Fake,
        dequantize=lambda _: torch.nn.Identity(),
        linear=lambda name, layer: Linear(name, layer, None),
        layer=other,
    )
