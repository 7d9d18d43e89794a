"""The graphs of an encoder-decoder: encoders, and decoder steps whose cache goes in and comes out as tensors.

The encoder is transformers' own. The decoder's loop over layers is written here, on the model's own layers, because
transformers' cache objects lower to index arithmetic that differs from format to format; `decode` below is the same
for all of them, and what surrounds it says how a format keeps its cache:

    FirstStep, NextStep   the cache grows (ONNX): a step gives the whole of it back
    FixedStep             the cache has room for every token (ExecuTorch, TFLite): a step gives the new slot only, which
                          the caller writes at `position`

Shapes: B texts, S tokens of the text, T decoder tokens of this call, P of earlier calls, H heads of D features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

MASKED = -1e4  # added to scores that must not count; exp() of it is 0 in float32
Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values [B, H, tokens, D]
Cache = Sequence[Pair]  # one pair a layer
Attend = Callable[[Any, torch.Tensor], torch.Tensor]


class _T5(torch.nn.Module):
    """T5: norms before, relative positions, no biases."""

    offset = 0

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.heads, self.width, self.scaling = model.config.num_heads, model.config.d_kv, 1.0
        self.layers = len(model.decoder.block)
        self.register_buffer("by_distance", _bias_table(model.decoder.block[0].layer[0].SelfAttention)[0])
        self.norm = copy.copy(model.decoder.final_layer_norm)
        if model.config.scale_decoder_outputs:
            # In the norm's weight: as a factor after it, LiteRT's converter folds it into a second copy of the table.
            self.norm._parameters = {"weight": torch.nn.Parameter(self.norm.weight * model.model_dim**-0.5, False)}

    def projections(self, attention: Any) -> tuple[Any, Any, Any]:
        return attention.q, attention.k, attention.v

    def cross(self, number: int) -> Any:
        return self.model.decoder.block[number].layer[1].EncDecAttention

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.model.decoder.embed_tokens(ids)
        return embedded

    def bias(self, distance: torch.Tensor) -> torch.Tensor:
        """Of each head for a key so many tokens back: [T, K] -> [1, H, T, K]."""
        table: Any = self.by_distance
        return _rows(table, distance.clamp(0, len(table) - 1)).permute(2, 0, 1)[None]

    def layer(self, number: int, hidden: torch.Tensor, own: Attend, cross: Attend) -> torch.Tensor:
        first, second, forward = self.model.decoder.block[number].layer
        hidden = hidden + first.SelfAttention.o(own(first.SelfAttention, first.layer_norm(hidden)))
        hidden = hidden + second.EncDecAttention.o(cross(second.EncDecAttention, second.layer_norm(hidden)))
        result: torch.Tensor = forward(hidden)
        return result

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model.lm_head(self.norm(hidden))
        return logits


class _Bart(torch.nn.Module):
    """BART and Marian: norms after, absolute positions, a bias on the logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        config, self.stack = model.config, model.model.decoder
        self.heads, self.width = config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
        self.scaling, self.layers = self.width**-0.5, len(self.stack.layers)
        self.offset = getattr(self.stack.embed_positions, "offset", 0)
        # BART's own lookup scales its rows; Marian's is a plain one.
        self.scale = getattr(self.stack, "embed_scale", 1.0)

    def projections(self, attention: Any) -> tuple[Any, Any, Any]:
        return attention.q_proj, attention.k_proj, attention.v_proj

    def cross(self, number: int) -> Any:
        return self.stack.layers[number].encoder_attn

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        where = _rows(self.stack.embed_positions.weight, positions + self.offset)
        hidden: torch.Tensor = self.stack.embed_tokens(ids) * self.scale + where
        norm = getattr(self.stack, "layernorm_embedding", None)
        return hidden if norm is None else norm(hidden)

    def bias(self, distance: torch.Tensor) -> torch.Tensor | float:
        return 0.0

    def layer(self, number: int, hidden: torch.Tensor, own: Attend, cross: Attend) -> torch.Tensor:
        layer = self.stack.layers[number]
        hidden = layer.self_attn_layer_norm(hidden + layer.self_attn.out_proj(own(layer.self_attn, hidden)))
        mixed = layer.encoder_attn.out_proj(cross(layer.encoder_attn, hidden))
        hidden = layer.encoder_attn_layer_norm(hidden + mixed)
        forward = layer.fc2(layer.activation_fn(layer.fc1(hidden)))
        result: torch.Tensor = layer.final_layer_norm(hidden + forward)
        return result

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model.lm_head(hidden) + self.model.final_logits_bias
        return logits


FAMILIES = {"t5": _T5, "bart": _Bart, "marian": _Bart}


def _bias_table(attention: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The bias of each distance 0, 1, ... to a key before the query [M + 1, H], and of -M .. M to any key [2 M + 1, H].

    M is T5's largest distance, beyond which all share a bucket, so that a lookup with the distance clamped is exact
    for every length. Computing buckets in the graph would take a logarithm, whose last digit differs between runtimes
    and decides between buckets.
    """
    most = attention.relative_attention_max_distance
    distance = torch.arange(-most, most + 1)
    bucket = attention._relative_position_bucket(
        distance,
        bidirectional=not attention.is_decoder,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=most,
    )
    table = attention.relative_attention_bias.weight.detach()[bucket]
    return table[: most + 1].flip(0).contiguous(), table


def _rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table[index], not as an embedding: float16 takes those all, and these tables are not in the plan."""
    return torch.index_select(table, 0, index.flatten()).reshape(*index.shape, table.shape[1])


class Encoder(torch.nn.Module):
    """(input_ids, attention_mask), int64 [B, S], to last_hidden_state [B, S, width]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.get_encoder()
        if model.config.model_type == "t5":
            attention = self.encoder.block[0].layer[0].SelfAttention
            attention.compute_bias = _table_bias(_bias_table(attention)[1])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = _masked(attention_mask)
        hidden: torch.Tensor = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return hidden


def _table_bias(table: torch.Tensor) -> Callable[..., torch.Tensor]:
    most = len(table) // 2

    def compute_bias(query_length: Any, key_length: Any, **_: Any) -> torch.Tensor:
        positions = torch.arange(key_length)
        distance = (positions[None] - positions[:, None]).clamp(-most, most) + most
        # Not by _rows, whose reshape back to [S, S] ExecuTorch 1.5.1 bounds by more than it plans memory for.
        return functional.embedding(distance, table).permute(2, 0, 1)[None]

    return compute_bias


def _masked(mask: torch.Tensor) -> torch.Tensor:
    """[B, S] of 1 and 0 -> [B, 1, 1, S] to add to scores."""
    return ((1.0 - mask.to(torch.float32)) * MASKED)[:, None, None, :]


class Decoder(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.family: Any = FAMILIES[model.config.model_type](model)

    def cross(self, hidden: torch.Tensor) -> list[Pair]:
        """The encoder's keys and values for every layer, from last_hidden_state."""
        made = []
        for number in range(self.family.layers):
            _, keys, values = self.family.projections(self.family.cross(number))
            made.append((self._heads(keys(hidden)), self._heads(values(hidden))))
        return made

    def decode(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        *,
        distance: torch.Tensor,
        unseen: torch.Tensor,
        encoder_mask: torch.Tensor,
        past: Cache | None,
        cross: Cache,
    ) -> tuple[torch.Tensor, list[Pair], list[Pair]]:
        """Logits [B, T, vocabulary], the new tokens' keys and values, and those of past and new tokens together.

        `positions` [T]; `distance` [T, K] says how far back each key lies, `unseen` which must not count.
        """
        family = self.family
        hidden = family.embed(ids, positions)
        own_bias = family.bias(distance) + unseen.to(torch.float32) * MASKED
        cross_bias = _masked(encoder_mask)
        new: list[Pair] = []
        whole: list[Pair] = []
        for number in range(family.layers):

            def own(attention: Any, x: torch.Tensor, number: int = number) -> torch.Tensor:
                _, keys, values = family.projections(attention)
                pair = self._heads(keys(x)), self._heads(values(x))
                both = pair if past is None else tuple(torch.cat(p, 2) for p in zip(past[number], pair, strict=True))
                new.append(pair)
                whole.append((both[0], both[1]))
                return self._attend(attention, x, whole[-1], own_bias)

            def other(attention: Any, x: torch.Tensor, number: int = number) -> torch.Tensor:
                return self._attend(attention, x, cross[number], cross_bias)

            hidden = family.layer(number, hidden, own, other)
        return family.logits(hidden), new, whole

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], self.family.heads, self.family.width).transpose(1, 2)

    def _attend(self, attention: Any, x: torch.Tensor, cached: Pair, bias: torch.Tensor) -> torch.Tensor:
        query = self._heads(self.family.projections(attention)[0](x))
        scores = query @ cached[0].transpose(2, 3) * self.family.scaling + bias
        mixed = torch.softmax(scores, -1) @ cached[1]
        return mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1)


class FirstStep(Decoder):
    """(encoder_attention_mask, input_ids [B, T], encoder_hidden_states [B, S, width]) to logits and the whole cache, in
    the order of `cache_names("present", ...)`."""

    def forward(self, encoder_attention_mask: torch.Tensor, input_ids: torch.Tensor, hidden: torch.Tensor) -> Any:
        positions = torch.arange(input_ids.shape[1])
        distance = positions[:, None] - positions[None]
        cross = self.cross(hidden)
        logits, new, _ = self.decode(
            input_ids,
            positions,
            distance=distance,
            unseen=distance < 0,
            encoder_mask=encoder_attention_mask,
            past=None,
            cross=cross,
        )
        return (logits, *(t for pairs in zip(new, cross, strict=True) for pair in pairs for t in pair))


class NextStep(Decoder):
    """(encoder_attention_mask, input_ids [B, 1], *cache in the order of `cache_names`) to logits and the decoder's part
    of the cache, one token longer."""

    def forward(self, encoder_attention_mask: torch.Tensor, input_ids: torch.Tensor, *cache: torch.Tensor) -> Any:
        past, cross = split(cache)
        length = past[0][0].shape[2]
        positions = torch.arange(length, length + 1)
        distance = (length - torch.arange(length + 1))[None]
        logits, _, whole = self.decode(
            input_ids,
            positions,
            distance=distance,
            unseen=distance < 0,
            encoder_mask=encoder_attention_mask,
            past=past,
            cross=cross,
        )
        return (logits, *(t for pair in whole for t in pair))


class FixedEncoder(Decoder):
    """(input_ids, attention_mask), int64 [1, up to S], to the encoder's part of the cache, padded to S tokens."""

    def __init__(self, model: Any, *, length: int, pad: bool) -> None:
        super().__init__(model)
        self.encoder, self.length, self.pad = Encoder(model), length, pad

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = [t for pair in self.cross(self.encoder(input_ids, attention_mask)) for t in pair]
        if self.pad:
            made = [functional.pad(t, (0, 0, 0, self.length - input_ids.shape[1])) for t in made]
        return tuple(made)


class FixedStep(Decoder):
    """(input_ids [1, 1], position [1], encoder_attention_mask [1, S], *cache in the order of `cache_names`, the
    decoder's part with room for every token) to logits, and the keys and values to write at `position`."""

    def forward(
        self, input_ids: torch.Tensor, position: torch.Tensor, encoder_attention_mask: torch.Tensor, *cache: Any
    ) -> Any:
        past, cross = split(cache)
        distance = torch.cat([position - torch.arange(past[0][0].shape[2]), torch.zeros_like(position)])[None]
        unseen = torch.cat([distance[:, :-1] <= 0, torch.zeros_like(position, dtype=torch.bool)[None]], 1)
        logits, new, _ = self.decode(
            input_ids,
            position,
            distance=distance,
            unseen=unseen,
            encoder_mask=encoder_attention_mask,
            past=past,
            cross=cross,
        )
        return (logits, *(t for pair in new for t in pair))


def split(cache: Sequence[torch.Tensor]) -> tuple[list[Pair], list[Pair]]:
    """The decoder's and the encoder's part."""
    layers = [cache[i : i + 4] for i in range(0, len(cache), 4)]
    return [(c[0], c[1]) for c in layers], [(c[2], c[3]) for c in layers]
