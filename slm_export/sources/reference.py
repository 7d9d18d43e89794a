"""The reference: the user's own checkpoint in float32, eager, in eval mode. Nothing else is called the truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from slm_export import tasks
from slm_export.errors import InputError, first_line
from slm_export.records import record
from slm_export.sources import adapters
from slm_export.sources.huggingface import SourceInfo
from slm_export.sources.plain_model import PlainModel
from slm_export.sources.sentence_transformers import EmbeddingHead
from slm_export.tasks import mobilebert


@record
class Reference:
    """A loaded source. `module` is the transformers model or a PlainClassifier, `tokenizer` its own tokenizer with
    nothing changed."""

    module: Any
    tokenizer: Any
    task: str
    labels: tuple[str, ...]
    max_length: int  # tokens; longer texts are truncated
    pad_id: int


def load(info: SourceInfo, *, max_length: int) -> Reference:
    """Load the float32 reference and its tokenizer; of a GGUF file, what it was unpacked to. Never opens a socket, and
    runs no code that comes with a model but that of a factory the user named.

    Raises InputError if it cannot be loaded, or weights and config disagree.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    module, tokenizer = _load(info)
    return Reference(
        module=module.eval().requires_grad_(False),
        tokenizer=tokenizer,
        task=info.task,
        labels=info.labels,
        max_length=max_length,
        pad_id=_check_tokenizer(info, module, tokenizer),
    )


def _load(info: SourceInfo) -> tuple[Any, Any]:
    return _load_plain(info, info.plain) if info.plain else _load_huggingface(info)


def _load_plain(info: SourceInfo, plain: PlainModel) -> tuple[Any, Any]:
    from slm_export.sources import factory

    return factory.load(info, plain)


def _load_huggingface(info: SourceInfo) -> tuple[Any, Any]:
    import torch
    import transformers

    auto_class = getattr(transformers, tasks.get(info.task).AUTO_CLASS)
    try:
        with adapters.base_alone(info) as path:
            module, report = auto_class.from_pretrained(
                path,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                attn_implementation="sdpa" if info.task in tasks.CAUSAL else "eager",  # whose scores fill memory
                **_overrides(info),
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(info.tokenizer_path)
    except Exception as err:  # transformers raises OSError, ValueError, KeyError, safetensors and torch errors here
        raise InputError(f"transformers cannot load {info.path}", where=first_line(err)) from err
    _refuse_disagreement(info, report, brought=adapters.saved_modules(info.adapter) if info.adapter else set())
    if info.adapter is not None:
        module = adapters.merge(module, info)
    if info.embedding is not None:
        module = _embedder(info, info.embedding, module)
    elif info.task in tasks.CAUSAL:
        _make_linear(module)
    elif info.task == "fill-mask" and module.config.model_type == "mobilebert":
        mobilebert.split_head(module)
    elif info.task == "feature-extraction/hidden-states":
        module.pooler = None  # makes nothing of the hidden states
    return module, tokenizer


def _make_linear(module: Any) -> None:
    """Write GPT-2's Conv1D, a Linear with its weight the other way round, as a Linear."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, layer in list(module.named_modules()):
        if isinstance(layer, Conv1D):
            inputs, outputs = layer.weight.shape
            linear = torch.nn.Linear(inputs, outputs)
            linear.weight = torch.nn.Parameter(layer.weight.detach().T.contiguous())
            linear.bias = layer.bias
            module.set_submodule(name, linear)


def _overrides(info: SourceInfo) -> dict[str, Any]:
    """What an adapter's head needs of its base's config."""
    if info.adapter is None:
        return {}
    overrides: dict[str, Any] = {"ignore_mismatched_sizes": True}
    if info.labels:
        overrides["id2label"] = dict(enumerate(info.labels))
        overrides["label2id"] = {name: i for i, name in enumerate(info.labels)}
    return overrides


def _embedder(info: SourceInfo, head: EmbeddingHead, module: Any) -> Any:
    from slm_export.sources.embedder import Embedder

    module.pooler = None  # of the encoder's own, which sentence-transformers does not use
    return Embedder(module, head, Path(info.path))


# What transformers says of a checkpoint whose tensors are not the model's: why that cannot be the reference.
_DISAGREEMENTS = {
    "missing_keys": "missing tensors would be random numbers",
    "mismatched_keys": "their shapes differ",
    "unexpected_keys": "tensors that the model has no place for would be dropped",
}


# Parts that pretraining leaves in checkpoints, and that the task's model has no use for.
_LEFT_OVER = ("pooler.", "cls.seq_relationship.")


def _refuse_disagreement(info: SourceInfo, report: dict[str, Any], *, brought: set[str]) -> None:
    """`brought` are tensors that an adapter brings."""
    headless = info.task.startswith("feature-extraction")
    for kind, why in _DISAGREEMENTS.items():
        names = sorted({str(k[0] if isinstance(k, tuple) else k) for k in report.get(kind) or []} - brought)
        if kind == "unexpected_keys":
            names = [] if info.forced else [n for n in names if not any(part in n for part in _LEFT_OVER)]
        if headless:
            names = [n for n in names if not n.startswith("pooler.")]
        if names:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            raise InputError(
                f"the weights of {info.path} are not those of the model its config describes",
                where=names[0] + more,
                why=why,
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
