"""`--scheme w8a8`: static ranges in all three formats, and tensors that are better left without one."""

import shutil
import struct

import onnx
import pytest
from safetensors.numpy import load_file, save_file

from slm_export import exporters, readers
from slm_export.errors import ExportError
from slm_export.exporters.common import require_ranges
from slm_export.names import FORMATS
from slm_export.quantplan import QuantPlan
from slm_export.records import from_json, read_json
from tests import support
from tests.conftest import EXAMPLE, FILES, Cli
from tests.tiny import make_tiny_model, write_rows

pytestmark = pytest.mark.usefixtures("warm")  # processes are the other files' subject

BUNDLE = "dist/{}-linux-x86_64"
STATIC = ("--target", "linux-x86_64", "--scheme", "w8a8", "--max-length", 32, "-o", "dist")
DATA = ("--calibration", EXAMPLE / "calibration.csv", "--eval", EXAMPLE / "eval.csv")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    cli = Cli(tmp_path_factory.mktemp("static"))
    cli.ok(EXAMPLE, *STATIC, *DATA)
    support.note(cli.folder / "dist/banking-intents-linux-x86_64.run.json", family="bert")
    return cli.folder / BUNDLE.format("banking-intents")


def test_every_format_passes_with_the_same_ranges(bundle):
    artifacts = read_json(bundle / "manifest.json")["artifacts"]
    assert [a["scheme"] for a in artifacts] == ["w8a8"] * 3 and [a["verdict"] for a in artifacts] == ["pass"] * 3
    plans = [a["plan"] for a in artifacts]
    assert plans[0]["ranges"] == plans[1]["ranges"] == plans[2]["ranges"] and len(plans[0]["ranges"]) > 30
    kinds = {n: p["activations"] for n, p in plans[2]["layers"].items()}
    assert kinds["bert.encoder.layer.0.attention.self.query"] == "static"
    assert kinds["classifier"] != "static", "its output is the answer"
    report = (bundle / "report.md").read_text()
    assert "- static ranges: " in report and "- kept float, with the harm" in report


@pytest.mark.parametrize(("format", "number"), zip(FILES, range(3), strict=True))
def test_the_files_hold_the_plans_ranges_and_a_changed_one_is_noticed(bundle, format, number, tmp_path):
    path, manifest = bundle / FILES[format], read_json(bundle / "manifest.json")
    plan = from_json(QuantPlan, manifest["artifacts"][number]["plan"])
    require_ranges(readers.get(path).ranges(path), plan, format=format)
    scale = next(iter(plan.ranges.values())).scale
    changed = tmp_path / path.name
    changed.write_bytes(path.read_bytes().replace(struct.pack("<f", scale), struct.pack("<f", scale * 1.001)))
    with pytest.raises(ExportError, match=f"1 of {len(plan.ranges)} static ranges are not in the {format} file"):
        require_ranges(readers.get(changed).ranges(changed), plan, format=format)


def test_onnx_quantizes_to_the_plans_ranges_and_no_others(bundle):
    path = bundle / FILES["onnx"]
    plan = from_json(QuantPlan, read_json(bundle / "manifest.json")["artifacts"][2]["plan"])
    assert set(readers.get(path).ranges(path)) == set(plan.ranges.values())


def test_a_massive_activation_is_left_float_and_named(tmp_path):
    """One channel of the queries a thousand times larger, and of the keys smaller: the same scores, other ranges."""
    model = tmp_path / "massive"
    shutil.copytree(EXAMPLE, model)
    weights = load_file(model / "model.safetensors")
    attention = "bert.encoder.layer.0.attention.self."
    for part in ("weight", "bias"):
        weights[f"{attention}query.{part}"][5] *= 1024
        weights[f"{attention}key.{part}"][5] /= 1024
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    cli = Cli(tmp_path)
    cli.ok("massive", *STATIC, *DATA, "--format", "onnx")
    bundle = tmp_path / BUNDLE.format("massive")
    plan = read_json(bundle / "manifest.json")["artifacts"][0]["plan"]
    assert f"{attention}query/linear" in plan["kept_float"]
    assert plan["layers"][f"{attention}query"]["activations"] != "static"
    assert f"`{attention}query/linear` " in (bundle / "report.md").read_text()


def test_int16_activations_answer_nearly_like_floats(tmp_path):
    cli = Cli(tmp_path)
    flags = ["w8a16" if f == "w8a8" else f for f in STATIC]
    cli.ok(EXAMPLE, *flags, *DATA, "--format", "onnx")
    support.note(tmp_path / "dist/banking-intents-linux-x86_64.run.json", family="bert")
    bundle = tmp_path / BUNDLE.format("banking-intents")
    (artifact,) = read_json(bundle / "manifest.json")["artifacts"]
    (report,) = read_json(bundle / "parity.json")["reports"]
    assert artifact["scheme"] == "w8a16" and {r["bits"] for r in artifact["plan"]["ranges"].values()} == {16}
    assert not artifact["plan"]["kept_float"] and report["numbers"]["cosine_mean"] > 0.9999
    operators = {n.op_type for n in onnx.load(bundle / "onnx/model.onnx").graph.node}
    assert "MatMulNBits" not in operators, "standard operators only"


def test_outputs_are_floats_where_integers_reach_the_end(cli):
    """Behind the last Linear there are slices only, which LiteRT's converter carries out in integers."""
    make_tiny_model(cli.folder / "model", task="question-answering", seed=0)
    write_rows(cli.folder / "calibration.jsonl", "question-answering", seed=10, rows=60)
    write_rows(cli.folder / "eval.jsonl", "question-answering", seed=11, rows=120)
    data = ("--calibration", "calibration.jsonl", "--eval", "eval.jsonl")
    cli.ok("model", *STATIC, *data, "--max-length", 24, "--format", "tflite")
    path = cli.folder / BUNDLE.format("model") / FILES["tflite"]
    outputs = {output.name: output.dtype for output in readers.get(path).read(path).outputs}
    assert outputs == {"start_logits": "float32", "end_logits": "float32"}


@pytest.mark.parametrize("format", FORMATS)
def test_generators_have_no_static_scheme(format):
    assert "encoders only" in exporters.get(format).supports("text2text-generation", "w8a8")
