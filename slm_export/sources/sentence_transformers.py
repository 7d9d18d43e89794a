"""Sentence-transformers directories: what follows the encoder, read from modules.json. Nothing in it is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slm_export.errors import InputError, nearest
from slm_export.records import record

POOLING = {  # a key of 1_Pooling/config.json -> its name
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.linear.Identity": "identity",
}


@record
class DenseLayer:
    """A layer after pooling; its weights are in `folder`/model.safetensors as linear.weight and linear.bias."""

    folder: str
    inputs: int
    outputs: int
    bias: bool
    activation: str  # a value of ACTIVATIONS


@record
class EmbeddingHead:
    """What turns an encoder's hidden states into a sentence's embedding, in this order."""

    pooling: str
    dense: tuple[DenseLayer, ...]
    normalize: bool
    max_tokens: int | None  # the length the model was made for
    similarity: str


def is_one(path: Path) -> bool:
    return (path / "modules.json").is_file()


def read_head(path: Path) -> EmbeddingHead:
    """Raises InputError for a module, a pooling or an activation that cannot be exported, and for damaged files."""
    try:
        return _read_head(path)
    except (KeyError, TypeError, AttributeError, ValueError) as err:
        raise InputError(
            f"{path} is no sentence-transformers directory that can be read",
            where=f"{type(err).__name__}: {err}",
            why="modules.json lists steps with type and path, and each step's config.json its sizes",
            next_step="save the model again with sentence-transformers",
        ) from err


def _read_head(path: Path) -> EmbeddingHead:
    pooling, normalize, dense = "", False, []
    for step in _json(path / "modules.json")[1:]:
        kind, folder = str(step["type"]).rpartition(".")[2], str(step["path"])
        if normalize or kind not in ("Pooling", "Dense", "Normalize") or (kind == "Pooling") == bool(pooling):
            raise InputError(
                f"{path} has a step that cannot be exported: {step['type']}",
                where="modules.json",
                why="an encoder, one Pooling, any Dense and one Normalize, in this order, can be",
            )
        if kind == "Pooling":
            pooling = _pooling(path / folder / "config.json")
        elif kind == "Dense":
            dense.append(_dense(path / folder / "config.json", folder))
        else:
            normalize = True
    if not pooling:
        raise InputError(f"{path} has no Pooling step", where="modules.json")
    return EmbeddingHead(
        pooling=pooling,
        dense=tuple(dense),
        normalize=normalize,
        max_tokens=_max_tokens(path),
        similarity=str(_optional(path / "config_sentence_transformers.json").get("similarity_fn_name") or "cosine"),
    )


def _pooling(path: Path) -> str:
    config = _json(path)
    named = config.get("pooling_mode")
    chosen = [named] if isinstance(named, str) else [n for key, n in POOLING.items() if config.get(key)]
    others = [
        key for key, on in config.items() if key.startswith("pooling_mode_") and on is True and key not in POOLING
    ]
    if len(chosen) != 1 or others or chosen[0] not in POOLING.values():
        found = ", ".join([*chosen, *others]) or "none"
        raise InputError(f"pooling {found} cannot be exported", where=str(path), why=nearest(found, POOLING.values()))
    return str(chosen[0])


def _dense(path: Path, folder: str) -> DenseLayer:
    config = _json(path)
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if activation not in ACTIVATIONS:
        raise InputError(
            f"a Dense step with {activation} cannot be exported", where=str(path), why=nearest(activation, ACTIVATIONS)
        )
    if not (path.parent / "model.safetensors").is_file():
        raise InputError(
            f"{path.parent} holds no model.safetensors",
            why="pickled weights can run code when opened",
            next_step="save the model again with a recent sentence-transformers",
        )
    return DenseLayer(
        folder=folder,
        inputs=int(config["in_features"]),
        outputs=int(config["out_features"]),
        bias=bool(config.get("bias", True)),
        activation=ACTIVATIONS[activation],
    )


def _max_tokens(path: Path) -> int | None:
    config = _optional(path / "sentence_bert_config.json")
    if config.get("do_lower_case"):
        raise InputError(
            f"{path} lower-cases texts outside its tokenizer",
            where="sentence_bert_config.json: do_lower_case",
            next_step="put a Lowercase normalizer into tokenizer.json, and set do_lower_case to false",
        )
    found = config.get("max_seq_length")
    return int(found) if found else None


def _optional(path: Path) -> dict[str, Any]:
    return _json(path) if path.is_file() else {}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise InputError(f"{path} cannot be read: {err}", where=str(path)) from err
