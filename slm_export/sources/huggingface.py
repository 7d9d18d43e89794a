"""Hugging Face directories, described: config, file names and hashes, with no heavy import, so that bad input is told
before any work.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from slm_export.errors import InputError
from slm_export.records import record
from slm_export.sources import sentence_transformers
from slm_export.sources.hub import Location
from slm_export.sources.sentence_transformers import EmbeddingHead
from slm_export.tasks import GENERATING, HEADS, get
from slm_export.tasks.encoder import POSITIONS_AFTER_PAD

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
EMBEDDING_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")
EMBEDDING_PARTS = ("config.json", "model.safetensors")  # in 1_Pooling, 2_Dense ...


@record
class SourceInfo:
    """What a source says of itself; `sha256` covers config, weights and tokenizer by name and content."""

    kind: str
    name: str
    path: str
    hub_id: str | None  # None: a local directory
    revision: str | None  # the commit that the hub gave
    architecture: str
    task: str
    labels: tuple[str, ...]
    max_positions: int | None
    embedding: EmbeddingHead | None = None  # of a sentence-transformers directory
    license: str | None
    sha256: str
    files: dict[str, str]  # file name -> SHA-256


def describe(location: Location, *, name: str | None = None) -> SourceInfo:
    """Read what the directory holds without loading weights.

    Raises InputError if it is no model slm-export can export: pickled weights, custom code, an unknown head, no
    tokenizer, a config that is not JSON.
    """
    path = location.path
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
    head = sentence_transformers.read_head(path) if sentence_transformers.is_one(path) else None
    task = "feature-extraction" if head else _task(path, config, architecture)
    files = _hashes(path)
    lengths = [n for n in (_positions(config), head and head.max_tokens) if n]
    return SourceInfo(
        kind="huggingface",
        name=name or _name(location.hub_id or str(path.resolve())),
        path=str(path.resolve()),
        hub_id=location.hub_id,
        revision=location.revision,
        architecture=architecture,
        task=task,
        labels=() if head or task in GENERATING else _labels(path, config),
        max_positions=min(lengths, default=None),
        embedding=head,
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
            next_step="fine-tune one of these heads, or wait for this head's release",
        )
    if task in GENERATING:
        _refuse_other_families(path, config, task)
        return task
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification") or len(config.get("id2label") or {}) == 1:
        kind = (problem or "regression").replace("_", " ")
        raise InputError(
            f"{path} is a {kind} model; only one label per text is exported so far",
            where="config.json: problem_type",
        )
    return task


def _refuse_other_families(path: Path, config: dict[str, Any], task: str) -> None:
    families = get(task).FAMILIES
    if config.get("model_type") not in families:
        raise InputError(
            f"{path} is an encoder-decoder of a family slm-export cannot export yet: {config.get('model_type')}",
            where="config.json: model_type",
            why=f"it exports {', '.join(families)}",
        )


def _positions(config: dict[str, Any]) -> int | None:
    """How many tokens the model has positions for: RoBERTa's first ones belong to padding."""
    table: int | None = config.get("max_position_embeddings")
    if table and config.get("model_type") in POSITIONS_AFTER_PAD:
        return table - int(config.get("pad_token_id") or 0) - 1
    return table


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


def _name(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rpartition("/")[2]).strip("-.")
    return name or "model"


def _hashes(path: Path) -> dict[str, str]:
    names = {
        "config.json",
        "generation_config.json",
        *TOKENIZER_FILES,
        *(p.name for p in path.glob("*.safetensors")),
        *EMBEDDING_FILES,
    }
    names |= {p.relative_to(path).as_posix() for p in path.glob("*_*/*") if p.name in EMBEDDING_PARTS}
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
