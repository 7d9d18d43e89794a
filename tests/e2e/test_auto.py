"""`--scheme auto`: the smallest artifact within a budget, the best one that fits, and what is refused."""

import json

import pytest

from slm_export.records import read_json
from tests.conftest import tiny_args

FEW = ("--format", "onnx", "--calibration-samples", 30)
BUNDLE, TRIALS = "dist/model-linux-x86_64", "dist/model-linux-x86_64.trials.jsonl"


def trials(cli):
    return [json.loads(line)["trial"] for line in (cli.folder / TRIALS).read_text().split("\n") if line]


def test_auto_finds_the_smallest_within_the_budget_and_does_not_search_twice(tiny, cli):
    args = tiny_args(tiny, "dist", *FEW, "--scheme", "auto", "--max-drop", "1%")
    cli.ok(*args)
    (artifact,) = read_json(cli.folder / BUNDLE / "manifest.json")["artifacts"]
    (report,) = read_json(cli.folder / BUNDLE / "parity.json")["reports"]
    tried = trials(cli)
    assert tried[-1]["within"] and not any(t["within"] for t in tried[:-1])
    assert artifact["scheme"] == tried[-1]["scheme"] == "w4a8-dynamic"
    assert report["limits"]["accuracy_drop"] == 0.01 and "--max-drop" in report["limits_why"]
    low, high = report["intervals"]["accuracy_drop"]
    assert low <= report["answers"]["accuracy_drop"] <= high
    size = artifact["files"][0]["bytes"] / 1e6
    assert tried[-1]["megabytes"] == pytest.approx(size, rel=0.3), "as estimated, but for the graph"
    assert "Searched" in (cli.folder / BUNDLE / "report.md").read_text()
    before = (cli.folder / BUNDLE / "manifest.json").read_bytes()
    cli.ok(*args)
    assert trials(cli) == tried and (cli.folder / BUNDLE / "manifest.json").read_bytes() == before


def test_auto_takes_the_best_that_fits(tiny, cli):
    cli.ok(*tiny_args(tiny, "dist", *FEW, "--scheme", "auto", "--max-size", "0.7MB"))
    (artifact,) = read_json(cli.folder / BUNDLE / "manifest.json")["artifacts"]
    assert artifact["scheme"] == "fp16" and artifact["files"][0]["bytes"] <= 0.7e6
    assert [t["scheme"] for t in trials(cli)] == ["fp32", "fp16"]


def test_a_share_of_int4_layers_may_be_int8(tiny, cli):
    flags = ("--format", "onnx", "--format", "tflite", "--scheme", "w4a8-dynamic", "--int8-share", 0.3)
    cli.ok(*tiny_args(tiny, "dist", *flags))
    for artifact in read_json(cli.folder / BUNDLE / "manifest.json")["artifacts"]:
        bits = [p["bits"] for n, p in artifact["plan"]["layers"].items() if "embeddings" not in n]
        assert artifact["scheme"] == "w4a8-dynamic" and bits.count(4) > bits.count(8) > 0
    assert " layers int4, " in (cli.folder / BUNDLE / "report.md").read_text()


def test_a_file_over_the_size_asked_for_is_left_out(tiny, cli):
    done = cli(*tiny_args(tiny, "dist", "--format", "onnx", "--scheme", "fp32", "--max-size", "500KB"))
    assert done.returncode == 6 and "--max-size allows 0.5 MB" in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--scheme", "auto"], "--scheme auto needs a goal"),
        (["--scheme", "auto", "--max-drop", "lots"], "--max-drop 'lots' is no amount"),
        (["--max-size", "25"], "--max-size '25' is no size"),
        (["--scheme", "fp32", "--int8-share", 0.5], "no format gets 4-bit weights"),
        (["--scheme", "auto", "--max-drop", "1%", "--calibration-samples", 50], "rows to judge trials by"),
    ],
)
def test_what_cannot_be_searched_is_told_before_work(tiny, cli, flags, said):
    done = cli(*tiny_args(tiny, "dist", "--format", "onnx", *flags))
    assert done.returncode == 2 and said in done.stderr and not (cli.folder / "dist").exists()


def test_rounding_by_calibration_needs_some(tiny, cli):
    args = [
        tiny / "model",
        "--target",
        "linux-x86_64",
        "--eval",
        tiny / "eval.csv",
        "--scheme",
        "w4",
        "--format",
        "onnx",
    ]
    done = cli(*args, "--rounding", "awq+gptq")
    assert done.returncode == 2 and "--rounding awq+gptq needs a calibration set" in done.stderr
    assert "rounded by themselves (mse)" in cli.ok(*args, "--max-length", 24, "-o", "dist").stdout
