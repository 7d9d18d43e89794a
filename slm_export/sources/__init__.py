"""Sources: what the user points at, described without loading it, and loaded as the float32 reference."""

from slm_export.sources.huggingface import SourceInfo, describe, load, resolve
from slm_export.sources.reference import Reference

__all__ = ["Reference", "SourceInfo", "describe", "load", "resolve"]
