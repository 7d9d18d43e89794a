"""Imports run downwards, and neighbours of a table do not know each other."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "slm_export"
SIBLINGS = {"exporters": ("executorch", "tflite", "onnx"), "runtimes": ("executorch", "litert", "onnxruntime"),
            "readers": ("executorch", "tflite", "onnx")}  # fmt: skip


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("slm_export"):
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


@pytest.mark.parametrize("room", SIBLINGS)
def test_formats_do_not_import_each_other(room):
    for name in SIBLINGS[room]:
        own = [p for p in (PACKAGE / room).glob("*.py") if p.stem == name or p.stem.startswith(f"{name}_")]
        others = [f"slm_export.{room}.{o}" for o in SIBLINGS[room] if o != name]
        for path in own:
            assert not [m for m in imported(path) if any(m == o or m.startswith((f"{o}_", f"{o}.")) for o in others)]


def test_low_rooms_do_not_know_high_ones():
    high = ("cli", "console", "pipeline", "planning", "results", "report", "bundle")
    low = [p for room in ("targets", "calibration", "readers", "quantization", "tasks", "exporters", "runtimes")
           for p in (PACKAGE / room).glob("*.py")] + [PACKAGE / "records.py", PACKAGE / "errors.py"]  # fmt: skip
    wrong = [(p.name, m) for p in low for m in imported(p) if m.split(".")[1:2] and m.split(".")[1] in high]
    assert wrong == []
