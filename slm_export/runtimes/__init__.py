"""Runtimes: artifact -> outputs. Each module has

    version()                         the runtime's version
    load()                            imports what opening would, so that an artifact's own memory can be told
    open(path, artifact) -> session   session.run({name: array}) -> {name: array}, one thread

and imports nothing but numpy and its runtime, so that a bundle can be verified where torch is not.
"""

from __future__ import annotations

import importlib
from types import ModuleType

RUNTIMES = {
    "executorch": "slm_export.runtimes.executorch",
    "tflite": "slm_export.runtimes.litert",
    "onnx": "slm_export.runtimes.onnxruntime",
}


def get(format: str) -> ModuleType:
    return importlib.import_module(RUNTIMES[format])
