"""A causal model's bundle: every artifact in its own runtime, quality, size and speed in one run.

    python benchmarks/lm_formats.py MODEL TEXT BUNDLE [BUNDLE ...]

MODEL is a Hugging Face directory, TEXT a file such as WikiText-2's raw test split. Quality is counted as in lm.py, in
ExecuTorch and LiteRT token by token through the cache. Speed is tokens per CPU second of slm-export's own sessions, one
thread, rounds interleaved, medians: of files in the same runtime it compares, of runtimes only roughly.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
import transformers
from lm import PROMPT, WRITTEN, windows

from slm_export import runtimes
from slm_export.bundle.manifest import read_manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sessions, sizes = {}, {}
    for bundle in args.bundles:
        for entry in read_manifest(bundle).artifacts:
            artifact = entry.artifact
            name = f"{artifact.format} {artifact.scheme}"
            sessions[name] = runtimes.get(artifact.format).open((bundle / artifact.path).resolve(), artifact)
            sizes[name] = artifact.files[0].bytes / 1e6
    ids = windows(args.model, args.text.read_text(encoding="utf-8"), args.windows, args.length)
    found, base = _quality(args.model, sessions, ids)
    speed = _speed(sessions, ids[0], args.rounds)
    print(f"\n{args.windows} windows of {args.length} tokens; float32 perplexity {base:.3f}\n")
    heads = ["MB", "KL", "perplexity", "increase %", "same best token", "read tok/CPU-s", "written tok/CPU-s"]
    print("| artifact | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name in sessions:
        row = [f"{sizes[name]:.1f}", *(f"{v:.4g}" for v in found[name]), *(f"{v:.0f}" for v in speed[name])]
        print(f"| {name} | " + " | ".join(row) + " |")


def _quality(model: str, sessions: dict[str, Any], windows: list[list[int]]) -> tuple[dict[str, list[float]], float]:
    """By artifact [KL, perplexity, its increase in %, share of best tokens that stayed], and the reference's
    perplexity."""
    module = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    sums, loss = {name: np.zeros(3) for name in sessions}, 0.0
    for number, ids in enumerate(windows, 1):
        with torch.inference_mode():
            truth = torch.log_softmax(module(torch.tensor([ids]), use_cache=False).logits[0].float(), -1)
        told = torch.tensor(ids[1:])
        loss -= float(truth[:-1].gather(1, told[:, None]).mean())
        for name, session in sessions.items():
            got = torch.log_softmax(torch.from_numpy(session.read(session.start(), ids)[1]), -1)
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


def _speed(sessions: dict[str, Any], ids: list[int], rounds: int) -> dict[str, list[float]]:
    """By artifact [tokens read, tokens written] per CPU second."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            start = time.process_time()
            state, logits = session.last(session.start(), ids[:PROMPT])
            read = time.process_time()
            for _ in range(WRITTEN):
                state, logits = session.last(state, [int(logits.argmax())])
            seen[name].append((PROMPT / (read - start), WRITTEN / (time.process_time() - read)))
    return {name: [statistics.median(kind) for kind in zip(*pairs, strict=True)] for name, pairs in seen.items()}


if __name__ == "__main__":
    main()
