"""ONNX causal language models of architectures that onnxruntime-genai's builder does not build: traced by torch.onnx.

The graph is transformers' own, with the cache handed in and out as plain tensors, under the names and dimensions of the
builder's. Its attention is not fused, and the cache grows by concatenation.
"""

from __future__ import annotations

from typing import Any

from slm_export.errors import ExportError, first_line
from slm_export.exporters.causal import CacheShape, cache_shape
from slm_export.exporters.common import ExportRequest

OPSET = 20
BATCH, READ, PAST = 2, 3, 4  # traced with: no two alike, and never 1, which torch.export takes for a constant


def build(module: Any, request: ExportRequest) -> tuple[Any, dict[str, Any]]:
    """The graph (an onnx_ir model) of `module`, whose quantized layers are already ONNX's own, and what
    onnxruntime-genai is to know of it.

    Raises ExportError if torch.onnx cannot export it.
    """
    import torch

    shape = cache_shape(module.config)
    past = shape.names("past_key_values")
    ids = torch.ones(BATCH, READ, dtype=torch.int64)
    mask = torch.ones(BATCH, READ + PAST, dtype=torch.int64)
    cache = tuple(torch.zeros(BATCH, shape.heads, PAST, shape.width) for _ in past)
    auto = torch.export.Dim.AUTO
    both = {0: auto, 1: auto}
    try:
        program = torch.onnx.export(
            _graph(module),
            (ids, mask, cache),
            input_names=["input_ids", "attention_mask", *past],
            output_names=["logits", *shape.names("present")],
            dynamic_shapes=(both, both, tuple({0: auto, 2: auto} for _ in cache)),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as err:  # torch.onnx raises its own, torch.export's and plain Python's kinds
        raise ExportError("torch.onnx cannot export this model", where=first_line(err)) from err
    _name_dimensions(program.model.graph)
    return program.model, _description(module, shape)


def _graph(module: Any) -> Any:
    import torch
    from transformers import DynamicCache

    class CausalGraph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, input_ids: Any, attention_mask: Any, past: Any) -> Any:
            held = DynamicCache()
            for layer in range(len(past) // 2):
                held.update(past[2 * layer], past[2 * layer + 1], layer)
            positions = attention_mask.cumsum(-1)[:, -input_ids.shape[1] :] - 1
            made = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=positions,
                past_key_values=held,
                use_cache=True,
            )
            layers = made.past_key_values.layers
            return (made.logits, *(t for layer in layers for t in (layer.keys, layer.values)))

    return CausalGraph().eval()


def _name_dimensions(graph: Any) -> None:
    """torch.export calls them s10, s43 ...; readers know these names."""
    import onnx_ir as ir

    names: dict[str, tuple[str | None, ...]] = {
        "input_ids": ("batch_size", "sequence_length"),
        "attention_mask": ("batch_size", "total_sequence_length"),
        "logits": ("batch_size", "sequence_length", None),
        "past_key_values": ("batch_size", None, "past_sequence_length", None),
        "present": ("batch_size", None, "total_sequence_length", None),
    }
    for value in (*graph.inputs, *graph.outputs):
        pairs = zip(names[value.name.partition(".")[0]], value.shape, strict=True)
        value.shape = ir.Shape([name or size for name, size in pairs])
    for node in graph:
        for value in node.outputs:
            if value not in graph.outputs:
                value.shape = None  # in torch.export's own names


def _description(module: Any, shape: CacheShape) -> dict[str, Any]:
    """As onnxruntime-genai's builder writes it, for a graph whose cache is not shared between steps."""
    config, writing = module.config, module.generation_config
    ends = writing.eos_token_id if writing.eos_token_id is not None else config.eos_token_id
    first = ends[0] if isinstance(ends, list) else ends
    start, pad = (
        next((v for v in (getattr(writing, n), getattr(config, n, None)) if v is not None), first)
        for n in ("bos_token_id", "pad_token_id")
    )
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    return {
        "model": {
            "bos_token_id": start,
            "context_length": 0,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": "",
                "head_size": shape.width,
                "hidden_size": config.hidden_size,
                "inputs": {
                    **inputs,
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": config.num_attention_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "num_key_value_heads": shape.heads,
            },
            "eos_token_id": ends,
            "pad_token_id": pad,
            "type": "llama",  # of a runtime that knows types, not graphs: a plain decoder
            "vocab_size": config.vocab_size,
        },
        "search": {"do_sample": False, "max_length": 0, "num_beams": 1, "past_present_share_buffer": False},
    }
