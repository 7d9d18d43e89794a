"""Causal language models in ExecuTorch and LiteRT: the official runners write what the artifacts were seen to."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from slm_export import runtimes
from slm_export.artifact import Artifact
from slm_export.records import from_json, read_json
from tests.conftest import Cli
from tests.official_runners import litert_lm_engine, written_by_executorch
from tests.tiny_causal import CONTEXT, FAMILIES, TURN, make_tokenizer, texts

FORMATS = ("executorch", "tflite", "onnx")
PROMPT = "the a my is it"
MULTILINGUAL = (
    "The quick brown fox", "Grüße aus Köln, Straße 5", "これは日本語の文です。", "Привет, как дела?",
    "مرحبا بالعالم", "नमस्ते दुनिया", "你好,世界。", "안녕하세요 세계", "Ça va très bien… merci",
    "\U0001f642\U0001f469\u200d\U0001f469\u200d\U0001f467 ok", "tab\there\nnew  line", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle(causal_bundle):
    return causal_bundle("llama", "w4a8-dynamic", *FORMATS)


def artifacts(bundle):
    return {a["format"]: from_json(Artifact, a) for a in read_json(bundle / "manifest.json")["artifacts"]}


def opened(bundle, format):
    artifact = artifacts(bundle)[format]
    return runtimes.get(format).open((bundle / artifact.path).resolve(), artifact)


def greedy(session, ids, most=40, ends=(0, 2)):
    state, logits = session.last(session.start(), ids)
    written = []
    while len(written) < most and (not written or written[-1] not in ends):
        written.append(int(logits.argmax()))
        state, logits = session.last(state, written[-1:])
    return written


def ids_of(bundle, text):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(bundle / "tokenizer/tokenizer.json")).encode(text).ids


def test_the_same_integers_pass_in_every_format(bundle):
    reports = dict(zip(artifacts(bundle), read_json(bundle / "parity.json")["reports"], strict=True))
    perplexities = {format: report["answers"]["perplexity"] for format, report in reports.items()}
    assert set(perplexities) == set(FORMATS)
    assert max(perplexities.values()) < 1.02 * min(perplexities.values())
    carried = {a.layers_carried for a in artifacts(bundle).values()}
    groups = {a.plan.layers["lm_head"].group for a in artifacts(bundle).values()}
    assert len(carried) == 1 and groups == {None}, "int8 tables per channel, where a format cannot group them"
    for report in reports.values():
        assert report["verdict"] == "pass" and report["numbers"]["lowering_max_abs_error"] < 1e-4
    Cli(bundle).ok("verify", bundle)


@pytest.mark.parametrize("format", ["executorch", "tflite"])
def test_a_tied_table_is_stored_once(bundle, format):
    from slm_export import readers

    artifact = artifacts(bundle)[format]
    facts = readers.get(bundle / artifact.path).read(bundle / artifact.path)
    tables = [t for t in facts.tensors if t.shape and max(t.shape) >= 300 and len(t.shape) == 2]
    assert [t.dtype for t in tables] == ["int8"]


@pytest.mark.parametrize("format", FORMATS)
def test_run_streams_from_every_format(bundle, tmp_path, format):
    said = Cli(tmp_path).ok("run", bundle, PROMPT, "--raw", "--json", "--format", format).stdout.splitlines()[-1]
    written = greedy(opened(bundle, format), ids_of(bundle, PROMPT))
    assert json.loads(said)["answer"] == make_tokenizer().decode(written, skip_special_tokens=True)
    long = Cli(tmp_path)("run", bundle, "the " * 200, "--raw", "--format", format)
    assert long.returncode == 2 and f"the model reads and writes {CONTEXT} together" in long.stderr


@pytest.mark.parametrize("format", FORMATS)
def test_a_session_reads_in_any_parts_up_to_the_end_of_its_context(bundle, format):
    session, ids = opened(bundle, format), ids_of(bundle, " ".join(texts(seed=12, rows=30)))[:CONTEXT]
    assert len(ids) == CONTEXT
    whole = session.last(session.start(), ids)[1]
    for part in (1, 17):
        state = session.start()
        for start in range(0, len(ids), part):
            state, logits = session.last(state, ids[start : start + part])
        assert np.abs(logits - whole).max() < 2e-2, "activations are rounded for each token alone"
    if format != "onnx":
        with pytest.raises(ValueError, match="has room for 96 tokens"):
            session.last(state, [1])


def test_a_session_keeps_to_one_thread(bundle):
    """ExecuTorch's attention takes torch's, which wait spinning for one another: three times the CPU time."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        opened(bundle, "executorch")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_executorchs_llm_runner_writes_the_same_and_stops(bundle):
    expected = greedy(opened(bundle, "executorch"), ids_of(bundle, PROMPT))
    assert expected[-1] == 2, "it stops by itself"
    answer = make_tokenizer().decode(expected[:-1]) + TURN
    assert written_by_executorch(bundle, PROMPT, most=40, times=2) == [answer, answer]


def test_litert_lm_writes_the_same_and_stops(bundle):
    engine = litert_lm_engine(bundle)
    expected = greedy(opened(bundle, "tflite"), ids_of(bundle, PROMPT))
    session = engine.create_session(apply_prompt_template=False, sampler_config=greedy_sampler())
    session.run_prefill([PROMPT])
    assert session.run_decode().texts == [make_tokenizer().decode(expected[:-1])]
    assert engine.eos_token_ids == [[0], [2]] and engine.bos_token_id is None


def test_litert_lm_writes_as_the_bundle_says_where_nothing_else_is_said(bundle):
    engine = litert_lm_engine(bundle)
    session = engine.create_session(apply_prompt_template=False)
    session.run_prefill([PROMPT])
    expected = greedy(opened(bundle, "tflite"), ids_of(bundle, PROMPT))
    assert session.run_decode().texts == [make_tokenizer().decode(expected[:-1])]
    del session
    turn = {"role": "user", "content": PROMPT}
    asked = make_tokenizer().apply_chat_template([turn], add_generation_prompt=True)["input_ids"]
    expected = greedy(opened(bundle, "tflite"), asked, most=CONTEXT - len(asked))
    assert expected[-1] in (0, 2), "it stops by itself"
    answer = engine.create_conversation().send_message(PROMPT)
    assert answer["content"] == [{"type": "text", "text": make_tokenizer().decode(expected[:-1])}]


def greedy_sampler():
    import litert_lm

    return litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=0.0)


def test_litert_lm_applies_the_chat_template_to_content_in_parts(bundle):
    conversation = litert_lm_engine(bundle).create_conversation()
    tokenizer = make_tokenizer()
    turn = {"role": "user", "content": "now"}
    expected = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    for content in ("now", [{"type": "text", "text": "now"}]):
        assert conversation.render_message_to_string({"role": "user", "content": content}) == expected


def test_every_runner_tokenizes_like_transformers(bundle):
    import onnxruntime_genai as genai

    tokenizer, engine = make_tokenizer(), litert_lm_engine(bundle)
    own = genai.Tokenizer(genai.Model(str(bundle / "onnx")))
    for text in MULTILINGUAL:
        expected = tokenizer(text)["input_ids"]
        assert ids_of(bundle, text) == expected
        assert list(engine.tokenize(text)) == expected, text
        assert own.encode(text).tolist() == expected, text


def test_the_packed_model_holds_nothing_of_when_and_where_it_was_made(bundle):
    from slm_export.exporters import tflite_package

    whole = (bundle / "tflite/model.litertlm").read_bytes()
    assert tflite_package.NOT_RANDOM["uuid"].encode() in whole and str(Path.home()).encode() not in whole
    assert b"/tmp/" not in whole


ALWAYS = {"gemma3_text": ("executorch", "tflite"), "smollm3": ("tflite",)}


@pytest.mark.parametrize(
    ("family", "formats"),
    [
        *ALWAYS.items(),
        *(pytest.param(f, ("executorch", "tflite"), marks=pytest.mark.heavy) for f in FAMILIES if f != "gemma3_text"),
    ],
)
def test_a_family_passes_in_every_format(causal_bundle, family, formats):
    """Gemma is the one whose attention has a window, and whose GELU XNNPACK takes for another; of SmolLM3's queries
    that are not turned LiteRT would fold the scaling into the weights."""
    made = causal_bundle(family, "w8a8-dynamic", *formats)
    for report in read_json(made / "parity.json")["reports"]:
        assert report["verdict"] == "pass" and report["numbers"]["lowering_max_abs_error"] < 1e-4


def test_longer_prompts_than_are_read_at_once(causal_source, tmp_path):
    """In ExecuTorch 255 tokens are, in LiteRT 128 or 16; at the end of the context pieces are shorter."""
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(causal_source("llama") / "model", tmp_path / "model")
    config = read_json(tmp_path / "model/config.json")
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    formats = ["--format", "executorch", "--format", "tflite", "--scheme", "fp32", "--max-length", 300]
    data = ["--eval", causal_source("llama") / "eval.jsonl"]
    Cli(tmp_path).ok("model", "--target", "linux-x86_64", *data, *formats, "-o", "dist")
    made = tmp_path / "dist/model-linux-x86_64"
    ids = ids_of(made, " ".join(texts(seed=12, rows=100)))[:300]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    for format in ("executorch", "tflite"):
        session = opened(made, format)
        state, logits = session.last(session.start(), ids[:290])
        assert np.abs(logits - expected[289]).max() < 1e-4
        state, logits = session.last(state, ids[290:])
        assert np.abs(logits - expected[-1]).max() < 1e-4
    held = read_json(made / "manifest.json")["artifacts"][0]
    assert held["max_length"] == 300 and held["memory"]["activations_bytes"] < 3_000_000


def told_to_litert_lm(folder, *, sampling=None, template=None, prepends=False):
    """The metadata of a package around a tokenizer that begins texts with <|endoftext|> if it `prepends`."""
    from tokenizers import processors

    from slm_export.exporters import tflite_package
    from slm_export.generation import Rules

    tokenizer = make_tokenizer()
    if prepends:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    tokenizer.chat_template = template or tokenizer.chat_template
    tokenizer.save_pretrained(folder)
    rules = Rules(start=0, ends=(0, 2), max_new_tokens=CONTEXT, sampling=sampling)
    request = SimpleNamespace(generation=rules, tokenizer=str(folder), max_length=CONTEXT)
    return tflite_package._metadata(request, SimpleNamespace(model_type="qwen2"))


def test_litert_lm_is_told_how_tokens_are_best_drawn(tmp_path):
    from slm_export.generation import Sampling

    drawn = told_to_litert_lm(tmp_path / "a", sampling=Sampling(temperature=0.5, top_k=20, top_p=0.75)).sampler_params
    assert (drawn.type, drawn.k, drawn.p, drawn.temperature) == (drawn.TOP_P, 20, 0.75, 0.5)
    greedily = told_to_litert_lm(tmp_path / "b")
    chosen = greedily.sampler_params
    assert (chosen.type, chosen.k, chosen.p, chosen.temperature) == (drawn.TOP_P, 1, 1.0, 1.0)
    assert greedily.llm_model_type.HasField("qwen2p5")


def test_litert_lm_is_told_of_a_first_token_only_where_there_is_one(tmp_path):
    named = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    plain = told_to_litert_lm(tmp_path / "plain")
    assert not plain.HasField("start_token"), "the template begins with <|im_start|>, which is no first token"
    for told in (
        told_to_litert_lm(tmp_path / "prepends", prepends=True),
        told_to_litert_lm(tmp_path / "named", template=named),
    ):
        assert list(told.start_token.token_ids.ids) == [0]
