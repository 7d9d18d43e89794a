"""ExecuTorch causal language models: one method, `forward(tokens, start)`, that keeps its cache to itself, as
executorch's LLM runner calls it.

Attention and the cache are ExecuTorch's own operators, so that any number of tokens up to CHUNK is read at once, behind
those that the cache holds; the runner reads longer prompts in pieces. Only the last token's logits are computed: those
of every token would cost memory for CHUNK vocabularies.
"""

from __future__ import annotations

from typing import Any

from slm_export.artifact import Part, TensorSpec
from slm_export.errors import ExportError, first_line
from slm_export.exporters import executorch_lowering
from slm_export.exporters.causal import Attend, attend_with, cache_shape, near
from slm_export.exporters.common import TRACED_LENGTH
from slm_export.exporters.tied_head import tied_head
from slm_export.generation import Rules

CHUNK = 256  # tokens that are read at once, at most
ATTENTION = "slm_export_executorch"  # our name for it in transformers' registries


def chunk(length: int) -> int:
    return min(CHUNK, length - 1)


def lower(module: Any, rules: Rules, *, length: int) -> Any:
    """The program, not yet written, with a cache for `length` tokens. `module` is changed.

    Raises ExportError if its attention is of a kind that ExecuTorch's operator does not know, or lowering fails.
    """
    import torch

    head = module.get_output_embeddings()
    if type(head) is torch.nn.Linear and type(head.weight) is torch.nn.Parameter:
        module.set_output_embeddings(tied_head(head))
    most = chunk(length)
    traced = min(TRACED_LENGTH, most)
    inputs = torch.ones(1, traced, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    try:
        with torch.no_grad():
            program = torch.export.export(
                _graph(module, length),
                inputs,
                dynamic_shapes=({1: torch.export.Dim("sequence", min=1, max=most)}, None),
                strict=False,
            )
        return executorch_lowering.lower(
            {"forward": program}, custom_operators=True, told=_told(module.config, rules, length)
        )
    except ExportError:
        raise
    except Exception as err:  # torch.export, exir and the partitioner raise many kinds
        raise ExportError("ExecuTorch cannot lower this model", where=first_line(err)) from err


def _told(config: Any, rules: Rules, length: int) -> dict[str, Any]:
    """What the LLM runner asks the program."""
    return {
        "get_bos_id": rules.start,
        "get_eos_ids": list(rules.ends),
        "get_max_seq_len": chunk(length),
        "get_max_context_len": length,
        "get_vocab_size": config.vocab_size,
        "get_n_layers": config.num_hidden_layers,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": True,
    }


def part(config: Any, path: str) -> Part:
    def spec(name: str, *shape: int | str, dtype: str = "int64") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=shape)

    return Part(
        name="forward",
        path=path,
        inputs=(spec("tokens", 1, "sequence"), spec("start", 1)),
        outputs=(spec("logits", 1, 1, config.vocab_size, dtype="float32"),),
    )


def _graph(module: Any, length: int) -> Any:
    import torch

    cache = _cache(module.config, length)
    attend_with(module, ATTENTION, _attend(cache))

    class CausalGraph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.cache = module, cache

        def forward(self, tokens: Any, start: Any) -> Any:
            first = start[0].item()
            torch._check_is_size(first)
            torch._check(first + tokens.shape[1] <= length)
            self.cache.start = first
            positions = torch.arange(tokens.shape[1])[None] + start  # as a tensor: of a number, lowering takes longer
            return self.model(
                input_ids=tokens, position_ids=positions, past_key_values=self.cache, use_cache=True, logits_to_keep=1
            ).logits

    return CausalGraph().eval()


def _cache(config: Any, length: int) -> Any:
    """transformers' Cache, as far as models use it. What it holds is [1, tokens, heads, width], as the operators want
    it; attention gets all of it, and where the read tokens start."""
    import torch

    shape = cache_shape(config)

    class Cache(torch.nn.Module):
        is_compileable = True

        def __init__(self) -> None:
            super().__init__()
            self.start: Any = 0
            for layer in range(shape.layers):
                for kind in ("key", "value"):
                    self.register_buffer(f"{kind}_{layer}", torch.zeros(1, length, shape.heads, shape.width))

        def update(self, key: Any, value: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
            held = getattr(self, f"key_{layer}"), getattr(self, f"value_{layer}")
            for new, old in zip((key, value), held, strict=True):
                torch.ops.llama.update_cache(new.transpose(1, 2).contiguous(), old, self.start)
            return held

        def get_seq_length(self, *_: Any) -> Any:
            return self.start

        get_query_offset = get_seq_length

        def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
            return length, 0

        def get_max_cache_shape(self, *_: Any) -> int:
            return length

    return Cache()


def _attend(cache: Any) -> Attend:
    """ExecuTorch's operator, to what `cache` holds."""
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401, registers the operators
    import torch

    def attend(query: Any, key: Any, value: Any, *, scaling: float, window: int | None, softcap: float | None) -> Any:
        if softcap is not None:
            raise ExportError("ExecuTorch's attention cannot cap scores, as this model does")
        query, seen = query.transpose(1, 2).contiguous(), None
        if window is not None:
            seen = near(torch.arange(query.shape[1]) + cache.start, key.shape[1], window)
        return torch.ops.llama.custom_sdpa(query, key, value, cache.start, seen, 0.0, seen is None, scaling)

    return attend
