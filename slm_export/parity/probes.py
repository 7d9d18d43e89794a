"""Which rows of an evaluation set lowering is judged by."""

from __future__ import annotations

from collections.abc import Sequence

LOWERING_ROWS = 256


def lowering_rows(lengths: Sequence[int]) -> list[int]:
    """Up to 256 evaluation rows, evenly spaced over the lengths, so that every length bucket is met."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    step = max(1.0, len(order) / LOWERING_ROWS)
    return sorted({order[int(k * step)] for k in range(min(LOWERING_ROWS, len(order)))})
