"""What quantizing a Linear does to the answers, measured on the calibration set: its activations, or its 4 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from slm_export.metrics import IMPOSSIBLE
from slm_export.outputs import Tokens, all_rows
from slm_export.quantization.compressed import Compressed, quantized_activations, with_weights
from slm_export.quantization.weights import QuantizedTensor
from slm_export.quantplan import LayerPlan, QuantPlan


def activation_harm(
    compressed: Compressed,
    task: ModuleType,
    tokens: Sequence[Tokens],
    *,
    granularity: str,
    progress: Callable[[int, int], None],
) -> dict[str, float]:
    """For each Linear: the task's harm (for classifiers KL divergence, nats) when only its activations are quantized.

    Weights are the compressed model's throughout, so that only the activations' share is seen.
    """
    module = with_weights(compressed)
    expected = all_rows(task.run(module, tokens), fill=IMPOSSIBLE)
    linears = [n for n, p in compressed.plan.layers.items() if p.activations != "float"]
    harm = {}
    for done, name in enumerate(linears, 1):
        alone = QuantPlan(scheme="", layers={name: LayerPlan(bits=8, group=None, activations=granularity)})
        with quantized_activations(module, alone):
            harm[name] = task.harm(expected, all_rows(task.run(module, tokens), fill=IMPOSSIBLE))
        progress(done, len(linears))
    return harm


def weight_harm(
    compressed: Compressed,
    wider: Mapping[str, QuantizedTensor],
    task: ModuleType,
    tokens: Sequence[Tokens],
    *,
    progress: Callable[[int, int], None],
) -> dict[str, float]:
    """For each layer in `wider`: how much less harm the 4-bit model does, for each weight, when this layer alone has
    these 8 bits. What 8 bits buy, with all other layers as they will be."""
    expected = all_rows(task.run(compressed.module, tokens), fill=IMPOSSIBLE)
    module = with_weights(compressed)
    before = task.harm(expected, all_rows(task.run(module, tokens), fill=IMPOSSIBLE))
    harm = {}
    for done, (name, tensor) in enumerate(wider.items(), 1):
        layer = module.get_submodule(name)
        narrow, layer.weight.data = layer.weight.data, tensor.dequantized()
        after = task.harm(expected, all_rows(task.run(module, tokens), fill=IMPOSSIBLE))
        layer.weight.data = narrow
        harm[name] = (before - after) / tensor.ints.numel()
        progress(done, len(wider))
    return harm
