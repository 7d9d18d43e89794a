"""Schemes: named rules that make a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slm_export.quantization.activations import block_size
from slm_export.quantplan import LayerPlan, QuantPlan
from slm_export.records import record

# An Embedding smaller than this stays float: LiteRT folds position and segment tables into constants, and int8 would
# save less than 1 % of a usual model.
SMALLEST_EMBEDDING_BYTES = 2**20


@record
class Layer:
    """A layer that can be quantized, as found in the reference."""

    kind: str  # "linear" or "embedding"
    constant: bool = False  # its input does not depend on the text: converters fold it away
    tied: bool = False  # an embedding whose table a Linear multiplies with: both are quantized, or the tie is broken
    shape: tuple[int, int]  # [outputs, inputs], or [rows, width]


WEIGHT_BITS = {"fp32": 32, "fp16": 16, "w8a8-dynamic": 8}
NEEDS_CALIBRATION = frozenset({"w8a8-dynamic"})


def make(
    scheme: str,
    layers: Mapping[str, Layer],
    *,
    activations: Sequence[str] = ("float",),
    harm: Mapping[str, float] | None = None,
    tolerated: float = 0.0,
) -> QuantPlan:
    """The plan of `scheme`.

    `activations`: the granularities the format can run, fastest first. `harm`: for each Linear how
    much quantizing its activations at the fastest granularity does alone (see sensitivity.py). With a second
    granularity, Linears get that one, most harmed first, until the harm of the rest sums to `tolerated`. On
    MiniLM/Banking77 that takes 6 of 38 Linears, and the flips from .6 to .3 % for a quarter more time.
    """
    fine = _most_harmed(harm or {}, tolerated) if len(activations) > 1 else frozenset()
    return QuantPlan(
        scheme=scheme,
        layers={name: _layer_plan(scheme, name, layer, activations, fine) for name, layer in layers.items()},
    )


def _layer_plan(scheme: str, name: str, layer: Layer, activations: Sequence[str], fine: frozenset[str]) -> LayerPlan:
    bits = WEIGHT_BITS[scheme]
    small = 4 * layer.shape[0] * layer.shape[1] < SMALLEST_EMBEDDING_BYTES and not layer.tied
    if layer.constant or (layer.kind == "embedding" and small):
        return LayerPlan(bits=32, group=None, activations="float")
    if layer.kind == "embedding" or bits != 8:
        return LayerPlan(bits=bits, group=None, activations="float")
    finer = name in fine and (activations[1] != "per-block" or block_size(layer.shape[1]) is not None)
    return LayerPlan(bits=bits, group=None, activations=activations[1 if finer else 0])


def _most_harmed(harm: Mapping[str, float], tolerated: float) -> frozenset[str]:
    chosen: set[str] = set()
    left = sum(harm.values())
    for name in sorted(harm, key=lambda n: (-harm[n], n)):
        if left <= tolerated:
            break
        chosen.add(name)
        left -= harm[name]
    return frozenset(chosen)
