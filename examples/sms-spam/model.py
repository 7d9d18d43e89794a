"""A spam filter in plain PyTorch: embedding, bidirectional LSTM over the text without its padding, one linear layer."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class SpamFilter(nn.Module):
    """forward(input_ids int64 [batch, sequence], lengths int64 [batch]) -> logits [batch, labels]."""

    def __init__(self, vocabulary: int, width: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.dropout = nn.Dropout(0.3)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embedding(input_ids))
        _, (h, _) = self.lstm(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
        return self.head(self.dropout(torch.cat([h[-2], h[-1]], dim=1)))


def make(*, vocabulary: int, width: int = 64, hidden: int = 64, labels: int = 2) -> SpamFilter:
    """The factory that slm-export calls with the arguments in model.json."""
    return SpamFilter(vocabulary, width, hidden, labels)
