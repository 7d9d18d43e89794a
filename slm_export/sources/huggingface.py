"""Hugging Face directories and hub ids.

`describe` reads config, file names and hashes with no heavy import, so bad input is told before any work;
`load` gives the float32 reference.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from slm_export.errors import InputError
from slm_export.records import record
from slm_export.sources.reference import Reference

HEADS = {"ForSequenceClassification": "text-classification"}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@record
class SourceInfo:
    """What a source says of itself; `sha256` covers config, weights and tokenizer by name and content."""

    kind: str
    name: str
    path: str
    architecture: str
    task: str
    labels: tuple[str, ...]
    max_positions: int | None
    license: str | None
    sha256: str
    files: dict[str, str]  # file name -> SHA-256


def resolve(model: str, *, revision: str | None = None) -> Path:
    """The local directory of `model`, downloaded first if it is a hub id and no such directory exists.

    Raises InputError if it is neither, or cannot be downloaded.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{model} is a file, not a model directory", next_step="give the directory that holds it")
    if not _HUB_ID.fullmatch(model):
        raise InputError(f"there is no directory {model}", next_step="check the path")
    return _download(model, revision)


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "README.md"]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except Exception as err:  # huggingface_hub raises its own, httpx's and OSError's kinds
        raise InputError(
            f"there is no directory {hub_id}, and the hub did not give a model of that name",
            where=f"{type(err).__name__}: {str(err).splitlines()[0] if str(err) else 'no message'}",
            next_step="give a local directory, or check the id and the network",
        ) from err


def describe(path: Path, *, name: str | None = None) -> SourceInfo:
    """Read what `path` holds without loading weights.

    Raises InputError if it is no model slm-export can export: pickled weights, custom code, an unknown head, no
    tokenizer, a config that is not JSON.
    """
    config = _config(path)
    _refuse_custom_code(path, config)
    _refuse_missing_weights(path)
    if not any((path / f).is_file() for f in TOKENIZER_FILES if f not in ("tokenizer_config.json",)):
        raise InputError(
            f"{path} holds no tokenizer",
            why=f"none of {', '.join(TOKENIZER_FILES[:4])} ... is there",
            next_step="save it beside the model: tokenizer.save_pretrained(directory)",
        )
    architecture = (config.get("architectures") or ["none"])[0]
    task = _task(path, config, architecture)
    files = _hashes(path)
    return SourceInfo(
        kind="huggingface",
        name=name or _name(path),
        path=str(path.resolve()),
        architecture=architecture,
        task=task,
        labels=_labels(path, config),
        max_positions=config.get("max_position_embeddings"),
        license=_license(path),
        sha256=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        files=files,
    )


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise InputError(
            f"{path} is no Hugging Face model directory",
            why="it has no config.json",
            next_step="save the model with save_pretrained(directory) and give that directory",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise InputError(f"{file} is not JSON: {err}", where=str(file)) from err
    if not isinstance(config, dict):
        raise InputError(f"{file} is not a JSON object", where=str(file))
    return config


def _refuse_custom_code(path: Path, config: dict[str, Any]) -> None:
    if "auto_map" in config:
        raise InputError(
            f"{path} needs its own Python code to load",
            where="config.json: auto_map",
            why="slm-export runs no code that comes with a model",
            next_step="export a model whose class is part of transformers",
        )


def _refuse_missing_weights(path: Path) -> None:
    if list(path.glob("*.safetensors")):
        return
    pickled = sorted(p.name for pattern in PICKLES for p in path.glob(pattern))
    if pickled:
        raise InputError(
            f"{path} holds only pickled weights, which can run code when opened",
            where=pickled[0],
            next_step="convert them where you trust them: "
            "model = AutoModelForSequenceClassification.from_pretrained(directory); model.save_pretrained(new)",
        )
    raise InputError(f"{path} holds no weights", why="there is no *.safetensors file in it")


def _task(path: Path, config: dict[str, Any], architecture: str) -> str:
    task = next((task for suffix, task in HEADS.items() if architecture.endswith(suffix)), None)
    if task is None:
        raise InputError(
            f"{architecture} in {path} is no model slm-export can export yet",
            where="config.json: architectures",
            why=f"it exports {', '.join('*' + h for h in HEADS)}",
            next_step="fine-tune a sequence-classification head, or wait for this head's release",
        )
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification") or len(config.get("id2label") or {}) == 1:
        kind = (problem or "regression").replace("_", " ")
        raise InputError(
            f"{path} is a {kind} model; only one label per text is exported so far",
            where="config.json: problem_type",
        )
    return task


def _labels(path: Path, config: dict[str, Any]) -> tuple[str, ...]:
    table = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        by_id = {int(k): str(v) for k, v in table.items()}
    except (ValueError, AttributeError) as err:
        raise InputError(f"{path}/config.json: id2label is not a map of numbers to names", where="id2label") from err
    if sorted(by_id) != list(range(len(by_id))):
        missing = sorted(set(range(len(by_id))) - set(by_id))
        raise InputError(f"{path}/config.json: id2label skips number {missing[0]}", where="id2label")
    if len(set(by_id.values())) < len(by_id):
        raise InputError(f"{path}/config.json: id2label gives two labels the same name", where="id2label")
    return tuple(by_id[i] for i in range(len(by_id)))


def _name(path: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-.")
    return name or "model"


def _hashes(path: Path) -> dict[str, str]:
    names = {"config.json", *TOKENIZER_FILES, *(p.name for p in path.glob("*.safetensors"))}
    return {n: sha256(path / n) for n in sorted(names) if (path / n).is_file()}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _license(path: Path) -> str | None:
    """The `license:` line of the model card's YAML front matter, which the hub keeps to one word."""
    card = path / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\r?\n(.*?)\r?\n---", card.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL)
    found = front and re.search(r"^license:\s*[\"']?([^\s\"']+)", front.group(1), flags=re.MULTILINE)
    return found.group(1) if found else None


def load(info: SourceInfo, *, max_length: int) -> Reference:
    """Load the float32 reference and its tokenizer. Never opens a socket and never runs the model's own code.

    Raises InputError if transformers cannot load it, or weights and config disagree.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        module, report = AutoModelForSequenceClassification.from_pretrained(
            info.path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, attn_implementation="eager"
        )
        tokenizer = AutoTokenizer.from_pretrained(info.path)
    except Exception as err:  # transformers raises OSError, ValueError, KeyError, safetensors and torch errors here
        raise InputError(
            f"transformers cannot load {info.path}", where=f"{type(err).__name__}: {str(err).splitlines()[0]}"
        ) from err
    _refuse_gaps(info, report)
    return Reference(
        module=module.eval().requires_grad_(False),
        tokenizer=tokenizer,
        task=info.task,
        labels=info.labels,
        max_length=max_length,
        pad_id=_check_tokenizer(info, module, tokenizer),
    )


def _refuse_gaps(info: SourceInfo, report: dict[str, Any]) -> None:
    missing = sorted(report.get("missing_keys") or [])
    mismatched = sorted(str(k[0] if isinstance(k, tuple) else k) for k in report.get("mismatched_keys") or [])
    if missing or mismatched:
        raise InputError(
            f"the weights of {info.path} do not fill the model its config describes",
            where=f"{(missing or mismatched)[0]} and {len(missing) + len(mismatched) - 1} more tensors",
            why="missing tensors would be random numbers" if missing else "their shapes differ",
            next_step="save model and config together with save_pretrained",
        )


def _check_tokenizer(info: SourceInfo, module: Any, tokenizer: Any) -> int:
    rows = module.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(
            f"the tokenizer of {info.path} has {len(tokenizer)} tokens, the model embeds {rows}",
            why="the tokenizer belongs to another model, or tokens were added without resizing the embedding",
            next_step="save the tokenizer the model was trained with beside it",
        )
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"the tokenizer of {info.path} has no tokenizer.json form", next_step="use the fast tokenizer class"
        )
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
