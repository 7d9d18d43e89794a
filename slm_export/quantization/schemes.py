"""Schemes: named rules that make a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

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
    tied: bool = (
        False  # an embedding whose table a Linear multiplies with, or that Linear: both alike, or the tie breaks
    )
    shape: tuple[int, int]  # [outputs, inputs], or [rows, width]


@record
class Scheme:
    bits: int  # of weights
    int8_activations: bool = False
    static_bits: int | None = None  # of activations with the ranges that calibration found


SCHEMES = {
    "fp32": Scheme(bits=32),
    "fp16": Scheme(bits=16),
    "w8": Scheme(bits=8),
    "w8a8-dynamic": Scheme(bits=8, int8_activations=True),
    "w8a8": Scheme(bits=8, int8_activations=True, static_bits=8),
    "w8a16": Scheme(bits=8, static_bits=16),
    "w4": Scheme(bits=4),
    "w4a8-dynamic": Scheme(bits=4, int8_activations=True),
}
NEEDS_CALIBRATION = frozenset({"w8a8-dynamic", "w8a8", "w8a16"})
GROUP = 32  # int4 weights that share a scale: every format has it, and 16 would cost half a bit more


def smooths(scheme: str) -> bool:
    """Whether activations are worth smoothing: they get 8 bits at run time, and weights have 8 bits to spare for it."""
    found = SCHEMES[scheme]
    return found.bits == 8 and found.int8_activations and found.static_bits is None


def make(
    scheme: str,
    layers: Mapping[str, Layer],
    *,
    activations: Sequence[str] = ("float",),
    harm: Mapping[str, float] | None = None,
    tolerated: float = 0.0,
    wider: Collection[str] = (),
    int8_group: int | None = None,
) -> QuantPlan:
    """The plan of `scheme`, but for int8 in place of int4 in the layers `wider`. int8 weights have a scale for each
    output channel, or for each `int8_group` neighbours along the input.

    `activations`: the granularities the format can run, fastest first. `harm`: for each Linear how
    much quantizing its activations at the fastest granularity does alone (see sensitivity.py). With a second
    granularity, Linears get that one, most harmed first, until the harm of the rest sums to `tolerated`. On
    MiniLM/Banking77 that takes 6 of 38 Linears, and the flips from .6 to .3 % for a quarter more time.
    """
    fine = most_harmed(harm or {}, tolerated) if len(activations) > 1 else frozenset()
    return QuantPlan(
        scheme=scheme,
        layers={
            name: _layer_plan(scheme, layer, activations, fine=name in fine, wide=name in wider, int8_group=int8_group)
            for name, layer in layers.items()
        },
    )


def _layer_plan(
    scheme: str, layer: Layer, activations: Sequence[str], *, fine: bool, wide: bool, int8_group: int | None
) -> LayerPlan:
    bits, int8_activations = SCHEMES[scheme].bits, SCHEMES[scheme].int8_activations
    small = 4 * layer.shape[0] * layer.shape[1] < SMALLEST_EMBEDDING_BYTES and not layer.tied
    if layer.constant or (layer.kind == "embedding" and small):
        return LayerPlan(bits=32, group=None, activations="float")
    if bits == 4 and (wide or layer.kind == "embedding" or layer.tied or layer.shape[1] % GROUP):
        bits = 8
    group = GROUP if bits == 4 else None
    if bits == 8 and int8_group is not None and layer.shape[1] % int8_group == 0:
        group = int8_group
    if layer.kind == "embedding" or not int8_activations:
        return LayerPlan(bits=bits, group=group, activations="float")
    finer = fine or scheme in ("w4a8-dynamic", "w8a8")  # int4 kernels have the finest only; what static ranges harm
    if finer and activations[-1] == "per-block" and bits != 4 and block_size(layer.shape[1]) is None:
        finer = False
    return LayerPlan(bits=bits, group=group, activations=activations[-1 if finer else 0])


def most_harmed(harm: Mapping[str, float], tolerated: float) -> frozenset[str]:
    """As few names as leave the harm of the rest within `tolerated`."""
    chosen: set[str] = set()
    left = sum(harm.values())
    for name in sorted(harm, key=lambda n: (-harm[n], n)):
        if left <= tolerated:
            break
        chosen.add(name)
        left -= harm[name]
    return frozenset(chosen)
