"""`--prune` and `--heal`: smaller artifacts of a model that was taught to answer as before, and what is refused."""

import zlib
from pathlib import Path

import pytest

from slm_export.records import read_json
from tests.conftest import EXAMPLE, Cli, tiny_args

pytestmark = pytest.mark.usefixtures("warm")  # processes are the other files' subject

BUNDLE = "dist/model-linux-x86_64"
EXAMPLE_BUNDLE = "dist/banking-intents-linux-x86_64"


def example_args(*flags):
    data = ("--calibration", EXAMPLE / "calibration.csv", "--eval", EXAMPLE / "eval.csv", "--format", "onnx")
    return EXAMPLE, "--target", "linux-x86_64", *data, "-o", "dist", *flags


@pytest.fixture(scope="module")
def pruned(tiny, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pruned")
    flags = ("--prune", "ffn=0.5,heads=0.5,layers=1", "--heal", 8, "--max-drop", "5%", "--scheme", "w8a8-dynamic")
    Cli(folder).ok(*tiny_args(tiny, "dist", *flags))
    return folder / BUNDLE


def test_a_pruned_and_healed_model_passes_in_every_format(pruned):
    manifest = read_json(pruned / "manifest.json")
    assert [a["format"] for a in manifest["artifacts"]] == ["executorch", "tflite", "onnx"]
    told = manifest["pruning"]
    (removed,) = told["blocks_removed"]
    left = {"bert.encoder.layer.0": "bert.encoder.layer.1", "bert.encoder.layer.1": "bert.encoder.layer.0"}[removed]
    assert told["neurons"] == {f"{left}.output.dense": {"before": 64, "after": 32}}
    assert told["heads"] == {f"{left}.attention.output.dense": {"before": 2, "after": 1}}
    assert told["parameters"] < told["parameters_before"] and told["zeros"] == 0
    assert told["healing"]["after"] <= told["healing"]["before"]
    layers = [n for n in manifest["artifacts"][0]["plan"]["layers"] if "encoder" in n]
    assert len(layers) == 6 and all("layer.0." in n for n in layers), "one block is left"


def test_the_gate_says_that_it_judged_a_pruned_model(pruned):
    for report in read_json(pruned / "parity.json")["reports"]:
        assert report["limits"] == {"accuracy_drop": 0.05, "lowering_max_abs_error": 1e-4, "eager_cosine_gap": 5e-4}
        assert "pruned: no more may be lost than --max-drop says (5%), in place of the target's" in report["limits_why"]
        assert "cosine_mean >= 0.9995" in report["limits_why"]
        assert report["numbers"]["max_abs_error"] > 1e-3, "compared with the whole model"
        assert report["numbers"]["lowering_max_abs_error"] < 1e-4, "lowered as it was pruned"
    text = (pruned / "report.md").read_text()
    assert "## Pruning" in text and "healed in" in text and "taken out, as least missed" in text


def test_a_pruned_bundle_is_verified(pruned, cli):
    assert "golden" in cli.ok("verify", pruned, "--format", "onnx").stdout


def test_a_heavily_pruned_model_that_is_not_healed_closes_the_gate(cli):
    flags = ("--prune", "layers=1", "--heal", 0, "--scheme", "fp32", "--max-drop", "2%")
    done = cli(*example_args(*flags))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "accuracy_drop is" in done.stderr and "must be <= 0.02" in done.stderr and "prune less" in done.stderr
    assert "the pruned model is not healed" in done.stdout and not (cli.folder / EXAMPLE_BUNDLE).exists()


def test_without_max_drop_the_thresholds_of_the_target_stay(cli):
    done = cli(*example_args("--prune", "ffn=0.3", "--heal", 0, "--scheme", "fp32"))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "max_abs_error" in done.stderr and "as if it were whole" in done.stdout


def test_a_search_counts_losses_against_the_whole_model_and_gives_the_same_bytes_twice(cli, cold):
    flags = ("--prune", "ffn=0.3,heads=0.25", "--heal", 1, "--scheme", "auto", "--max-drop", "4%")
    bundles = []
    for _ in range(2):
        cli.ok(*example_args(*flags))
        files = (p for p in (cli.folder / EXAMPLE_BUNDLE).rglob("*") if p.is_file())
        bundles.append({p.name: p.read_bytes() for p in files})
        cold()
    assert bundles[0] == bundles[1]
    report = (cli.folder / EXAMPLE_BUNDLE / "report.md").read_text()
    assert "neurons: 704 of 1024 kept in 2 parts, by activation" in report and "Searched" in report
    assert "heads: 6 of 8 kept in 2 parts" in report


def test_zeros_make_an_artifact_deflate_better_and_nothing_else(tiny, cli):
    flags = ("--format", "onnx", "--scheme", "w4a8-dynamic", "--prune", "weights=0.5", "--heal", 1, "--max-drop", "5%")
    done = cli.ok(*tiny_args(tiny, "dist", *flags))
    assert "zeros compress better in a download; no runtime here runs them faster" in done.stdout
    told = read_json(cli.folder / BUNDLE / "manifest.json")["pruning"]
    assert told["zeros"] == pytest.approx(0.5, abs=0.01) and told["parameters"] == told["parameters_before"]
    assert told["deflated"]["after"] < 0.8 * told["deflated"]["before"]
    size = len(zlib.compress((cli.folder / BUNDLE / "onnx/model.onnx").read_bytes()))
    assert f"deflated, as in a download: {size / 1e6:.2f} of" in (cli.folder / BUNDLE / "report.md").read_text()
    settings = read_json(cli.folder / f"{BUNDLE}.run.json")["settings"]
    assert settings["rounding"] == {"value": "mse", "origin": "--prune weights"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prune", "fnn=0.2"], "did you mean 'ffn'"),
        (["--heal", 3], "--heal means nothing without --prune"),
        (["--prune-by", "l1"], "--prune-by means nothing without --prune"),
        (["--prune", "weights=0.3", "--scheme", "w4a8-dynamic", "--rounding", "awq+gptq"], "undo each other"),
        (["--prune", "layers=2"], "the model has 2 blocks"),
        (["--prune", "ffn=0.1"], "takes nothing away"),
    ],
)
def test_what_cannot_be_pruned_is_told_before_work(tiny, cli, flags, said):
    done = cli(*tiny_args(tiny, "dist", "--format", "onnx", *flags))
    assert done.returncode == 2 and said in done.stderr and not (cli.folder / BUNDLE).exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prune", "layers=1"], "--prune layers=1 needs a calibration set"),
        (["--prune", "ffn=0.5", "--prune-by", "activation"], "--prune by activation needs a calibration set"),
        (["--prune", "ffn=0.5", "--heal", 2], "--prune with --heal needs a calibration set"),
    ],
)
def test_what_needs_texts_says_so(tiny, cli, flags, said):
    model = (tiny / "model", "--target", "linux-x86_64", "--format", "onnx", "--scheme", "fp32")
    done = cli(*model, "--eval", tiny / "eval.csv", *flags)
    assert done.returncode == 2 and said in done.stderr


@pytest.mark.parametrize(
    "formats", [("onnx",), pytest.param(("executorch", "tflite", "onnx"), marks=pytest.mark.heavy)]
)
def test_a_causal_model_loses_neurons_and_a_block_and_its_config_says_so(causal_source, cli, formats):
    source = causal_source("llama")
    args = (source / "model", "--calibration", source / "calibration.jsonl", "--eval", source / "eval.jsonl")
    wanted = [part for format in formats for part in ("--format", format)]
    flags = ("--prune", "ffn=0.3,layers=1", "--heal", 4, "--max-drop", 0.9, "--scheme", "w4a8-dynamic")
    cli.ok(*args, "--target", "linux-x86_64", "-o", "dist", *flags, *wanted)
    bundle = cli.folder / "dist/model-linux-x86_64"
    manifest, parity = (read_json(bundle / f"{name}.json") for name in ("manifest", "parity"))
    assert len(manifest["pruning"]["blocks_removed"]) == 1 and len(parity["reports"]) == len(formats)
    told, source_config = read_json(bundle / "onnx/config.json"), read_json(source / "model/config.json")
    assert told["num_hidden_layers"] == source_config["num_hidden_layers"] - 1
    assert told["intermediate_size"] < source_config["intermediate_size"]
    for report in parity["reports"]:
        assert report["limits"]["kl_mean"] == 0.9 and 0.01 < report["answers"]["kl_mean"] <= 0.9
        assert report["numbers"]["lowering_max_abs_error"] < 1e-4
    cli.ok("run", bundle, "the", "--raw", "--most", 4, "--format", formats[0])


def test_heads_that_share_keys_and_values_are_not_taken_out(causal_source, cli):
    source = causal_source("llama")
    args = (source / "model", "--target", "linux-x86_64", "--eval", source / "eval.jsonl", "--scheme", "fp32")
    done = cli(*args, "--prune", "heads=0.5")
    assert done.returncode == 2 and "no attention whose heads can be taken out" in done.stderr
