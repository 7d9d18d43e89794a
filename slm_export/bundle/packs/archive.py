"""Zip archives that are the same bytes from the same files: sorted, with one fixed time and mode."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can say
MODE = 0o100644 << 16
LOCAL_HEADER = 30  # bytes before a file's name
PAGE = 16384  # bytes: the largest page of Android devices, to which stored files are aligned
ALIGNMENT = 0xD935  # the extra field that zipalign pads with


def write(path: Path, files: Mapping[str, Path | bytes], *, stored: Collection[str] = ()) -> None:
    """`files` by their names in the archive. Those with a suffix of `stored` (".onnx") are not compressed, and begin at
    a page, so that they can be mapped into memory where they lie."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, TIME)
            info.external_attr, info.create_system = MODE, 3
            plain = name.endswith(tuple(stored)) if stored else False
            info.compress_type = zipfile.ZIP_STORED if plain else zipfile.ZIP_DEFLATED
            if plain:
                info.extra = _padding(archive.start_dir + LOCAL_HEADER + len(name.encode()))
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            info.file_size = size
            with archive.open(info, "w", force_zip64=size > zipfile.ZIP64_LIMIT) as target:
                if isinstance(content, bytes):
                    target.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, target, 1 << 20)


def _padding(offset: int) -> bytes:
    """An extra field after which content that would begin at `offset` begins at a page."""
    header = 6  # its id, its size, the alignment
    zeros = -(offset + header) % PAGE
    return struct.pack("<HHH", ALIGNMENT, 2 + zeros, PAGE) + bytes(zeros)
