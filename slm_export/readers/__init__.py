"""Readers: a model file on disk to what it holds. Exporters check their own output with them; `inspect` prints them."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from slm_export.errors import InputError, nearest

READERS = {
    ".onnx": "slm_export.readers.onnx",
    ".tflite": "slm_export.readers.tflite",
    ".litertlm": "slm_export.readers.tflite",
    ".pte": "slm_export.readers.executorch",
}


def get(path: Path) -> ModuleType:
    """The reader for a file, by its suffix: read(path, max_length=...) -> FileFacts, weights(path) -> quantized
    tables, ranges(path) -> those of activations.

    Raises InputError for a missing file or an unknown suffix.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}", where=str(path))
    if path.suffix not in READERS:
        raise InputError(f"{path} is no model file", why=nearest(path.suffix, READERS), where=str(path))
    return importlib.import_module(READERS[path.suffix])
