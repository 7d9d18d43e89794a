"""PEFT adapter directories: what they say, and the adapter merged into its base. Never silently ignored."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_export.errors import InputError, first_line
from slm_export.records import record
from slm_export.sources.files import sha256
from slm_export.sources.hub import resolve

if TYPE_CHECKING:
    from slm_export.sources.huggingface import SourceInfo

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MERGED = ("LORA",)  # kinds that merging is exact for, and that are tested
TASKS = {  # task_type of an adapter -> task
    "SEQ_CLS": "text-classification",
    "CAUSAL_LM": "text-generation",
    "SEQ_2_SEQ_LM": "text2text-generation",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "FEATURE_EXTRACTION": "feature-extraction/hidden-states",
}


@record
class Adapter:
    """`base` is the directory of the model it belongs to; `base_name` what the adapter calls it."""

    path: str
    kind: str
    rank: int | None
    base: str
    base_name: str | None
    task: str | None  # None: the base's own


def is_one(path: Path) -> bool:
    return (path / CONFIG).is_file()


def read(path: Path, base: str | None) -> Adapter:
    """`base` is the user's word for where the base is; without it the adapter's own, else the directory itself.

    Raises InputError if the adapter cannot be merged, or its base cannot be found.
    """
    config = _json(path / CONFIG)
    kind = str(config.get("peft_type"))
    if kind not in MERGED:
        raise InputError(
            f"{path} holds a {kind} adapter, which cannot be exported",
            where=f"{CONFIG}: peft_type",
            why=f"it exports {', '.join(MERGED)} adapters",
            next_step="merge it where you trained it: model.merge_and_unload().save_pretrained(directory)",
        )
    if not (path / WEIGHTS).is_file():
        raise InputError(
            f"{path} holds an adapter without its weights",
            where=WEIGHTS,
            why="only safetensors are read; pickled weights can run code when opened",
            next_step="save it again: model.save_pretrained(directory)",
        )
    named = config.get("base_model_name_or_path")
    return Adapter(
        path=str(path.resolve()),
        kind=kind,
        rank=config.get("r"),
        base=str(_base(path, base, named).resolve()),
        base_name=Path(named).name if named else None,
        task=TASKS.get(str(config.get("task_type"))),
    )


def _base(path: Path, given: str | None, named: str | None) -> Path:
    if given is not None:
        return resolve(given).path
    if list(path.glob("model*.safetensors")):
        return path
    beside = path / named if named else None
    if beside is not None and beside.is_dir():
        return beside
    try:
        return resolve(str(named or "")).path
    except InputError as err:
        raise InputError(
            f"{path} is an adapter, and the model it belongs to is not here: {named or 'not named'}",
            where=f"{CONFIG}: base_model_name_or_path",
            why=err.what,
            next_step="name its directory with --base",
        ) from err


def own_config(path: Path) -> dict[str, Any]:
    """Of the model's config what the adapter's directory says itself, such as the labels of its head."""
    file = path / "config.json"
    return _json(file) if file.is_file() else {}


def hashes(path: Path) -> dict[str, str]:
    names = sorted(p.name for p in path.iterdir() if p.suffix in (".json", ".safetensors", ".txt", ".model"))
    return {name: sha256(path / name) for name in names}


def saved_modules(adapter: Adapter) -> set[str]:
    """Names of the model's tensors that the adapter brings whole: a fine-tuned head."""
    from safetensors import safe_open

    with safe_open(Path(adapter.path) / WEIGHTS, framework="pt") as file:
        stored = list(file.keys())
    names = {name.removeprefix("base_model.model.") for name in stored}
    return {name for name in names if ".lora_" not in name}


@contextmanager
def base_alone(info: SourceInfo) -> Iterator[str]:
    """The base's directory, without the adapter if that lies in it: transformers would load it by itself, unmerged."""
    if not is_one(Path(info.path)):
        yield info.path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in Path(info.path).iterdir():
            if file.name not in (CONFIG, WEIGHTS):
                (Path(folder) / file.name).symlink_to(file)
        yield folder


def merge(module: Any, info: SourceInfo) -> Any:
    """The base with the adapter in its weights. Raises InputError if the two do not fit."""
    import peft

    assert info.adapter is not None
    try:
        return peft.PeftModel.from_pretrained(module, info.adapter.path).merge_and_unload(safe_merge=True)
    except Exception as err:  # peft raises ValueError, KeyError, RuntimeError and torch's kinds
        raise InputError(
            f"the adapter {info.adapter.path} does not fit its base {info.path}",
            where=first_line(err),
            next_step="name the model it was trained on with --base; if the head's size differs, save the trained "
            "model's config.json, which has the labels, beside the adapter",
        ) from err


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise InputError(f"{path} cannot be read: {err}", where=str(path)) from err
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a JSON object", where=str(path))
    return found
