"""Sentence embeddings: pooling, dense layers and normalization in the graph of every format."""

import json

import numpy as np
import pytest

from slm_export import readers
from slm_export.records import read_json
from tests import support
from tests.conftest import Cli
from tests.tiny import make_tiny_embedder, write_csv

FORMATS = ["executorch", "tflite", "onnx"]
STEPS = {
    "mean": ("Pooling", "Normalize"),
    "cls": ("Pooling", "Dense"),
    "max": ("Pooling", "Dense", "Normalize"),
    "mean_sqrt_len_tokens": ("Pooling",),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    write_csv(folder / "calibration.csv", seed=10, rows=60)
    write_csv(folder / "eval.csv", seed=11, rows=80)
    return folder


def export(data, pooling, *flags):
    model = data / f"model-{pooling}"
    if not model.exists():
        make_tiny_embedder(model, pooling=pooling, steps=STEPS[pooling], seed=0)
    files = ["--calibration", "calibration.csv", "--eval", "eval.csv", "--max-length", 24, "--batch", 2]
    out = "-".join(map(str, ("dist", pooling, *flags)))
    Cli(data).ok(model, "--target", "linux-x86_64", *files, "-o", out, *flags)
    support.note(data / out / f"model-{pooling}-linux-x86_64.run.json", family="bert", task="feature-extraction")
    return data / out / f"model-{pooling}-linux-x86_64"


@pytest.mark.parametrize(
    ("scheme", "formats"),
    [("fp32", ["onnx"]), ("w8a8-dynamic", FORMATS), pytest.param("fp32", FORMATS, marks=pytest.mark.heavy)],
)
def test_every_format_embeds_like_the_reference(data, scheme, formats):
    wanted = [part for format in formats for part in ("--format", format)]
    bundle = export(data, "max", "--scheme", scheme, *wanted)
    manifest, reports = read_json(bundle / "manifest.json"), read_json(bundle / "parity.json")["reports"]
    assert manifest["task"] == "feature-extraction" and manifest["labels"] == []
    settings = manifest["task_settings"]
    assert (settings["pooling"], settings["normalize"], settings["similarity"]) == ("max", True, "cosine")
    assert [layer["outputs"] for layer in settings["dense"]] == [16]
    assert [r["format"] for r in reports] == formats
    for artifact, report in zip(manifest["artifacts"], reports, strict=True):
        (output,) = artifact["outputs"]
        assert (output["name"], output["shape"]) == ("sentence_embedding", SHAPES[artifact["format"]])
        assert report["numbers"]["cosine_min"] >= (0.99999 if scheme == "fp32" else 0.98)
        assert report["answers"]["neighbour_agreement"] >= 0.9 and report["verdict"] == "pass"
    golden = read_json(bundle / "golden.json")["samples"][0]
    assert golden["answer"] is None and np.linalg.norm(golden["reference"]) == pytest.approx(1, abs=1e-5)
    assert {f for f in manifest["source"]["files"] if "/" in f} == {
        "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
    }  # fmt: skip
    Cli(data).ok("verify", bundle)


SHAPES = {"executorch": ["batch", 16], "tflite": [2, 16], "onnx": ["batch", 16]}


@pytest.mark.parametrize("pooling", ["mean", "cls", "mean_sqrt_len_tokens"])
def test_every_pooling_is_in_the_graph(data, pooling):
    report = read_json(export(data, pooling, "--scheme", "fp32", "--format", "onnx") / "parity.json")["reports"][0]
    assert report["numbers"]["max_abs_error"] <= 1e-4 and report["probes"]["batch"] <= 1e-4


def test_pooling_is_what_its_name_says(data):
    import torch

    from slm_export.sources.embedder import pool

    hidden = torch.tensor([[[1.0, -8.0], [3.0, -2.0], [100.0, 100.0]]])
    mask = torch.tensor([[[1.0], [1.0], [0.0]]])
    found = {kind: pool(hidden, mask, kind)[0].tolist() for kind in STEPS}
    assert found["mean"] == [2, -5] and found["cls"] == [1, -8] and found["max"] == [3, -2]
    assert found["mean_sqrt_len_tokens"] == pytest.approx([4 / 2**0.5, -10 / 2**0.5])


def test_the_encoders_own_pooler_is_not_exported(data):
    bundle = export(data, "mean", "--scheme", "fp32", "--format", "onnx")
    facts = readers.get(bundle / "onnx/model.onnx").read(bundle / "onnx/model.onnx")
    assert not [t.name for t in facts.tensors if "pooler" in t.name]


def test_texts_longer_than_the_model_was_made_for_are_refused(data):
    export(data, "mean", "--scheme", "fp32", "--format", "onnx")
    limit = json.loads((data / "model-mean/sentence_bert_config.json").read_text())["max_seq_length"]
    args = ["model-mean", "--target", "linux-x86_64", "--eval", "eval.csv", "--scheme", "fp32"]
    done = Cli(data)(*args, "--max-length", limit + 1)
    assert done.returncode == 2 and f"more than the model's {limit} positions" in done.stderr
