"""slm-export run: a bundle's own answer to one text."""

import json

import pytest

from tests.conftest import FILES, Cli


@pytest.mark.parametrize("format", FILES)
def test_every_artifact_of_a_classifier_answers(example_bundle, tmp_path, format):
    done = Cli(tmp_path).ok("run", example_bundle, "my card was stolen", "--format", format, "--json")
    said = json.loads(done.stdout.splitlines()[-1])
    labels = json.loads((example_bundle / "labels.json").read_text())
    assert said["artifact"] == FILES[format] and said["answer"] in labels and said["tokens_read"] > 4
    if format == "onnx":
        printed = Cli(tmp_path).ok("run", example_bundle, "my card was stolen", "--format", format)
        assert json.loads(printed.stdout) == said["answer"] and "tokens read" in printed.stderr


def test_a_format_that_is_not_there_is_told(example_bundle, tmp_path):
    manifest = json.loads((example_bundle / "manifest.json").read_text())
    manifest["artifacts"] = [a for a in manifest["artifacts"] if a["format"] == "onnx"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    done = Cli(tmp_path)("run", tmp_path, "hello", "--format", "tflite")
    assert done.returncode == 2 and "the bundle has no tflite artifact" in done.stderr and "it has onnx" in done.stderr
