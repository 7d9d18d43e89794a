"""A causal model's artifacts and other makers' files, each in its own runtime: quality, size and speed in one run.

    python benchmarks/lm.py MODEL TEXT --ours int4=BUNDLE --genai DIR --peer llama.cpp:PYTHON:q4_0.gguf ...

MODEL is a Hugging Face directory, TEXT a file such as WikiText-2's raw test split. `--genai` is where what
onnxruntime-genai's own builder makes of MODEL is built, and kept; any other peer is KIND:PYTHON:FILE, KIND one of
lm_child.py's and PYTHON an interpreter that has its runtime.

Quality is counted at every position of WINDOWS windows of LENGTH tokens, evenly spaced over the text, against the
float32 reference: mean KL divergence over the whole vocabulary, perplexity, best tokens that stayed; in ExecuTorch and
LiteRT token by token through the cache. Speed is tokens per CPU second, one thread, rounds interleaved, medians; of
.onnx in onnxruntime-genai's loop. Of files in the same runtime it compares, of runtimes only roughly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from slm_export.bundle.manifest import read_manifest

CHILD = Path(__file__).with_name("lm_child.py")
PEERS = {
    "genai int4": ["-p", "int4"],
    "genai k_quant mixed": [
        "-p", "int4", "--extra_options", "algo_config=k_quant",
        "matmul_mixed_precision=last_matmul:int8,mixed_layers:int8",
    ],
    "genai int8": ["-p", "int8"],
}  # fmt: skip
PROMPT, WRITTEN = 128, 64  # tokens read and written to time


class Runner:
    """A child that holds one file."""

    def __init__(self, kind: str, python: str, file: str) -> None:
        command = [python, str(CHILD), kind, file]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **what: Any) -> dict[str, float]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(what) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"{self._child.args!r} ended with {self._child.wait()}")
        answer: dict[str, float] = json.loads(line)
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--ours", action="append", default=[], help="NAME=BUNDLE")
    parser.add_argument("--genai", type=Path, help="DIR")
    parser.add_argument("--peer", action="append", default=[], help="KIND:PYTHON:FILE")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    runners, sizes = {}, {}
    for label, bundle in ((label, Path(path)) for label, _, path in (given.partition("=") for given in args.ours)):
        for entry in read_manifest(bundle).artifacts:
            artifact = entry.artifact
            name = f"**slm-export {label}, {artifact.format}**"
            kind, file = "slm-export", f"{bundle}:{artifact.format}"
            if artifact.format == "onnx":
                kind, file = "genai", str(bundle / "onnx")
            runners[name] = Runner(kind, sys.executable, file)
            sizes[name] = _megabytes((bundle / artifact.path).parent if kind == "genai" else bundle / artifact.path)
    for name, flags in PEERS.items() if args.genai else ():
        folder = _built(name, flags, args.model, args.genai)
        runners[name] = Runner("genai", sys.executable, str(folder))
        sizes[name] = _megabytes(folder)
    for kind, python, file in (peer.split(":", 2) for peer in args.peer):
        name = f"{kind} {Path(file).parent.name}/{Path(file).stem}"
        runners[name], sizes[name] = Runner(kind, python, file), _megabytes(Path(file))
    ids = windows(args.model, args.text.read_text(encoding="utf-8"), args.windows, args.length)
    found, base = _quality(args.model, runners, ids)
    speed = _speed(runners, ids[0], args.rounds)
    print(f"\n{args.windows} windows of {args.length} tokens; float32 perplexity {base:.3f}\n")
    heads = ["MB", "KL", "perplexity", "increase %", "same best token", "read tok/CPU-s", "written tok/CPU-s"]
    print("| artifact | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name in runners:
        row = [f"{sizes[name]:.1f}", *(f"{v:.4g}" for v in found[name]), *(f"{v:.0f}" for v in speed[name])]
        print(f"| {name} | " + " | ".join(row) + " |")


def _built(name: str, flags: list[str], model: str, work: Path) -> Path:
    folder = work / name.replace(" ", "-")
    if not (folder / "genai_config.json").is_file():
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", model, "-o", str(folder)]
        command += ["-e", "cpu", "-c", str(work / "cache"), *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def _megabytes(path: Path) -> float:
    files = path.glob("model.onnx*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def windows(model: str, text: str, count: int, length: int) -> list[list[int]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    step = (len(ids) - length) // max(1, count - 1)
    return [ids[i * step : i * step + length] for i in range(count)]


def _quality(
    model: str, runners: Mapping[str, Runner], windows: list[list[int]]
) -> tuple[dict[str, list[float]], float]:
    """By artifact [KL, perplexity, its increase in %, share of best tokens that stayed], and the reference's
    perplexity."""
    module = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    sums, loss = {name: np.zeros(3) for name in runners}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "logits.npy")
        for number, ids in enumerate(windows, 1):
            with torch.inference_mode():
                truth = torch.log_softmax(module(torch.tensor([ids]), use_cache=False).logits[0].float(), -1)
            told = torch.tensor(ids[1:])
            loss -= float(truth[:-1].gather(1, told[:, None]).mean())
            for name, runner in runners.items():
                runner.ask(read=ids, to=file)
                got = torch.log_softmax(torch.from_numpy(np.load(file)), -1)
                sums[name] += [
                    float((truth.exp() * (truth - got)).sum(-1).mean()),
                    -float(got[:-1].gather(1, told[:, None]).mean()),
                    float((truth.argmax(-1) == got.argmax(-1)).float().mean()),
                ]
            print(f"\rwindow {number} of {len(windows)}", end="", file=sys.stderr, flush=True)
    base = float(np.exp(loss / len(windows)))
    means = {name: total / len(windows) for name, total in sums.items()}
    return {
        n: [m[0], float(np.exp(m[1])), 100 * (float(np.exp(m[1])) / base - 1), m[2]] for n, m in means.items()
    }, base


def _speed(runners: Mapping[str, Runner], ids: list[int], rounds: int) -> dict[str, list[float]]:
    """By artifact [tokens read, tokens written] per CPU second."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            took = runner.ask(time=ids[:PROMPT], written=WRITTEN)
            seen[name].append((PROMPT / took["read"], WRITTEN / took["written"]))
    return {name: [statistics.median(kind) for kind in zip(*pairs, strict=True)] for name, pairs in seen.items()}


if __name__ == "__main__":
    main()
