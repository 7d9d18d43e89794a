"""What exporters of causal models share."""

from __future__ import annotations

from typing import Any

from slm_export.records import record


@record
class CacheShape:
    """Each layer has a key and a value of [batch, heads, tokens, width]."""

    layers: int
    heads: int
    width: int

    def names(self, prefix: str) -> list[str]:
        """As optimum and transformers.js name them: past_key_values.0.key ..., present.0.key ..."""
        return [f"{prefix}.{layer}.{kind}" for layer in range(self.layers) for kind in ("key", "value")]


def cache_shape(config: Any) -> CacheShape:
    return CacheShape(
        layers=config.num_hidden_layers,
        heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        width=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
    )
