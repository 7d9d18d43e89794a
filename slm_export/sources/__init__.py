"""Sources: what the user points at, described without loading it, and loaded as the float32 reference."""

from __future__ import annotations

from pathlib import Path

from slm_export.errors import UsageError
from slm_export.sources import gguf, huggingface, pytorch
from slm_export.sources.hub import Location, resolve
from slm_export.sources.huggingface import SourceInfo
from slm_export.sources.reference import Reference, load

__all__ = ["Location", "Reference", "SourceInfo", "describe", "load", "resolve", "unpacked"]


def describe(
    location: Location, *, name: str | None = None, task: str | None = None, base: str | None = None
) -> SourceInfo:
    """What the source says of itself, weights unread; raises as its kind's `describe` does.

    Raises UsageError if a factory is given a task or a base: model.json names the task.
    """
    if gguf.is_one(location.path):
        return gguf.describe(location, name=name, task=task)
    if not location.factory:
        return huggingface.describe(location, name=name, task=task, base=base)
    given = [flag for flag, value in (("--task", task), ("--base", base)) if value is not None]
    if given:
        raise UsageError(f"{given[0]} says nothing of {location.factory}", next_step="its model.json names the task")
    return pytorch.describe(location, name=name)


def unpacked(info: SourceInfo, folder: Path) -> SourceInfo:
    """The source in a form that `load` takes, in `folder` if it is not so already; raises as its kind's does."""
    return gguf.unpack(info, folder) if info.kind == gguf.KIND else info
