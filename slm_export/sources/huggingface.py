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
from slm_export.sources import adapters, heads, sentence_transformers
from slm_export.sources.adapters import Adapter
from slm_export.sources.files import sha256
from slm_export.sources.hub import Location
from slm_export.sources.plain_model import PlainModel
from slm_export.sources.sentence_transformers import EmbeddingHead
from slm_export.tasks import LABELLED
from slm_export.tasks.encoder import POSITIONS_AFTER_PAD

KIND = "huggingface"
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
    forced: bool = False  # the user named the task: a head that it does not need is left out
    embedding: EmbeddingHead | None = None  # of a sentence-transformers directory
    mask_token: str | None = None
    tokenizer_path: str
    adapter: Adapter | None = None  # merged into the model at `path`, its base
    plain: PlainModel | None = None  # of module:factory
    license: str | None
    sha256: str
    files: dict[str, str]  # file name -> SHA-256


def describe(
    location: Location, *, name: str | None = None, task: str | None = None, base: str | None = None
) -> SourceInfo:
    """Read what the directory holds without loading weights.

    `task` is what the user says it does; `base` where the base of an adapter is. Raises InputError if it is no model
    slm-export can export: pickled weights, custom code, an unknown head, no tokenizer, a config that is not JSON, an
    adapter without its base.
    """
    adapter = adapters.read(location.path, base) if adapters.is_one(location.path) else None
    path = Path(adapter.base) if adapter else location.path
    config = _config(path) | (adapters.own_config(location.path) if adapter else {})
    _refuse_custom_code(path, config)
    _refuse_missing_weights(path)
    tokenizer = _tokenizer_path(location.path, path)
    architecture = (config.get("architectures") or ["none"])[0]
    wanted = task or (adapter.task if adapter else None)
    found = heads.find(path, config, architecture, wanted)
    head = sentence_transformers.read_head(path) if found == "feature-extraction" else None
    files = _hashes(path) if adapter is None else adapters.hashes(location.path) | _under("base", _hashes(path))
    lengths = [n for n in (_positions(config), head and head.max_tokens) if n]
    return SourceInfo(
        kind=KIND if adapter is None else "peft",
        name=name or name_of(location.hub_id or str(location.path.resolve())),
        path=str(path.resolve()),
        hub_id=location.hub_id,
        revision=location.revision,
        architecture=architecture,
        task=found,
        labels=heads.labels(path, config) if found in LABELLED else (),
        max_positions=min(lengths, default=None),
        forced=wanted is not None,
        embedding=head,
        mask_token=heads.mask_token(tokenizer) if found == "fill-mask" else None,
        tokenizer_path=str(tokenizer.resolve()),
        adapter=adapter,
        license=_license(location.path) or _license(path),
        sha256=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        files=files,
    )


def _under(folder: str, hashes: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": digest for name, digest in hashes.items()}


def _tokenizer_path(*folders: Path) -> Path:
    """The first folder that holds a tokenizer: an adapter's own comes before its base's."""
    needed = [f for f in TOKENIZER_FILES if f != "tokenizer_config.json"]
    for folder in folders:
        if any((folder / f).is_file() for f in needed):
            return folder
    raise InputError(
        f"{folders[0]} holds no tokenizer",
        why=f"none of {', '.join(TOKENIZER_FILES[:4])} ... is there",
        next_step="save it beside the model: tokenizer.save_pretrained(directory)",
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


def _positions(config: dict[str, Any]) -> int | None:
    """How many tokens the model has positions for: RoBERTa's first ones belong to padding."""
    own_word = "n_positions" if config.get("model_type") == "gpt2" else ""  # T5 has one too, and no positions
    table: int | None = config.get("max_position_embeddings") or config.get(own_word)
    if table and config.get("model_type") in POSITIONS_AFTER_PAD:
        return table - int(config.get("pad_token_id") or 0) - 1
    return table


def name_of(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rpartition("/")[2]).strip("-.")
    return name or "model"


def _hashes(path: Path) -> dict[str, str]:
    names = {
        "config.json",
        "generation_config.json",
        *TOKENIZER_FILES,
        "chat_template.jinja",
        *(p.name for p in path.glob("*.safetensors")),
        *EMBEDDING_FILES,
    }
    names |= {p.relative_to(path).as_posix() for p in path.glob("*_*/*") if p.name in EMBEDDING_PARTS}
    return {n: sha256(path / n) for n in sorted(names) if (path / n).is_file()}


def _license(path: Path) -> str | None:
    """The `license:` line of the model card's YAML front matter, which the hub keeps to one word."""
    card = path / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\r?\n(.*?)\r?\n---", card.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL)
    found = front and re.search(r"^license:\s*[\"']?([^\s\"']+)", front.group(1), flags=re.MULTILINE)
    return found.group(1) if found else None
