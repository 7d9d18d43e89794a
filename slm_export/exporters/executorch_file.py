"""Edits to a .pte: what it holds twice is stored once.

A table that is looked up and multiplied with, as of a tied head, is a constant of the program for the lookup and a
blob of XNNPACK's for the product, byte for byte the same. Segments of the file are offsets and sizes, so the blob's can
point into the constants'. The runtime reads the two as before; with a memory-mapped file they are the same pages.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SMALLEST = 4096  # bytes of a blob that is worth it
ALIGNMENT = 128  # of segments, as the exporter writes them
SEGMENTS, CONSTANTS = 4, 5  # fields of Program in ExecuTorch's program.fbs
OFFSET, SIZE = 0, 1  # of DataSegment
INDEX, OFFSETS = 0, 1  # of SubsegmentOffsets


def share_constants(path: Path) -> None:
    """Write the file again, each large blob that the program's constants hold too left out."""
    from executorch.exir._serialize._program import _ExtendedHeader

    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = _ExtendedHeader.from_bytes(data[8 : 8 + _ExtendedHeader.EXPECTED_LENGTH])
    base = header.segment_base_offset
    flatbuffer = bytearray(data[:base])
    program = _root(flatbuffer)
    segments = list(_tables(program, SEGMENTS))
    places = [(_number(s, OFFSET), _number(s, SIZE)) for s in segments]
    shared = dict(_shared(data, base, program, places))
    if not shared:
        return
    kept = sorted((n for n in range(len(places)) if n not in shared), key=lambda n: places[n])
    end = 0
    for number in kept:
        end += -end % ALIGNMENT
        _write(flatbuffer, segments[number], OFFSET, end)
        end += places[number][1]
    for number, (host, within) in shared.items():
        _write(flatbuffer, segments[number], OFFSET, _number(segments[host], OFFSET) + within)
    header.segment_data_size = end
    flatbuffer[8 : 8 + header.EXPECTED_LENGTH] = header.to_bytes()
    aside = path.with_suffix(".aside")
    with aside.open("wb") as file:
        file.write(flatbuffer)
        for number in kept:
            file.write(b"\0" * (-(file.tell() - base) % ALIGNMENT))
            offset, size = places[number]
            file.write(memoryview(data)[base + offset : base + offset + size])
    aside.replace(path)


def _shared(
    data: mmap.mmap, base: int, program: Any, places: list[tuple[int, int]]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """(segment, (the constants' segment, where in it)) of blobs that begin where a constant does, and equal it."""
    constants = _field(program, CONSTANTS)
    if constants is None:
        return
    host = _number(constants, INDEX, bytes_=4)
    start, length = places[host]
    if start:
        return  # its offset would change, and the one that is left out of the file, 0, cannot be written
    for number, (offset, size) in enumerate(places):
        if number == host or size < SMALLEST:
            continue
        head, blob = data[base + offset : base + offset + SMALLEST], None
        for within in _offsets(constants):
            at = base + start + within
            if within + size > length or data[at : at + SMALLEST] != head:
                continue
            blob = blob or data[base + offset : base + offset + size]
            if data[at : at + size] == blob:
                yield number, (host, within)
                break


def _root(data: bytearray) -> Any:
    from flatbuffers import encode, packer, table

    return table.Table(data, encode.Get(packer.uoffset, data, 0))


def _slot(table: Any, field: int) -> int:
    """Where a field's value is in the file; 0 if it has none."""
    found = table.Offset(4 + 2 * field)
    return int(table.Pos + found) if found else 0


def _field(table: Any, field: int) -> Any | None:
    from flatbuffers.table import Table

    slot = _slot(table, field)
    return Table(table.Bytes, table.Indirect(slot)) if slot else None


def _tables(table: Any, field: int) -> Iterator[Any]:
    from flatbuffers.table import Table

    found = table.Offset(4 + 2 * field)
    if found:
        start = table.Vector(found)
        yield from (Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(found)))


def _offsets(table: Any) -> list[int]:
    found = table.Offset(4 + 2 * OFFSETS)
    start, count = table.Vector(found), table.VectorLen(found)
    return [int.from_bytes(table.Bytes[start + 8 * i : start + 8 * i + 8], "little") for i in range(count)]


def _number(table: Any, field: int, *, bytes_: int = 8) -> int:
    slot = _slot(table, field)
    return int.from_bytes(table.Bytes[slot : slot + bytes_], "little") if slot else 0


def _write(data: bytearray, table: Any, field: int, value: int) -> None:
    slot = _slot(table, field)
    if slot:
        data[slot : slot + 8] = value.to_bytes(8, "little")
    else:
        assert value == 0, "a flatbuffer leaves zeros out, and the first segment stays the first"
