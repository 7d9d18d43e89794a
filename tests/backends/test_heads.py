"""Encoder heads beside plain classification: a trained tiny model of each, in every format."""

import json

import numpy as np
import pytest

from slm_export import tasks
from slm_export.records import read_json
from tests import support
from tests.conftest import Cli
from tests.tiny import make_tiny_model, write_rows

QUALITY = {  # the task's metric, and what the trained reference reaches at least
    "pairs": ("accuracy", 0.9),
    "text-classification/multi-label": ("micro_f1", 0.9),
    "question-answering": ("answer_f1", 0.9),
    "fill-mask": ("accuracy", 0.6),
}
HEADS = [*QUALITY, "text-classification/regression", "feature-extraction/hidden-states"]
SEGMENTED = ("pairs", "question-answering")
FORMATS = ["executorch", "tflite", "onnx"]
WHOLE = ("pairs", "fill-mask")  # segments, and a tied table; the other heads run in every format with -m heavy
# int8 .pte and .tflite come with float twins that are judged too, so float ones would add little
CASES = [
    *((head, "fp32", ["onnx"]) for head in HEADS),
    *((head, "w8a8-dynamic", FORMATS if head in WHOLE else ["onnx"]) for head in HEADS),
    *(pytest.param(h, "w8a8-dynamic", FORMATS, marks=pytest.mark.heavy) for h in HEADS if h not in WHOLE),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bundles by head, scheme and formats, each made once."""
    bundles = {}

    def make(head, scheme, formats):
        key = (head, scheme, *formats)
        if key not in bundles:
            bundles[key] = export(tmp_path_factory.mktemp(head.replace("/", "-")), head, scheme, formats)
        return bundles[key]

    return make


def export(folder, head, scheme, formats):
    make_tiny_model(folder / "model", seed=0, task=head)
    write_rows(folder / "calibration.jsonl", head, seed=10, rows=60)
    write_rows(folder / "eval.jsonl", head, seed=11, rows=120)
    data = ["--calibration", "calibration.jsonl", "--eval", "eval.jsonl", "--max-length", 24, "--batch", 2]
    named = [part for f in formats for part in ("--format", f)]
    Cli(folder).ok("model", "--target", "linux-x86_64", *data, "--scheme", scheme, *named, "-o", "dist")
    support.note(folder / "dist/model-linux-x86_64.run.json", family="bert", task=head)
    return folder / "dist/model-linux-x86_64"


@pytest.mark.parametrize(("head", "scheme", "formats"), CASES)
def test_a_head_answers_like_its_reference(made, head, scheme, formats):
    bundle = made(head, scheme, formats)
    manifest, reports = read_json(bundle / "manifest.json"), read_json(bundle / "parity.json")["reports"]
    task = "text-classification" if head == "pairs" else head
    assert (manifest["task"], manifest["head"]) == tasks.split(task)
    assert [a["format"] for a in manifest["artifacts"]] == formats
    for artifact, report in zip(manifest["artifacts"], reports, strict=True):
        assert report["verdict"] == "pass" and artifact["scheme"] == scheme
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if head in SEGMENTED else [])]
        assert [i["name"] for i in artifact["inputs"]] == names
        if head in QUALITY:
            metric, reached = QUALITY[head]
            assert report["answers"][f"{metric}_reference"] >= reached
        if scheme == "fp32":
            assert report["numbers"]["max_abs_error"] <= 1e-4 and not report["answers"].get("flips")
    Cli(bundle).ok("verify", bundle)


def test_a_tied_table_is_stored_once_in_every_format(made):
    bundle = made("fill-mask", "w8a8-dynamic", FORMATS)
    table = 9000 * 32
    for entry in read_json(bundle / "manifest.json")["artifacts"]:
        assert table < (bundle / entry["path"]).stat().st_size < 1.8 * table, entry["format"]
        assert entry["memory"]["weights_bytes"] < 1.5 * table


def test_segment_ids_are_not_ignored(made):
    """Of the pairs only the second text counts, which the model tells by its segment ids."""
    from slm_export import runtimes
    from slm_export.artifact import Artifact
    from slm_export.records import from_json

    bundle = made("pairs", "w8a8-dynamic", FORMATS)
    vectors = read_json(bundle / "golden.json")
    golden = vectors["samples"][0]
    for entry in read_json(bundle / "manifest.json")["artifacts"]:
        artifact = from_json(Artifact, entry)
        session = runtimes.get(artifact.format).open(bundle / artifact.path, artifact)
        ids, types = (np.array([golden[n]], np.int64) for n in ("input_ids", "token_type_ids"))
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        right = session.run(feed)["logits"]
        wrong = session.run({**feed, "token_type_ids": np.zeros_like(types)})["logits"]
        recorded = vectors["artifacts"][artifact.path]["outputs"][0]
        assert np.abs(right - recorded).max() < 1e-4 and np.abs(right - wrong).max() > 1


def test_golden_answers_are_what_the_task_says(made):
    found = {head: read_json(made(head, "fp32", ["onnx"]) / "golden.json")["samples"][0] for head in HEADS}
    assert isinstance(found["text-classification/multi-label"]["answer"], list)
    asked = found["question-answering"]
    start, end = asked["answer"]["start"], asked["answer"]["end"]
    assert asked["pair"][start:end] == asked["answer"]["text"] and len(asked["reference"]) == 2
    masked = found["fill-mask"]
    assert "[MASK]" in masked["text"] and len(masked["answer"]) == len(masked["positions"]) == 1
    assert len(masked["columns"]) == len(masked["reference"][0]) == 32
    assert masked["answer"][0] in masked["columns"]
    assert found["text-classification/regression"]["answer"] is None


@pytest.mark.parametrize("head", HEADS)
def test_run_answers_as_the_golden_vectors_do(made, tmp_path, head):
    bundle = made(head, "fp32", ["onnx"])
    golden = read_json(bundle / "golden.json")["samples"][0]
    pair = ["--pair", golden["pair"]] if golden.get("pair") else []
    said = json.loads(Cli(tmp_path).ok("run", bundle, golden["text"], *pair, "--json").stdout.splitlines()[-1])
    if head == "fill-mask":
        vocabulary = read_json(bundle / "tokenizer/tokenizer.json")["model"]["vocab"]
        assert [vocabulary[token] for token in said["answer"]] == golden["answer"]
    elif golden["answer"] is not None:
        assert said["answer"] == golden["answer"]
    else:
        recorded = read_json(bundle / "golden.json")["artifacts"]["onnx/model.onnx"]["outputs"][0]
        expected = np.array(recorded if head.endswith("hidden-states") else recorded[0])
        assert np.shape(said["answer"]) == expected.shape and np.abs(said["answer"] - expected).max() < 1e-4
    if pair:
        done = Cli(tmp_path)("run", bundle, golden["text"])
        assert done.returncode == 2 and "--pair" in done.stderr


def test_verify_refuses_a_regression_that_is_off(made, tmp_path):
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(made("text-classification/regression", "fp32", ["onnx"]), copy)
    golden = read_json(copy / "golden.json")
    golden["artifacts"]["onnx/model.onnx"]["outputs"][0][0][0] += 0.5
    (copy / "golden.json").write_text(json.dumps(golden))
    done = Cli(tmp_path)("verify", copy, "--json", "--format", "onnx")
    failed = {c["name"]: c["detail"] for c in json.loads(done.stdout)[0]["checks"] if c["ok"] is False}
    assert done.returncode == 7 and "from the recorded value" in failed["golden onnx/model.onnx"]


def test_slices_are_reported_beside_the_whole(made):
    bundle = made("pairs", "fp32", ["onnx"])
    folder = bundle.parents[1]
    rows = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    for row in rows:
        row["length"] = "long" if len(row["text"].split()) > 7 else "short"
    (folder / "sliced.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = ["--scheme", "fp32", "--format", "onnx", "--max-length", 24, "-o", "sliced"]
    Cli(folder).ok("model", "--target", "linux-x86_64", "--eval", "sliced.jsonl", "--slice-column", "length", *flags)
    report = read_json(folder / "sliced/model-linux-x86_64/parity.json")["reports"][0]
    assert sum(s["samples"] for s in report["slices"].values()) == 120 and set(report["slices"]) == {"long", "short"}
    assert report["slices"]["long"]["answers"]["flip_rate"] == 0
    assert "| slice | samples |" in (folder / "sliced/model-linux-x86_64/report.md").read_text()
