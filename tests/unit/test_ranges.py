"""Static ranges: points of a traced graph, what is left float, and what becomes of Linears beside it."""

import pytest
import torch

from slm_export.errors import ExportError
from slm_export.quantization import points, ranges
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.ranges import Ranges, fake, settle
from slm_export.quantization.simulated import simulated
from slm_export.quantization.weights import quantize
from slm_export.quantplan import LayerPlan, QuantPlan, StaticRange


class Block(torch.nn.Module):
    """Ids to a sum with a residual, through two Linears and a norm, to a head."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 8)
        self.up, self.down = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)
        self.norm = torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        x = self.table(input_ids)
        mask = (1.0 - attention_mask.float())[:, :, None] * -1e4
        hidden = torch.nn.functional.gelu(self.up(x))
        x = self.norm(x + self.down(hidden).reshape(x.shape)) + mask
        return {"logits": self.head(x.clamp(-100, 100).mean(1))}


class Graph(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids, attention_mask)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block().eval().requires_grad_(False)


def traced(block):
    ids = torch.arange(14).reshape(2, 7)
    return points.trace(Graph(block), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, max_length=20)


def plan_of(block):
    names = [n for n, m in block.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Embedding))]
    kinds = {n: "float" if n == "table" else "per-token" for n in names}
    return QuantPlan(scheme="w8a8", layers={n: LayerPlan(bits=8, group=None, activations=kinds[n]) for n in names})


def harmless(names):
    return Ranges(found={n: StaticRange(scale=0.02, zero_point=0) for n in names}, harm=dict.fromkeys(names, 0.0))


def test_points_are_named_by_module_and_operator_and_answers_are_none(block):
    assert list(points.points(traced(block))) == [
        "table/embedding", "mul", "up/linear", "gelu", "down/linear", "add", "norm/layer_norm", "add#2",
    ]  # fmt: skip


def test_a_linear_between_two_ranges_is_static_and_the_head_finds_its_own(block):
    graph = traced(block)
    plan = settle(graph, plan_of(block), harmless(points.points(graph)), 0.0)
    kinds = {n: p.activations for n, p in plan.layers.items()}
    assert kinds == {"table": "float", "up": "static", "down": "static", "head": "per-token"}
    assert plan.kept_float == {}


def test_what_harms_most_stays_float_and_its_linears_are_not_static(block):
    graph = traced(block)
    found = harmless(points.points(graph))
    found.harm.update({"gelu": 0.5, "down/linear": 0.01})
    plan = settle(graph, plan_of(block), found, 0.05)
    assert plan.kept_float == {"gelu": 0.5}
    assert {n: plan.layers[n].activations for n in ("up", "down")} == {"up": "static", "down": "per-token"}
    assert "down/linear" in plan.ranges and "table/embedding" in plan.ranges, "the sum reads both"


def test_a_range_that_only_dynamic_linears_read_is_dropped(block):
    graph = traced(block)
    found = harmless(points.points(graph))
    found.harm.update({"down/linear": 0.5})
    plan = settle(graph, plan_of(block), found, 0.0)
    assert "gelu" not in plan.ranges and plan.layers["down"].activations == "per-token"
    assert plan.layers["up"].activations == "static" and "up/linear" in plan.ranges, "GELU reads it"


def test_a_model_of_which_no_linear_can_be_static_is_refused(block):
    graph = traced(block)
    found = harmless(points.points(graph))
    found.harm.update(dict.fromkeys(("table/embedding", "gelu"), 1.0))
    with pytest.raises(ExportError, match="no layer of this model is left to compute with static ranges"):
        settle(graph, plan_of(block), found, 0.5)


def test_a_layer_that_the_graph_computes_another_way_is_refused(block):
    plan = plan_of(block)
    layers = plan.layers | {"elsewhere": LayerPlan(bits=8, group=None, activations="float")}
    with pytest.raises(ExportError, match="static ranges do not know this model"):
        settle(traced(block), QuantPlan(scheme="w8a8", layers=layers), harmless([]), 0.0)


def test_ranges_are_those_of_the_texts_without_mask_and_constants(block):
    graph, samples = traced(block), [ids((3, 9, 4)), ids((7, 7, 30, 2))]
    found = ranges.find(graph, Task, samples, bits=8, pad_id=0, progress=lambda done, total: None)
    assert set(found.found) == {"table/embedding", "up/linear", "gelu", "down/linear", "add", "norm/layer_norm"}
    assert found.masked == ("add#2",)
    rows = block.table.weight[[3, 9, 4, 7, 30, 2]]
    low, high = (float(getattr(rows, side)()) for side in ("min", "max"))
    got = found.found["table/embedding"]
    assert got.scale == pytest.approx((high - low) / 255, rel=1e-6)
    assert (got.lowest - got.zero_point) * got.scale == pytest.approx(low, abs=got.scale)
    assert all(harm >= 0 for harm in found.harm.values()) and found.harm["add"] > 0


def test_what_a_mask_is_filled_into_next_is_left_float():
    """LiteRT's converter would fill the mask into its integers, where it is no lower than the lowest score."""

    class Filled(Block):
        def forward(self, input_ids, attention_mask):
            x = self.up(self.table(input_ids))
            scores = (x @ x.transpose(1, 2)).reshape(-1, 1, x.shape[1], x.shape[1]) / 4
            kept = attention_mask.bool()[:, None, None, :]
            probabilities = scores.masked_fill(~kept, torch.finfo(torch.float32).min).softmax(-1).masked_fill(~kept, 0)
            return {"logits": self.head(self.down((probabilities @ x[:, None]).squeeze(1)).mean(1))}

    torch.manual_seed(0)
    graph = traced(Filled().eval().requires_grad_(False))
    found = ranges.find(graph, Task, [ids((3, 9, 4)), ids((7, 7, 30, 2))], bits=8, pad_id=0, progress=lambda *_: None)
    assert found.masked == ("div",), "not the product before it, nor the softmax, into which zeros are filled"
    assert {"matmul", "softmax"} <= set(found.found)


def test_the_simulated_model_rounds_what_the_plan_says(block):
    plan = settle(traced(block), plan_of(block), harmless(points.points(traced(block))), 0.0)
    tensors = {n: quantize(block.get_submodule(n).weight) for n in plan.layers}
    compressed = Compressed(module=block, plan=plan, tensors=tensors)
    x = torch.tensor([[5, 6, 7]])
    with simulated(compressed, lambda: traced(block)) as module:
        got = module(input_ids=x, attention_mask=torch.ones_like(x))["logits"]
    weight = {n: t.dequantized() for n, t in tensors.items()}
    step = plan.ranges["table/embedding"]
    rows = fake(weight["table"][x], step)
    up = fake(rows @ weight["up"].T + block.up.bias, step)
    down = fake(fake(torch.nn.functional.gelu(up), step) @ weight["down"].T + block.down.bias, step)
    hidden = fake(fake(block.norm(fake(rows + down, step)), step) + 0.0, step)
    assert torch.isfinite(got).all() and got.shape == (1, 3)
    assert (got - (hidden.mean(1) @ weight["head"].T + block.head.bias)).abs().max() < 0.05


def test_a_plan_of_another_graph_is_refused(block):
    plan = QuantPlan(scheme="w8a8", layers={}, ranges={"elsewhere/add": StaticRange(scale=1.0, zero_point=0)})
    with pytest.raises(ExportError, match="1 of 1 tensors with static ranges are not in the traced graph"):
        points.write(traced(block), Compressed(module=block, plan=plan, tensors={}), None)


def test_fake_quantization_clamps_and_keeps_zero():
    x = torch.tensor([-9.0, -0.26, 0.0, 0.24, 9.0])
    assert fake(x, StaticRange(scale=0.5, zero_point=-127)).tolist() == [-0.5, -0.5, 0.0, 0.0, 9.0]
    assert fake(torch.tensor([1e9]), StaticRange(scale=0.5, zero_point=-127)).tolist() == [127.0]


class Task:
    """What a task's module must have here."""

    @staticmethod
    def run(module, tokens, progress=None):
        outs = []
        for sample in tokens:
            x = torch.tensor([sample.input_ids])
            outs.append(module(input_ids=x, attention_mask=torch.ones_like(x))["logits"].numpy())
        return tuple(outs)

    @staticmethod
    def harm(expected, got):
        return float(((expected - got) ** 2).mean())


def ids(values):
    from slm_export.outputs import Tokens

    return Tokens(input_ids=values)
