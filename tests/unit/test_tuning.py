"""--effort high: scales and norms learn, integers stay, and the scales stay on the grid."""

import copy

import numpy as np
import pytest
import torch

from slm_export import tasks
from slm_export.distillation import BY_SAMPLES
from slm_export.outputs import Tokens, all_rows
from slm_export.quantization import schemes
from slm_export.quantization.compressed import Compressed, find_layers, with_weights
from slm_export.quantization.rounding import round_weights
from slm_export.quantization.tuning import tune
from slm_export.quantization.weights import on_grid
from tests.tiny import make_tiny_model

TASK = tasks.get("text-classification")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("tuned") / "model"
    make_tiny_model(folder, family="bert", task="text-classification", seed=0)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    return loaded.eval().requires_grad_(False)


def samples(count, seed):
    chance = np.random.default_rng(seed)
    return [Tokens(input_ids=tuple(chance.integers(5, 60, int(chance.integers(4, 12))).tolist())) for _ in range(count)]


def test_the_tuned_model_is_nearer_to_the_reference_with_the_same_integers(model):
    pair = [Tokens(input_ids=tuple(range(start, start + 9))) for start in (5, 6)]
    plan = schemes.make("w4", find_layers(model, lambda n: TASK.run(model, [pair[n]])))
    rounded = round_weights(copy.deepcopy(model), plan, "rtn")
    before = dict(model.named_parameters())
    compressed = Compressed(module=model, plan=plan, tensors=rounded.tensors, floats=rounded.floats)
    tuned, went = tune(compressed, model, TASK, samples(800, 1), batching=BY_SAMPLES, progress=lambda done, total: None)
    assert went.after < went.before
    for name, tensor in rounded.tensors.items():
        new = tuned.tensors[name]
        assert torch.equal(new.ints, tensor.ints)
        assert torch.equal(new.scales, on_grid(new.scales, new.group)) and bool((new.scales > 0).all())
        assert torch.equal(new.scales, tensor.scales) or tensor.bits == 4
    assert any(not torch.equal(tuned.tensors[n].scales, t.scales) for n, t in rounded.tensors.items())
    norms = {n for n in tuned.floats if "LayerNorm" in n and not torch.equal(tuned.floats[n], before[n])}
    assert norms and all(n.endswith("weight") for n in norms)
    judged = samples(100, 2)
    expected = all_rows(TASK.run(model, judged))

    def harm(made):
        return TASK.harm(expected, all_rows(TASK.run(with_weights(made), judged)))

    assert harm(tuned) < harm(compressed)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters()), "the reference is left alone"
