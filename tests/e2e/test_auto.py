"""`--scheme auto`: the smallest artifact within a budget, the best one that fits, and what is refused."""

import csv
import json
from pathlib import Path

import onnx
import pytest

from slm_export.records import read_json
from tests.conftest import tiny_args
from tests.tiny_seq2seq import make_tiny_seq2seq, write_pairs

pytestmark = pytest.mark.usefixtures("warm")  # processes are the other files' subject

BANKING = Path(__file__).parents[2] / "examples/banking-intents"
FEW = ("--format", "onnx", "--calibration-samples", 30)
BUNDLE, TRIALS = "dist/model-linux-x86_64", "dist/model-linux-x86_64.trials.jsonl"


def trials(cli):
    return [json.loads(line)["trial"] for line in (cli.folder / TRIALS).read_text().split("\n") if line]


def test_auto_finds_the_smallest_within_the_budget_and_does_not_search_twice(tiny, cli, cold):
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
    cold()
    cli.ok(*args)
    assert trials(cli) == tried and (cli.folder / BUNDLE / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("most", "metric", "found"),
    [("0.02", "kl_mean", "w4a8-dynamic"), pytest.param("2%rel", "perplexity_increase", None, marks=pytest.mark.heavy)],
)
def test_a_causal_model_is_searched_by_divergence_or_perplexity(causal_source, cli, most, metric, found):
    source = causal_source("llama")
    args = (source / "model", "--calibration", source / "calibration.jsonl", "--eval", source / "eval.jsonl")
    few = ("--calibration-samples", 16, "--format", "onnx", "--target", "linux-x86_64", "-o", "dist")
    cli.ok(*args, *few, "--scheme", "auto", "--max-drop", most)
    (report,) = read_json(cli.folder / BUNDLE / "parity.json")["reports"]
    tried = trials(cli)
    assert {t["metric"] for t in tried} == {metric} and tried[-1]["within"] and not any(t["within"] for t in tried[:-1])
    assert report["answers"][metric] <= report["limits"][metric] and (found is None or report["scheme"] == found)
    stored = onnx.load(cli.folder / BUNDLE / "onnx/model.onnx").graph.initializer
    rotary = ("cos_cache", "sin_cache")
    estimated = sum(len(t.raw_data) for t in stored if t.name not in rotary)
    assert tried[-1]["megabytes"] == pytest.approx(estimated / 1e6, rel=1e-3), "--max-size is held to it"


@pytest.mark.heavy
def test_an_encoder_decoder_is_searched_by_what_it_says(tmp_path, cli):
    make_tiny_seq2seq(tmp_path / "model", family="t5", seed=0)
    write_pairs(tmp_path / "calibration.csv", seed=10, rows=90)
    write_pairs(tmp_path / "eval.csv", seed=11, rows=80)
    args = (tmp_path / "model", "--calibration", tmp_path / "calibration.csv", "--eval", tmp_path / "eval.csv")
    few = ("--calibration-samples", 40, "--format", "onnx", "--target", "linux-x86_64", "--max-length", 24)
    cli.ok(*args, *few, "-o", "dist", "--scheme", "auto", "--max-drop", "0.5%")
    (report,) = read_json(cli.folder / BUNDLE / "parity.json")["reports"]
    assert {t["metric"] for t in trials(cli)} == {"chrf_drop"} and trials(cli)[-1]["within"]
    assert report["answers"]["chrf_drop"] <= report["limits"]["chrf_drop"] <= 0.5
    low, high = report["intervals"]["chrf_drop"]
    assert low <= report["answers"]["chrf_drop"] <= high


def test_auto_takes_the_best_that_fits(tiny, cli):
    cli.ok(*tiny_args(tiny, "dist", *FEW, "--scheme", "auto", "--max-size", "0.7MB"))
    (artifact,) = read_json(cli.folder / BUNDLE / "manifest.json")["artifacts"]
    assert artifact["scheme"] == "fp16" and artifact["files"][0]["bytes"] <= 0.7e6
    assert [t["scheme"] for t in trials(cli)] == ["fp32", "fp16"]


def test_nothing_fits_into_a_kilobyte(tiny, cli):
    done = cli(*tiny_args(tiny, "dist", *FEW, "--scheme", "auto", "--max-size", "1KB"))
    assert done.returncode == 4 and "the smallest takes about" in done.stderr and not (cli.folder / BUNDLE).exists()


def texts_only(source, target):
    """Without labels, the loss is the share of changed answers."""
    with source.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([t] for t in texts)])
    return target


@pytest.fixture(scope="module")
def banking(tmp_path_factory):
    """(seen, unseen): texts the example was trained on, which it is sure of, and others."""
    folder = tmp_path_factory.mktemp("banking")
    return [texts_only(BANKING / f"{name}.csv", folder / f"{name}.csv") for name in ("calibration", "eval")]


def banking_args(calibration, evaluation, *flags):
    data = ("--calibration", calibration, "--calibration-samples", 60, "--eval", evaluation)
    return BANKING, "--target", "linux-x86_64", "--format", "onnx", *data, "--rounding", "rtn", *flags


def test_the_most_sensitive_layers_get_bits_back_step_by_step(banking, cli):
    seen, unseen = banking
    cli.ok(*banking_args(unseen, seen, "--scheme", "auto", "--max-drop", "0.2%", "-o", "dist"))
    store = cli.folder / "dist/banking-intents-linux-x86_64.trials.jsonl"
    tried = [json.loads(line)["trial"] for line in store.read_text().split("\n") if line]
    assert len(tried) > 2 and tried[-1]["within"] and not any(t["within"] for t in tried[:-1])
    assert [t["megabytes"] for t in tried] == sorted(t["megabytes"] for t in tried), "the smallest first"
    assert all(t["drop"] > 0.002 for t in tried[:-1]) and tried[-1]["drop"] <= 0.002
    assert [t["int8_share"] for t in tried[:3]] == [0.0, 0.1, 0.2] and tried[1]["int8_layers"]


def test_the_evaluation_set_overrules_what_the_search_found(banking, cli):
    seen, unseen = banking
    done = cli(*banking_args(seen, unseen, "--scheme", "auto", "--max-drop", "0.1%", "-o", "dist"))
    assert done.returncode == 5, done.stderr
    assert "must be <= 0.001" in done.stderr and "no more may be lost than --max-drop says" in done.stderr
    assert not (cli.folder / "dist/banking-intents-linux-x86_64").exists()


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
        (["--scheme", "auto", "--max-drop", "1%", "--int8-share", 0.5], "which finds the share itself"),
        (["--scheme", "fp32", "--effort", "high"], "--effort high means nothing here"),
        (["--scheme", "auto", "--max-drop", "1%", "--calibration-samples", 50], "rows to judge trials by"),
    ],
)
def test_what_cannot_be_searched_is_told_before_work(tiny, cli, flags, said):
    done = cli(*tiny_args(tiny, "dist", "--format", "onnx", *flags))
    assert done.returncode == 2 and said in done.stderr and not (cli.folder / "dist").exists()


def test_scales_are_tuned_on_demand_and_the_files_hold_them(banking, cli):
    seen, unseen = banking
    flags = ("--scheme", "w4a8-dynamic", "--effort", "high", "--format", "tflite", "-o", "dist")
    cli.ok(*banking_args(seen, unseen, *flags))
    bundle = cli.folder / "dist/banking-intents-linux-x86_64"
    assert "Scales and norms tuned in " in (bundle / "report.md").read_text()
    artifacts = read_json(bundle / "manifest.json")["artifacts"]
    assert [a["format"] for a in artifacts] == ["onnx", "tflite"]
    assert all(a["verdict"] == "pass" for a in artifacts), "integers and scales were read back equal"


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
    assert "rounded by themselves" in cli.ok(*args, "--max-length", 24, "-o", "dist").stdout
