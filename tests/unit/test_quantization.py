import pytest
import torch

from slm_export.quantization import activations
from slm_export.quantization.schemes import Layer, make
from slm_export.quantization.weights import quantize

LAYERS = {
    "words": Layer(kind="embedding", shape=(30000, 64)),
    "positions": Layer(kind="embedding", shape=(512, 64)),
    "up": Layer(kind="linear", shape=(256, 64)),
    "down": Layer(kind="linear", shape=(64, 256)),
    "odd": Layer(kind="linear", shape=(64, 50)),
}


def test_fp32_leaves_everything_float():
    plan = make("fp32", LAYERS, activations=("per-tensor", "per-block"))
    assert {p.bits for p in plan.layers.values()} == {32} and not plan.quantizes_activations


def test_int8_plan_quantizes_linears_and_large_tables():
    plan = make("w8a8-dynamic", LAYERS, activations=("per-token",))
    assert {n: (p.bits, p.activations) for n, p in plan.layers.items()} == {
        "words": (8, "float"),
        "positions": (32, "float"),
        "up": (8, "per-token"),
        "down": (8, "per-token"),
        "odd": (8, "per-token"),
    }


def test_the_most_harmed_layers_get_the_finer_granularity_until_little_harm_is_left():
    harm = {"up": 1e-6, "down": 3e-4, "odd": 2e-4}
    plan = make("w8a8-dynamic", LAYERS, activations=("per-tensor", "per-block"), harm=harm, tolerated=1e-4)
    kinds = {n: plan.layers[n].activations for n in harm}
    assert kinds == {"up": "per-tensor", "down": "per-block", "odd": "per-tensor"}, "50 inputs fit no block"


def test_no_harm_no_finer_layer():
    plan = make(
        "w8a8-dynamic", LAYERS, activations=("per-tensor", "per-block"), harm={"up": 4e-5, "down": 4e-5}, tolerated=1e-4
    )
    assert "per-block" not in {p.activations for p in plan.layers.values()}


def test_plans_of_two_formats_have_the_same_integers_in_mind():
    token = make("w8a8-dynamic", LAYERS, activations=("per-token",))
    tensor = make("w8a8-dynamic", LAYERS, activations=("per-tensor", "per-block"), harm={"down": 1.0})
    assert {n: (p.bits, p.group) for n, p in token.layers.items()} == {
        n: (p.bits, p.group) for n, p in tensor.layers.items()
    }
    assert token.weights_only() == tensor.weights_only()


def test_weights_round_to_the_nearest_of_255_steps_of_their_channel():
    torch.manual_seed(0)
    weight = torch.randn(5, 64) * torch.tensor([1e-4, 0.1, 1.0, 10.0, 1e3])[:, None]
    got = quantize(weight)
    assert got.ints.dtype == torch.int8 and int(got.ints.min()) >= -127
    assert (got.ints.abs().amax(dim=1) == 127).all()
    assert ((got.dequantized() - weight).abs() <= got.scales[:, None] * 0.5001).all()


def test_a_channel_of_zeros_has_a_positive_scale():
    got = quantize(torch.zeros(2, 8))
    assert (got.scales > 0).all() and not got.ints.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantize(torch.tensor([[1.0, bad]]))


@pytest.mark.parametrize(
    "fake", [activations.per_token, activations.per_tensor, lambda x: activations.per_block(x, block=16)]
)
def test_activations_move_by_no_more_than_half_a_step(fake):
    torch.manual_seed(0)
    x = torch.randn(3, 7, 32) * 4
    step = (x.amax() - x.amin()) / 255
    assert (fake(x) - x).abs().max() <= step and (fake(torch.zeros_like(x)) == 0).all()


def test_per_tensor_ranges_are_each_samples_own():
    small, large = torch.randn(1, 4, 8), torch.randn(1, 4, 8) * 100
    together = activations.per_tensor(torch.cat([small, large]))
    assert torch.equal(together[:1], activations.per_tensor(small))


def test_an_outlier_drowns_its_token_only_where_ranges_are_per_token():
    x = torch.randn(1, 6, 32)
    x[0, 0, 0] = 1000.0
    others = (slice(None), slice(1, None))
    assert (activations.per_token(x) - x)[others].abs().max() < 0.05
    assert (activations.per_tensor(x) - x)[others].abs().max() > 0.5


def test_block_size_is_the_largest_that_divides():
    assert [activations.block_size(n) for n in (384, 1536, 96, 48, 50)] == [128, 128, 32, 16, None]
    with pytest.raises(ValueError, match="no block size divides 50"):
        activations.function("per-block", 50)


def test_a_small_table_that_a_linear_multiplies_with_is_quantized_with_it():
    import torch

    from slm_export.quantization.compressed import find_layers

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = torch.nn.Embedding(10, 4), torch.nn.Embedding(10, 4)
            self.head = torch.nn.Linear(4, 10, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids):
            return self.head(self.words(ids) + self.places(ids))

    model = Tied()
    layers = find_layers(model, lambda n: model(torch.tensor([n])))
    plan = make("w8a8-dynamic", layers, activations=("per-token",))
    assert {n: p.bits for n, p in plan.layers.items()} == {"words": 8, "places": 32, "head": 8}


WHOLE, PARTS = ((4, 8), (8, 4)), ((4, 8), (4, 4), (4, 4))


@pytest.mark.parametrize(
    ("shapes", "dtypes", "left"),
    [
        (WHOLE, ("float16", "float16"), 0),
        (WHOLE, ("float16", "float32"), 1),
        (PARTS, ("float16", "float16", "float16"), 0),
        (PARTS, ("float16", "float16", "float32"), 1),
    ],
)
def test_a_layer_that_stayed_float32_in_an_fp16_file_is_told(shapes, dtypes, left):
    """The second is stored transposed, or taken apart."""
    from types import SimpleNamespace

    from slm_export.errors import ExportError
    from slm_export.exporters.common import require_halved
    from slm_export.quantization.compressed import Compressed

    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 8))
    layers = {name: Layer(kind="linear", shape=tuple(module[int(name)].weight.shape)) for name in "01"}
    compressed = Compressed(module=module, plan=make("fp16", layers), tensors={})
    stored = [SimpleNamespace(dtype=d, shape=s) for s, d in zip(shapes, dtypes, strict=True)]
    if left:
        with pytest.raises(ExportError, match="1 weights that the plan halves are not float16"):
            require_halved([SimpleNamespace(tensors=stored)], compressed)
    else:
        require_halved([SimpleNamespace(tensors=stored)], compressed)
