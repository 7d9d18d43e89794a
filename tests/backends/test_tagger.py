"""Token classification: words and their tags, in every format."""

import json
import shutil

import pytest

from slm_export.records import read_json, write_json
from tests import support
from tests.conftest import Cli
from tests.tiny import make_tiny_tagger, write_tags

FORMATS = ("executorch", "tflite", "onnx")
CASES = [  # int8 files come with float twins, so float ones in every format add little
    ("fp32", ("onnx",)),
    ("fp16", ("onnx",)),
    ("w8a8-dynamic", FORMATS),
    pytest.param(("fp32", FORMATS), marks=pytest.mark.heavy),
    pytest.param(("fp16", ("tflite", "onnx")), marks=pytest.mark.heavy),
]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    make_tiny_tagger(folder / "model", seed=0)
    write_tags(folder / "calibration.jsonl", seed=10, rows=60)
    write_tags(folder / "eval.jsonl", seed=11, rows=120)
    return folder


@pytest.fixture(scope="module", params=CASES, ids=str)
def bundle(request, tagger):
    scheme, formats = request.param
    wanted = ["--scheme", scheme, *(part for format in formats for part in ("--format", format))]
    data = ["--calibration", "calibration.jsonl", "--eval", "eval.jsonl", "--max-length", 24]
    out = "-".join(["dist", scheme, *formats])
    Cli(tagger).ok("model", "--target", "linux-x86_64", *data, "-o", out, *wanted, "--batch", 2)
    support.note(tagger / out / "model-linux-x86_64.run.json", family="bert", task="token-classification")
    return tagger / out / "model-linux-x86_64"


def test_every_artifact_tags_like_the_reference(bundle):
    manifest, reports = read_json(bundle / "manifest.json"), read_json(bundle / "parity.json")["reports"]
    assert manifest["task"] == "token-classification" and len(manifest["labels"]) == 9
    scheme = manifest["artifacts"][0]["scheme"]
    assert "-".join(["dist", scheme, *(a["format"] for a in manifest["artifacts"])]) == bundle.parent.name
    for report in reports:
        assert report["verdict"] == "pass" and report["answers"]["span_f1_reference"] > 0.8
        assert abs(report["answers"]["span_f1_drop"]) <= 0.01 and set(report["classes"]) <= set(manifest["labels"])
        if scheme == "fp32":
            assert report["answers"]["flips"] == 0 and report["numbers"]["max_abs_error"] <= 1e-4
    for artifact in manifest["artifacts"]:
        assert len(artifact["outputs"][0]["shape"]) == 3 and artifact["outputs"][0]["shape"][2] == 9
    Cli(bundle).ok("verify", bundle)


def test_golden_vectors_say_which_token_answers_for_which_word(bundle):
    golden = read_json(bundle / "golden.json")
    for sample in golden["samples"]:
        assert len(sample["words"]) == len(sample["positions"]) == len(sample["answer"])
        assert sample["positions"][0] == 1 and len(sample["reference"]) == len(sample["input_ids"])
        assert " ".join(sample["words"]) == sample["text"]


def test_verify_refuses_another_alignment(bundle, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    golden = read_json(copy / "golden.json")
    for sample in golden["samples"]:
        sample["answer"] = ["B-fruit"] * len(sample["answer"])
    write_json(copy / "golden.json", golden)
    done = Cli(tmp_path)("verify", copy, "--json", "--format", "onnx")
    failed = {c["name"]: c["detail"] for c in json.loads(done.stdout)[0]["checks"] if c["ok"] is False}
    assert done.returncode == 7 and "answers differ" in failed["golden onnx/model.onnx"]
