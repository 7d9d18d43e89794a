"""Stage "prepare": what is handed to the rounding."""

import pytest
import torch

from slm_export import tasks
from slm_export.outputs import Inputs, Tokens
from slm_export.sources import Reference
from slm_export.stages.compress import Compressing, FormatNeeds, Samples, Wishes

NEEDS = FormatNeeds(scheme="w4a8-dynamic", schemes=(), activations=("per-block",))


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "vocab_size": 80}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 64, "d_ff": 96, "d_kv": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 80}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


def texts(*lengths):
    chance = torch.Generator().manual_seed(1)
    made = (torch.randint(3, 80, (length,), generator=chance) for length in lengths)
    return tuple(Tokens(input_ids=tuple(ids.tolist())) for ids in made)


@pytest.fixture(params=[("text-generation", llama), ("text2text-generation", t5)], ids=["causal", "encoder-decoder"])
def made(request, tmp_path):
    """What a model of the task is rounded to by given texts."""
    task, make = request.param
    module = make().eval().requires_grad_(False)
    reference = Reference(task=task, labels=(), module=module, tokenizer=None, pad_id=0, max_length=64)

    def compressed(samples):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        wishes = Wishes(
            formats={"onnx": NEEDS}, rounding="awq+gptq", int8_share=0.0, int8_by="hessian", effort="default",
            checkpoints=str(folder), key="", search=None,
        )  # fmt: skip
        inputs = Inputs(evaluation=(), probes=texts(12), lowering_rows=())
        known = Samples(calibration=samples)
        compressing = Compressing(
            reference, module, tasks.get(task), wishes, known, inputs, lambda: None, lambda *_: None
        )
        return compressing.made().compressed["onnx"]

    return compressed


def test_texts_of_one_length_are_all_seen_block_by_block(made):
    """They are run one by one: one run of all of them was taken for blocks that run several times, as ALBERT's, and
    so for no chain at all."""
    same = texts(9, 9, 9)
    whole = made(same)
    assert any("norm" in n for n in whole.floats), "AWQ's scales, which only blocks found have"
    for left_out in same:
        less = made(tuple(t for t in same if t is not left_out))
        assert any(not torch.equal(t.ints, less.tensors[n].ints) for n, t in whole.tensors.items())


def test_a_run_of_several_samples_is_refused_and_not_half_seen():
    from slm_export.quantization.blocks import find_chains

    module, ids = llama().eval(), [torch.tensor([t.input_ids]) for t in texts(9, 9, 7)]
    runs = [lambda: module(ids[2]), lambda: [module(x) for x in ids[:2]]]
    with pytest.raises(ValueError, match="twice"):
        find_chains(module, runs)
