"""Palettes (k-means) and binary weights beside int8 and int4: what they take and what they cost.

    python benchmarks/palettes.py [--shared FOLDER] [--rows 1000]

Of each model the Linears of its blocks; the rest stays float32, activations too, and nothing is calibrated, so that
only the representation of a weight differs. A palette is the k-means of a whole Linear's weights: 2**bits float16
values, and an index for each weight. Binary weights are a sign, and the mean magnitude of each row (Rastegari et al.,
"XNOR-Net", 2016).
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import calibration, sources, tasks
from slm_export.outputs import all_rows
from slm_export.quantization.blocks import candidates
from slm_export.quantization.weights import quantize, quantize_searched
from slm_export.report.columns import columns

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/banking-intents"
Made = tuple[Any, float]  # the weight as it is then, and the bits that all of it takes


def palette(weight: Any, *, bits: int, rounds: int = 30) -> Made:
    """Lloyd's k-means of one dimension, from quantiles; deterministic."""
    import torch

    values = np.sort(weight.numpy().ravel().astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centers = np.quantile(values, (np.arange(2**bits) + 0.5) / 2**bits)
    for _ in range(rounds):
        edges = np.searchsorted(values, (centers[1:] + centers[:-1]) / 2)
        starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(values)]])
        means = (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)
        centers = np.sort(np.where(ends > starts, means, centers))
    centers = centers.astype(np.float16).astype(np.float64)
    index = np.searchsorted((centers[1:] + centers[:-1]) / 2, weight.numpy())
    return torch.from_numpy(centers[index].astype(np.float32)), weight.numel() * bits + 16 * 2**bits


def binary(weight: Any) -> Made:
    scale = weight.abs().mean(1, keepdim=True)
    return scale * ((weight >= 0).float() * 2 - 1), weight.numel() + 16 * len(weight)


def integers(weight: Any, *, bits: int, group: int | None, searched: bool = False) -> Made:
    made = (quantize_searched if searched else quantize)(weight, bits=bits, group=group)
    return made.dequantized(), weight.numel() * bits + 16 * made.scales.numel()


WAYS: dict[str, Callable[[Any], Made]] = {
    "float32": lambda w: (w, 32 * w.numel()),
    "int8 per channel (w8)": lambda w: integers(w, bits=8, group=None),
    "int4 in groups of 32, to nearest (w4)": lambda w: integers(w, bits=4, group=32),
    "int4 in groups of 32, scale searched (w4)": lambda w: integers(w, bits=4, group=32, searched=True),
    "palette of 256": lambda w: palette(w, bits=8),
    "palette of 64": lambda w: palette(w, bits=6),
    "palette of 16": lambda w: palette(w, bits=4),
    "palette of 8": lambda w: palette(w, bits=3),
    "palette of 4": lambda w: palette(w, bits=2),
    "binary": binary,
}


def measure(model: Path, data: Path, *, rows: int) -> str:
    import torch

    info = sources.describe(sources.resolve(str(model), revision=None, weights=None), name=None, task=None)
    reference = sources.load(info, max_length=64)
    task = tasks.get(info.task)
    _, judge = calibration.load(calibration.DataOptions(calibration=None, evaluation=data, most=rows), info.labels)
    assert judge.targets is not None
    tokens = task.tokenize(reference.tokenizer, judge.samples, 64)
    truth = np.array([t[0] for t in judge.targets])
    expected = all_rows(task.run(reference.module, tokens))
    blocks = tuple(f"{name}." for name in candidates(reference.module))
    lines = [["weights of the blocks", "bits a weight", "MB", "KL", "flips", "accuracy"]]
    for name, way in WAYS.items():
        module, total, bits = copy.deepcopy(reference.module), 0, 0.0
        for path, layer in module.named_modules():
            if path.startswith(blocks) and type(layer) is torch.nn.Linear:
                layer.weight.data, taken = way(layer.weight.detach())
                total, bits = total + layer.weight.numel(), bits + taken
        got = all_rows(task.run(module, tokens))
        flips = (got.argmax(1) != expected.argmax(1)).mean()
        accuracy = (got.argmax(1) == truth).mean()
        size = [f"{bits / total:.2f}", f"{bits / 8e6:.2f}"]
        lines.append([name, *size, f"{task.harm(expected, got):.4f}", f"{flips:.1%}", f"{accuracy:.1%}"])
    return f"{model.name}, {len(tokens)} rows\n{columns(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", default=os.environ.get("SLM_EXPORT_SHARED", ""))
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    print(measure(EXAMPLE, EXAMPLE / "eval.csv", rows=arguments.rows), flush=True)
    shared = Path(arguments.shared)
    if (shared / "models/minilm-banking77").is_dir():
        data = shared / "data/banking77/test.csv"
        print("\n" + measure(shared / "models/minilm-banking77", data, rows=arguments.rows))


if __name__ == "__main__":
    main()
