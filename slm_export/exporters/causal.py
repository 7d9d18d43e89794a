"""What exporters of causal models share: the shape of a cache, and attention by an exporter's own means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slm_export.errors import ExportError
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


Attend = Callable[..., Any]


def attend_with(module: Any, name: str, attend: Attend) -> None:
    """Let the transformers model call `attend(query, key, value, scaling=, window=, softcap=)`, which masks by itself,
    in place of its attention. `query` is [batch, heads, read, width], keys and values what the cache gives; `window`
    is how many tokens, itself included, one attends to, or None.

    `name` is that of this way of attending in transformers' registries. While the model runs, ExportError is raised if
    a layer attends in another way.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def called(
        _: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **known: Any
    ) -> tuple[Any, None]:
        unknown = [word for word in ("s_aux", "position_bias") if known.get(word) is not None]
        if unknown:
            raise ExportError("the model attends in a way that cannot be exported", where=", ".join(unknown))
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        window, softcap = known.get("sliding_window"), known.get("softcap")
        return attend(query, key, value, scaling=scaling, window=window, softcap=softcap), None

    ALL_ATTENTION_FUNCTIONS.register(name, called)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, lambda *_, **__: None)
    module.set_attn_implementation(name)


def near(positions: Any, held: int, window: int) -> Any:
    """What is added to scores [read, held]: 0 for the token at a position and the `window` - 1 before it, else minus
    infinity."""
    import torch

    rows, columns = positions[:, None], torch.arange(held)[None]
    return torch.where((columns <= rows) & (columns > rows - window), 0.0, float("-inf"))
