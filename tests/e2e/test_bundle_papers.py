"""What a bundle says of itself: bill of materials, model card, sizes."""

import json
import shutil
import zlib

import pytest

from slm_export.artifact import file_record
from slm_export.records import read_json, write_json
from slm_export.runtimes.resident import rounded_up
from tests.conftest import tiny_args

pytestmark = pytest.mark.usefixtures("warm")  # processes are the other files' subject


def test_the_bill_of_materials_is_valid_cyclonedx_and_names_every_part(example_bundle):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text, manifest = (example_bundle / "sbom.cdx.json").read_text(), read_json(example_bundle / "manifest.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    made = json.loads(text)
    parts = {c["bom-ref"]: c for c in made["components"]}
    hashes = {ref: c["hashes"][0]["content"] for ref, c in parts.items() if "hashes" in c}
    for artifact in manifest["artifacts"]:
        assert all(hashes[f"artifact:{f['path']}"] == f["sha256"] for f in artifact["files"])
        runtime = artifact["runtime"]
        assert parts[f"runtime:{runtime['package']}"]["purl"] == f"pkg:pypi/{runtime['package']}@{runtime['version']}"
    assert hashes["source"] == manifest["source"]["sha256"]
    assert {c["name"]: c["hashes"][0]["content"] for c in parts["source"]["components"]} == manifest["source"]["files"]
    assert parts["source"]["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert hashes["data:calibration"] == read_json(example_bundle / "calibration.json")["sha256"]
    assert hashes["data:evaluation"] != hashes["data:calibration"]
    tools = {c["name"]: c["version"] for c in made["metadata"]["tools"]["components"]}
    assert tools == manifest["versions"] and "timestamp" not in made["metadata"]


def test_verify_misses_an_artifact_in_the_bill_of_materials(make_bundle, cli):
    bundle = cli.folder / "bundle"
    shutil.copytree(make_bundle("--format", "onnx"), bundle)
    sbom, manifest = read_json(bundle / "sbom.cdx.json"), read_json(bundle / "manifest.json")
    sbom["components"] = [c for c in sbom["components"] if c["bom-ref"] != "artifact:onnx/model.onnx"]
    write_json(bundle / "sbom.cdx.json", sbom)
    record = file_record(bundle / "sbom.cdx.json", root=bundle)
    for file in manifest["files"]:
        if file["path"] == record.path:
            file.update(bytes=record.bytes, sha256=record.sha256)
    write_json(bundle / "manifest.json", manifest)
    done = cli("verify", bundle)
    assert done.returncode == 7 and "artifact:onnx/model.onnx is not in it with its hash" in done.stdout
    (bundle / "sbom.cdx.json").write_text("{}")
    assert "is no CycloneDX bill of materials" in cli("verify", bundle).stdout


def test_the_model_card_is_one_that_the_hub_reads(example_bundle):
    from huggingface_hub import ModelCard

    card = ModelCard.load(example_bundle / "MODEL_CARD.md")
    assert card.data.license == "cc-by-4.0" and card.data.pipeline_tag == "text-classification"
    assert {"slm-export", "executorch", "litert", "onnx"} == set(card.data.tags)
    manifest = read_json(example_bundle / "manifest.json")
    assert all(f"## {a['format']}, {a['scheme']}" in card.text for a in manifest["artifacts"])
    assert manifest["source"]["sha256"] in card.text and "accuracy" in card.text


def test_a_bundle_knows_what_it_takes_to_download_install_and_open(example_bundle):
    manifest = read_json(example_bundle / "manifest.json")
    files = [p for p in example_bundle.rglob("*") if p.is_file() and p.name != "manifest.json"]
    assert manifest["sizes"]["installed_bytes"] == sum(p.stat().st_size for p in files)
    assert manifest["sizes"]["download_bytes"] == sum(len(zlib.compress(p.read_bytes())) for p in files)
    for artifact in manifest["artifacts"]:
        memory, size = artifact["memory"], artifact["files"][0]["bytes"]
        assert memory["first_load_bytes"] == rounded_up(memory["first_load_bytes"]) > 0.5 * size
        assert memory["first_load_bytes"] < 30 * size + 1e8


@pytest.mark.parametrize(("key", "said"), [("download_mb", "to download, deflated"), ("installed_mb", "installed")])
def test_a_bundle_over_the_targets_budget_is_not_written(tiny, cli, key, said):
    (cli.folder / "small.toml").write_text(f'extends = "linux-x86_64"\n[budgets]\n{key} = 0.1\n')
    args = [*tiny_args(tiny, "dist", "--format", "onnx")]
    args[2] = "small.toml"
    done = cli(*args)
    assert done.returncode == 6 and said in done.stderr and "allows 0.1 MB" in done.stderr
    assert not (cli.folder / "dist/model-small").exists()


def test_memory_is_rounded_up_to_16_mib_or_a_quarter_of_the_power_of_two_below():
    step = 1 << 24
    assert [rounded_up(n) for n in (0, 1, step, step + 1, 100_000_000, 1_000_000_000)] == [
        0, step, step, 2 * step, 6 * step, 64 * step
    ]  # fmt: skip
