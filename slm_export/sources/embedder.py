"""An encoder and what sentence-transformers puts behind it, as one torch module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from slm_export.sources.sentence_transformers import DenseLayer, EmbeddingHead

SMALLEST = 1e-9  # what a sum of mask or a norm is kept above, as sentence-transformers does
_ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "identity": torch.nn.Identity}


class Embedder(torch.nn.Module):
    """forward(input_ids, attention_mask, ...) -> {"sentence_embedding": float32 [batch, width]}.

    `inputs_embeds` float32 [batch, sequence, width of the table] may stand for the ids, as in transformers' encoders.
    `token_mask` [batch, sequence], 1 or 0, is what pooling goes by; without it `attention_mask` is.
    """

    def __init__(self, encoder: Any, head: EmbeddingHead, path: Path) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config
        self.pooling, self.normalize = head.pooling, head.normalize
        self.dense = torch.nn.ModuleList(_layer(layer, path) for layer in head.dense)
        self.activations = torch.nn.ModuleList(_ACTIVATIONS[layer.activation]() for layer in head.dense)

    @property
    def base_model(self) -> Any:
        return self.encoder.base_model

    def get_input_embeddings(self) -> Any:
        return self.encoder.get_input_embeddings()

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        token_mask: Any = None,
        inputs_embeds: Any = None,
    ) -> dict[str, Any]:
        inputs = {"input_ids": input_ids, "inputs_embeds": inputs_embeds}
        inputs |= {"token_type_ids": token_type_ids, "position_ids": position_ids}
        given = {name: value for name, value in inputs.items() if value is not None}
        hidden = self.encoder(attention_mask=attention_mask, **given).last_hidden_state
        # Unsqueezed while int64: XNNPACK takes no float reshape with two dimensions that vary.
        mask = (attention_mask if token_mask is None else token_mask)[:, :, None].to(hidden.dtype)
        x = pool(hidden, mask, self.pooling)
        for layer, activation in zip(self.dense, self.activations, strict=True):
            x = activation(layer(x))
        if self.normalize:
            x = x / torch.sqrt((x * x).sum(-1, keepdim=True)).clamp_min(SMALLEST)
        return {"sentence_embedding": x}


def pool(hidden: Any, mask: Any, kind: str) -> Any:
    """[batch, sequence, width] and a mask [batch, sequence, 1] to [batch, width]."""
    if kind == "cls":
        return hidden[:, 0]
    if kind == "max":
        return (hidden + (mask - 1) * 1e9).amax(1)
    count = mask.sum(1).clamp_min(SMALLEST)
    total = (hidden * mask).sum(1)
    return total / (torch.sqrt(count) if kind == "mean_sqrt_len_tokens" else count)


def _layer(layer: DenseLayer, path: Path) -> Any:
    from safetensors.torch import load_file

    made = torch.nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
    weights = load_file(path / layer.folder / "model.safetensors")
    made.load_state_dict({k.removeprefix("linear."): v.float() for k, v in weights.items()})
    return made
