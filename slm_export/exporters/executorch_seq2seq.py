"""ExecuTorch encoder-decoders: one program with the methods `encode` and `decode`, which share their weights.

The text's length varies up to the exported maximum; an answer's cache has room for every token.
"""

from __future__ import annotations

from typing import Any

from slm_export.errors import ExportError, first_line
from slm_export.exporters import executorch_lowering
from slm_export.exporters.common import TRACED_LENGTH
from slm_export.exporters.seq2seq import CacheShape
from slm_export.exporters.tied_head import tied_head


def lower(module: Any, shape: CacheShape) -> Any:
    """The program, not yet written."""
    import torch

    if type(module.lm_head) is torch.nn.Linear and type(module.lm_head.weight) is torch.nn.Parameter:
        module.lm_head = tied_head(module.lm_head)
    try:
        with torch.no_grad():
            methods = {"encode": _encode(module, shape), "decode": _decode(module, shape)}
        return executorch_lowering.lower(methods)
    except Exception as err:  # torch.export, exir and the partitioner raise many kinds
        raise ExportError("ExecuTorch cannot lower this model", where=first_line(err)) from err


def _encode(module: Any, shape: CacheShape) -> Any:
    import torch

    from slm_export.tasks.seq2seq_graphs import FixedEncoder

    length = min(TRACED_LENGTH, shape.text)
    sequence = {1: torch.export.Dim("sequence", min=1, max=shape.text)}
    graph = FixedEncoder(module, length=shape.text, pad=False).eval()
    return torch.export.export(graph, (_ids(length), _ids(length)), dynamic_shapes=(sequence, sequence), strict=False)


def _decode(module: Any, shape: CacheShape) -> Any:
    import torch

    from slm_export.tasks.seq2seq_graphs import FixedStep

    length = min(TRACED_LENGTH, shape.text)
    sequence = torch.export.Dim("sequence", min=1, max=shape.text)
    cache = shape.tensors(batch=1, said=shape.said, text=length)
    varies = (None, None, {2: sequence}, {2: sequence}) * shape.layers
    graph = FixedStep(module).eval()
    inputs = (_ids(1), torch.zeros(1, dtype=torch.int64), _ids(length), *cache)
    return torch.export.export(graph, inputs, dynamic_shapes=(None, None, {1: sequence}, varies), strict=False)


def _ids(length: int) -> Any:
    import torch

    return torch.ones(1, length, dtype=torch.int64)
