"""Imports run downwards, and neighbours of a table do not know each other."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "slm_export"
SIBLINGS = {"exporters": ("executorch", "tflite", "onnx"), "runtimes": ("executorch", "litert", "onnxruntime"),
            "readers": ("executorch", "tflite", "onnx")}  # fmt: skip

# From the lowest floor to the highest. A room may import from its own floor and from those below.
FLOORS = [
    ("errors", "records", "names", "requirements", "litertlm"),
    ("quantplan", "artifact", "generation", "outputs", "metrics", "chat"),
    ("targets", "calibration", "tasks", "sources", "readers", "runtimes"),
    ("parity",),
    ("quantization", "distillation"),
    ("pruning",),
    ("exporters",),
    ("stages",),
    ("oldest", "doctor", "config", "quantizing", "pruning_flags", "planning"),
    ("results",),
    ("report", "bundle"),
    ("pipeline", "asking", "devices"),
    ("__init__",),
    ("commands",),
    ("cli",),
    ("__main__",),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "slm_export":
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "slm_export")


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("room", SIBLINGS)
def test_formats_do_not_import_each_other(room):
    for name in SIBLINGS[room]:
        own = [p for p in (PACKAGE / room).glob("*.py") if p.stem == name or p.stem.startswith(f"{name}_")]
        others = [f"slm_export.{room}.{o}" for o in SIBLINGS[room] if o != name]
        for path in own:
            assert not [m for m in imported(path) if any(m == o or m.startswith((f"{o}_", f"{o}.")) for o in others)]


def test_every_room_has_a_floor():
    assert {room(p) for p in PACKAGE.rglob("*.py")} == set(FLOOR)


def test_rooms_import_only_from_their_own_floor_and_below():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in PACKAGE.rglob("*.py")
        for module in imported(path)
        if FLOOR[([*module.split("."), "__init__"])[1]] > FLOOR[room(path)]
    ]
    assert wrong == []
