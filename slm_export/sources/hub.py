"""Where a model is: a local directory, or a hub id that is downloaded first."""

from __future__ import annotations

import re
from pathlib import Path

from slm_export.errors import DependencyError, InputError, first_line
from slm_export.records import record

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "README.md"]


@record
class Location:
    path: Path
    hub_id: str | None = None
    revision: str | None = None  # the commit


def resolve(model: str, *, revision: str | None = None) -> Location:
    """The local directory of `model`, downloaded first if it is a hub id and no such directory exists.

    Raises InputError if it is neither, or cannot be downloaded; DependencyError if huggingface_hub is not installed.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return Location(path=path)
    if path.exists():
        raise InputError(f"{model} is a file, not a model directory", next_step="give the directory that holds it")
    if not _HUB_ID.fullmatch(model):
        raise InputError(f"there is no directory {model}", next_step="check the path")
    return _download(model, revision)


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
