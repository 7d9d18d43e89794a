"""Which rows of an evaluation set lowering is judged by."""

from __future__ import annotations

from collections.abc import Sequence

LOWERING_ROWS = 256
LOWERING_TEXTS = 8  # of a language model, each of hundreds of rows of logits


def lowering_rows(lengths: Sequence[int], most: int = LOWERING_ROWS) -> list[int]:
    """Up to `most` evaluation rows, evenly spaced over the lengths, so that every length bucket is met."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    step = max(1.0, len(order) / most)
    return sorted({order[int(k * step)] for k in range(min(most, len(order)))})
