"""int8 encoders beside each format's own best tool: size, cosine, flips, and CPU time at 12, 64 and 128 tokens.

    python benchmarks/encoder.py [--shared FOLDER] [--rounds 40] [--rows 3080]

MiniLM-L6 fine-tuned on Banking77. Everything is exported first; then all files are run in one process, one thread each,
in turn, round after round, and the median of the process's CPU time is told, beside its ratio to the peer of the same
format. Only ratios within one run mean something.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import metrics, runtimes
from slm_export.artifact import Artifact
from slm_export.outputs import Array, all_rows
from slm_export.records import from_json
from slm_export.report.columns import columns

HERE = Path(__file__).resolve().parent
LENGTHS = (12, 64, 128)
PEERS = {
    "onnx": "onnxruntime quantize_dynamic, per channel",
    "executorch": "torchao 8da8w by hand",
    "tflite": "ai-edge-quantizer dynamic_wi8",
}


def export(model: Path, data: Path, out: Path, scheme: str, *more: str) -> dict[str, tuple[Path, Artifact]]:
    """By format, what slm-export makes; `more` are other flags."""
    files = ["--calibration", str(data / "train.csv"), "--eval", str(data / "test.csv")]
    command = [sys.executable, "-m", "slm_export", str(model), "--target", "linux-x86_64", "--scheme", scheme, *files]
    subprocess.run([*command, *more, "-o", str(out), "--json"], check=True, stdout=subprocess.DEVNULL)
    bundle = out / f"{model.name}-linux-x86_64"
    manifest = json.loads((bundle / "manifest.json").read_text())
    artifacts = [from_json(Artifact, a) for a in manifest["artifacts"]]
    return {a.format: (bundle / a.path, a) for a in artifacts}


def make_peer(format: str, model: Path, float_onnx: Path, out: Path) -> None:
    log = out.with_suffix(".log")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, str(HERE / "peers.py"), format, str(model), str(float_onnx), str(out)]
    with log.open("w") as file:
        if subprocess.run(command, stdout=file, stderr=file, env=environment).returncode:
            raise SystemExit(f"the {format} peer failed; see {log}\n{log.read_text()[-2000:]}")


def feed(ids: Any) -> dict[str, Any]:
    tokens = np.asarray([ids], np.int64)
    return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}


def answer(session: Any, ids: list[list[int]]) -> Array:
    return np.concatenate([session.run(feed(i))["logits"] for i in ids])


def cpu_ms(sessions: dict[str, Any], length: int, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of one call, every session once a round."""
    inputs = feed(np.random.default_rng(0).integers(1000, 20000, length))
    spent: dict[str, list[float]] = {name: [] for name in sessions}
    for name in sessions:
        sessions[name].run(inputs)
    for _ in range(rounds):
        for name, session in sessions.items():
            started = time.process_time()
            session.run(inputs)
            spent[name].append(1e3 * (time.process_time() - started))
    return {name: statistics.median(values) for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, default=os.environ.get("SLM_EXPORT_SHARED"), help="[default: $SLM_EXPORT_SHARED]"
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--rows", type=int, default=3080)
    args = parser.parse_args()
    if args.shared is None:
        parser.error("say where models/minilm-banking77 and data/banking77 are: --shared or $SLM_EXPORT_SHARED")
    model, data = args.shared / "models" / "minilm-banking77", args.shared / "data" / "banking77"

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        print("exporting ours ...", file=sys.stderr)
        ours = export(model, data, out / "int8", "w8a8-dynamic")
        floats = export(model, data, out / "float", "fp32")
        files: dict[str, tuple[str, Path, Artifact]] = {}
        for format, label in PEERS.items():
            print(f"building the {format} peer ...", file=sys.stderr)
            peer = out / f"peer{ours[format][0].suffix}"
            make_peer(format, model, floats["onnx"][0], peer)
            files[f"{format} float32"] = (format, *floats[format])
            files[f"{format} {label}"] = (format, peer, ours[format][1])
            files[f"{format} slm-export"] = (format, *ours[format])
        report(measure(files, model, data, args), files)


def measure(files: dict[str, Any], model: Path, data: Path, args: Any) -> list[list[str]]:
    from slm_export import sources, tasks
    from slm_export.calibration.samples import read_samples

    source = sources.describe(sources.Location(path=model))
    reference = sources.load(source, max_length=128)
    task = tasks.get(source.task)
    tokens = task.tokenize(reference.tokenizer, read_samples(data / "test.csv").samples[: args.rows], 128)
    ids = [list(t.input_ids) for t in tokens]
    sessions = {name: runtimes.get(format).open(path, artifact) for name, (format, path, artifact) in files.items()}
    truth = all_rows(task.run(reference.module, tokens))
    times = {length: cpu_ms(sessions, length, args.rounds) for length in LENGTHS}
    rows = []
    for name, (format, path, _) in files.items():
        got = answer(sessions[name], ids)
        flips = metrics.flips(truth.argmax(1), got.argmax(1))
        peer = f"{format} {PEERS[format]}"
        spent = [f"{times[n][name]:.2f} ({times[n][name] / times[n][peer]:.2f}x)" for n in LENGTHS]
        cosine = metrics.cosine(truth, got)
        size = f"{path.stat().st_size / 1e6:.2f}"
        rows.append([name, size, f"{cosine.mean():.6f}", f"{cosine.min():.4f}", f"{flips / len(ids):.2%}", *spent])
    return rows


def report(rows: list[list[str]], files: dict[str, Any]) -> None:
    times = [f"ms at {n} tokens" for n in LENGTHS]
    print(columns([["file", "MB", "cosine mean", "min", "flips", *times], *rows]))


if __name__ == "__main__":
    main()
