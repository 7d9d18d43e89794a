"""The reference: the user's own checkpoint in float32, eager, in eval mode. Nothing else is called the truth."""

from __future__ import annotations

from typing import Any

from slm_export.records import record


@record
class Reference:
    """A loaded source. `module` is the transformers model, `tokenizer` its own tokenizer with nothing changed."""

    module: Any
    tokenizer: Any
    task: str
    labels: tuple[str, ...]
    max_length: int  # tokens; longer texts are truncated
    pad_id: int

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, truncated to `max_length`, unpadded."""
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        return ids

    def token_counts(self, texts: list[str]) -> list[int]:
        """Length of each text in tokens before truncation."""
        return [len(ids) for ids in self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
