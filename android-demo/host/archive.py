"""Zip files: the same bytes for the same content, and stored what Gradle's noCompress names."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from project import NO_COMPRESS

# Android maps models, native libraries and resources.arsc from where they lie; pictures are compressed as they are
STORED = (*(f".{suffix}" for suffix in NO_COMPRESS), ".so", ".arsc", ".png", ".webp")


def read(package: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(package) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(target: Path, entries: Mapping[str, bytes | Path]) -> None:
    with zipfile.ZipFile(target, "w") as package:
        for name, content in sorted(entries.items()):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
            if isinstance(content, bytes):
                package.writestr(entry, content)
                continue
            entry.file_size = content.stat().st_size
            with content.open("rb") as source, package.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def offset(package: Path, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin."""
    with package.open("rb") as file:
        file.seek(entry.header_offset + 26)
        header = file.read(4)
    return entry.header_offset + 30 + int.from_bytes(header[:2], "little") + int.from_bytes(header[2:], "little")
