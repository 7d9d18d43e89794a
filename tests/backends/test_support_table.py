"""Every family with every task, in every format and scheme: the cells of docs/support.md. Hours on two cores."""

import pytest

from slm_export.records import read_json
from tests import support
from tests.tiny import FAMILIES, HEADS, make_tiny_embedder, make_tiny_model, make_tiny_recurrent, write_rows
from tests.tiny_seq2seq import FAMILIES as GENERATING
from tests.tiny_seq2seq import make_tiny_seq2seq, write_pairs

pytestmark = pytest.mark.heavy
SCHEMES = ("fp32", "fp16", "w8a8-dynamic")
REFUSED = {  # (family, format, scheme): why, as the run says
    ("mobilebert", "tflite", "w8a8-dynamic"): "are not in the converted model as they were",
}
ENCODERS = [(family, head) for family in FAMILIES for head in (*HEADS, "feature-extraction")]


@pytest.mark.parametrize(("family", "head"), ENCODERS)
def test_an_encoder_answers_like_its_reference(family, head, cli):
    task = head
    if head == "feature-extraction":
        task = "text-classification"
        make_tiny_embedder(cli.folder / "model", pooling="mean", steps=["Pooling", "Normalize"], seed=0, family=family)
    else:
        make_tiny_model(cli.folder / "model", family=family, task=head, seed=0)
    write_rows(cli.folder / "calibration.jsonl", task, seed=10, rows=60)
    write_rows(cli.folder / "eval.jsonl", task, seed=11, rows=120)
    export(cli, ["model"], family, head, files="jsonl")


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_classifier_answers_like_its_reference(kind, cli):
    shape = {"bidirectional": True, "packed": True, "answer": "h_n", "rows": 9000, "width": 32}
    make_tiny_recurrent(cli.folder, seed=0, kind=kind, **shape)
    write_rows(cli.folder / "calibration.jsonl", "text-classification", seed=10, rows=60)
    write_rows(cli.folder / "eval.jsonl", "text-classification", seed=11, rows=120)
    source = ["classifiers:make", "--weights", "model"]
    export(cli, source, f"{kind} (plain PyTorch)", "text-classification", files="jsonl")


@pytest.mark.parametrize("family", GENERATING)
def test_an_encoder_decoder_answers_like_its_reference(family, cli):
    make_tiny_seq2seq(cli.folder / "model", family=family, seed=0)
    write_pairs(cli.folder / "calibration.csv", seed=10, rows=60)
    write_pairs(cli.folder / "eval.csv", seed=11, rows=80)
    export(cli, ["model"], family, "text2text-generation", files="csv")


def export(cli, source, family, task, *, files):
    data = ["--calibration", f"calibration.{files}", "--eval", f"eval.{files}", "--max-length", 24]
    failed = []
    for scheme in SCHEMES:
        done = cli(*source, "--name", "made", "--target", "linux-x86_64", *data, "--scheme", scheme, "-o", scheme)
        run = cli.folder / scheme / "made-linux-x86_64.run.json"
        assert run.is_file(), done.stderr
        support.note(run, family=family, task=task)
        for made in read_json(run)["formats"]:
            said = (made["error"] or {}).get("what", "")
            expected = REFUSED.get((family, made["format"], scheme))
            if bool(said) != bool(expected) or (expected or "") not in said:
                failed.append(f"{made['format']} {scheme}: {said or 'passed'} {done.stderr}")
    assert not failed, "\n".join(failed)
