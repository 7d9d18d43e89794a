"""Masked language models: a text with masks to logits over the vocabulary; the answer of a mask is a token's id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slm_export.errors import InputError
from slm_export.metrics import accuracy, drop_interval, flips, kl_divergence, wilson_interval
from slm_export.outputs import Array, Tokens, all_rows
from slm_export.tasks import encoder
from slm_export.tasks.measured import Judged, Measured, best, lead

if TYPE_CHECKING:
    from slm_export.calibration import Sample

AUTO_CLASS = "AutoModelForMaskedLM"
SAMPLES = "masked"
MOST_SAMPLES = 512  # each is a row over the whole vocabulary
TRUNCATION = "longest_first"
TOLERATED_HARM = 1.25e-4
TAUGHT_BY = "distribution"
LOSS = ("accuracy_drop", "flip_rate")
INPUTS = encoder.INPUTS
OUTPUTS = {"logits": ("batch", "sequence", "vocabulary")}
GOLDEN_COLUMNS = 32
UNKNOWN = -1  # the id of a masked word that is more than one token
retokenize = encoder.retokenize


def tokenize(tokenizer: Any, samples: Sequence[Sample], max_length: int | None) -> list[Tokens]:
    """Ids of the masked texts; the masks' positions, and of the first mask the id of the sample's label."""
    made = encoder.tokenize(tokenizer, samples, max_length)
    mask = tokenizer.mask_token
    whole = [replace(s, text=s.text.replace(mask, s.label or mask, 1)) for s in samples]
    unmasked = encoder.tokenize(tokenizer, whole, max_length)
    tokens = [_masks(t, u, tokenizer.mask_token_id) for t, u in zip(made, unmasked, strict=True)]
    if not any(t.positions for t in tokens):
        raise InputError(
            f"no text has its {mask} within {max_length} tokens",
            next_step="give shorter texts, or a longer --max-length",
        )
    return tokens


def _masks(tokens: Tokens, unmasked: Tokens, mask_id: int) -> Tokens:
    ids, before = tokens.input_ids, unmasked.input_ids
    positions = tuple(i for i, token in enumerate(ids) if token == mask_id)
    # Only where the word is one token do the two have the same length.
    known = [before[p] if len(before) == len(ids) and before[p] != mask_id else UNKNOWN for p in positions]
    return replace(tokens, positions=positions, expected=tuple(known))


def cut(outputs: dict[str, Array], row: int, tokens: Tokens) -> Array:
    """The masks' rows; every token's where no masks are known."""
    rows = outputs["logits"][row, : len(tokens.input_ids)]
    return rows if tokens.positions is None else rows[np.array(tokens.positions, np.int64)]


graph = partial(encoder.graph, outputs=tuple(OUTPUTS))
run = partial(encoder.run, outputs=tuple(OUTPUTS), cut=cut)


def harm(expected: Array, got: Array) -> float:
    """Mean KL divergence of the masks' answers, nats."""
    return float(kl_divergence(expected, got).mean())


def answer(matrix: Array, tokens: Tokens, labels: Sequence[str]) -> list[int]:
    return [int(i) for i in best(matrix)]


def margin(matrix: Array, tokens: Tokens) -> float:
    return lead(matrix) if len(matrix) else 0.0


def settings(source: Any) -> dict[str, Any]:
    return {"mask_token": source.mask_token}


def measure(judged: Judged) -> Measured:
    """Masks whose best token changed; where the masked word is known, accuracy before, after and its drop."""
    before, after = best(all_rows(judged.before)), best(all_rows(judged.after))
    changed = flips(before, after)
    values = {"flips": float(changed), "flip_rate": changed / len(before)}
    intervals: dict[str, tuple[float, ...]] = {"flip_rate": wilson_interval(changed, len(before))}
    truth = np.array([i for t in judged.tokens for i in t.expected or ()], np.int64)
    known = truth != UNKNOWN
    if judged.targets is not None and known.any():
        values["accuracy_reference"] = accuracy(truth[known], before[known])
        values["accuracy"] = accuracy(truth[known], after[known])
        values["accuracy_drop"] = values["accuracy_reference"] - values["accuracy"]
        intervals["accuracy_drop"] = drop_interval(truth[known] == before[known], truth[known] == after[known])
    return Measured(answers=values, intervals=intervals, classes={})
