"""From module:factory and a directory of weights to a classifier. The only place where a user's code is run: naming it
on the command line is the consent.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from slm_export.errors import InputError, first_line, nearest
from slm_export.sources import classifier
from slm_export.sources.classifier import PlainClassifier
from slm_export.sources.huggingface import SourceInfo
from slm_export.sources.padding import require_followed
from slm_export.sources.plain_model import DESCRIPTION, TOKENIZER, WEIGHTS, PlainModel


def load(info: SourceInfo, plain: PlainModel) -> tuple[PlainClassifier, Any]:
    """The user's model with its weights, float32 and in eval mode, and its tokenizer.

    Raises InputError if module, weights, tokenizer and model.json do not go together, or padding changes its answers.
    """
    tokenizer = _tokenizer(Path(info.path) / TOKENIZER, plain.pad_token)
    model = _make(plain)
    _fill(model, Path(info.path) / WEIGHTS)
    require_followed(model)
    if not any(isinstance(m, torch.nn.Embedding) for m in model.modules()):
        raise InputError(
            f"{info.architecture} makes a model without an nn.Embedding",
            why="artifacts take token ids, so the model itself must look them up",
        )
    made = PlainClassifier(model.float().eval().requires_grad_(False), plain.inputs, tokenizer.pad_token_id)
    classifier.check(made, labels=len(info.labels), name=info.architecture)
    return made, tokenizer


def _tokenizer(path: Path, pad_token: str) -> Any:
    import transformers
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as err:  # tokenizers raises plain Exception
        raise InputError(f"{path} is no tokenizer that the tokenizers library reads", where=first_line(err)) from err
    if backend.token_to_id(pad_token) is None:
        raise InputError(f"pad_token {pad_token!r} is not in {path}", where=f"{DESCRIPTION}: pad_token")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=pad_token)


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _make(plain: PlainModel) -> Any:
    name = f"{plain.module}:{plain.factory}"
    with _importable(plain.folder):
        factory = _factory(plain)
        try:
            model = factory(**plain.arguments)
        except Exception as err:  # whatever the user's factory raises
            raise InputError(
                f"{name} fails when called with {plain.arguments or 'no arguments'}",
                where=first_line(err),
                next_step=f"mend it, or `arguments` in {DESCRIPTION}",
            ) from err
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"{name} gives a {type(model).__name__}, not a torch.nn.Module")
    return model


def _factory(plain: PlainModel) -> Any:
    try:
        module = importlib.import_module(plain.module)
    except Exception as err:  # whatever the user's module raises
        raise InputError(f"the module {plain.module} cannot be imported", where=first_line(err)) from err
    found = str(getattr(module, "__file__", None))
    if not Path(found).is_relative_to(plain.folder):
        raise InputError(
            f"the name {plain.module} is taken by another module", where=found, next_step="rename your file"
        )
    factory = getattr(module, plain.factory, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise InputError(
            f"{plain.module} has no factory {plain.factory}", where=found, why=nearest(plain.factory, names)
        )
    return factory


def _fill(model: Any, path: Path) -> None:
    """Load the weights. A tensor that the model uses under two names may be stored under one of them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        missing, unexpected = load_model(model, path, strict=False)
    except (SafetensorError, OSError) as err:
        raise InputError(f"{path} cannot be read", where=first_line(err)) from err
    except RuntimeError as err:  # torch's way to say so, in lines of which the last names a tensor
        raise _unfitting(path, str(err).strip().splitlines()[-1].strip(), "their shapes differ") from err
    for names, why in (
        (missing, "missing tensors would be random numbers"),
        (unexpected, "tensors that the model has no place for would be dropped"),
    ):
        if names:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            raise _unfitting(path, min(names) + more, why)


def _unfitting(path: Path, where: str, why: str) -> InputError:
    return InputError(
        f"the weights in {path} are not those of the model that the factory makes",
        where=where,
        why=why,
        next_step=f"save the model's own state_dict, and in {DESCRIPTION} the arguments it was made with",
    )
