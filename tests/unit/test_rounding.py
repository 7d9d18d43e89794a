"""4-bit weights: what each rounding promises, on models small enough to see through."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from slm_export.distillation import BY_SAMPLES
from slm_export.distillation.losses import LOSSES
from slm_export.outputs import Tokens
from slm_export.quantization import rounding
from slm_export.quantization.blocks import find_chains, run_block
from slm_export.quantization.checkpoints import Checkpoints
from slm_export.quantization.compressed import Compressed, with_weights
from slm_export.quantization.folding import Fold, apply, find_folds
from slm_export.quantization.gptq import output_error, quantize_gptq
from slm_export.quantization.mixing import by_sensitivity, most_sensitive, tensors_of
from slm_export.quantization.rounding import round_weights
from slm_export.quantization.sensitivity import weight_gain, weight_harm
from slm_export.quantization.weights import quantize, quantize_searched
from slm_export.quantplan import LayerPlan, QuantPlan
from slm_export.tasks.encoder import feed

INT4 = {"bits": 4, "group": 32}


def inputs(rows, width, *, seed=0):
    """Correlated, and some columns larger than others, as hidden states are."""
    torch.manual_seed(seed)
    return torch.randn(rows, width) @ torch.randn(width, width) * torch.rand(width) ** 3


@pytest.mark.parametrize("group", [None, 32])
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_times_scales_are_within_half_a_step(bits, group):
    torch.manual_seed(0)
    weight = torch.randn(6, 64)
    tensor = quantize(weight, bits=bits, group=group)
    assert tensor.ints.dtype == torch.int8 and tensor.scales.shape == ((6,) if group is None else (6, 2))
    assert tensor.ints.min() >= (-8 if bits == 4 else -127) and tensor.ints.max() <= (7 if bits == 4 else 127)
    steps = tensor.scales[:, None] if group is None else tensor.scales.repeat_interleave(32, 1)
    assert ((weight - tensor.dequantized()).abs() <= 0.51 * steps).all()


def test_scales_of_groups_are_numbers_that_bfloat16_and_float16_hold():
    torch.manual_seed(0)
    for weight in (torch.randn(64, 64), 1e-6 * torch.randn(64, 64), torch.zeros(4, 32)):
        scales = quantize_searched(weight, **INT4).scales
        assert (scales > 0).all()
        assert torch.equal(scales, scales.to(torch.bfloat16).float()) and torch.equal(scales, scales.half().float())


def test_each_rounding_errs_less_in_the_outputs_than_the_one_before():
    torch.manual_seed(1)
    weight, x = torch.randn(48, 96), inputs(400, 96)
    hessian = x.T @ x / len(x)
    made = [
        quantize(weight, **INT4),
        quantize_searched(weight, **INT4, importance=hessian.diagonal()),
        quantize_gptq(weight, hessian, **INT4),
    ]
    rtn, mse, gptq = (output_error(weight - tensor.dequantized(), hessian) for tensor in made)
    assert mse < 0.9 * rtn and gptq < 0.5 * mse


def test_gptq_leaves_inputs_that_were_never_anything_at_their_nearest():
    torch.manual_seed(0)
    weight, x = torch.randn(8, 64), torch.randn(50, 64)
    x[:, 5] = 0
    tensor = quantize_gptq(weight, x.T @ x / 50, **INT4)
    assert torch.isfinite(tensor.dequantized()).all()
    assert (tensor.dequantized() - weight).abs()[:, 5].max() < 1


def test_a_weight_with_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        quantize_searched(torch.full((2, 32), float("nan")), **INT4)


class Block(nn.Module):
    """Pre-norm: everything can be folded but what the activation function is behind of."""

    def __init__(self, act):
        super().__init__()
        self.norm, self.act = nn.LayerNorm(32), act
        self.value, self.out = nn.Linear(32, 32), nn.Linear(32, 32)
        self.norm2, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.out(y.mean(1, keepdim=True) * 0 + torch.softmax(x @ x.transpose(1, 2), -1) @ self.value(y))
        return x + self.down(self.act(self.up(self.norm2(x))))


class Stack(nn.Module):
    def __init__(self, act=nn.functional.gelu, blocks=2):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.blocks = nn.ModuleList(Block(act) for _ in range(blocks))
        self.head = nn.Linear(32, 5)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


FOLDED = {"norm.weight", "norm.bias", "norm2.weight", "norm2.bias", "value.bias"}


def stack(**options):
    torch.manual_seed(0)
    model = Stack(**options).eval().requires_grad_(False)
    for block in model.blocks:
        block.norm.weight.data.uniform_(0.1, 3)
        block.norm2.weight.data.uniform_(0.1, 3)
    return model


@pytest.mark.parametrize(("act", "behind"), [(nn.functional.gelu, False), (nn.functional.relu, True)])
def test_folds_are_those_that_change_no_answer(act, behind):
    block, x = stack(act=act).blocks[0], torch.randn(2, 7, 32)
    before = {n: p.detach().clone() for n, p in block.named_parameters()}
    folds = find_folds(block, lambda: block(x))
    assert Fold(producer="norm2", consumers=("up",)) in folds
    assert Fold(producer="value", consumers=("out",)) in folds
    assert (Fold(producer="up", consumers=("down",)) in folds) == behind
    assert all(torch.equal(p, before[n]) for n, p in block.named_parameters()), "looking changes nothing"
    expected = block(x)
    for fold in folds:
        apply(block, fold, torch.rand(block.get_submodule(fold.consumers[0]).in_features) + 0.5)
    torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=1e-4)


def plan(model, bits=4):
    linears = [n for n, m in model.named_modules() if type(m) is nn.Linear]
    layers = {n: LayerPlan(bits=bits, group=32 if bits == 4 else None, activations="float") for n in linears}
    return QuantPlan(scheme="w4", layers={**layers, "embed": LayerPlan(bits=8, group=None, activations="float")})


def test_roundings_in_their_order_of_quality_and_the_floats_that_folding_changed():
    ids = [torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(i)) for i in range(8)]
    errors, seen = {}, []
    for how in ("rtn", "mse", "awq+gptq"):
        model, reference = stack(), stack()
        runs = [lambda x=x, m=model: m(x) for x in ids]
        rounded = round_weights(model, plan(model), how, runs, lambda done, total: seen.append((done, total)))
        assert set(rounded.tensors) == set(plan(model).layers)
        assert bool(rounded.floats) == (how == "awq+gptq")
        assert {n.split(".", 2)[2] for n in rounded.floats} <= FOLDED
        again = stack()
        again.load_state_dict(rounded.floats, strict=False)
        for name, tensor in rounded.tensors.items():
            again.get_submodule(name).weight.data = tensor.dequantized()
        errors[how] = float(((again(ids[0]) - reference(ids[0])) ** 2).mean())
    assert errors["awq+gptq"] < 0.6 * errors["rtn"] and errors["mse"] < errors["rtn"]
    assert (1, 3) in seen and seen[-1] == (3, 3)


def test_the_most_sensitive_layers_get_eight_bits_after_all():
    ids = [torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(i)) for i in range(4)]
    model, reference = stack(), stack()
    rounded = round_weights(model, plan(model), "awq+gptq", [lambda x=x: model(x) for x in ids])
    order = by_sensitivity(rounded.errors)
    sizes = {n: t.ints.numel() for n, t in rounded.tensors.items()}
    assert set(order) == {n for n, t in rounded.tensors.items() if t.bits == 4}
    assert most_sensitive(rounded, 0) == [] and set(most_sensitive(rounded, 1)) == set(order)
    some = most_sensitive(rounded, 0.4)
    assert order[0] in some and sum(sizes[n] for n in some) <= 0.4 * sum(sizes[n] for n in order)
    layers = {
        n: LayerPlan(bits=8, group=None, activations="float") if n in some else p for n, p in plan(model).layers.items()
    }
    mixed = tensors_of(rounded, QuantPlan(scheme="w4", layers=layers))
    assert {n: t.bits for n, t in mixed.items()} == {n: p.bits for n, p in layers.items()}

    def loss(tensors):
        again = stack()
        again.load_state_dict(rounded.floats, strict=False)
        for name, tensor in tensors.items():
            again.get_submodule(name).weight.data = tensor.dequantized()
        return float(((again(ids[0]) - reference(ids[0])) ** 2).mean())

    assert loss(mixed) < loss(rounded.tensors)


def test_an_interrupted_rounding_goes_on_where_it_was_and_ends_the_same(tmp_path, monkeypatch):
    ids = [torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(i)) for i in range(4)]

    def made(steps, progress=lambda done, total: None):
        model = stack(blocks=3)
        return round_weights(model, plan(model), "awq+gptq", [lambda x=x: model(x) for x in ids], progress, steps)

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    expected, kept = made(None), Checkpoints(tmp_path, key="a" * 64)
    with pytest.raises(KeyboardInterrupt):
        made(kept, interrupt)
    rounded_again = []
    plain = rounding.quantize_gptq
    monkeypatch.setattr(rounding, "quantize_gptq", lambda w, *a, **k: rounded_again.append(1) or plain(w, *a, **k))
    got = made(kept)
    assert len(rounded_again) == 4 + 1, "the third block's Linears, and the head"
    assert got.errors == pytest.approx(expected.errors) and set(got.floats) == set(expected.floats)
    for name, tensor in expected.tensors.items():
        assert torch.equal(got.tensors[name].ints, tensor.ints) and torch.equal(got.tensors[name].scales, tensor.scales)
    assert all(torch.equal(got.floats[n], t) for n, t in expected.floats.items())
    assert all(torch.equal(got.wider[n].ints, t.ints) for n, t in expected.wider.items())
    other = Checkpoints(tmp_path, key="b" * 64)
    assert other.get("blocks.0.") is None, "of another model or other data"


def test_what_eight_bits_buy_is_measured_layer_by_layer():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 5)).requires_grad_(False), torch.randn(40, 32)
    model[0].weight.data[:, 0] *= 30  # spoils the scales of its groups
    layers = {n: LayerPlan(bits=4, group=32, activations="float") for n in "01"}
    rounded = round_weights(copy.deepcopy(model), QuantPlan(scheme="w4", layers=layers), "rtn")
    task = SimpleNamespace(
        run=lambda module, tokens: (module(x).numpy(),), harm=lambda a, b: float(((a - b) ** 2).mean())
    )
    compressed = Compressed(module=model, plan=QuantPlan(scheme="w4", layers=layers), tensors=rounded.tensors)
    told = []
    harm = weight_harm(compressed, rounded.wider, task, (), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    assert harm["0"] > 0 and harm["0"] * 32 > harm["1"] * 5, "the spoilt one gains most"
    before = task.harm(model(x).numpy(), with_weights(compressed)(x).numpy())
    better = dict(rounded.tensors) | {"0": rounded.wider["0"]}
    after = with_weights(Compressed(module=model, plan=compressed.plan, tensors=better))(x).numpy()
    assert harm["0"] * 32 * 32 == pytest.approx(before - task.harm(model(x).numpy(), after), rel=1e-4)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.inner, self.outer = nn.Embedding(40, 32), nn.Linear(32, 32), nn.Linear(32, 5)

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask):
        return {"logits": self.outer(torch.tanh(self.inner(self.table(input_ids)))).mean(1)}


def test_the_gradient_tells_for_all_layers_at_once_what_eight_bits_would_take_off_the_loss():
    torch.manual_seed(0)
    model = Classifier().requires_grad_(False)
    model.inner.weight.data *= 3
    layers = {n: LayerPlan(bits=4, group=32, activations="float") for n in ("inner", "outer")}
    made = QuantPlan(scheme="w4", layers=layers)
    rounded = round_weights(copy.deepcopy(model), made, "rtn")
    compressed = Compressed(module=model, plan=made, tensors=rounded.tensors)
    texts = [Tokens(input_ids=tuple(torch.randint(0, 40, (4 + i % 3,)).tolist())) for i in range(50)]
    task = SimpleNamespace(OUTPUTS={"logits": ()}, TAUGHT_BY="distribution")
    told = []
    gains = weight_gain(
        compressed, rounded.wider, model, task, texts, batching=BY_SAMPLES, progress=lambda *done: told.append(done)
    )
    assert told[-1] == (3, 3), "three lengths of fewer than 32"

    def loss(name, share):
        """With a share of the way to a layer's 8 bits gone."""
        other = with_weights(compressed)
        weight = other.get_submodule(name).weight
        weight.data = weight.data + share * (rounded.wider[name].dequantized() - weight.data)
        pairs = [(model(**feed([t]))["logits"], other(**feed([t]))["logits"]) for t in texts]
        return sum(float(LOSSES["distribution"](a.double(), b.double(), 1.0)) for a, b in pairs) / len(texts)

    for name, tensor in rounded.tensors.items():
        slope = (loss(name, -0.01) - loss(name, 0.01)) / 0.02
        assert gains[name] * tensor.ints.numel() == pytest.approx(slope, rel=0.02)


class Remembering(nn.Module):
    """As decoders' blocks: what it was given before is there again."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(32, 32)

    def forward(self, hidden_states, past_key_values=None):
        if past_key_values is None:
            return (hidden_states + self.up(hidden_states),)
        past_key_values.append(hidden_states)
        return (hidden_states + self.up(torch.stack(past_key_values).sum(0)),)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Remembering() for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            (x,) = layer(hidden_states=x, past_key_values=[])
        return x


def test_blocks_run_alone_give_what_they_gave_in_the_model():
    torch.manual_seed(0)
    model, x = Decoder().eval().requires_grad_(False), torch.randn(2, 5, 32)
    (chain,) = find_chains(model, [lambda: model(x)])
    assert chain.names == ("layers.0", "layers.1", "layers.2")
    hidden = chain.first[0]
    for name in chain.names:
        hidden = run_block(model.get_submodule(name), hidden, chain.calls[0][name])
    torch.testing.assert_close(hidden, model(x))


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, hidden_states, bias=None):
        made = self.inner(hidden_states) + (0 if bias is None else bias)
        return made, made.mean()


class Dependent(nn.Module):
    """`depends`: blocks are called with what the first of them makes, as T5's are."""

    def __init__(self, *, depends):
        super().__init__()
        self.layers, self.depends, self.ran = nn.ModuleList(Biased() for _ in range(3)), depends, 0
        for layer in self.layers:
            layer.inner.register_forward_hook(lambda *_: setattr(self, "ran", self.ran + 1))

    def forward(self, x):
        bias, given = None, x.mean() * 2
        for layer in self.layers:
            x, made = layer(x, bias=bias if self.depends else given)
            bias = made if bias is None else bias
        return x


@pytest.mark.parametrize("depends", [False, True])
def test_blocks_run_for_every_sample_only_where_what_they_are_called_with_depends_on_it(depends):
    torch.manual_seed(0)
    model = Dependent(depends=depends).requires_grad_(False)
    samples = [torch.randn(1, 4, 8) for _ in range(5)]
    (chain,) = find_chains(model, [lambda x=x: model(x) for x in samples])
    assert model.ran == (3 * 2 if not depends else 3 * 6)
    for number, x in enumerate(samples):
        hidden = chain.first[number]
        for name in chain.names:
            hidden = run_block(model.get_submodule(name), hidden, chain.calls[number][name])
        torch.testing.assert_close(hidden, model(x))


def test_without_samples_scales_are_searched_and_it_is_deterministic():
    one, two = (round_weights(m, plan(m), "mse").tensors for m in (stack(), stack()))
    for name, tensor in one.items():
        assert torch.equal(tensor.ints, two[name].ints) and torch.equal(tensor.scales, two[name].scales)
