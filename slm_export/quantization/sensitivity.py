"""How much each Linear's activation quantization hurts the answers, measured on the calibration set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from slm_export.parity.metrics import kl_divergence
from slm_export.quantization.compressed import Compressed, quantized_activations, with_weights
from slm_export.quantplan import LayerPlan, QuantPlan


def activation_harm(
    compressed: Compressed,
    task: ModuleType,
    ids: Sequence[Sequence[int]],
    *,
    granularity: str,
    progress: Callable[[int, int], None],
) -> dict[str, float]:
    """For each Linear: mean KL divergence, nats, of the answers when only its activations are quantized.

    Weights are the compressed model's throughout, so that only the activations' share is seen.
    """
    module = with_weights(compressed)
    expected = task.run(module, ids)
    linears = [n for n, p in compressed.plan.layers.items() if p.activations != "float"]
    harm = {}
    for done, name in enumerate(linears, 1):
        alone = QuantPlan(scheme="", layers={name: LayerPlan(bits=8, group=None, activations=granularity)})
        with quantized_activations(module, alone):
            harm[name] = _mean_kl(expected, task.run(module, ids))
        progress(done, len(linears))
    return harm


def _mean_kl(expected: Any, got: Any) -> float:
    return float(kl_divergence(expected, got).mean())
