"""The README's main job, on a real fine-tuned classifier, as a user sees it."""

import json
from xml.etree import ElementTree

import pytest

from slm_export.records import read_json
from tests.conftest import Cli


@pytest.fixture(scope="module")
def manifest(example_bundle):
    return read_json(example_bundle / "manifest.json")


def test_the_bundle_holds_what_an_app_needs(example_bundle, manifest):
    files = {p.relative_to(example_bundle).as_posix() for p in example_bundle.rglob("*") if p.is_file()}
    assert files == {
        "manifest.json", "golden.json", "parity.json", "report.md", "labels.json", "calibration.json",
        "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "MODEL_CARD.md", "sbom.cdx.json",
        "executorch/model.pte", "tflite/model.tflite", "onnx/model.onnx",
    }  # fmt: skip
    listed = {f["path"] for f in manifest["files"]} | {f["path"] for a in manifest["artifacts"] for f in a["files"]}
    assert listed == files - {"manifest.json"}


def test_the_manifest_keeps_the_contract(manifest):
    assert (manifest["schema"], manifest["name"], manifest["target"]) == (1, "banking-intents", "android-arm64")
    assert manifest["task"] == "text-classification" and len(manifest["labels"]) == 77
    assert manifest["source"]["kind"] == "huggingface" and manifest["source"]["license"] == "cc-by-4.0"
    assert manifest["tokenizer"]["files"][0] == "tokenizer/tokenizer.json"
    assert manifest["tokenizer"]["chat_template"] is manifest["tokenizer"]["chat"] is None
    assert [a["format"] for a in manifest["artifacts"]] == ["executorch", "tflite", "onnx"]
    for artifact in manifest["artifacts"]:
        assert artifact["scheme"] == "w8a8-dynamic" and artifact["verdict"] == "pass"
        assert [i["name"] for i in artifact["inputs"]] == ["input_ids", "attention_mask"]
        assert artifact["outputs"][0]["name"] == "logits" and artifact["outputs"][0]["shape"][1] == 77
        assert artifact["layers_carried"] == 15 and artifact["thresholds"]["flip_rate"] <= 0.01
        assert set(artifact["runtime"]) == {"package", "version", "oldest", "backend", "options"}
    onnx = manifest["artifacts"][2]
    assert onnx["runtime"]["options"] == {"session.x64quantprecision": "1"}
    assert onnx["inputs"][0] == {"name": "input_ids", "dtype": "int64", "shape": ["batch", "sequence"]}
    assert manifest["artifacts"][1]["signatures"][0] == {"name": "seq_16", "sequence": 16}


def test_the_tokenizer_truncates_as_the_manifest_says_and_pads_nothing(example_bundle, manifest):
    tokenizer = read_json(example_bundle / "tokenizer/tokenizer.json")
    assert tokenizer["truncation"]["max_length"] == manifest["max_length"] == 64
    assert manifest["tokenizer"]["truncation"]["max_length"] == 64
    assert tokenizer["padding"] is None and manifest["tokenizer"]["padding"]["applied"] is False


def test_the_calibration_manifest_records_rows_and_lengths(example_bundle):
    facts = read_json(example_bundle / "calibration.json")
    assert facts["file"] == "calibration.csv" and len(facts["row_ids"]) == 128 and facts["rows"] == 500
    assert len(facts["label_histogram"]) == 77 and sum(facts["length_histogram"].values()) == 128
    assert facts["truncation_rate"] == 0 and facts["overlap_with_evaluation"] == {"row_ids": [], "used": False}


def test_golden_vectors_hold_texts_ids_and_both_outputs(example_bundle, manifest):
    golden = read_json(example_bundle / "golden.json")
    assert golden["outputs"] == ["logits"]
    assert len(golden["samples"]) == 8 and set(golden["artifacts"]) == {a["path"] for a in manifest["artifacts"]}
    for i, sample in enumerate(golden["samples"]):
        assert sample["text"] and sample["input_ids"][0] == 2 and sample["answer"] in manifest["labels"]
        for recorded in golden["artifacts"].values():
            (row,) = recorded["outputs"][i]
            assert manifest["labels"][max(range(77), key=row.__getitem__)] == sample["answer"]


def test_times_and_peaks_are_kept_beside_the_bundle_and_not_in_it(example_bundle):
    run = read_json(example_bundle.parent / f"{example_bundle.name}.run.json")
    assert run["verdict"] == "pass" and run["exit_code"] == 0
    names = [s["name"] for s in run["stages"]]
    assert names[0] == "prepare" and {"export-onnx", "execute-onnx", "execute-onnx-twin"} <= set(names)
    assert all(s["seconds"] > 0 and s["peak_rss_mb"] > 10 for s in run["stages"])
    assert run["settings"]["target"] == {"value": "android-arm64", "origin": "flag"}
    assert run["settings"]["max-length"]["origin"] == "model"


def test_no_stage_takes_a_gigabyte_above_torch(example_bundle, torch_mb):
    run = read_json(example_bundle.parent / f"{example_bundle.name}.run.json")
    assert max(s["peak_rss_mb"] for s in run["stages"]) - torch_mb < 1000


def test_reports_are_for_people_and_for_ci(example_bundle):
    folder = example_bundle.parent.parent
    assert (folder / "r.md").read_text() == (example_bundle / "report.md").read_text()
    assert "| onnx | w8a8-dynamic |" in (folder / "r.md").read_text()
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    assert suite.get("tests") == "3" and suite.get("failures") == "0"


def test_verify_passes_on_the_bundle_and_on_the_folder_of_bundles(example_bundle, cli):
    done = cli.ok("verify", example_bundle, "--junit", "v.xml")
    assert done.stdout.count("  ok ") == 7
    assert ElementTree.parse(cli.folder / "v.xml").getroot()[0].get("tests") == "7"
    checks = json.loads(cli.ok("verify", example_bundle.parent, "--json", "--format", "onnx").stdout)[0]["checks"]
    assert [c["name"] for c in checks] == ["hashes", "verdicts", "sbom", "tokenizer", "golden onnx/model.onnx"]


def test_verify_needs_no_torch(example_bundle, tmp_path):
    """Neither the command nor the process that runs an artifact imports torch."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers'): raise ImportError(name + ' is not for verify')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    done = Cli(tmp_path)(
        "verify", example_bundle, "--format", "onnx", "--format", "tflite", env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0 and done.stdout.count("  ok ") == 6, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("onnx/model.onnx", ["onnx, w8a8-dynamic", "input_ids int64 [batch, sequence]", "MatMulInteger"]),
        ("tflite/model.tflite", ["tflite, w8a8-dynamic", "signature seq_32: 32 tokens", "FULLY_CONNECTED"]),
        ("executorch/model.pte", ["executorch, w8a8-dynamic", "XNNFullyConnected", "delegated"]),
    ],
)
def test_inspect_tells_what_a_file_holds(example_bundle, cli, file, expected):
    text = cli.ok("inspect", example_bundle / file).stdout
    assert [e for e in expected if e not in text] == [] and "tensors in all" in text
    facts = json.loads(cli.ok("inspect", example_bundle / file, "--json").stdout)
    assert facts["scheme"] == "w8a8-dynamic" and sum(t["bytes"] for t in facts["tensors"]) > 700_000
