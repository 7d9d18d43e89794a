"""What pruning costs a classifier, what healing by distillation brings back, and what it saves in time.

    python benchmarks/pruning.py [--shared FOLDER] [--texts 512 2048] [--rounds 40]

MiniLM-L6 fine-tuned on Banking77, all 3,080 test rows, float32 and eager: what is lost here is pruning's alone, and
rounding comes on top. Importance is measured, and blocks are chosen, on 128 training rows; healing learns from as many
as --texts says, four times over, on one thread. Then the whole and two pruned models are exported in int8, and all
files are run in turn: medians of one process's CPU time at 64 tokens, of which only ratios mean something.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from encoder import cpu_ms, export

from slm_export import calibration, runtimes, sources, tasks
from slm_export.outputs import Matrices, Tokens
from slm_export.pruning.asked import Asked, parse
from slm_export.pruning.healing import heal
from slm_export.pruning.prune import Pruned, prune
from slm_export.report.columns import columns
from slm_export.tasks.measured import Judged

HEALED = ("ffn=0.2", "ffn=0.3,heads=0.25", "layers=1", "layers=2")
IMPORTANCES = ("l1", "l2", "activation")  # without healing, of ffn=0.2 and heads=0.25
PASSES = 4
EXPORTED = ("", "ffn=0.3,heads=0.25", "layers=2")
LENGTH = 64


class Bench:
    """The reference, what it answers, and how another model's answers compare."""

    def __init__(self, model: Path, data: Path, texts: int) -> None:
        self.info = sources.describe(sources.Location(path=model))
        self.reference = sources.load(self.info, max_length=128)
        self.task = tasks.get(self.info.task)
        options = calibration.DataOptions(
            calibration=data / "train.csv", evaluation=data / "test.csv", taught=texts, allow_overlap=False
        )
        chosen, self.judge = calibration.load(options, self.info.labels)
        assert chosen is not None
        self.calibration, self.taught, self.tokens = (
            self.task.tokenize(self.reference.tokenizer, samples, 128)
            for samples in (chosen.samples, chosen.taught, self.judge.samples)
        )
        self.before: Matrices = self.task.run(self.reference.module, self.tokens)

    def row(self, what: str, module: Any, seconds: float | None) -> list[str]:
        judged = Judged(
            before=self.before,
            after=self.task.run(module, self.tokens),
            tokens=self.tokens,
            labels=self.info.labels,
            targets=self.judge.targets,
        )
        answers = self.task.measure(judged).answers
        kl = self.task.harm(*(_stacked(m) for m in (judged.before, judged.after)))
        weights = sum(p.numel() for p in module.parameters())
        blocks = sum(p.numel() for n, p in module.named_parameters() if "encoder" in n)
        return [
            what,
            f"{weights / 1e6:.2f}",
            f"{blocks / 1e6:.2f}",
            f"{kl:.4f}",
            f"{answers['flip_rate']:.2%}",
            f"{answers['accuracy']:.2%}",
            "" if seconds is None else f"{seconds:.0f}",
        ]

    def pruned(self, asked: Asked) -> Pruned:
        return prune(self.reference.module, self.task, asked, self.calibration, lambda *_: None)

    def healed_by(self, made: Any, texts: list[Tokens]) -> float:
        started = time.process_time()
        heal(
            made.module,
            self.reference.module,
            self.task,
            texts,
            passes=PASSES,
            masks=made.masks,
            hidden=made.hidden,
            progress=lambda *_: None,
        )
        return time.process_time() - started


def _stacked(matrices: Matrices) -> Any:
    import numpy as np

    return np.concatenate(matrices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", default=os.environ.get("SLM_EXPORT_SHARED", ""))
    parser.add_argument("--texts", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    shared = Path(arguments.shared)
    bench = Bench(shared / "models/minilm-banking77", shared / "data/banking77", max(arguments.texts))
    head = ["pruned", "M weights", "M in blocks", "KL", "flips", "accuracy", "CPU s of healing"]
    rows = [bench.row("nothing", bench.reference.module, None)]
    print(columns([head, rows[0]]), flush=True)
    for what in HEALED:
        asked = parse(what, origin="benchmark")
        rows.append(bench.row(f"{what}, not healed", bench.pruned(asked).module, None))
        for texts in arguments.texts:
            made = bench.pruned(asked)
            step = len(bench.taught) / texts
            seconds = bench.healed_by(made, [bench.taught[int(i * step)] for i in range(texts)])
            rows.append(bench.row(f"{what}, {texts} texts", made.module, seconds))
            print(columns([head, rows[-1]]), flush=True)
    for kind in ("ffn=0.2", "heads=0.25"):
        for by in IMPORTANCES:
            asked = parse(kind, origin="benchmark")
            made = bench.pruned(Asked(ffn=asked.ffn, heads=asked.heads, by=by))
            rows.append(bench.row(f"{kind} by {by}, not healed", made.module, None))
    print(columns([head, *rows]))
    print(columns(speed(shared / "models/minilm-banking77", shared / "data/banking77", arguments.rounds)))


def speed(model: Path, data: Path, rounds: int) -> list[list[str]]:
    """Size, accuracy and CPU time of the exported files, beside the whole model's of the same format."""
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, what in enumerate(EXPORTED):
            more = ["--prune", what, "--max-drop", "5%"] if what else []
            for format, found in export(model, data, Path(folder) / str(number), "w8a8-dynamic", *more).items():
                files[format, what] = found
        sessions = {f"{format} {what}": runtimes.get(format).open(*files[format, what]) for format, what in files}
        times = cpu_ms(sessions, LENGTH, rounds)
        rows = [["format", "pruned", "MB", "CPU time"]]
        for format, what in sorted(files):
            size, whole = files[format, what][0].stat().st_size / 1e6, times[f"{format} "]
            rows.append([format, what or "nothing", f"{size:.2f}", f"{times[f'{format} {what}'] / whole:.2f}x"])
        return rows


if __name__ == "__main__":
    main()
