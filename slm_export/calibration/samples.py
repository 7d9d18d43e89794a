"""Rows to samples: which column is the text, which the label, and which rows are bad."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slm_export.calibration.files import READERS, Row, read_rows
from slm_export.errors import InputError, nearest
from slm_export.records import record

TEXT_COLUMNS = ("text", "sentence", "utterance", "query", "question", "content", "message", "input", "review")
LABEL_COLUMNS = ("label", "category", "intent", "class", "target", "label_text", "y")
PAIR_COLUMNS = ("text_pair", "sentence2", "text_b", "hypothesis")
SHOWN = 10  # bad rows listed in a message

SCHEMA = f"""\
Calibration and evaluation files
  kinds     {" ".join(sorted(READERS))}: by the file's suffix; UTF-8. .csv and .tsv have a header line;
            .jsonl has one object a line; .txt has one text a line; .parquet has columns.
  text      one column of texts, none empty. Found by name, in this order:
            {", ".join(TEXT_COLUMNS)}; or name it with --text-column.
  label     one column of labels, optional for calibration; with it the sample is stratified and the
            evaluation measures accuracy. The model's label names, or their numbers. Found by name:
            {", ".join(LABEL_COLUMNS)}; or name it with --label-column.
  rows      a row that cannot be read, or has no text or label, stops the run and is named by file and
            line. Rows that are also in the evaluation set are reported and not used for calibration
            (--allow-overlap uses them all the same).
  sizes     calibration takes --calibration-samples rows (default 128), stratified and seeded;
            evaluation takes every row.
"""


@record
class Sample:
    line: int
    text: str
    label: str | None = None


@record
class DataFile:
    """A data file as read: its name (never its path), its hash, and its samples in file order."""

    name: str
    sha256: str
    text_column: str
    label_column: str | None
    samples: tuple[Sample, ...]


def read_samples(path: Path, *, text_column: str | None = None, label_column: str | None = None) -> DataFile:
    """Read a data file into samples.

    Raises InputError naming every bad row by file and line (the first ten of them), or the columns there are when
    none can be taken for the text.
    """
    rows = read_rows(path)
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    pairs = [c for c in columns if c in PAIR_COLUMNS]
    if pairs and text_column is None:
        raise InputError(
            f"{path} holds sentence pairs (column {pairs[0]!r}), and only single texts can be exported so far",
            where=str(path),
            next_step="name the one column to use with --text-column",
        )
    text = _column(path, columns, text_column, TEXT_COLUMNS, "--text-column")
    if text is None and any(row.problem is None for row in rows):
        raise InputError(
            f"{path} has no column for the text",
            where=f"columns: {', '.join(columns)}",
            why=f"none of {', '.join(TEXT_COLUMNS)} is among them",
            next_step="name it with --text-column; slm-export --schema prints what a file must hold",
        )
    label = _column(path, columns, label_column, LABEL_COLUMNS, "--label-column")
    problems = [(row.line, problem) for row in rows if (problem := _problem(row, text, label))]
    if problems:
        raise _bad_rows(path, problems)
    samples = tuple(
        Sample(line=r.line, text=r.values[str(text)], label=None if label is None else str(r.values[label]))
        for r in rows
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return DataFile(name=path.name, sha256=digest, text_column=str(text), label_column=label, samples=samples)


def _column(path: Path, columns: list[str], named: str | None, known: tuple[str, ...], flag: str) -> str | None:
    if named is None:
        return next((c for c in known if c in columns), None)
    if named in columns:
        return named
    raise InputError(f"{path} has no column {named!r}", where=flag, why=nearest(named, columns))


def _problem(row: Row, text: str | None, label: str | None) -> str | None:
    if row.problem:
        return row.problem
    value: Any = row.values.get(str(text))
    if not isinstance(value, str):
        return f"column {text!r} is {'missing' if value is None else f'a {type(value).__name__}, not a text'}"
    if not value.strip():
        return f"column {text!r} is empty"
    if label is not None and str(row.values.get(label) if row.values.get(label) is not None else "").strip() == "":
        return f"column {label!r} is empty"
    return None


def _bad_rows(path: Path, problems: list[tuple[int, str]]) -> InputError:
    shown = [f"{path}:{line}: {problem}" for line, problem in problems[:SHOWN]]
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return InputError(
        f"{path} has {len(problems)} bad row{'s' if len(problems) > 1 else ''}",
        where="\n         ".join([*shown, *more]),
        next_step="mend or remove these rows; slm-export --schema prints what a row must hold",
    )


def label_ids(samples: Sequence[Sample], labels: Sequence[str], *, file: str) -> tuple[int, ...] | None:
    """The samples' labels as indices into the model's `labels`; None if the samples have no labels.

    A file may hold label names or label numbers. Raises InputError naming the first row whose label the model lacks.
    """
    if samples[0].label is None:
        return None
    by_name = {name: i for i, name in enumerate(labels)}
    by_number = {str(i): i for i in range(len(labels))}
    table = by_name if any(s.label in by_name for s in samples) else by_number
    unknown = [s for s in samples if s.label not in table]
    if unknown:
        first = unknown[0]
        raise InputError(
            f"{len(unknown)} of {len(samples)} labels in {file} are not labels of the model",
            where=f"{file}:{first.line}: {first.label!r}",
            why=_nearest_label(str(first.label), labels),
            next_step="use the model's label names or their numbers, or name another column with --label-column",
        )
    return tuple(table[str(s.label)] for s in samples)


def _nearest_label(label: str, labels: Sequence[str]) -> str:
    if len(labels) <= 20:
        return nearest(label, labels)
    close = difflib.get_close_matches(label, labels, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the model has {len(labels)} labels, such as {labels[0]!r}"
