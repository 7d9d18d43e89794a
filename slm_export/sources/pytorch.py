"""Classifiers in plain PyTorch, described without loading them: no heavy import, and no line of the user's is run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from slm_export.sources.files import sha256
from slm_export.sources.hub import Location
from slm_export.sources.huggingface import SourceInfo, name_of
from slm_export.sources.plain_model import FILES, read_model


def describe(location: Location, *, name: str | None = None) -> SourceInfo:
    """Read what the directory of weights and the factory's file say.

    Raises UsageError if the factory's module is not in the working directory, InputError for what is missing or wrong
    in the directory.
    """
    assert location.factory is not None, "sources.describe asks for factories only"
    code = Path.cwd()
    model, said, source = read_model(location.factory, location.path, code)
    files = {file: sha256(location.path / file) for file in sorted(FILES)}
    files[source.relative_to(code).as_posix()] = sha256(source)
    return SourceInfo(
        kind="pytorch",
        name=name or name_of(str(location.path.resolve())),
        path=str(location.path.resolve()),
        hub_id=None,
        revision=None,
        architecture=location.factory,
        task=said["task"],
        labels=tuple(said["labels"]),
        max_positions=said["max_length"],
        tokenizer_path=str(location.path.resolve()),
        plain=model,
        license=said.get("license"),
        sha256=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        files=files,
    )
