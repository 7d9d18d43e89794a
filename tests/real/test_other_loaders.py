"""The .onnx files of an encoder-decoder in the libraries that others load them with.

$SLM_EXPORT_OPTIMUM is a Python with optimum-onnx (0.1.0 wants transformers 4, so it has an environment of its own),
$SLM_EXPORT_TRANSFORMERS_JS a folder where `npm install @huggingface/transformers` ran (4.3.1; --ignore-scripts does).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from slm_export.records import read_json
from tests.conftest import Cli
from tests.tiny_seq2seq import FAMILIES, make_tiny_seq2seq, write_pairs

pytestmark = pytest.mark.heavy
LOADERS = Path(__file__).with_name("loaders")
LONGEST = 24


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory):
    """(source directory, bundle) of a tiny encoder-decoder."""
    folder = tmp_path_factory.mktemp(request.param)
    make_tiny_seq2seq(folder / "model", family=request.param, seed=0)
    write_pairs(folder / "eval.csv", seed=11, rows=40)
    data = ["--eval", "eval.csv", "--max-length", LONGEST, "--scheme", "fp32", "--format", "onnx"]
    Cli(folder).ok("model", "--target", "linux-x86_64", *data, "-o", "dist")
    return folder / "model", folder / "dist/model-linux-x86_64"


def test_optimum_answers_token_by_token_alike(exported, tmp_path):
    source, bundle = exported
    copy_settings(source, tmp_path / "model")
    for file in (bundle / "onnx").iterdir():
        shutil.copy(file, tmp_path / "model")
    golden = read_json(bundle / "golden.json")["samples"]
    script = [LOADERS / "optimum_generate.py", tmp_path / "model", json.dumps([g["input_ids"] for g in golden])]
    assert answers([needed("SLM_EXPORT_OPTIMUM"), *script]) == [g["answer"] for g in golden]


def test_transformers_js_answers_token_by_token_alike(exported, tmp_path):
    source, bundle = exported
    copy_settings(source, tmp_path / "model")
    shutil.copytree(bundle / "onnx", tmp_path / "model/onnx")
    golden = read_json(bundle / "golden.json")["samples"]
    script = [LOADERS / "transformers_generate.mjs", tmp_path / "model", json.dumps([g["text"] for g in golden])]
    made = answers(["node", *script], folder=needed("SLM_EXPORT_TRANSFORMERS_JS"))
    assert made == [g["answer"] for g in golden] and len(made) >= 8


def needed(name):
    if name not in os.environ:
        pytest.skip(f"${name} is not set")
    return os.environ[name]


def copy_settings(source, folder):
    """What a checkpoint says beside its weights; generation ends where the artifact's cache does."""
    folder.mkdir()
    for file in source.glob("*.json"):
        shutil.copy(file, folder)
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**said, "max_new_tokens": LONGEST, "max_length": None}))


def answers(command, *, folder=None):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
