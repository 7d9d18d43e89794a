"""TFLite encoder-decoders: one file, a signature `encode_N` for each length of text and one `decode` for a token.

All signatures share their weights, and the tied table is one buffer. Lengths are fixed: what `encode_N` gives is padded
to the longest text, so that it goes into `decode` as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slm_export.errors import ExportError, first_line
from slm_export.exporters.common import ExportRequest
from slm_export.exporters.seq2seq import BOTH, CROSS, OWN, CacheShape
from slm_export.exporters.tflite_file import rename_signature_tensors

# litert-torch takes Python names only; the file gets optimum's afterwards.
DOT = "_"


def convert(module: Any, shape: CacheShape, request: ExportRequest, path: Path) -> None:
    """Convert `module`, whose layers are already what the converter leaves alone, and write the float file."""
    import litert_torch

    from slm_export.tasks.seq2seq_graphs import FixedEncoder, FixedStep

    converter = litert_torch
    encoder = _named(FixedEncoder(module, length=shape.text, pad=True), shape.names("present", CROSS, DOT))
    decoder = _named(FixedStep(module), ["logits", *shape.names("present", OWN, DOT)])
    try:
        for bucket in request.buckets:
            inputs = {"input_ids": _ids(bucket), "attention_mask": _ids(bucket)}
            converter = converter.signature(f"encode_{bucket}", encoder, sample_kwargs=inputs)
        model = converter.signature("decode", decoder, sample_kwargs=_step_inputs(shape)).convert()
        for parameter in module.parameters():  # the converted model has its own, and writing makes another
            parameter.data = parameter.data.new_empty(0)
        model.export(str(path))
    except Exception as err:  # litert-torch raises its own, torch's, jax's and MLIR's kinds
        raise ExportError("litert-torch cannot convert this model", where=first_line(err)) from err
    names = [(prefix, part) for prefix in ("present", "past_key_values") for part in (OWN, CROSS)]
    pairs = [(shape.names(*n, DOT), shape.names(*n)) for n in names]
    rename_signature_tensors(path, {a: b for old, new in pairs for a, b in zip(old, new, strict=True)})


def _named(graph: Any, outputs: Sequence[str]) -> Any:
    """The graph with its inputs by name and its outputs as a dict."""
    import torch

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = graph  # not "graph", which torch.export needs

        def forward(self, **inputs: Any) -> dict[str, Any]:
            return dict(zip(outputs, self.inner(*inputs.values()), strict=True))

    return Named().eval()


def _ids(length: int) -> Any:
    import torch

    return torch.ones(1, length, dtype=torch.int64)


def _step_inputs(shape: CacheShape) -> dict[str, Any]:
    cache = shape.tensors(batch=1, said=shape.said, text=shape.text)
    return {
        "input_ids": _ids(1),
        "position": _ids(1)[0],
        "encoder_attention_mask": _ids(shape.text),
        **dict(zip(shape.names("past_key_values", BOTH, DOT), cache, strict=True)),
    }
