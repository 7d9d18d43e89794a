"""Encoder families: a trained tiny classifier of each, int8, in every format."""

import pytest

from slm_export import readers
from slm_export.records import read_json
from tests import support
from tests.conftest import Cli
from tests.tiny import FAMILIES, make_tiny_model, write_csv

FORMATS = ["executorch", "tflite", "onnx"]
ALWAYS = {  # where a family differs most; in every format they run with -m heavy
    "albert": ["onnx"],
    "deberta-v2": ["onnx"],
    "distilbert": ["onnx"],
    "electra": ["onnx"],
    "modernbert": ["tflite"],
    "roberta": ["onnx"],
}
CASES = [*ALWAYS.items(), *(pytest.param(family, FORMATS, marks=pytest.mark.heavy) for family in ALWAYS)]


def test_every_family_is_tested():
    assert {*ALWAYS, "bert", "mobilebert"} == set(FAMILIES)


@pytest.mark.parametrize(("family", "formats"), CASES)
def test_a_family_answers_like_its_reference(family, formats, cli):
    make_tiny_model(cli.folder / "model", family=family, seed=0)
    write_csv(cli.folder / "calibration.csv", seed=10, rows=60)
    write_csv(cli.folder / "eval.csv", seed=11, rows=120)
    data = ["--calibration", "calibration.csv", "--eval", "eval.csv", "--max-length", 24, "-o", "dist"]
    named = [part for format in formats for part in ("--format", format)]
    cli.ok("model", "--target", "linux-x86_64", *data, *named)
    bundle = cli.folder / "dist/model-linux-x86_64"
    support.note(cli.folder / "dist/model-linux-x86_64.run.json", family=family)
    for report in read_json(bundle / "parity.json")["reports"]:
        assert report["verdict"] == "pass" and report["answers"]["accuracy_reference"] >= 0.9
    for artifact in read_json(bundle / "manifest.json")["artifacts"]:
        facts = readers.get(bundle / artifact["path"]).read(bundle / artifact["path"])
        assert facts.scheme == "w8a8-dynamic" and artifact["layers_carried"] > 3
    assert [a["format"] for a in read_json(bundle / "manifest.json")["artifacts"]] == formats


@pytest.mark.parametrize(
    ("family", "scheme", "batch", "formats"),
    [
        ("albert", "w4a8-dynamic", 1, ["tflite"]),
        ("mobilebert", "w8a8-dynamic", 2, ["tflite"]),
        pytest.param("mobilebert", "w8a8-dynamic", 2, FORMATS, marks=pytest.mark.heavy),
    ],
)
def test_what_litert_would_fold_into_other_weights_stays_apart(family, scheme, batch, formats, cli):
    """ALBERT's embeddings are two Linears in a row, MobileBERT's NoNorm is a product."""
    make_tiny_model(cli.folder / "model", family=family, seed=0)
    write_csv(cli.folder / "calibration.csv", seed=10, rows=60)
    write_csv(cli.folder / "eval.csv", seed=11, rows=120)
    data = ["--calibration", "calibration.csv", "--eval", "eval.csv", "--max-length", 24, "-o", "dist"]
    named = [part for format in formats for part in ("--format", format)]
    cli.ok("model", "--target", "linux-x86_64", *data, "--scheme", scheme, "--batch", batch, *named)
    reports = read_json(cli.folder / "dist/model-linux-x86_64/parity.json")["reports"]
    assert [(r["format"], r["verdict"]) for r in reports] == [(format, "pass") for format in formats]
    (report,) = (r for r in reports if r["format"] == "tflite")
    assert report["numbers"]["lowering_max_abs_error"] <= 5e-6 and report["answers"]["accuracy_reference"] >= 0.9


def test_mobilebert_answers_alike_at_every_length_in_onnx(cli):
    make_tiny_model(cli.folder / "model", family="mobilebert", seed=0)
    write_csv(cli.folder / "eval.csv", seed=11, rows=120)
    data = ["--eval", "eval.csv", "--max-length", 24, "-o", "dist", "--scheme", "fp32", "--format", "onnx"]
    cli.ok("model", "--target", "linux-x86_64", *data)
    support.note(cli.folder / "dist/model-linux-x86_64.run.json", family="mobilebert")
    (report,) = read_json(cli.folder / "dist/model-linux-x86_64/parity.json")["reports"]
    assert report["numbers"]["max_abs_error"] <= 1e-4 and report["answers"]["accuracy_reference"] >= 0.9


def test_alberts_shared_layers_are_stored_once(tmp_path):
    cli = Cli(tmp_path)
    make_tiny_model(tmp_path / "model", family="albert", seed=0)
    write_csv(tmp_path / "eval.csv", seed=11, rows=60)
    cli.ok(
        "model", "--target", "linux-x86_64", "--eval", "eval.csv", "--max-length", 24, "--scheme", "fp32", "-o", "dist"
    )
    stored = (tmp_path / "model/model.safetensors").stat().st_size
    for artifact in read_json(tmp_path / "dist/model-linux-x86_64/manifest.json")["artifacts"]:
        assert artifact["files"][0]["bytes"] < 1.2 * stored + 60_000, artifact["format"]


def test_roberta_has_fewer_positions_than_its_table(cli):
    make_tiny_model(cli.folder / "model", family="roberta", seed=0)
    write_csv(cli.folder / "eval.csv", seed=11, rows=20)
    args = ["model", "--target", "linux-x86_64", "--eval", "eval.csv", "--scheme", "fp32"]
    done = cli(*args, "--max-length", 65)
    assert done.returncode == 2 and "more than the model's 64 positions" in done.stderr
