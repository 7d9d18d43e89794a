"""QuantPlan: how each layer is quantized. A scheme makes one (quantization/schemes.py), exporters only lower it.

Granularities of activations, as fake-quantized in quantization/activations.py:

    float       not quantized
    per-token   int8, asymmetric, one range per token (XNNPACK, LiteRT)
    per-tensor  uint8, asymmetric, one range per tensor (ONNX DynamicQuantizeLinear)
    per-block   int8, symmetric, one range per block along the input, the weights' group where they have one (ONNX
                MatMulNBits, accuracy level 4)
    static      int8 or int16, asymmetric, one range per tensor that calibration found: those of the Linear's input
                and output are among the plan's `ranges`
"""

from __future__ import annotations

from dataclasses import field

from slm_export.records import record


@record
class StaticRange:
    """Signed integers of `bits` bits stand for `(value - zero_point) * scale`."""

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def lowest(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        return (1 << (self.bits - 1)) - 1


@record
class LayerPlan:
    bits: int  # of a weight: 32, 16, 8 or 4
    group: int | None  # weights that share a scale along the input; None: one scale per output channel or row
    activations: str


@record
class QuantPlan:
    """`ranges` are those of activations, by point of the graph (quantization/points.py), of static schemes alone;
    `kept_float` the points that got none, with the harm that quantizing them alone does to the answers; `masked` those
    that hold the mask of padding, which no range could tell from the rest, or that it is put into next."""

    scheme: str
    layers: dict[str, LayerPlan]
    ranges: dict[str, StaticRange] = field(default_factory=dict)
    kept_float: dict[str, float] = field(default_factory=dict)
    masked: tuple[str, ...] = ()

    def weights_only(self) -> QuantPlan:
        """The same integers with float activations: the plan of the twin that shows lowering loss alone."""
        layers = {n: LayerPlan(bits=p.bits, group=p.group, activations="float") for n, p in self.layers.items()}
        return QuantPlan(scheme=self.scheme, layers=layers)

    @property
    def quantizes_activations(self) -> bool:
        return any(p.activations != "float" for p in self.layers.values())
