"""A causal model's folder, unchanged, in the libraries that others load it with; see test_other_loaders.py for what
they need. onnxruntime-genai runs in tests/backends."""

import json

import pytest

from slm_export.records import read_json
from tests import official_runners
from tests.conftest import Cli
from tests.real.test_other_loaders import LOADERS, answers, needed
from tests.tiny_causal import TURN, make_tiny_causal, make_tokenizer, texts, write_texts

pytestmark = pytest.mark.heavy
SCHEMES = ("fp32", "w8a8-dynamic", "w4a8-dynamic")
PROMPTS = [" ".join(text.split()[:4]) for text in texts(seed=3, rows=6, most=6)]


@pytest.fixture(scope="module", params=SCHEMES)
def folder(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("causal")
    make_tiny_causal(home / "model", family="llama")
    for name, seed in (("calibration", 10), ("eval", 11)):
        write_texts(home / f"{name}.jsonl", seed=seed, rows=30, most=30)
    data = ["--calibration", "calibration.jsonl", "--eval", "eval.jsonl", "--scheme", request.param]
    data += ["--format", "onnx"]
    Cli(home).ok("model", "--target", "linux-x86_64", *data, "-o", "dist")
    assert read_json(home / "dist/model-linux-x86_64/manifest.json")["artifacts"][0]["scheme"] == request.param
    return home / "dist/model-linux-x86_64/onnx"


def written_by_genai(folder):
    import onnxruntime_genai as genai

    model = genai.Model(str(folder))
    return [official_runners.written_by_genai(model, ids, most=24) for ids in make_tokenizer()(PROMPTS)["input_ids"]]


def without_end(made):
    end = make_tokenizer().convert_tokens_to_ids(TURN)
    return [ids[:-1] if ids[-1] == end else ids for ids in made]


def test_transformers_js_writes_the_same(folder):
    script = ["node", LOADERS / "transformers_write.mjs", folder, json.dumps(PROMPTS)]
    made = answers(script, folder=needed("SLM_EXPORT_TRANSFORMERS_JS"))
    assert without_end(made) == written_by_genai(folder)


def test_optimum_writes_the_same(folder):
    made = answers([needed("SLM_EXPORT_OPTIMUM"), LOADERS / "optimum_write.py", folder, json.dumps(PROMPTS)])
    assert without_end(made) == written_by_genai(folder)
