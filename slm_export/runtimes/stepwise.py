"""Sessions of causal artifacts that compute logits behind the last token they read, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Ahead = Callable[[Any, Sequence[int]], tuple[Any, Any]]


class StepwiseSession:
    """See tasks/text_generation.py. `ahead(state, ids)` gives the state after `ids`, and the last one's logits.

    A state may be used again after a later one was made, but not once another text was started.
    """

    def __init__(self, first: Any, ahead: Ahead) -> None:
        self._first, self.last = first, ahead

    def start(self) -> Any:
        return self._first

    def read(self, state: Any, ids: Sequence[int]) -> tuple[Any, Any]:
        """All rows but the last come from reading token by token; the last, and the state, from reading at once: so
        both ways are compared."""
        rows, now = [], state
        for token in ids[:-1]:
            now, row = self.last(now, [token])
            rows.append(row)
        after, row = self.last(state, ids)
        return after, np.stack([*rows, row])
