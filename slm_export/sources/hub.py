"""Where a model is: a local directory, a hub id that is downloaded first, or a factory with a directory of weights."""

from __future__ import annotations

import re
from pathlib import Path

from slm_export.errors import DependencyError, InputError, UsageError, first_line
from slm_export.records import record
from slm_export.sources.plain_model import FACTORY

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "README.md"]


@record
class Location:
    path: Path
    hub_id: str | None = None
    revision: str | None = None  # the commit
    factory: str | None = None  # "module:factory"; `path` holds the weights


def resolve(model: str, *, revision: str | None = None, weights: str | None = None) -> Location:
    """The local directory of `model`, downloaded first if it is a hub id and no such directory exists; a .gguf file
    itself; of module:factory the directory `weights`.

    Raises InputError if it is neither, or cannot be downloaded; UsageError if a factory has no weights, or something
    else has; DependencyError if huggingface_hub is not installed.
    """
    path = Path(model).expanduser()
    if FACTORY.fullmatch(model) and not path.exists():
        return _with_weights(model, weights)
    if weights is not None:
        raise UsageError(
            f"--weights {weights} goes with a factory, and {model} is none",
            next_step="name the model as module:factory, or leave --weights out",
        )
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".gguf"):
        return Location(path=path)
    if path.exists():
        raise InputError(
            f"{model} is a file, not a model directory",
            next_step="give the directory that holds it; the one file that is a model by itself is a .gguf",
        )
    if not _HUB_ID.fullmatch(model):
        raise InputError(f"there is no directory {model}", next_step="check the path")
    return _download(model, revision)


def _with_weights(factory: str, weights: str | None) -> Location:
    if weights is None:
        raise UsageError(
            f"{factory} names a factory, and no weights for it are given",
            next_step="give --weights DIR, which holds model.safetensors, tokenizer.json and model.json",
        )
    path = Path(weights).expanduser()
    if not path.is_dir():
        raise InputError(f"there is no directory {weights}", where="--weights", next_step="check the path")
    return Location(path=path, factory=factory)


def _download(hub_id: str, revision: str | None) -> Location:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as err:
        raise DependencyError(
            f"there is no directory {hub_id}, and asking the hub for it needs huggingface_hub",
            next_step="pip install huggingface_hub, or give a local directory",
        ) from err
    try:
        path = Path(snapshot_download(hub_id, revision=revision, allow_patterns=PATTERNS))
    except Exception as err:  # huggingface_hub raises its own, httpx's and OSError's kinds
        raise InputError(
            f"there is no directory {hub_id}, and the hub did not give a model of that name",
            where=first_line(err),
            next_step="give a local directory, or check the id and the network",
        ) from err
    return Location(path=path, hub_id=hub_id, revision=path.name)  # snapshots are kept by commit
