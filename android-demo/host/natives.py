"""The AARs' x86_64 libraries, made loadable by a Linux JVM: what an emulator runs, over bionic.c."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from runtimes import Runtimes
from steps import HOST, Options, fresh, run, step

BIONIC = ("libandroid.so", "libc.so", "libdl.so", "liblog.so", "libm.so")
# DT_VERSYM, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM
VERSIONS = (0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF)
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB, DT_DEBUG = 1, 5, 21
PRELOAD = "bionic.so"


def for_jvm(options: Options, runtimes: Runtimes) -> Path:
    """A folder with the libraries and with what is to be preloaded."""
    made, libraries = options.out / "natives", runtimes.natives("x86_64")

    def make() -> None:
        fresh(made)
        for path in libraries:
            (made / path.name).write_bytes(without_bionic(path.read_bytes()))
        flags = ["-O1", "-Wall", "-shared", "-fPIC", f'-DNATIVES="{made}/"', "-Wl,--no-as-needed"]
        run("gcc", *flags, "-o", made / PRELOAD, HOST / "bionic.c", "-lm", "-ldl", "-lpthread")

    return step(options, "natives", libraries, made, make)


def without_bionic(library: bytes) -> bytes:
    """A 64-bit library without its symbols' versions and without what it needs of Android's own libraries."""
    elf = bytearray(library)
    for at, tag, value in list(_dynamic(elf)):
        needed = _string(elf, value) if tag == DT_NEEDED else None
        if tag in VERSIONS or needed in BIONIC:
            struct.pack_into("<QQ", elf, at, DT_DEBUG, 0)  # an entry that means nothing in a library
    return bytes(elf)


def _segments(elf: bytearray) -> list[tuple[int, ...]]:
    """Type, flags, offset, address, physical address, size of each program header."""
    (start,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, 56)
    return [struct.unpack_from("<IIQQQQ", elf, start + 56 * index) for index in range(count)]


def _dynamic(elf: bytearray) -> Iterator[tuple[int, int, int]]:
    """Place, tag and value of each entry of the dynamic section."""
    table, size = next((s[2], s[5]) for s in _segments(elf) if s[0] == PT_DYNAMIC)
    for at in range(table, table + size, 16):
        yield at, *struct.unpack_from("<QQ", elf, at)


def _string(elf: bytearray, index: int) -> str:
    address = next(value for _, tag, value in _dynamic(elf) if tag == DT_STRTAB)
    loads = [(s[2], s[3], s[5]) for s in _segments(elf) if s[0] == PT_LOAD]
    start = index + next(o + address - a for o, a, size in loads if a <= address < a + size)
    return elf[start : elf.index(0, start)].decode()
