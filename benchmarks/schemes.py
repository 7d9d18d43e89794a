"""What each scheme costs on a real model: size, changed answers, accuracy and CPU time of every format.

    python benchmarks/schemes.py [--shared FOLDER] [--out FOLDER] [--rounds 40] [--write]

MiniLM-L6 fine-tuned on Banking77, 512 calibration texts, all 3,080 test rows. --write puts the table and the plot into
docs/schemes.md and docs/schemes.svg. Times are medians of one process's CPU time at 64 tokens, all files in turn; only
their ratios mean something. About half an hour on 2 cores; with --out, bundles that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from encoder import cpu_ms

from slm_export import runtimes
from slm_export.artifact import Artifact
from slm_export.names import FORMATS, SCHEMES
from slm_export.records import from_json
from slm_export.report.columns import columns

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEAD = ["scheme", "format", "MB", "answers changed", "accuracy", "CPU time"]
EXTENSIONS = {"executorch": "pte", "tflite": "tflite", "onnx": "onnx"}
MARKERS = {"executorch": "o", "tflite": "s", "onnx": "^"}
LENGTH = 64


def export(model: Path, data: Path, out: Path, scheme: str) -> dict[str, tuple[Path, Artifact, dict[str, Any]]]:
    files = ["--calibration", str(data / "train.csv"), "--eval", str(data / "test.csv"), "--calibration-samples", "512"]
    command = [sys.executable, "-m", "slm_export", str(model), "--target", "linux-x86_64", "--scheme", scheme, *files]
    bundle = out / f"{model.name}-linux-x86_64"
    if not bundle.is_dir():
        subprocess.run([*command, "-o", str(out), "--json"], stdout=subprocess.DEVNULL)  # refused ones are left out
    if not (bundle / "manifest.json").is_file():
        return {}
    artifacts = [from_json(Artifact, a) for a in json.loads((bundle / "manifest.json").read_text())["artifacts"]]
    reports = {r["format"]: r for r in json.loads((bundle / "parity.json").read_text())["reports"]}
    return {a.format: (bundle / a.path, a, reports[a.format]) for a in artifacts}


def measure(args: Any) -> list[dict[str, Any]]:
    model, data = args.shared / "models" / "minilm-banking77", args.shared / "data" / "banking77"
    with tempfile.TemporaryDirectory() as temporary:
        folder, made = args.out or temporary, {}
        for scheme in SCHEMES:
            print(f"exporting {scheme} ...", file=sys.stderr)
            for format, found in export(model, data, Path(folder) / scheme, scheme).items():
                made[f"{scheme} {format}"] = found
        sessions = {name: runtimes.get(a.format).open(path, a) for name, (path, a, _) in made.items()}
        times = cpu_ms(sessions, LENGTH, args.rounds)
        return [
            {
                "scheme": a.scheme,
                "format": a.format,
                "megabytes": path.stat().st_size / 1e6,
                "answers": report["answers"],
                "time": times[name] / times[f"fp32 {a.format}"],
            }
            for name, (path, a, report) in made.items()
        ]


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            r["scheme"],
            r["format"],
            f"{r['megabytes']:.1f}",
            f"{r['answers']['flip_rate']:.2%}",
            f"{r['answers']['accuracy']:.2%}",
            f"{r['time']:.2f}x",
        ]
        for r in sorted(rows, key=lambda r: (list(SCHEMES).index(r["scheme"]), FORMATS.index(r["format"])))
    ]


def plot(rows: list[dict[str, Any]]) -> None:
    """Size against changed answers, a dot for each file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "slm-export", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    for format in FORMATS:
        ours = [r for r in rows if r["format"] == format]
        sizes, changed = [r["megabytes"] for r in ours], [100 * r["answers"]["flip_rate"] for r in ours]
        axes.scatter(sizes, changed, label=f".{EXTENSIONS[format]}", marker=MARKERS[format], alpha=0.8)
    for place, names in _labels(rows).items():
        left = place[0] < 22  # megabytes: int8 lies right of int4
        offset, side = ((-6, -3), "right") if left else ((6, -3), "left")
        axes.annotate(names, place, xytext=offset, textcoords="offset points", ha=side)
    axes.set(xlabel="megabytes", ylabel="answers changed, %", xlim=(0, 104), ylim=(-0.04, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(DOCS / "schemes.svg", metadata={"Date": None})


def _labels(rows: list[dict[str, Any]]) -> dict[tuple[float, float], str]:
    """A name for the dot of each scheme that changes most answers; one for those that lie on each other."""
    places: dict[tuple[float, float], list[str]] = {}
    for scheme in {r["scheme"]: None for r in rows}:
        top = max((r for r in rows if r["scheme"] == scheme), key=lambda r: r["answers"]["flip_rate"])
        here = (round(top["megabytes"]), round(100 * top["answers"]["flip_rate"], 2))
        places.setdefault(here, []).append(scheme)
    return {place: ", ".join(names) for place, names in places.items()}


def write(rows: list[dict[str, Any]]) -> None:
    page, marks = DOCS / "schemes.md", ("<!-- measured by benchmarks/schemes.py -->", "<!-- end -->")
    text = page.read_text(encoding="utf-8")
    before, after = text.split(marks[0])[0], text.split(marks[1])[1]
    lines = [f"| {' | '.join(line)} |" for line in (HEAD, ["---"] * len(HEAD), *table(rows))]
    page.write_text("\n".join([f"{before}{marks[0]}", "", *lines, "", f"{marks[1]}{after}"]), encoding="utf-8")
    plot(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("SLM_EXPORT_SHARED")
    parser.add_argument("--shared", type=Path, default=shared, help="[default: $SLM_EXPORT_SHARED]")
    parser.add_argument("--out", type=Path, help="where bundles are made and kept")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.shared is None:
        parser.error("say where models/minilm-banking77 and data/banking77 are: --shared or $SLM_EXPORT_SHARED")
    rows = measure(args)
    print(columns([HEAD, *table(rows)]))
    if args.write:
        write(rows)


if __name__ == "__main__":
    main()
