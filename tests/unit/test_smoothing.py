"""Smoothing of int8 activations, on a model with a few features many times as large as the rest."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from slm_export import tasks
from slm_export.outputs import Inputs, Tokens
from slm_export.quantization.compressed import Compressed, quantized_activations, with_weights
from slm_export.quantization.rounding import round_weights
from slm_export.quantization.schemes import SCHEMES, smooths
from slm_export.quantization.smoothing import smooth
from slm_export.quantplan import LayerPlan, QuantPlan
from slm_export.sources import Reference
from slm_export.stages.compress import Compressing, FormatNeeds, Samples, Wishes

LOUD = (3, 40)  # features that a norm makes many times as large as the rest


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, vocab_size=80,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for layer in model.model.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight[list(LOUD)] = 60.0
            for linear in layer.modules():
                if isinstance(linear, nn.Linear) and linear.in_features == 64:
                    linear.weight[:, list(LOUD)] /= 60.0
    return model


def texts(count=4, length=24):
    chance = torch.Generator().manual_seed(1)
    return tuple(
        Tokens(input_ids=tuple(torch.randint(3, 80, (length,), generator=chance).tolist())) for _ in range(count)
    )


def eight_bits(module, *, group, activations):
    linears = [n for n, m in module.named_modules() if type(m) is nn.Linear]
    return QuantPlan(
        scheme="w8a8-dynamic", layers={n: LayerPlan(bits=8, group=group, activations=activations) for n in linears}
    )


UNSEEN = texts(6)[4:]


def answers(module, unseen=UNSEEN):
    return np.concatenate(tasks.get("text-generation").run(module, unseen))


def runs(module, samples):
    task = tasks.get("text-generation")
    return [lambda x=x: task.run(module, [x]) for x in samples]


@pytest.mark.parametrize(("group", "activations"), [(None, "per-token"), (32, "per-block")])
def test_loud_features_leave_the_others_their_steps(group, activations):
    model = llama()
    plan = eight_bits(model, group=group, activations=activations)
    expected = answers(model)

    def loss(smoothed):
        module = copy.deepcopy(model)
        rounded = round_weights(module, plan, "rtn", runs(module, texts(4)) if smoothed else [])
        whole = with_weights(Compressed(module=model, plan=plan, tensors=rounded.tensors, floats=rounded.floats))
        with quantized_activations(whole, plan):
            return float(((answers(whole) - expected) ** 2).mean()), rounded.floats

    before, untouched = loss(smoothed=False)
    after, norms = loss(smoothed=True)
    assert after < 0.1 * before
    assert not untouched and len(norms) == 6 and all("norm" in name for name in norms)


def test_smoothing_changes_no_answer_of_the_float_model():
    model = llama()
    expected, seen = answers(model), []
    smooth(
        model,
        eight_bits(model, group=None, activations="per-token").layers,
        runs(model, texts(3)),
        lambda *n: seen.append(n),
    )
    assert not torch.equal(model.model.layers[0].input_layernorm.weight, llama().model.layers[0].input_layernorm.weight)
    np.testing.assert_allclose(answers(model), expected, atol=1e-4)
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("scheme", "task", "calibrated", "smoothed"),
    [
        ("w8a8-dynamic", "text-generation", True, True),
        ("w8a8-dynamic", "text-generation", False, False),
        ("w8", "text-generation", True, False),
        ("w8a8-dynamic", "feature-extraction/hidden-states", True, False),
    ],
)
def test_what_is_smoothed_are_inputs_that_get_int8_at_run_time(scheme, task, calibrated, smoothed, tmp_path):
    module = llama() if task in tasks.CAUSAL else llama().model
    reference = Reference(task=task, labels=(), module=module, tokenizer=None, pad_id=0, max_length=64)
    wishes = Wishes(
        formats={"tflite": FormatNeeds(scheme=scheme, schemes=(), activations=("per-token",))}, rounding="rtn",
        int8_share=0.0, int8_by="hessian", effort="default", checkpoints=str(tmp_path), key="", search=None,
    )  # fmt: skip
    known = Samples(calibration=texts(3) if calibrated else ())
    inputs = Inputs(evaluation=(), probes=texts(1), lowering_rows=())
    made = Compressing(reference, module, tasks.get(task), wishes, known, inputs, lambda: None, lambda *_: None).made()
    assert bool(made.compressed["tflite"].floats) == smoothed


def test_static_ranges_are_found_on_the_model_as_it_was():
    assert [name for name in SCHEMES if smooths(name)] == ["w8a8-dynamic"]
