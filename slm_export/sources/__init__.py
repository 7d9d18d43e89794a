"""Sources: what the user points at, described without loading it, and loaded as the float32 reference."""

from __future__ import annotations

from slm_export.sources import huggingface, pytorch
from slm_export.sources.hub import Location, resolve
from slm_export.sources.huggingface import SourceInfo
from slm_export.sources.reference import Reference, load

__all__ = ["Location", "Reference", "SourceInfo", "describe", "load", "resolve"]


def describe(location: Location, *, name: str | None = None) -> SourceInfo:
    """What the source says of itself, weights unread; raises as its kind's `describe` does."""
    return pytorch.describe(location, name=name) if location.factory else huggingface.describe(location, name=name)
