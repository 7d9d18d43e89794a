"""Lookups in quantized tables, as ONNX graphs make them."""

import pytest
import torch

from slm_export.exporters.onnx_layers import BlockLinear, Int8Embedding, quantized_layer, tie
from slm_export.quantization.weights import quantize


@pytest.fixture
def table():
    torch.manual_seed(0)
    return torch.randn(40, 64)


@pytest.mark.parametrize("group", [None, 32])
def test_rows_are_the_integers_times_scales_times_the_factor_gemma_has(table, group):
    tensor, ids = quantize(table, group=group), torch.tensor([[3, 39, 0]])
    expected = tensor.dequantized()[ids] * 8
    assert torch.equal(Int8Embedding(tensor, factor=8.0)(ids), expected)
    head = BlockLinear(tensor, None, accuracy_level=0)
    tied = tie(Int8Embedding(tensor, factor=8.0), head, (tensor, tensor))
    assert not list(tied.buffers()) and torch.allclose(tied(ids), expected, atol=1e-6)


def test_a_lookup_keeps_the_factor_of_the_layer_it_stands_for(table):
    from slm_export.quantization.compressed import Compressed
    from slm_export.quantplan import LayerPlan, QuantPlan

    layer = torch.nn.Embedding.from_pretrained(table)
    layer.embed_scale = torch.tensor(8.0)
    plan = QuantPlan(scheme="w8", layers={"table": LayerPlan(bits=8, group=None, activations="float")})
    compressed = Compressed(module=None, plan=plan, tensors={"table": quantize(table)})
    made = quantized_layer(compressed, "table", layer)
    assert made.factor == 8
