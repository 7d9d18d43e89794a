"""Mixed precision: which 4-bit layers get 8 bits, and the integers of a plan that says so."""

from __future__ import annotations

from collections.abc import Mapping

from slm_export.quantization.rounding import Rounded
from slm_export.quantization.weights import QuantizedTensor
from slm_export.quantplan import QuantPlan


def by_sensitivity(errors: Mapping[str, float]) -> list[str]:
    """Layers, those first where a weight's 4 bits err most in the outputs: where 8 bits buy most for their bytes."""
    return sorted(errors, key=lambda n: (-errors[n], n))


def most_sensitive(rounded: Rounded, share: float) -> list[str]:
    """Layers in the order of `by_sensitivity`, as many as fit into `share` (0 to 1) of all weights of 4 bits.

    One that is too large for what is left is passed over.
    """
    sizes = {n: rounded.tensors[n].ints.numel() for n in rounded.errors}
    left, chosen = share * sum(sizes.values()), []
    for name in by_sensitivity(rounded.errors):
        if sizes[name] <= left:
            left -= sizes[name]
            chosen.append(name)
    return chosen


def tensors_of(rounded: Rounded, plan: QuantPlan) -> dict[str, QuantizedTensor]:
    """The integers that the plan's bits ask for, layer by layer."""
    return {
        name: rounded.wider[name] if name in rounded.wider and plan.layers[name].bits == 8 else tensor
        for name, tensor in rounded.tensors.items()
    }
