"""TFLite causal language models: one file, a signature `prefill_N` for each number of tokens read at once, and `decode`
for one, which gives logits. LiteRT-LM knows them by these names.

All signatures share their weights; the cache goes in and comes out. A prompt's last piece is padded, so the cache has
room for PREFILL tokens more than the context: without it, what is written at the end would be moved back over what is
there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Part, TensorSpec
from slm_export.errors import ExportError, first_line
from slm_export.exporters.causal import Attend, CacheShape, attend_with, cache_shape, near
from slm_export.exporters.common import ExportRequest
from slm_export.exporters.tflite_folding import held_apart

PREFILL = (16, 128)
ATTENTION = "slm_export_tflite"  # our name for it in transformers' registries


def prefills(length: int) -> list[int]:
    """How many tokens the signatures read at once."""
    return [n for n in PREFILL if n < length] or [length]


def room(length: int) -> int:
    return length + max(prefills(length))


def names(prefix: str, shape: CacheShape) -> list[str]:
    return [f"{prefix}_{kind}_{layer}" for layer in range(shape.layers) for kind in ("k", "v")]


def parts(config: Any, path: str, length: int) -> list[Part]:
    """`prefill`, a signature for each number of tokens, and `decode`."""
    reads = prefills(length)
    reading = _part("prefill", path, config, "sequence" if len(reads) > 1 else reads[0], room(length))
    return [reading, _part("decode", path, config, 1, room(length))]


def _part(name: str, path: str, config: Any, read: int | str, held: int) -> Part:
    shape = cache_shape(config)
    sizes = ((1, shape.heads, held, shape.width), (1, shape.heads, shape.width, held)) * shape.layers

    def spec(name: str, *dimensions: int | str, dtype: str = "float32") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=dimensions)

    cache = tuple(spec(name, *size) for name, size in zip(names("kv_cache", shape), sizes, strict=True))
    inputs = (
        spec("tokens", 1, read, dtype="int32"),
        spec("input_pos", read, dtype="int32"),
        spec("mask", 1, 1, read, held),
    )
    logits = () if name == "prefill" else (spec("logits", 1, 1, config.vocab_size),)
    return Part(name=name, path=path, inputs=(*inputs, *cache), outputs=(*logits, *cache))


def convert(module: Any, request: ExportRequest, path: Path) -> None:
    """Convert `module`, whose layers are already what the converter leaves alone, and write the float file.

    Raises ExportError if its attention is of a kind that is not known here, or litert-torch fails.
    """
    import litert_torch

    cache = _Cache()
    attend_with(module, ATTENTION, _attend(cache, rotated=_rotates(module.config)))
    config, held = module.config, room(request.max_length)
    reading, writing = _graph(module, cache, logits=False), _graph(module, cache, logits=True)
    converter = litert_torch
    try:
        for read in prefills(request.max_length):
            inputs = _samples(_part("prefill", "", config, read, held))
            converter = converter.signature(f"prefill_{read}", reading, sample_kwargs=inputs)
        inputs = _samples(_part("decode", "", config, 1, held))
        model = converter.signature("decode", writing, sample_kwargs=inputs).convert()
        for parameter in module.parameters():  # the converted model has its own, and writing makes another
            parameter.data = parameter.data.new_empty(0)
        model.export(str(path))
    except ExportError:
        raise
    except Exception as err:  # litert-torch raises its own, torch's, jax's and MLIR's kinds
        raise ExportError("litert-torch cannot convert this model", where=first_line(err)) from err


def _samples(part: Part) -> dict[str, Any]:
    """Zeros, by numpy, which takes no memory for what is never written: they are as large as all the caches."""
    import torch

    kinds = {"int32": np.int64, "float32": np.float32}
    return {s.name: torch.from_numpy(np.zeros([int(d) for d in s.shape], kinds[s.dtype])) for s in part.inputs}


def _graph(module: Any, cache: _Cache, *, logits: bool) -> Any:
    import torch

    shape = cache_shape(module.config)

    class CausalGraph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, tokens: Any, input_pos: Any, mask: Any, **kv_cache: Any) -> dict[str, Any]:
            cache.tensors, cache.positions, cache.mask = list(kv_cache.values()), input_pos, mask
            reader = self.model if logits else self.model.base_model
            made = reader(input_ids=tokens, position_ids=input_pos[None], past_key_values=cache, use_cache=True)
            held = dict(zip(names("kv_cache", shape), cache.tensors, strict=True))
            return {"logits": made.logits, **held} if logits else held

    return CausalGraph().eval()


class _Cache:
    """transformers' Cache, as far as models use it: keys [1, heads, tokens, width] and values [1, heads, width,
    tokens], in turn, updated from position `positions[0]` on; beside them what attention adds as a mask
    [1, 1, read, tokens]."""

    is_compileable = True
    tensors: list[Any]
    positions: Any
    mask: Any

    def update(self, key: Any, value: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        self._put(2 * layer, key, dimension=2)
        self._put(2 * layer + 1, value.transpose(2, 3), dimension=3)
        return self.tensors[2 * layer], self.tensors[2 * layer + 1]

    def _put(self, number: int, new: Any, *, dimension: int) -> None:
        from litert_torch.generative.custom_ops.dynamic_update_slice import dynamic_update_slice

        start = self.positions[0]
        where = [start if d == dimension else start * 0 for d in range(4)]
        self.tensors[number] = dynamic_update_slice(self.tensors[number], new, where)

    def get_seq_length(self, *_: Any) -> int:
        return 0

    get_query_offset = get_seq_length

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        return self.get_max_cache_shape(), 0

    def get_max_cache_shape(self, *_: Any) -> int:
        return int(self.tensors[0].shape[2])


def _rotates(config: Any) -> bool:
    """Whether positions turn the queries of every layer."""
    return bool(getattr(config, "rope_parameters", None)) and all(getattr(config, "no_rope_layers", None) or [True])


def _attend(cache: _Cache, *, rotated: bool) -> Attend:
    """In plain products, the heads that share a key and a value as more rows of one product. What scales a query that
    is not `rotated` would be folded into the Linear that makes it."""
    import torch
    from litert_torch.generative.custom_ops.bmm_4d import bmm_4d  # of the second, the last dimension is summed over

    def attend(query: Any, key: Any, value: Any, *, scaling: float, window: int | None, softcap: float | None) -> Any:
        heads, read, width = query.shape[1:]
        kept, held = key.shape[1:3]
        query = query if rotated else held_apart(query)
        together = (query * scaling).reshape(1, kept, heads // kept * read, width)
        scores = bmm_4d(together, key)
        if softcap is not None:
            scores = (scores / softcap).tanh() * softcap
        mask = cache.mask if window is None else cache.mask + near(cache.positions, held, window)
        shares = torch.softmax(scores + torch.cat([mask] * (heads // kept), dim=2), -1)
        return bmm_4d(shares, value).reshape(1, heads, read, width).transpose(1, 2)

    return attend
