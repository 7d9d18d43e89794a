"""What a Hugging Face directory does: its task, from what the user says or its config tells, and its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slm_export.errors import InputError
from slm_export.sources import sentence_transformers
from slm_export.tasks import ENCODER_DECODERS, HEADS, get
from slm_export.tasks.encoder import FAMILIES

PROBLEMS = {  # problem_type of a config -> the task's name
    "single_label_classification": "text-classification",
    "multi_label_classification": "text-classification/multi-label",
    "regression": "text-classification/regression",
}


def find(path: Path, config: dict[str, Any], architecture: str, wanted: str | None) -> str:
    """The task. Raises InputError for a head that cannot be exported."""
    embeds = sentence_transformers.is_one(path)
    task = wanted or ("feature-extraction" if embeds else _of_architecture(path, architecture))
    if task == "text-classification":
        return _problem(path, config)
    if task in ENCODER_DECODERS:
        _refuse_other_families(path, config, task)
    if task == "feature-extraction" and not embeds:
        task = "feature-extraction/hidden-states"
    if task == "feature-extraction/hidden-states" and config.get("model_type") not in FAMILIES:
        raise InputError(
            f"{architecture} in {path} is no encoder whose hidden states can be exported",
            where=f"config.json: model_type {config.get('model_type')!r}",
            why=f"it exports those of {', '.join(FAMILIES)}",
            next_step="save it as a sentence-transformers directory, or name its head with --task",
        )
    return task


def _of_architecture(path: Path, architecture: str) -> str:
    task = next((task for suffix, task in HEADS.items() if architecture.endswith(suffix)), None)
    if task is None:
        raise InputError(
            f"{architecture} in {path} is no model slm-export can export yet",
            where="config.json: architectures",
            why=f"it exports {', '.join('*' + h for h in HEADS)}",
            next_step="fine-tune one of these heads, or say with --task what the model does",
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


def _problem(path: Path, config: dict[str, Any]) -> str:
    outputs = len(config.get("id2label") or "01")
    problem = config.get("problem_type") or ("regression" if outputs == 1 else "single_label_classification")
    if problem not in PROBLEMS or (problem == "regression" and outputs > 1):
        raise InputError(
            f"{path} is a {problem.replace('_', ' ')} model with {outputs} outputs, which cannot be exported",
            where="config.json: problem_type",
            why=f"classification, label sets, and regression to one number can: {', '.join(PROBLEMS)}",
        )
    return PROBLEMS[problem]


def labels(path: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """The names in order; transformers' own default where the config has none.

    Raises InputError if id2label is no list of distinct names.
    """
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


def mask_token(path: Path) -> str:
    """Raises InputError if the tokenizer has none."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _json(path / name).get("mask_token")
        found = token.get("content") if isinstance(token, dict) else token
        if found:
            return str(found)
    raise InputError(
        f"the tokenizer of {path} names no mask token",
        where="tokenizer_config.json: mask_token",
        why="a masked language model answers what stands behind it",
        next_step="save the tokenizer the model was trained with beside it",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a tokenizer that cannot be read is told when it is loaded
        return {}
    return found if isinstance(found, dict) else {}
