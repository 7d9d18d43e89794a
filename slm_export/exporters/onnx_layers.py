"""Quantized layers as torch modules that torch.onnx writes as ONNX Runtime's operators, integers and all.

They only describe a graph: outside torch.onnx.export they compute nothing. Buffers are named `<layer>.ints` and
`<layer>.scales`, and so are the initializers.
"""

from __future__ import annotations

from typing import Any

import torch

from slm_export.exporters.common import copy_structure, replace_layers
from slm_export.quantization.activations import block_size
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.weights import QuantizedTensor
from slm_export.quantplan import StaticRange

FLOAT_ACTIVATIONS, INT8_ACTIVATIONS = 0, 4  # MatMulNBits accuracy levels


def quantized_layer(
    compressed: Compressed, name: str, layer: torch.nn.Module, *, unsigned: bool = False
) -> torch.nn.Module | None:
    """The module that stands for layer `name` under the plan, or None where the plan keeps it float; int8 weights that
    are multiplied as such are stored offset by 128 if `unsigned`."""
    tensor = compressed.tensors.get(name)
    if tensor is None:
        return None
    if isinstance(layer, torch.nn.Embedding):
        return Int8Embedding(tensor, factor=float(getattr(layer, "embed_scale", 1.0)))
    activations = compressed.plan.layers[name].activations
    if activations == "per-tensor":
        return DynamicLinear(tensor, layer.bias, unsigned=unsigned)
    if activations == "float" and tensor.group is None and block_size(tensor.ints.shape[1]) is None:
        return DequantizedLinear(tensor, layer.bias, unsigned=unsigned)
    return BlockLinear(tensor, layer.bias, FLOAT_ACTIVATIONS if activations == "float" else INT8_ACTIVATIONS)


class Quantize(torch.nn.Module):
    """To the range's values, unsigned: ONNX Runtime multiplies uint8 fastest."""

    OPERATOR = "QuantizeLinear"

    def __init__(self, range_: StaticRange) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(range_.scale))
        self.dtype = torch.uint8 if range_.bits == 8 else torch.uint16
        self.register_buffer("zero", torch.tensor(range_.zero_point - range_.lowest, dtype=self.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.onnx.ops.symbolic(self.OPERATOR, (x, self.scale, self.zero), dtype=self.dtype, shape=x.shape)


class Dequantize(Quantize):
    OPERATOR = "DequantizeLinear"

    def __init__(self, range_: StaticRange) -> None:
        super().__init__(range_)
        self.dtype = torch.float32


class DynamicLinear(torch.nn.Module):
    """int8 weights, uint8 activations with one range per tensor: standard operators, fused by the runtime."""

    weight = None  # T5 looks whether there is one

    def __init__(self, tensor: QuantizedTensor, bias: Any, *, unsigned: bool = False) -> None:
        super().__init__()
        self.offset, ints = _stored(tensor, unsigned=unsigned)
        self.register_buffer("ints", ints)
        self.register_buffer("zero_point", torch.tensor(self.offset, dtype=ints.dtype))
        self.register_buffer("scales", tensor.scales)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quantized, scale, zero = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear",
            (x,),
            dtypes=(torch.uint8, torch.float32, torch.uint8),
            shapes=(x.shape, (), ()),
        )
        shape = (*x.shape[:-1], self.ints.shape[1])
        inputs = (quantized, self.ints, zero, self.zero_point)
        sums = torch.onnx.ops.symbolic("MatMulInteger", inputs, dtype=torch.int32, shape=shape)
        y = sums.to(torch.float32) * (scale * self.scales)
        return y if self.bias is None else y + self.bias


def _stored(tensor: QuantizedTensor, *, unsigned: bool) -> tuple[int, torch.Tensor]:
    """What the integers are offset by, and they [inputs, outputs]."""
    ints = tensor.ints.T.contiguous()
    return (128, (ints.to(torch.int16) + 128).to(torch.uint8)) if unsigned else (0, ints)


def blocks(tensor: QuantizedTensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """As MatMulNBits takes them: uint8 [outputs, blocks, bytes of a block], two int4 to a byte, offset by half the
    range; scales [outputs, blocks]; how many inputs make a block. A channel's scale is repeated."""
    outputs, inputs = tensor.ints.shape
    block = tensor.group or block_size(inputs)
    assert block is not None, "the plan gives per-block activations only to widths that a block divides"
    offset = (tensor.ints.to(torch.int16) + 2 ** (tensor.bits - 1)).to(torch.uint8)
    offset = offset.reshape(outputs, inputs // block, block)
    ints = offset if tensor.bits == 8 else offset[..., 0::2] | (offset[..., 1::2] << 4)
    scales = tensor.scales if tensor.group else tensor.scales[:, None].repeat(1, inputs // block)
    return ints, scales.contiguous(), block


class BlockLinear(torch.nn.Module):
    """int4 weights in their groups, or int8 in blocks that repeat the channel's scale; activations float, or int8 with
    one range per block."""

    weight = None  # T5 looks whether there is one

    def __init__(self, tensor: QuantizedTensor, bias: Any, accuracy_level: int) -> None:
        super().__init__()
        outputs, inputs = tensor.ints.shape
        ints, scales, block = blocks(tensor)
        self.register_buffer("ints", ints)
        self.register_buffer("scales", scales)
        self.bias = bias
        self.attributes = {
            "K": inputs, "N": outputs, "bits": tensor.bits, "block_size": block, "accuracy_level": accuracy_level,
        }  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (x, self.ints, self.scales, None, None, self.bias),
            self.attributes,
            dtype=torch.float32,
            shape=(*x.shape[:-1], self.attributes["N"]),
            version=1,
        )


class DequantizedLinear(torch.nn.Module):
    """int8 weights made float by the graph: for float activations of widths that no block divides, and between static
    ranges, where ONNX Runtime multiplies integers instead."""

    weight = None  # T5 looks whether there is one

    def __init__(self, tensor: QuantizedTensor, bias: Any, *, unsigned: bool = False) -> None:
        super().__init__()
        self.offset, ints = _stored(tensor, unsigned=unsigned)
        self.register_buffer("ints", ints)
        self.register_buffer("scales", tensor.scales)
        self.register_buffer("zeros", torch.full_like(tensor.scales, self.offset, dtype=ints.dtype))
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.onnx.ops.symbolic(
            "DequantizeLinear",
            (self.ints, self.scales, self.zeros),
            {"axis": 1},
            dtype=torch.float32,
            shape=self.ints.shape,
        )
        y = x @ weight
        return y if self.bias is None else y + self.bias


class Int8Embedding(torch.nn.Module):
    """Looks up int8 rows and their scales, and multiplies only what was looked up; and by `factor`, as Gemma does."""

    def __init__(self, tensor: QuantizedTensor, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("ints", tensor.ints)
        self.register_buffer("scales", tensor.scales if tensor.group else tensor.scales[:, None].contiguous())
        self.group = tensor.group

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = torch.nn.functional.embedding(ids, self.ints).to(torch.float32)
        scales = torch.nn.functional.embedding(ids, self.scales)
        if self.group is None:
            return _times(rows * scales, self.factor)
        found = (rows.reshape(*ids.shape, -1, self.group) * scales[..., None]).reshape(*ids.shape, -1)
        return _times(found, self.factor)


def _times(rows: torch.Tensor, factor: float) -> torch.Tensor:
    return rows if factor == 1 else rows * factor


class TiedEmbedding(torch.nn.Module):
    """Looks up in the integers that the product over the vocabulary multiplies with, so that they are stored once."""

    def __init__(self, head: DynamicLinear | BlockLinear | DequantizedLinear, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.heads = (head,)  # not a submodule: the integers keep the head's name

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        head, rows = self.heads[0], ids.flatten()
        scales = head.scales.index_select(0, rows)
        if isinstance(head, BlockLinear):
            found = (head.ints.index_select(0, rows).to(torch.float32) - 128) * scales[:, :, None]
        else:
            found = head.ints.index_select(1, rows).T.to(torch.float32)
            found = (found - head.offset if head.offset else found) * scales[:, None]
        return _times(found.reshape(*ids.shape, -1), self.factor)


def tie(embedding: torch.nn.Module, head: torch.nn.Module, tensors: tuple[Any, Any]) -> torch.nn.Module:
    """What looks up in `head` where both are quantized and `tensors`, the embedding's and the head's, are the same; the
    embedding itself elsewhere."""
    quantized = isinstance(head, (DynamicLinear, BlockLinear, DequantizedLinear))
    if not quantized or not isinstance(embedding, Int8Embedding):
        return embedding
    same = all(torch.equal(getattr(tensors[0], part), getattr(tensors[1], part)) for part in ("ints", "scales"))
    return TiedEmbedding(head, embedding.factor) if same else embedding


def with_layers(compressed: Compressed, *, unsigned: bool = False) -> Any:
    """A copy of the module with these layers in place of those that the plan quantizes, and recurrent operators."""
    from slm_export.exporters.onnx_recurrent import recurrent_operator

    def layer_for(name: str, layer: Any) -> Any:
        return recurrent_operator(layer) or quantized_layer(compressed, name, layer, unsigned=unsigned)

    module = copy_structure(compressed.module)
    replace_layers(module, layer_for)
    return module


def tie_lookups(module: Any, compressed: Compressed) -> Any:
    """Lookups in a table that a Linear multiplies with read the Linear's integers, in place."""
    layers = dict(compressed.module.named_modules())
    heads = {id(m.weight): n for n, m in layers.items() if isinstance(m, torch.nn.Linear)}
    for name, layer in layers.items():
        head = heads.get(id(layer.weight)) if isinstance(layer, torch.nn.Embedding) else None
        if head is not None:
            tensors = compressed.tensors.get(name), compressed.tensors.get(head)
            module.set_submodule(name, tie(module.get_submodule(name), module.get_submodule(head), tensors))
    return module
