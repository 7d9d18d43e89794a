"""Sources: what the user points at, described without loading it, and loaded as the float32 reference."""

from slm_export.sources.hub import Location, resolve
from slm_export.sources.huggingface import SourceInfo, describe
from slm_export.sources.reference import Reference, load

__all__ = ["Location", "Reference", "SourceInfo", "describe", "load", "resolve"]
