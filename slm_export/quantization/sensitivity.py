"""How much each Linear's activation quantization hurts the answers, measured on the calibration set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from slm_export.metrics import IMPOSSIBLE
from slm_export.outputs import Tokens, all_rows
from slm_export.quantization.compressed import Compressed, quantized_activations, with_weights
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
