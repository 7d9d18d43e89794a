"""What exporters of encoder-decoders share: the names and shapes of a cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slm_export.artifact import Part, TensorSpec
from slm_export.exporters.common import ExportRequest
from slm_export.records import record

OWN, CROSS, BOTH = ("decoder",), ("encoder",), ("decoder", "encoder")


@record
class CacheShape:
    """Of one key or value: [batch, heads, tokens, width]; `text` tokens go in, at most `said` come out."""

    layers: int
    heads: int
    width: int
    hidden: int  # of last_hidden_state
    text: int
    said: int

    def tensors(self, *, batch: int, said: int, text: int) -> tuple[Any, ...]:
        """A cache to trace with, in the order of `names(..., BOTH)`."""
        import torch

        lengths = (said, said, text, text) * self.layers
        return tuple(torch.zeros(batch, self.heads, length, self.width) for length in lengths)

    def names(self, prefix: str, parts: Sequence[str], separator: str = ".") -> list[str]:
        """As optimum and transformers.js name them: past_key_values.0.decoder.key ..., present.0.decoder.key ..."""
        return [
            separator.join((prefix, str(layer), part, kind))
            for layer in range(self.layers)
            for part in parts
            for kind in ("key", "value")
        ]


def cache_shape(module: Any, request: ExportRequest) -> CacheShape:
    assert request.generation is not None, "the pipeline gives rules to tasks that generate"
    config = module.config
    t5 = config.model_type == "t5"
    return CacheShape(
        layers=config.num_decoder_layers if t5 else config.decoder_layers,
        heads=config.num_heads if t5 else config.decoder_attention_heads,
        width=config.d_kv if t5 else config.d_model // config.decoder_attention_heads,
        hidden=config.d_model,
        text=request.max_length,
        said=request.generation.max_new_tokens,
    )


def fixed_parts(shape: CacheShape, path: str, vocabulary: int, *, integer: str, text: int | str) -> list[Part]:
    """The parts of an artifact whose cache has room for every token, in the order of the graphs' arguments.

    `text` is how long the encoder's part of the cache is in each call: a number of tokens, or the name of what varies.
    """

    def spec(name: str, *dimensions: int | str, dtype: str = "float32") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=dimensions)

    def cache(prefix: str, part: tuple[str, ...], said: int) -> list[TensorSpec]:
        lengths = {"decoder": said, "encoder": text}
        return [spec(n, 1, shape.heads, lengths[n.split(".")[2]], shape.width) for n in shape.names(prefix, part)]

    ids = [spec(n, 1, "sequence", dtype=integer) for n in ("input_ids", "attention_mask")]
    step = [
        spec("input_ids", 1, 1, dtype=integer),
        spec("position", 1, dtype=integer),
        spec("encoder_attention_mask", 1, text, dtype=integer),
    ]
    said = [spec("logits", 1, 1, vocabulary), *cache("present", OWN, 1)]
    return [
        Part(name="encode", path=path, inputs=tuple(ids), outputs=tuple(cache("present", CROSS, 1))),
        Part(
            name="decode",
            path=path,
            inputs=(*step, *cache("past_key_values", BOTH, shape.said)),
            outputs=tuple(said),
        ),
    ]
