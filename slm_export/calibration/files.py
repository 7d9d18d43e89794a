"""Data files to rows: CSV, TSV, JSONL, JSON, TXT, CoNLL and Parquet, each row with the line or record it is from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slm_export.errors import DependencyError, InputError, nearest
from slm_export.records import record


@record
class Row:
    line: int  # 1-based line of the file where the row starts; for Parquet and JSON the 1-based record number
    values: dict[str, Any]
    problem: str | None = None


def read_rows(path: Path) -> list[Row]:
    """Read a data file. A row that cannot be read has its `problem` set instead of values.

    Raises InputError if the file is missing, empty, not UTF-8, or of an unknown kind.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"cannot tell what kind of file {path} is", why=nearest(path.suffix, READERS), where=str(path))
    if not path.is_file():
        raise InputError(f"there is no file {path}", where=str(path), next_step="check the path")
    rows = list(reader(path))
    if not rows:
        raise InputError(f"{path} holds no rows", where=str(path))
    return rows


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise InputError(
            f"{path}:{line} is not UTF-8 (byte 0x{data[err.start]:02x})",
            where=f"{path}:{line}",
            next_step="convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
        ) from err


def _delimited(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        csv.field_size_limit(2**24)
        reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as err:
                yield Row(line=line, values={}, problem=str(err))
                return
            if cells is None:
                return
            if not cells:
                continue
            if header is None:
                header = [c.strip() for c in cells]
                _check_header(path, header)
            elif len(cells) != len(header):
                yield Row(line=line, values={}, problem=f"{len(cells)} fields, the header has {len(header)}")
            else:
                yield Row(line=line, values=dict(zip(header, cells, strict=True)))

    return read


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path} names column {twice[0]!r} twice", where=f"{path}:1", next_step="rename one of them")


def _jsonl(path: Path) -> Iterator[Row]:
    for line, text in enumerate(_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as err:
            yield Row(line=line, values={}, problem=f"not JSON: {err.msg} at column {err.colno}")
            continue
        problem = None if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"
        yield Row(line=line, values=value if problem is None else {}, problem=problem)


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, or SQuAD's layout: a row for each question."""
    try:
        data = json.loads(_text(path))
    except json.JSONDecodeError as err:
        yield Row(line=err.lineno, values={}, problem=f"not JSON: {err.msg} at column {err.colno}")
        return
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = _squad(data["data"])
    if not isinstance(data, list):
        raise InputError(f"{path} is neither a list of objects nor in SQuAD's layout", where=str(path))
    for number, value in enumerate(data, 1):
        problem = None if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"
        yield Row(line=number, values=value if problem is None else {}, problem=problem)


def _squad(articles: list[Any]) -> list[dict[str, Any]]:
    """{"paragraphs": [{"context": ..., "qas": [{"question": ..., "answers": [{"text": ...}]}]}]} of each article."""
    return [
        {
            "question": asked.get("question"),
            "context": paragraph.get("context"),
            "answers": [answer.get("text") for answer in asked.get("answers") or ()],
        }
        for article in articles
        for paragraph in article.get("paragraphs") or ()
        for asked in paragraph.get("qas") or ()
    ]


def _txt(path: Path) -> Iterator[Row]:
    for line, text in enumerate(_text(path).splitlines(), 1):
        if text.strip():
            yield Row(line=line, values={"text": text})


def _conll(path: Path) -> Iterator[Row]:
    """One word a line, its tag the last field; an empty line ends a sentence, a -DOCSTART- line is none."""
    start, sentence = 1, list[list[str]]()
    for line, text in enumerate([*_text(path).split("\n"), ""], 1):
        fields = text.split()
        if fields and fields[0] != "-DOCSTART-":
            start = start if sentence else line
            sentence.append(fields)
        elif sentence:
            alone = next((start + i for i, f in enumerate(sentence) if len(f) < 2), None)
            problem = f"line {alone} has a word and no tag" if alone else None
            values = {"tokens": [f[0] for f in sentence], "tags": [f[-1] for f in sentence]}
            yield Row(line=start, values={} if problem else values, problem=problem)
            sentence = []


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as err:
        raise DependencyError(f"reading {path} needs pyarrow", next_step="pip install pyarrow") from err
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as err:
        raise InputError(f"{path} is not a Parquet file: {err}", where=str(path)) from err
    for number, values in enumerate(table.to_pylist(), 1):
        yield Row(line=number, values=values)


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _jsonl,
    ".json": _json,
    ".txt": _txt,
    ".conll": _conll,
    ".parquet": _parquet,
}
