"""The spam filter in plain PyTorch, trained and exported as its README says. Minutes: run with `pytest -m heavy`."""

import csv
import shutil
import subprocess
import sys

import pytest

from slm_export.records import read_json
from tests.conftest import ROOT

pytestmark = pytest.mark.heavy
EXAMPLE = ROOT / "examples" / "sms-spam"


def test_the_spam_filter_answers_alike_everywhere(shared, cli):
    for name in ("model.py", "train.py"):
        shutil.copy(EXAMPLE / name, cli.folder)
    collection = shared / "data/sms_spam/SMSSpamCollection"
    subprocess.run([sys.executable, "train.py", collection, "-o", "sms-spam"], cwd=cli.folder, check=True)
    with (cli.folder / "sms-spam/eval.csv").open(newline="", encoding="utf-8") as file:
        rows = len(list(csv.DictReader(file)))
    data = ["--calibration", "sms-spam/train.csv", "--eval", "sms-spam/eval.csv", "-o", "dist"]
    cli.ok("model:make", "--weights", "sms-spam", "--target", "android-arm64", *data)
    bundle = cli.folder / "dist/sms-spam-android-arm64"
    found = read_json(bundle / "parity.json")["reports"]
    assert [(r["format"], r["verdict"]) for r in found] == [(f, "pass") for f in ("executorch", "tflite", "onnx")]
    for report in found:
        assert report["samples"] == rows > 1000 and report["answers"]["accuracy_reference"] >= 0.97
        assert report["answers"]["flip_rate"] <= 0.002 and report["numbers"]["lowering_max_abs_error"] <= 2e-5
    sizes = {a["format"]: a["files"][0]["bytes"] for a in read_json(bundle / "manifest.json")["artifacts"]}
    assert max(sizes.values()) < 1.2e6
    cli.ok("verify", bundle)
