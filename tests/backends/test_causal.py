"""Causal language models in ONNX: decoders answer like transformers, with and without a cache, and onnxruntime-genai
runs what is exported. test_causal_formats.py has the other formats."""

import copy
import json
import os
import random
import re
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from slm_export import runtimes, sources
from slm_export.artifact import Artifact
from slm_export.chat import Chat, written
from slm_export.exporters import onnx_causal
from slm_export.outputs import Tokens
from slm_export.quantization import schemes
from slm_export.quantization.compressed import Compressed, find_layers, with_weights
from slm_export.quantization.mixing import tensors_of
from slm_export.quantization.rounding import round_weights
from slm_export.records import from_json, read_json
from slm_export.tasks import text_generation as task
from slm_export.tasks.measured import GOLDEN_ROWS
from tests.conftest import Cli
from tests.official_runners import written_by_genai
from tests.tiny_causal import (
    CONTEXT,
    FAMILIES,
    TRACED,
    TURN,
    make_tiny_causal,
    make_tokenizer,
    texts,
    write_gguf,
    write_texts,
)

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def reference(source):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = source / "model"
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def greedy(model, ids):
    """What transformers writes on."""
    import torch

    with torch.inference_mode():
        return model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=40)[0, len(ids) :].tolist()


def opened(bundle):
    artifact = from_json(Artifact, read_json(bundle / "manifest.json")["artifacts"][0])
    return runtimes.get("onnx").open(bundle / artifact.path, artifact), artifact


def test_reading_at_once_in_parts_and_token_by_token_is_what_transformers_computes(causal_bundle, causal_source):
    import torch

    bundle = causal_bundle("llama", "fp32")
    model, tokenizer = reference(causal_source("llama"))
    session, _ = opened(bundle)
    for text in (*texts(seed=12, rows=4), "the " * 90):
        ids = tokenizer(text)["input_ids"]
        with torch.inference_mode():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        for part in (len(ids), 7, 1):
            state, rows = session.start(), []
            for start in range(0, len(ids), part):
                state, logits = session.read(state, ids[start : start + part])
                rows.append(logits)
            assert np.abs(np.concatenate(rows) - expected).max() < 2e-5


def test_what_is_taught_comes_with_the_matrices_that_running_it_gives(causal_source):
    model, tokenizer = reference(causal_source("llama"))
    asked = [Tokens(input_ids=tuple(tokenizer(t)["input_ids"])) for t in (*texts(seed=12, rows=4), "the " * 700)]
    taught, matrices = task.teach(model, asked, task.rules(model, max_length=CONTEXT), lambda _: None)
    for matrix, sample, expected in zip(matrices, taught, task.run(model, taught), strict=True):
        assert matrix.shape == (min(len(sample.input_ids), 64 if len(sample.input_ids) > 512 else 512), 33)
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes_in_int4_with_its_integers_read_back(causal_bundle, family):
    bundle = causal_bundle(family, "w4a8-dynamic")
    (artifact,) = read_json(bundle / "manifest.json")["artifacts"]
    (report,) = read_json(bundle / "parity.json")["reports"]
    assert artifact["scheme"] == "w4a8-dynamic" and report["verdict"] == "pass"
    bits = {n.rsplit(".", 1)[-1]: p["bits"] for n, p in artifact["plan"]["layers"].items()}
    tied = FAMILIES[family]["tie_word_embeddings"]
    inner, table = ("c_fc", "wte") if family == "gpt2" else ("down_proj", "embed_tokens")
    assert bits[inner] == 4 and (bits[table], bits["lm_head"]) == ((8, 8) if tied else (32, 4))
    assert artifact["layers_carried"] == sum(p["bits"] <= 8 for p in artifact["plan"]["layers"].values())
    assert report["numbers"]["lowering_max_abs_error"] < 1e-4
    answers = report["answers"]
    assert answers["perplexity_reference"] < 12 and {"kl_p99", "perplexity_increase", "flip_rate"} <= set(answers)


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "w8a8-dynamic", "w4a8-dynamic"])
def test_a_tied_table_is_stored_once_in_one_fused_graph(causal_bundle, scheme):
    bundle = causal_bundle("llama", scheme)
    graph = onnx.load(bundle / "onnx/model.onnx").graph
    rows = [t for t in graph.initializer if max(t.dims, default=0) >= 300 and len(t.dims) > 1]
    assert len({t.name for t in rows if "scales" not in t.name}) == 1, [t.name for t in rows]
    operators = [n.op_type for n in graph.node]
    assert operators.count("GroupQueryAttention") == 2 and "SkipSimplifiedLayerNormalization" in operators
    named = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input}
    assert named["past_key_values.1.value"] == ["batch_size", 1, "past_sequence_length", 32]
    assert named["input_ids"] == ["batch_size", "sequence_length"]


@pytest.mark.parametrize("wider", ["model.layers.0.self_attn.k_proj", "model.layers.1.self_attn.v_proj"])
def test_projections_rounded_alike_are_one_product_beside_blocks_where_they_are_not(causal_source, tmp_path, wider):
    """In whichever order the blocks come: a packed one once was given the keys of the one before it."""
    import onnxruntime
    import torch

    model, _ = reference(causal_source("llama"))
    ids = torch.arange(5, 24)[None]
    layers = find_layers(model, lambda n: model(ids + n))
    plan = schemes.make("w4", layers, wider=[wider], int8_group=32)
    tensors = tensors_of(round_weights(copy.deepcopy(model), plan, "rtn", int8_group=32), plan)
    compressed = Compressed(module=model, plan=plan, tensors=tensors)
    graph, *_ = onnx_causal.write(compressed, SimpleNamespace(max_length=CONTEXT, tokenizer=None), tmp_path)
    products = [n.name for n in onnx.load(graph).graph.node if n.op_type == "MatMulNBits"]
    assert sum("qkv_proj" in name for name in products) == 1
    session = onnxruntime.InferenceSession(graph)
    feed = {"input_ids": ids.numpy(), "attention_mask": np.ones_like(ids.numpy())}
    caches = [i for i in session.get_inputs() if i.name.startswith("past")]
    empty = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in caches}
    with torch.inference_mode():
        expected = with_weights(compressed)(ids).logits.numpy()
    got = session.run(["logits"], {**feed, **empty})[0]
    assert np.abs(got - expected).max() < 1e-3 * np.abs(expected).max()


def test_onnxruntime_genai_writes_what_transformers_writes_and_stops(causal_bundle, causal_source):
    import onnxruntime_genai as genai

    bundle = causal_bundle("llama", "fp32")
    model, tokenizer = reference(causal_source("llama"))
    ids = tokenizer("the a my is it")["input_ids"]
    written = [*ids, *greedy(model, ids)]
    runner = genai.Model(str(bundle / "onnx"))
    own = genai.Tokenizer(runner)
    assert own.encode("the a my is it").tolist() == ids
    assert written_by_genai(runner, ids) == written[:-1] and tokenizer.decode(written[-1]) == TURN


@pytest.mark.parametrize("family", TRACED)
def test_what_the_builder_cannot_build_is_traced_and_runs_in_onnxruntime_genai(causal_bundle, family):
    import onnxruntime_genai as genai

    bundle = causal_bundle(family, "w4a8-dynamic")
    graph = onnx.load(bundle / "onnx/model.onnx").graph
    assert "GroupQueryAttention" not in {n.op_type for n in graph.node}
    named = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input}
    assert named["past_key_values.0.key"][0::2] == ["batch_size", "past_sequence_length"]
    runner = genai.Model(str(bundle / "onnx"))
    session, _ = opened(bundle)
    ids = genai.Tokenizer(runner).encode("the a my is it").tolist()
    state, logits = session.read(session.start(), ids)
    for token in written_by_genai(runner, ids, most=8)[len(ids) :]:
        assert token == logits[-1].argmax()
        state, logits = session.read(state, [token])


def test_the_bundle_says_how_to_talk_to_the_model(causal_bundle):
    from transformers import AutoTokenizer

    bundle = causal_bundle("llama", "w4a8-dynamic")
    manifest = read_json(bundle / "manifest.json")
    assert manifest["task"] == "text-generation" and manifest["max_length"] == CONTEXT
    assert "<|im_start|>" in manifest["tokenizer"]["chat_template"]
    talk = [("system", "the a"), ("user", " my\n"), ("assistant", "is it"), ("user", "was")]
    turns = [{"role": role, "content": content} for role, content in talk]
    tokenizer = AutoTokenizer.from_pretrained(bundle / "tokenizer")
    without_jinja = written(from_json(Chat, manifest["tokenizer"]["chat"]), talk)
    assert without_jinja == tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    (artifact,) = manifest["artifacts"]
    assert artifact["generation"]["ends"] == [0, 2]
    described = json.loads((bundle / "onnx/genai_config.json").read_text())
    assert described["model"]["eos_token_id"] == [0, 2] and described["model"]["context_length"] == CONTEXT
    beside = {f["path"].rpartition("/")[2] for f in artifact["files"]}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= beside
    assert "chat_template" in json.loads((bundle / "onnx/tokenizer_config.json").read_text())
    Cli(bundle).ok("verify", bundle)


def test_the_report_shows_what_reference_and_artifact_write(causal_source, tmp_path):
    (tmp_path / "eval.txt").write_text("the a my is it was here now\nis it was here now very old new of\n")
    wanted = ["--scheme", "fp32", "--format", "onnx", "-o", "dist"]
    Cli(tmp_path).ok(causal_source("llama") / "model", "--target", "linux-x86_64", "--eval", "eval.txt", *wanted)
    bundle = tmp_path / "dist/model-linux-x86_64"
    (report,) = read_json(bundle / "parity.json")["reports"]
    shown = report["continuations"]
    assert len(shown) == 2 and all(c["reference"] == c["artifact"] and c["artifact"].split() for c in shown)
    assert f"- reference: {shown[0]['reference']!r}" in (bundle / "report.md").read_text()


def test_a_graph_that_forgets_its_cache_closes_the_gate(causal_bundle, tmp_path):
    made = tmp_path / "bundle"
    shutil.copytree(causal_bundle("llama", "fp32"), made)
    path = made / "onnx/model.onnx"
    model = onnx.load(path)
    zero = onnx.numpy_helper.from_array(np.zeros((), np.float32), "zero")
    model.graph.initializer.append(zero)
    for node in model.graph.node:
        node.output[:] = [f"{name}.kept" if name == "present.0.key" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Mul", ["present.0.key.kept", "zero"], ["present.0.key"]))
    onnx.save(model, path)
    reseal(made, "onnx/model.onnx")
    done = Cli(tmp_path)("verify", made)
    assert done.returncode == 7 and "golden" in done.stdout + done.stderr, done.stdout + done.stderr


def reseal(bundle, path):
    """Write the changed file's hash into the manifest."""
    import hashlib

    manifest = read_json(bundle / "manifest.json")
    for file in manifest["artifacts"][0]["files"]:
        if file["path"] == path:
            data = (bundle / path).read_bytes()
            file["bytes"], file["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_two_exports_give_the_same_bytes_and_name_no_folder(causal_bundle, causal_source, cold, tmp_path):
    first, source = causal_bundle("llama", "w4a8-dynamic"), causal_source("llama")
    data = ["--calibration", source / "calibration.jsonl", "--eval", source / "eval.jsonl"]
    wanted = ["--scheme", "w4a8-dynamic", "--format", "onnx"]
    cold()
    Cli(tmp_path).ok(source / "model", "--target", "linux-x86_64", *data, *wanted, "-o", "again")
    second = tmp_path / "again/model-linux-x86_64"
    names = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    for name in names:
        held = (first / name).read_bytes()
        assert held == (second / name).read_bytes(), name
        assert str(source).encode() not in held and b"/tmp/" not in held, name


def test_run_streams_what_the_model_writes(causal_bundle, causal_source, tmp_path):
    bundle = causal_bundle("llama", "fp32")
    model, tokenizer = reference(causal_source("llama"))
    expected = greedy(model, tokenizer("the a my is it")["input_ids"])
    said = json.loads(Cli(tmp_path).ok("run", bundle, "the a my is it", "--raw", "--json").stdout.splitlines()[-1])
    assert said["answer"] == tokenizer.decode(expected, skip_special_tokens=True)
    assert said["tokens_written"] == len(expected) and said["written_per_second"] > 0
    done = Cli(tmp_path).ok("run", bundle, "the a my is it", "--raw", "--most", 3)
    assert said["answer"].startswith(done.stdout.rstrip()) and "3 written" in done.stderr
    turn = tokenizer.apply_chat_template(
        [{"role": "user", "content": "now"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(turn, add_special_tokens=False)["input_ids"]
    said = json.loads(Cli(tmp_path).ok("run", bundle, "now", "--json").stdout.splitlines()[-1])
    assert said["tokens_read"] == len(ids)
    long = Cli(tmp_path)("run", bundle, "the " * 200, "--raw")
    assert long.returncode == 2 and f"the model reads and writes {CONTEXT} together" in long.stderr


def test_without_an_end_token_the_model_is_refused(causal_source, tmp_path):
    source = causal_source("llama")
    shutil.copytree(source / "model", tmp_path / "model")
    for name in ("config.json", "generation_config.json"):
        held = json.loads((tmp_path / "model" / name).read_text())
        held["eos_token_id"] = None
        (tmp_path / "model" / name).write_text(json.dumps(held))
    done = Cli(tmp_path)(
        "model", "--target", "linux-x86_64", "--eval", source / "eval.jsonl", "--scheme", "fp32", "--format", "onnx"
    )
    assert done.returncode == 2 and "does not say where an answer ends" in done.stderr


def test_a_reference_that_answers_nan_is_refused(causal_source, tmp_path):
    from safetensors.numpy import load_file, save_file

    source = causal_source("llama")
    shutil.copytree(source / "model", tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    done = Cli(tmp_path)(
        "model", "--target", "linux-x86_64", "--eval", source / "eval.jsonl", "--scheme", "fp32", "--format", "onnx"
    )
    assert done.returncode == 2 and "the reference itself answers NaN" in done.stderr


def test_golden_vectors_leave_out_positions_where_an_answer_changed(causal_source, tmp_path):
    """Of long texts none keeps every answer, and yet the bundle must verify."""
    draw = random.Random(0)
    lines = [json.dumps({"text": "".join(draw.choices("bcdfghjkmnpqrvwxz", k=80))}) for _ in range(4)]
    (tmp_path / "eval.jsonl").write_text("\n".join(lines))
    source = causal_source("llama")
    data = ["--calibration", source / "calibration.jsonl", "--eval", "eval.jsonl"]
    wanted = ["--scheme", "w4a8-dynamic", "--format", "onnx", "-o", "dist"]
    Cli(tmp_path).ok(source / "model", "--target", "linux-x86_64", *data, *wanted)
    bundle = tmp_path / "dist/model-linux-x86_64"
    (report,) = read_json(bundle / "parity.json")["reports"]
    assert report["answers"]["flips"] > 4 * 5, "some in every text"
    golden = read_json(bundle / "golden.json")
    (outputs,) = (artifact["outputs"] for artifact in golden["artifacts"].values())
    for sample, rows in zip(golden["samples"], outputs, strict=True):
        best = [step["compared"][int(np.argmax(row[:-2]))] for row, step in zip(rows, sample["steps"], strict=True)]
        assert best == sample["answer"] and len(best) == len(sample["positions"])
        assert GOLDEN_ROWS // 2 <= len(best) <= GOLDEN_ROWS, "a quarter of 80 positions, more or less"
        assert sorted(set(sample["positions"])) == sample["positions"] and sample["positions"][-1] < 80
    Cli(tmp_path).ok("verify", bundle)


def test_chats_judge_as_the_template_writes_them(causal_source, tmp_path):
    """Several turns, and their golden vectors are checked again without the template."""
    said = texts(seed=30, rows=24, most=6)
    roles = ("user", "assistant", "user", "assistant")
    chats = [
        {"messages": [{"role": r, "content": said[(i + n) % 24]} for n, r in enumerate(roles)]} for i in range(0, 24, 3)
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, chats)))
    source = causal_source("llama")
    wanted = ["--scheme", "fp32", "--format", "onnx", "-o", "dist"]
    Cli(tmp_path).ok(source / "model", "--target", "linux-x86_64", "--eval", "chats.jsonl", *wanted)
    bundle = tmp_path / "dist/model-linux-x86_64"
    golden = read_json(bundle / "golden.json")["samples"][0]
    assert golden["text"].startswith("<|im_start|>user\n") and golden["text"].count("<|im_end|>") == 4
    assert golden["special_tokens"] is False
    Cli(tmp_path).ok("verify", bundle)
    (tmp_path / "bad.jsonl").write_text('{"messages": [{"role": "user"}]}\n')
    done = Cli(tmp_path)(source / "model", "--target", "linux-x86_64", "--eval", "bad.jsonl", *wanted)
    assert done.returncode == 2 and "turn 1 is no role and content" in done.stderr


def test_a_gguf_file_is_a_source(causal_source, tmp_path):
    source = causal_source("qwen2")
    write_gguf(source / "model", tmp_path / "tiny-model.gguf")
    data = ["--calibration", source / "calibration.jsonl", "--eval", source / "eval.jsonl"]
    onnx = ["--format", "onnx"]
    Cli(tmp_path).ok(
        "tiny-model.gguf", "--target", "linux-x86_64", *data, "--scheme", "w8a8-dynamic", *onnx, "-o", "dist"
    )
    manifest = read_json(tmp_path / "dist/tiny-model-linux-x86_64/manifest.json")
    assert manifest["source"]["kind"] == "gguf" and manifest["source"]["license"] == "mit"
    assert manifest["source"]["architecture"] == "Qwen2ForCausalLM" and manifest["max_length"] == CONTEXT
    assert "<|im_start|>" in manifest["tokenizer"]["chat_template"]
    (report,) = read_json(tmp_path / "dist/tiny-model-linux-x86_64/parity.json")["reports"]
    assert report["verdict"] == "pass" and report["answers"]["perplexity_reference"] < 12, "it is the trained model"


def test_a_gpt2_from_a_gguf_file_answers_as_its_directory_does(tmp_path, monkeypatch):
    import torch

    known = {
        "n_inner": 256,
        "n_positions": 1024,
        "max_position_embeddings": 1024,
    }  # what transformers reads no sizes of
    monkeypatch.setitem(FAMILIES, "gpt2", FAMILIES["gpt2"] | known)
    make_tiny_causal(tmp_path / "model", family="gpt2")
    write_gguf(tmp_path / "model", tmp_path / "tiny.gguf")
    ids = torch.tensor([[5, 9, 17, 40, 3, 60]])
    answers = []
    for name in ("model", "tiny.gguf"):
        info = sources.unpacked(sources.describe(sources.Location(path=tmp_path / name)), tmp_path / "unpacked")
        module = sources.load(info, max_length=64).module
        assert sum(isinstance(m, torch.nn.Linear) for m in module.modules()) == 9
        answers.append(module(input_ids=ids).logits)
    assert float((answers[0] - answers[1]).abs().max()) < 0.02 * float(answers[0].abs().max())


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF" + b"\x07" * 100)
    write_texts(tmp_path / "eval.jsonl", seed=1, rows=4)
    done = Cli(tmp_path)("damaged.gguf", "--target", "linux-x86_64", "--eval", "eval.jsonl", "--scheme", "fp32")
    assert done.returncode == 2 and "is no GGUF file" in done.stderr


def test_scales_and_norms_are_tuned_on_demand(causal_source, tmp_path):
    source = causal_source("llama")
    write_texts(tmp_path / "calibration.jsonl", seed=20, rows=60)
    data = ["--calibration", "calibration.jsonl", "--calibration-samples", 20, "--eval", source / "eval.jsonl"]
    scheme = ["--scheme", "w4a8-dynamic", "--effort", "high", "--format", "onnx"]
    Cli(tmp_path).ok(source / "model", "--target", "linux-x86_64", *data, *scheme, "-o", "dist")
    bundle = tmp_path / "dist/model-linux-x86_64"
    said = next(line for line in (bundle / "report.md").read_text().splitlines() if line.startswith("Scales and norms"))
    before, after = (float(number) for number in re.findall(r"([\d.e-]+) (?:before|after)", said))
    assert after <= before
    (artifact,) = read_json(bundle / "manifest.json")["artifacts"]
    assert artifact["layers_carried"] == 16


def test_a_lora_adapter_of_a_causal_model_is_merged(causal_source, tmp_path):
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    source = causal_source("llama")
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(source / "model")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(base, config).eval()
    model.save_pretrained(tmp_path / "adapter")
    ids = make_tokenizer()("the a my is it")["input_ids"]
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -1].numpy()
    wanted = ["--scheme", "fp32", "--format", "onnx", "-o", "dist", "--eval", source / "eval.jsonl"]
    Cli(tmp_path).ok("adapter", "--base", source / "model", "--target", "linux-x86_64", *wanted)
    session, _ = opened(tmp_path / "dist/adapter-linux-x86_64")
    assert np.abs(session.last(session.start(), ids)[1] - expected).max() < 2e-5
