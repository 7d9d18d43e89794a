"""The bars, on MiniLM fine-tuned on Banking77 and its 3,080 test rows. Minutes: run with `pytest -m heavy`."""

import pytest

from slm_export.records import read_json
from tests.conftest import Cli

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", params=["w8a8-dynamic", "fp32"])
def run(request, shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    data = shared / "data" / "banking77"
    files = ["--calibration", data / "train.csv", "--eval", data / "test.csv"]
    model = shared / "models" / "minilm-banking77"
    Cli(folder).ok(model, "--target", "android-arm64", *files, "-o", "dist", "--scheme", request.param)
    return request.param, folder / "dist" / "minilm-banking77-android-arm64"


def test_every_artifact_meets_the_bars(run):
    scheme, bundle = run
    reports = read_json(bundle / "parity.json")["reports"]
    assert [r["format"] for r in reports] == ["executorch", "tflite", "onnx"]
    for report in reports:
        numbers, answers = report["numbers"], report["answers"]
        assert report["samples"] == 3080 and report["verdict"] == "pass"
        assert numbers["lowering_max_abs_error"] <= 1e-4
        if scheme == "fp32":
            assert numbers["max_abs_error"] <= 1e-4 and answers["flips"] == 0
        else:
            assert numbers["cosine_mean"] >= 0.9995
            assert answers["flip_rate"] <= (0.007 if report["format"] == "onnx" else 0.01)
            assert answers["accuracy_drop"] <= 0.005


def test_int8_artifacts_are_small(run):
    scheme, bundle = run
    sizes = [f["bytes"] for a in read_json(bundle / "manifest.json")["artifacts"] for f in a["files"]]
    assert len(sizes) == 3 and max(sizes) <= (25e6 if scheme == "w8a8-dynamic" else 92e6)


def test_the_sources_stale_truncation_is_not_in_the_bundle(run, shared):
    source = read_json(shared / "models" / "minilm-banking77" / "tokenizer.json")
    assert source["truncation"]["max_length"] == 64, "the trap is set"
    assert read_json(run[1] / "tokenizer" / "tokenizer.json")["truncation"]["max_length"] == 128


def test_no_stage_takes_a_gigabyte_above_torch(run, torch_mb):
    record = read_json(run[1].parent / f"{run[1].name}.run.json")
    assert max(s["peak_rss_mb"] for s in record["stages"]) - torch_mb < 1000


def test_it_verifies(run):
    Cli(run[1].parent).ok("verify", run[1])
