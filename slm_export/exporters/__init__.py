"""Exporters: compressed model + target -> artifact. Each module has

    ACTIVATIONS                          granularities its format runs, fastest first (quantplan.py)
    INT8_GROUPS                          whether int8 weights can have a scale for each group, as int4 ones have
    UNROLLS                              whether LSTM and GRU layers are written out for a fixed number of tokens
    supports(task, scheme) -> str | None a reason why not, or None
    export(compressed, request, out)     writes the artifact and, if activations are quantized, its weight-only twin
    TWIN_APART                           tasks whose twins are so large that they are made in a process of their own:
    twin(compressed, request, artifact, out), and not by export

and never touches another's format.
"""

from __future__ import annotations

import importlib
from types import ModuleType

EXPORTERS = {
    "executorch": "slm_export.exporters.executorch",
    "tflite": "slm_export.exporters.tflite",
    "onnx": "slm_export.exporters.onnx",
}


def get(format: str) -> ModuleType:
    return importlib.import_module(EXPORTERS[format])
