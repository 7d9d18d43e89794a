"""The example of number words: trained, then exported in every scheme. Minutes: run with `pytest -m heavy`."""

import subprocess
import sys

import pytest

from slm_export.records import read_json
from tests.conftest import ROOT, Cli

pytestmark = pytest.mark.heavy
FORMATS = ("executorch", "tflite", "onnx")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("number-words")
    command = [sys.executable, ROOT / "examples/number-words/train.py", "-o", folder / "number-words"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.rsplit("% of 500", 1)[0].split()[-1]) >= 99
    return folder


@pytest.mark.parametrize(("scheme", "formats"), [("fp32", FORMATS), ("fp16", FORMATS[1:]), ("w8a8-dynamic", FORMATS)])
def test_numbers_are_spelled_as_before(example, scheme, formats):
    data = ["--calibration", "number-words/calibration.csv", "--eval", "number-words/eval.csv", "--max-length", 16]
    Cli(example).ok("number-words", "--target", "android-arm64", *data, "--scheme", scheme, "-o", scheme)
    reports = read_json(example / scheme / "number-words-android-arm64/parity.json")["reports"]
    assert [(r["format"], r["verdict"]) for r in reports] == [(f, "pass") for f in formats]
    for report in reports:
        assert report["answers"]["sequence_match"] >= 0.99 and report["answers"]["exact_match"] >= 0.99
