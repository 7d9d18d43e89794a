"""The .litertlm container, as far as reading a model out of it takes: sections begin at whole blocks.

Needs no library, so that a bundle can be verified where none is.
"""

from __future__ import annotations

import mmap
from pathlib import Path

SUFFIX = ".litertlm"
MAGIC, BLOCK = b"LITERTLM", 16384


def model(path: Path) -> memoryview:
    """The .tflite in the file, which our exporter writes last; of a .tflite the whole file.

    Raises ValueError if there is none.
    """
    with path.open("rb") as file:
        raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if path.suffix != SUFFIX:
        return memoryview(raw)
    if raw[: len(MAGIC)] != MAGIC:
        raise ValueError("it lacks the LITERTLM mark")
    start = next((at for at in range(BLOCK, len(raw), BLOCK) if raw[at + 4 : at + 8] == b"TFL3"), None)
    if start is None:
        raise ValueError("it holds no TFLite model")
    return memoryview(raw)[start:]
