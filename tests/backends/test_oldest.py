"""The oldest runtimes the targets promise: what was exported answers right in them too."""

import pytest

from slm_export import oldest, targets
from slm_export.records import read_json
from tests.conftest import tiny_args

PROFILE = targets.load("linux-x86_64")


CASES = [("tflite", "w8a8-dynamic"), ("onnx", "w8a8-dynamic"), ("tflite", "w4a8-dynamic"), ("onnx", "w8")]


@pytest.mark.parametrize(("format", "scheme"), CASES)
def test_an_artifact_passes_in_the_oldest_runtime_and_promises_it(tiny, cli, format, scheme):
    spec = PROFILE.runtimes[format].in_scheme(scheme)
    if oldest.interpreter(spec) is None:
        pytest.skip(f"not installed: {oldest.install_line(spec)}")
    cli.ok(*tiny_args(tiny, "dist", "--format", format, "--scheme", scheme))
    manifest = read_json(cli.folder / "dist/model-linux-x86_64/manifest.json")
    assert manifest["artifacts"][0]["runtime"]["oldest"] == spec.oldest
    report = read_json(cli.folder / "dist/model-linux-x86_64/parity.json")["reports"][0]
    assert [(r["version"], r["loads"]) for r in report["runtimes"]] == [(spec.version, True), (spec.oldest, True)]


def test_without_the_oldest_runtime_a_bundle_promises_what_it_saw(tiny, cli):
    cli.ok(*tiny_args(tiny, "dist", "--format", "onnx"), env={"SLM_EXPORT_RUNTIMES": str(cli.folder / "none")})
    runtime = read_json(cli.folder / "dist/model-linux-x86_64/manifest.json")["artifacts"][0]["runtime"]
    assert runtime["oldest"] == runtime["version"] == PROFILE.runtimes["onnx"].version


def test_an_oldest_runtime_that_cannot_run_it_closes_the_gate(tiny, cli):
    """A stand-in interpreter that lacks the runtime: what an environment gone wrong looks like."""
    python = cli.folder / "runtimes" / f"onnxruntime-{PROFILE.runtimes['onnx'].oldest}" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    args = tiny_args(tiny, "dist", "--format", "onnx")
    done = cli(*args, env={"SLM_EXPORT_RUNTIMES": str(cli.folder / "runtimes")})
    assert done.returncode == 5 and "onnxruntime 1.22.1 does not run it right" in done.stderr
