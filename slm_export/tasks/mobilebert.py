"""MobileBERT's trigram embeddings and its masked-LM head, in forms that exporters take."""

from __future__ import annotations

from typing import Any


def swap_embeddings(module: Any) -> Any:
    """Give the model embeddings that lower, in place; gives back the token table, for graphs to mask.

    Each token sees its neighbours. transformers slices before it pads, of which torch.export cannot tell whether
    anything is left at length 1; padding first is the same. What stands behind the last token must be 0 as at the end
    of an unpadded text, so padding has to be masked before it comes here.
    """
    import torch

    base = module.base_model

    class TrigramEmbeddings(torch.nn.Module):
        def __init__(self, embeddings: Any) -> None:
            super().__init__()
            self.position_embeddings = embeddings.position_embeddings
            self.token_type_embeddings = embeddings.token_type_embeddings
            self.embedding_transformation = embeddings.embedding_transformation
            self.LayerNorm = embeddings.LayerNorm

        def forward(self, input_ids: Any, token_type_ids: Any, position_ids: Any, inputs_embeds: Any) -> Any:
            padded = torch.nn.functional.pad(inputs_embeds, [0, 0, 1, 1])
            x = torch.cat([padded[:, 2:], padded[:, 1:-1], padded[:, :-2]], dim=2)
            x = self.embedding_transformation(x) + self.position_embeddings(position_ids)
            return self.LayerNorm(x + self.token_type_embeddings(token_type_ids))

    table = base.embeddings.word_embeddings
    base.embeddings = TrigramEmbeddings(base.embeddings)
    return table


def split_head(module: Any) -> None:
    """Write the head of a masked LM, in place, as the sum of two Linears: one tied to the token table, and one for what
    hidden states have beyond its width. transformers joins their weights at every call, so that neither is a layer that
    could hold integers.
    """
    import torch

    class SplitHead(torch.nn.Module):
        def __init__(self, head: Any) -> None:
            super().__init__()
            self.transform, self.decoder = head.transform, head.decoder
            self.width = head.decoder.in_features
            beyond, tokens = head.dense.weight.shape
            self.rest = torch.nn.Linear(beyond, tokens, bias=False) if beyond else None
            if self.rest is not None:
                self.rest.weight = torch.nn.Parameter(head.dense.weight.detach().T.contiguous())

        def forward(self, hidden: Any) -> Any:
            x = self.transform(hidden)
            if self.rest is None:
                return self.decoder(x)
            return self.decoder(x[..., : self.width]) + self.rest(x[..., self.width :])

    module.cls.predictions = SplitHead(module.cls.predictions)
