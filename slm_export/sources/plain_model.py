"""Classifiers in plain PyTorch: `module:factory` and a folder with weights, tokenizer and model.json, read without
running the module.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slm_export.errors import InputError, UsageError, nearest
from slm_export.records import record

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
WEIGHTS, TOKENIZER, DESCRIPTION = FILES = ("model.safetensors", "tokenizer.json", "model.json")
FORWARD = ("input_ids", "attention_mask", "lengths")  # what a forward may take
TASK = "text-classification"
# Keys of model.json: the type of each, and whether it must be there.
KEYS: dict[str, tuple[type, bool]] = {
    "task": (str, True), "labels": (list, True), "max_length": (int, True), "pad_token": (str, True),
    "inputs": (list, True), "arguments": (dict, False), "license": (str, False),
}  # fmt: skip
_RECURRENT = re.compile(r"(^|\.)weight_hh_l\d+(_reverse)?$")


@record
class PlainModel:
    """How a classifier in plain PyTorch is made and called."""

    module: str
    factory: str
    folder: str  # the module is imported from here
    arguments: dict[str, Any]  # of the factory, by name
    inputs: tuple[str, ...]  # what forward takes, in order: of FORWARD
    pad_token: str
    recurrent_layers: int  # LSTM or GRU layers times directions: what a graph of fixed length repeats for each token


def read_model(factory: str, weights: Path, code: Path) -> tuple[PlainModel, dict[str, Any], Path]:
    """What `factory` ("module:name", its module in the folder `code`) and `weights` say: the model, model.json, and the
    module's file.

    Raises UsageError if the module is not there, InputError if a file is missing or model.json is not what it must be.
    """
    module, _, name = factory.partition(":")
    source = _find(module, code)
    for file in FILES:
        if not (weights / file).is_file():
            raise InputError(
                f"{weights} holds no {file}",
                why=f"a model in plain PyTorch is given as {', '.join(FILES)}",
                next_step="write it beside the others; examples/sms-spam shows how",
            )
    said = _read(weights / DESCRIPTION)
    model = PlainModel(
        module=module,
        factory=name,
        folder=str(code),
        arguments=said.get("arguments", {}),
        inputs=tuple(said["inputs"]),
        pad_token=said["pad_token"],
        recurrent_layers=_recurrent_layers(weights / WEIGHTS),
    )
    return model, said, source


def _find(module: str, folder: Path) -> Path:
    base = folder.joinpath(*module.split("."))
    found = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
    if found is None:
        raise UsageError(
            f"there is no module {module} in {folder}",
            why="module:factory is imported from the working directory",
            next_step="run slm-export where the module's file is",
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    """model.json, all its problems told together."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise InputError(f"{path} is not JSON: {err}", where=str(path)) from err
    problems = _problems(data) if isinstance(data, dict) else ["it is not an object"]
    if problems:
        raise InputError(f"{path} cannot be used", where="\n         ".join(problems), next_step="mend the file")
    said: dict[str, Any] = data
    return said


def _problems(data: dict[str, Any]) -> list[str]:
    found = [f"{key}: unknown; {nearest(key, KEYS)}" for key in data if key not in KEYS]
    found += [f"{key}: missing" for key, (_, needed) in KEYS.items() if needed and key not in data]
    wrong = {key for key, (kind, _) in KEYS.items() if key in data and type(data[key]) is not kind}
    found += [f"{key}: {data[key]!r} is not {KEYS[key][0].__name__}" for key in KEYS if key in wrong]
    checks: dict[str, Callable[[Any], list[str]]] = {
        "task": _task,
        "labels": _labels,
        "max_length": _max_length,
        "inputs": _inputs,
    }
    return found + [p for key, check in checks.items() if key in data and key not in wrong for p in check(data[key])]


def _task(task: str) -> list[str]:
    return [] if task == TASK else [f"task: {task!r}; only {TASK} is exported from plain PyTorch"]


def _labels(labels: list[Any]) -> list[str]:
    fine = len(labels) > 1 and len(set(map(str, labels))) == len(labels) and all(isinstance(v, str) for v in labels)
    return [] if fine else ["labels: must be two or more different texts, in the order of the logits"]


def _max_length(length: int) -> list[str]:
    return [] if length >= 2 else [f"max_length: {length} tokens are too few"]


def _inputs(inputs: list[Any]) -> list[str]:
    found = [f"inputs: {i!r} is unknown; {nearest(str(i), FORWARD)}" for i in inputs if i not in FORWARD]
    if "input_ids" not in inputs or len(set(map(str, inputs))) < len(inputs):
        found.append("inputs: must name input_ids, and each once")
    return found


def _recurrent_layers(path: Path) -> int:
    """Counted in the names of the tensors, which stand as JSON at the start of the file."""
    with path.open("rb") as file:
        try:
            (size,) = struct.unpack("<Q", file.read(8))
            names = json.loads(file.read(min(size, path.stat().st_size)))
        except (struct.error, ValueError) as err:
            raise InputError(f"{path} is no safetensors file", where=str(path)) from err
    return sum(_RECURRENT.search(name) is not None for name in names)
