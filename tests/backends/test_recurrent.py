"""LSTM and GRU classifiers in plain PyTorch: every variant in ONNX, some end to end in every format."""

from itertools import product

import numpy as np
import pytest
import torch

from slm_export import readers, runtimes
from slm_export.artifact import RuntimeRecord
from slm_export.errors import ExportError
from slm_export.exporters import onnx
from slm_export.exporters.common import ExportRequest
from slm_export.quantization.compressed import Compressed
from slm_export.quantplan import QuantPlan
from slm_export.records import read_json
from slm_export.sources.classifier import PlainClassifier
from tests import support
from tests.classifiers import Classifier
from tests.tiny import make_tiny_recurrent, write_csv

# Every two of the four choices meet; tests/unit runs the whole cross without a runtime.
VARIANTS = [v for i, v in enumerate(product(("lstm", "gru"), (False, True), (False, True), ("h_n", "last")))
            if i.bit_count() % 2 == 0]  # fmt: skip
REQUEST = ExportRequest(
    task="text-classification",
    inputs=("input_ids", "attention_mask"),
    max_length=12,
    buckets=(12,),
    batch=1,
    pad_id=0,
    runtime=RuntimeRecord(package="onnxruntime", version="", oldest="", backend="cpu"),
)


def export_onnx(model, folder):
    """The artifact of a float classifier, and a session of it."""
    reference = PlainClassifier(model.eval().requires_grad_(False), ("input_ids", "lengths"), 0)
    compressed = Compressed(module=reference, plan=QuantPlan(scheme="fp32", layers={}), tensors={})
    artifact = onnx.export(compressed, REQUEST, folder).artifact
    return artifact, runtimes.get("onnx").open(folder / artifact.path, artifact)


@pytest.mark.parametrize(("kind", "bidirectional", "packed", "answer"), VARIANTS)
def test_onnx_has_the_operator_and_does_not_see_padding(kind, bidirectional, packed, answer, tmp_path):
    variant = {"kind": kind, "bidirectional": bidirectional, "packed": packed, "answer": answer}
    model = make_tiny_recurrent(tmp_path, seed=0, steps=5, **variant)
    artifact, session = export_onnx(model, tmp_path)
    assert readers.get(tmp_path / artifact.path).read(tmp_path / artifact.path).ops[kind.upper()] == 1
    lengths = torch.tensor([30, 1, 9, 2])
    mask = (torch.arange(30)[None] < lengths[:, None]).long()
    ids = torch.randint(5, 29, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    got = session.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})["logits"]
    expected = [model(ids[r : r + 1, :n], lengths[r : r + 1]) for r, n in enumerate(lengths)]
    np.testing.assert_allclose(got, torch.cat(expected), atol=1e-5)


class CountsRows(Classifier):
    """len() of a tensor is a Python number: the graph is then for that many texts only."""

    def picked(self, y, h, lengths):
        return y[torch.arange(len(y)), lengths - 1]


def test_a_graph_for_one_shape_only_is_told(tmp_path):
    with pytest.raises(ExportError, match="takes one shape only") as caught:
        export_onnx(CountsRows("gru", bidirectional=False, packed=False, answer="h_n"), tmp_path)
    assert "len(x)" in str(caught.value)


def exported(cli, *flags, **variant):
    """What was printed, the bundle, and its reports by format. Unused rows make the table one that is quantized."""
    make_tiny_recurrent(cli.folder, seed=0, rows=9000, width=32, **variant)
    write_csv(cli.folder / "calibration.csv", seed=10, rows=60)
    write_csv(cli.folder / "eval.csv", seed=11, rows=120)
    data = ["--calibration", "calibration.csv", "--eval", "eval.csv", "--max-length", 12, "-o", "dist"]
    done = cli.ok("classifiers:make", "--weights", "model", "--target", "linux-x86_64", *data, *flags)
    bundle = cli.folder / "dist/model-linux-x86_64"
    support.note(cli.folder / "dist/model-linux-x86_64.run.json", family=f"{variant['kind']} (plain PyTorch)")
    return done.stdout, bundle, {r["format"]: r for r in read_json(bundle / "parity.json")["reports"]}


def test_a_packed_bidirectional_lstm_answers_alike_in_int8_and_padded_batches(cli):
    flags = ["--batch", 2]
    said, bundle, reports = exported(cli, *flags, kind="lstm", bidirectional=True, packed=True, answer="h_n")
    assert "repeat 2 recurrent layers (directions counted) for each of 12 tokens: about 360 operators" in said
    assert "weights of recurrent layers stay float32" in said
    assert list(reports) == ["executorch", "tflite", "onnx"]
    for report in reports.values():
        assert report["verdict"] == "pass" and report["answers"]["accuracy_reference"] >= 0.95
        assert report["numbers"]["lowering_max_abs_error"] < 2e-5 and "batch" in report["probes"]
    manifest = read_json(bundle / "manifest.json")
    shapes = {a["format"]: a["inputs"][0]["shape"] for a in manifest["artifacts"]}
    assert shapes == {"executorch": [2, 12], "tflite": [2, 12], "onnx": ["batch", "sequence"]}
    assert {a["layers_carried"] for a in manifest["artifacts"]} == {2}
    assert manifest["source"]["kind"] == "pytorch" and manifest["source"]["architecture"] == "classifiers:make"
    assert str(cli.folder) not in (bundle / "manifest.json").read_text()
    cli.ok("verify", bundle)


def test_a_gru_that_answers_from_its_last_output_is_exact_in_float(cli):
    flags = ["--batch", 2, "--scheme", "fp32"]
    _, _, reports = exported(cli, *flags, kind="gru", bidirectional=True, packed=False, answer="last")
    for report in reports.values():
        assert report["verdict"] == "pass" and report["numbers"]["max_abs_error"] < 2e-5


def test_half_precision_leaves_recurrent_weights_alone(cli):
    flags = ["--scheme", "fp16", "--format", "tflite", "--format", "onnx"]
    _, _, reports = exported(cli, *flags, kind="lstm", bidirectional=False, packed=True, answer="gathered")
    for report in reports.values():
        assert report["verdict"] == "pass" and report["numbers"]["lowering_max_abs_error"] < 2e-5


def test_onnx_alone_takes_the_targets_length(cli):
    make_tiny_recurrent(cli.folder, seed=0, steps=1, kind="gru", bidirectional=False, packed=False, answer="h_n")
    write_csv(cli.folder / "eval.csv", seed=11, rows=20)
    data = ["--eval", "eval.csv", "--scheme", "fp32", "--format", "onnx", "-o", "dist"]
    done = cli.ok("classifiers:make", "--weights", "model", "--target", "linux-x86_64", *data)
    assert "repeat" not in done.stdout and read_json(cli.folder / "dist/model-linux-x86_64/manifest.json")
