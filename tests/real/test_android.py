"""MiniLM on Banking77 in the demo app's own classes, in all three runtimes. Minutes: run with `pytest -m heavy`."""

import itertools

import pytest

from tests.android.host import asset_pack, host_build, needs_tools
from tests.conftest import Cli

pytestmark = [pytest.mark.heavy, needs_tools]
ROWS = 400  # of the test set: what every row answers is test_minilm.py's subject


def test_minilm_answers_in_the_app_as_where_it_was_made(shared, tmp_path):
    data = shared / "data" / "banking77"
    with (data / "test.csv").open(encoding="utf-8") as lines:
        (tmp_path / "eval.csv").write_text("".join(itertools.islice(lines, ROWS)), encoding="utf-8")
    given = (shared / "models/minilm-banking77", "--calibration", data / "train.csv", "--eval", "eval.csv")
    bundles = []
    for scheme, formats in (("fp32", ("executorch", "tflite", "onnx")), ("w8a8-dynamic", ("executorch", "onnx"))):
        Cli(tmp_path).ok(
            *given, "--target", "android-arm64", "--scheme", scheme, "--name", f"minilm-{scheme}", "-o", "o"
        )
        (tmp_path / scheme).mkdir()
        bundles.append(asset_pack(tmp_path / scheme, tmp_path / "o" / f"minilm-{scheme}-android-arm64", *formats))
    said = host_build("test", bundles, tmp_path / "host", "--only", "selftest.SelfTestTest", "--only", "task.TaskTest")
    assert said.count("ok ") == 2, said
