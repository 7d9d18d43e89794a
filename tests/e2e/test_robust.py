"""Killed, starved, misused: what a run leaves behind, and what it says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slm_export.bundle.atomic import PREFIX
from tests.conftest import EXAMPLE, Cli, tiny_args

STAGES = ["prepare", "export-onnx", "execute-onnx"]


def start(folder, *args):
    return subprocess.Popen(
        Cli.command(*args),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has them ignore an interrupt, and what they start too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_stage(out: Path, stage: str, run: subprocess.Popen) -> int:
    """The pid of the stage's process, once it has its job."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert run.poll() is None, run.stderr.read()
        for job in out.glob(f"{PREFIX}*/{stage}.job.json"):
            for pid in children(run.pid):
                if str(job) in command_line(pid):
                    return pid
        time.sleep(0.02)
    raise AssertionError(f"stage {stage} never started")


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_in_any_stage_leaves_the_old_bundle_and_no_process(tiny, make_bundle, tmp_path, stage):
    out = tmp_path / "dist"
    bundle = out / "model-linux-x86_64"
    shutil.copytree(make_bundle("--scheme", "w8a8-dynamic"), bundle)
    before = snapshot(bundle)
    run = start(tmp_path, *tiny_args(tiny, out, "--format", "onnx", "--scheme", "fp32"))
    child = wait_for_stage(out.resolve(), stage, run)
    run.kill()
    run.wait()
    assert snapshot(bundle) == before
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/status").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "slm_export" not in command_line(child), "the stage goes on without its run"
    assert list(out.glob(PREFIX + "*")), "a killed run cannot clean up"
    Cli(tmp_path).ok(*tiny_args(tiny, out, "--format", "onnx", "--scheme", "fp32"))
    assert not list(out.glob(PREFIX + "*")), "the next run does"


def test_a_stage_killed_by_the_system_is_reported_as_out_of_memory(tiny, tmp_path):
    run = start(tmp_path, *tiny_args(tiny, "dist", "--format", "onnx"))
    os.kill(wait_for_stage((tmp_path / "dist").resolve(), "export-onnx", run), signal.SIGKILL)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 4 and "out of memory in stage export-onnx at" in err and " MB" in err
    assert not (tmp_path / "dist/model-linux-x86_64").exists()


def test_an_interrupted_run_ends_with_130_and_leaves_nothing(tiny, tmp_path):
    run = start(tmp_path, *tiny_args(tiny, "dist", "--format", "onnx"))
    wait_for_stage((tmp_path / "dist").resolve(), "export-onnx", run)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130 and "interrupted" in err and os.listdir(tmp_path / "dist") == []


SPY = """
import os, sys
def spy(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind") or (event == "socket.__new__" and args[1] != 1):
        with open(os.environ["SOCKET_LOG"], "a") as log:
            log.write(f"{sys.argv} {event} {args[1:]}\\n")
sys.addaudithook(spy)
"""


def test_no_socket_is_opened_for_local_input_and_another_hash_seed_gives_the_same_bytes(tiny, make_bundle, tmp_path):
    """In the command and in every stage. AF_UNIX pairs, which Python's own subprocess tools use, are no network."""
    (tmp_path / "sitecustomize.py").write_text(SPY)
    env = {"PYTHONPATH": str(tmp_path), "SOCKET_LOG": str(tmp_path / "sockets"), "SPY": "1"}
    seen = subprocess.run(
        [sys.executable, "-c", "import socket; socket.socket()"], env={**os.environ, **env}, check=True
    )
    assert seen.returncode == 0 and (tmp_path / "sockets").read_text(), "the spy sees sockets"
    (tmp_path / "sockets").unlink()
    scheme = ("--scheme", "w8a8-dynamic")
    first = make_bundle(*scheme)
    Cli(tmp_path).ok(*tiny_args(tiny, "dist", *scheme), env=env | {"PYTHONHASHSEED": "12345"})
    assert not (tmp_path / "sockets").exists(), (tmp_path / "sockets").read_text()
    second = tmp_path / "dist" / first.name
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert [f for f in files if (first / f).read_bytes() != (second / f).read_bytes()] == []


def test_telemetry_is_off_wherever_onnx_runtime_starts(tmp_path):
    code = "import os, slm_export.runtimes.onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout.strip() == "1"
    from slm_export.stages.parent import ENVIRONMENT

    assert ENVIRONMENT["ORT_DISABLE_TELEMETRY"] == "1"


# Misuse: each a message with the place and the next step, exit code 2, and no traceback.


def complaint(cli, *args, code=2):
    done = cli(*args)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_a_scheme_that_needs_calibration_refuses_to_run_without(tiny, cli):
    text = complaint(cli, tiny / "model", "--target", "linux-x86_64", "--eval", tiny / "eval.csv")
    assert "scheme w8a8-dynamic needs a calibration set" in text and "--calibration" in text


def test_mistakes_are_told_before_any_work(tiny, cli):
    data = ["--calibration", tiny / "calibration.csv", "--eval", tiny / "eval.csv"]
    started = time.monotonic()
    assert "did you mean 'linux-x86_64'?" in complaint(cli, tiny / "model", "--target", "linux-x86-64", *data)
    assert "no target is given" in complaint(cli, tiny / "model")
    assert "no model is given" in complaint(cli, "--target", "linux-x86_64")
    assert "there is no directory" in complaint(cli, "./nowhere", "--target", "linux-x86_64", *data)
    assert "there is no file" in complaint(cli, tiny / "model", "--target", "linux-x86_64", "--calibration", "no.csv")
    assert "neither .md nor .json" in complaint(cli, *tiny_args(tiny, "dist", "--report", "r.pdf"))
    assert "Invalid value for '--format'" in complaint(cli, *tiny_args(tiny, "dist", "--format", "onxx"))
    assert "is also in the evaluation set" in complaint(
        cli, tiny / "model", "--target", "linux-x86_64", "--calibration", tiny / "eval.csv", "--eval", tiny / "eval.csv"
    )
    assert time.monotonic() - started < 15 and not (cli.folder / "dist").exists()


def test_a_bad_row_stops_the_run_and_is_named(tiny, cli):
    (cli.folder / "c.csv").write_text("text,label\nthe apple,fruit\n,metal\n")
    text = complaint(cli, tiny / "model", "--target", "linux-x86_64", "--calibration", "c.csv")
    assert "c.csv:3: column 'text' is empty" in text


def test_an_unknown_label_is_named_with_the_near_miss(tiny, cli):
    (cli.folder / "e.csv").write_text("text,label\nthe apple,fruits\n")
    text = complaint(
        cli, tiny / "model", "--target", "linux-x86_64", "--calibration", tiny / "calibration.csv", "--eval", "e.csv"
    )
    assert "e.csv:2: 'fruits'" in text and "did you mean 'fruit'?" in text


def test_json_and_junit_answer_even_when_nothing_could_start(cli):
    done = cli("nowhere/model", "--target", "linux-x86_64", "--json", "--junit", "j.xml")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["exit_code"] == 2
    assert 'failures="1"' in (cli.folder / "j.xml").read_text()


@pytest.mark.parametrize(
    ("layers", "where", "why"),
    [(3, "are not those of the model", "random numbers"), (1, "bert.encoder.layer.1.", "would be dropped")],
)
def test_weights_that_are_not_those_of_the_config_are_refused(tiny, cli, layers, where, why):
    shutil.copytree(tiny / "model", cli.folder / "m")
    config = json.loads((cli.folder / "m/config.json").read_text())
    config["num_hidden_layers"] = layers
    (cli.folder / "m/config.json").write_text(json.dumps(config))
    text = complaint(cli, "m", "--target", "linux-x86_64", "--calibration", tiny / "calibration.csv")
    assert where in text and why in text


def test_a_reference_that_answers_nan_is_refused(tiny, cli):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(tiny / "model", cli.folder / "m")
    weights = load_file(cli.folder / "m/model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] * float("nan")
    save_file(weights, cli.folder / "m/model.safetensors", metadata={"format": "pt"})
    text = complaint(cli, "m", "--target", "linux-x86_64", "--calibration", tiny / "calibration.csv")
    assert "the reference itself answers NaN" in text


def test_damaged_weights_are_told(tiny, cli):
    shutil.copytree(tiny / "model", cli.folder / "m")
    (cli.folder / "m/model.safetensors").write_bytes(b"\0" * 100)
    text = complaint(cli, "m", "--target", "linux-x86_64", "--calibration", tiny / "calibration.csv")
    assert "transformers cannot load" in text


def test_a_hub_id_is_looked_for_in_the_cache_and_its_absence_told(tiny, cli):
    """No hub here: the loader runs against a local cache, as huggingface_hub lays it out."""
    revision = "0" * 40
    repo = cli.folder / "hub/models--someone--tiny"
    shutil.copytree(tiny / "model", repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(revision)
    env = {"HF_HUB_CACHE": str(cli.folder / "hub"), "HF_HUB_OFFLINE": "1"}
    data = ["--target", "linux-x86_64", "--eval", tiny / "eval.csv", "--scheme", "fp32", "--format", "onnx"]
    cli.ok("someone/tiny", *data, env=env)
    source = json.loads((cli.folder / "dist/tiny-linux-x86_64/manifest.json").read_text())["source"]
    assert (source["name"], source["hub_id"], source["revision"]) == ("tiny", "someone/tiny", revision)
    done = cli("someone/other", *data, env=env)
    assert done.returncode == 2 and "the hub did not give a model of that name" in done.stderr


def test_a_name_that_is_no_file_name_is_refused(tiny, cli):
    for name in ("org/model", "../x", ".hidden", ""):
        assert "cannot be part of a folder's name" in complaint(cli, *tiny_args(tiny, "dist", "--name", name))


def test_config_file_alone_runs_the_job(tiny, cli):
    lines = [f'model = "{tiny / "model"}"', f'eval = "{tiny / "eval.csv"}"', 'scheme = "fp32"', 'format = ["onnx"]']
    (cli.folder / "slm-export.toml").write_text("\n".join([*lines, "max-length = 24"]))
    done = cli.ok("--target", "android-arm64")
    assert "max-length           24" in done.stdout and "slm-export.toml" in done.stdout
    assert (cli.folder / "dist/model-android-arm64/onnx/model.onnx").is_file()


def test_schema_prints_the_data_contract_and_exits(cli):
    text = cli.ok("--schema").stdout
    assert "--text-column" in text and ".parquet" in text


def test_inspect_refuses_what_is_no_model(cli):
    for name, content in (("a.onnx", b"junk"), ("a.tflite", b"junkTFL3junk"), ("a.pte", b"junk"), ("a.txt", b"")):
        (cli.folder / name).write_bytes(content)
        assert name in complaint(cli, "inspect", name)
    assert "there is no file" in complaint(cli, "inspect", "none.onnx")


def test_the_example_is_small_and_says_its_licence():
    size = sum(p.stat().st_size for p in EXAMPLE.iterdir() if p.suffix in (".safetensors", ".json"))
    assert size <= 4e6 and "CC-BY-4.0" in (EXAMPLE / "README.md").read_text()
