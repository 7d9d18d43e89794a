"""Causal language models in ONNX: our artifacts beside onnxruntime-genai's own, quality, size and speed in one run.

    python benchmarks/lm.py MODEL TEXT --ours w8=dist/bundle/onnx --ours w4=... --work /tmp/lm-bench

MODEL is a Hugging Face directory, TEXT a file such as WikiText-2's raw test split; each `--ours` a folder with
model.onnx and genai_config.json. Quality is counted at every position of WINDOWS windows of LENGTH tokens, evenly
spaced over the text, against the float32 reference: mean KL divergence over the whole vocabulary, perplexity, best
tokens that stayed. Speed is tokens per CPU second in onnxruntime-genai's own loop, one thread, rounds interleaved,
medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import torch
import transformers

PEERS = {
    "genai int4": ["-p", "int4"],
    "genai k_quant mixed": [
        "-p", "int4", "--extra_options", "algo_config=k_quant",
        "matmul_mixed_precision=last_matmul:int8,mixed_layers:int8",
    ],
    "genai int8": ["-p", "int8"],
}  # fmt: skip
PROMPT, WRITTEN = 128, 64  # tokens read and written to time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--ours", action="append", default=[], help="NAME=FOLDER")
    parser.add_argument("--work", type=Path, required=True, help="where peers are built, and kept")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5, help="of timing; 0: none")
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (item.partition("=") for item in args.ours)}
    if not args.no_peers:
        folders |= {name: _peer(name, flags, args.model, args.work) for name, flags in PEERS.items()}
    ids = windows(args.model, args.text.read_text(encoding="utf-8"), args.windows, args.length)
    rows = {name: [f"{_megabytes(folder):.1f}"] for name, folder in folders.items()}
    quality = _quality(args.model, folders, ids)
    speed = _speed(folders, ids[0], args.rounds)
    for name, row in rows.items():
        row += [f"{v:.4g}" for v in quality[name]] + [f"{v:.0f}" for v in speed.get(name, [])]
    heads = ["MB", "KL", "perplexity", "increase %", "same best token", "read tok/CPU-s", "written tok/CPU-s"]
    print(f"\n{args.windows} windows of {args.length} tokens; float32 perplexity {quality['reference'][1]:.3f}\n")
    print("| artifact | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(row) + " |")


def _peer(name: str, flags: list[str], model: str, work: Path) -> Path:
    folder = work / name.replace(" ", "-")
    if not (folder / "genai_config.json").is_file():
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", model, "-o", str(folder)]
        command += ["-e", "cpu", "-c", str(work / "cache"), *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def windows(model: str, text: str, count: int, length: int) -> list[list[int]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    step = (len(ids) - length) // max(1, count - 1)
    return [ids[i * step : i * step + length] for i in range(count)]


def _megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.glob("model.onnx*")) / 1e6


def _quality(model: str, folders: dict[str, Path], windows: list[list[int]]) -> dict[str, list[float]]:
    """By artifact [KL, perplexity, its increase in %, share of best tokens that stayed]."""
    module = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    sessions = {name: _session(folder) for name, folder in folders.items()}
    sums = {name: np.zeros(3) for name in ("reference", *folders)}
    for number, ids in enumerate(windows, 1):
        with torch.inference_mode():
            truth = torch.log_softmax(module(torch.tensor([ids]), use_cache=False).logits[0].float(), -1)
        told = torch.tensor(ids[1:])
        sums["reference"][1] += -float(truth[:-1].gather(1, told[:, None]).mean())
        for name, (session, empty) in sessions.items():
            feed = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64), **empty}
            got = torch.log_softmax(torch.from_numpy(session.run(["logits"], feed)[0])[0], -1)
            sums[name] += [
                float((truth.exp() * (truth - got)).sum(-1).mean()),
                -float(got[:-1].gather(1, told[:, None]).mean()),
                float((truth.argmax(-1) == got.argmax(-1)).float().mean()),
            ]
        print(f"\rwindow {number} of {len(windows)}", end="", file=sys.stderr, flush=True)
    means = {name: total / len(windows) for name, total in sums.items()}
    base = means["reference"][1]
    return {n: [m[0], float(np.exp(m[1])), 100 * float(np.expm1(m[1] - base)), m[2]] for n, m in means.items()}


def _session(folder: Path) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    decoder = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]
    shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
    caches = [i.name for i in session.get_inputs() if i.name.startswith("past_key_values.")]
    return session, {name: np.zeros(shape, np.float32) for name in caches}


def _speed(folders: dict[str, Path], ids: list[int], rounds: int) -> dict[str, list[float]]:
    """By artifact [tokens read, tokens written] per CPU second."""
    import onnxruntime_genai as genai

    models = {}
    for name, folder in folders.items():
        config = genai.Config(str(folder))
        config.overlay('{"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}')
        models[name] = genai.Model(config)
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in folders}
    for _ in range(rounds):
        for name, model in models.items():
            params = genai.GeneratorParams(model)
            length = PROMPT + WRITTEN
            params.set_search_options(min_length=length, max_length=length, do_sample=False)
            generator = genai.Generator(model, params)
            start = time.process_time()
            generator.append_tokens(ids[:PROMPT])
            generator.generate_next_token()
            read = time.process_time()
            for _ in range(WRITTEN - 1):
                generator.generate_next_token()
            seen[name].append((PROMPT / (read - start), (WRITTEN - 1) / (time.process_time() - read)))
    return {name: [statistics.median(column) for column in zip(*s, strict=True)] for name, s in seen.items() if s}


if __name__ == "__main__":
    main()
