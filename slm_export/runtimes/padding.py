"""Padding up to the fixed shape of an artifact."""

from __future__ import annotations

from typing import Any

import numpy as np


def pad_to(value: Any, *, rows: int, length: int, fill: int) -> Any:
    """`value` [at most rows, at most length] in the corner of an array [rows, length] of `fill`."""
    full = np.full((rows, length), fill, value.dtype)
    full[: value.shape[0], : value.shape[1]] = value
    return full
