"""Rows to samples: which column is the text, which the label, and which rows are bad."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export.calibration.files import READERS, Row, read_rows
from slm_export.errors import InputError, nearest
from slm_export.records import record

TEXT_COLUMNS = ("text", "sentence", "utterance", "query", "question", "content", "message", "input", "review")
LABEL_COLUMNS = ("label", "category", "intent", "class", "target", "label_text", "y")
WORD_COLUMNS = ("tokens", "words", *TEXT_COLUMNS)
ANSWER_COLUMNS = ("target", "answer", "summary", "translation", "output", "completion")
TAG_COLUMNS = ("tags", "ner_tags", "labels")
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
  words     for taggers, in place of the two: {", ".join(WORD_COLUMNS[:2])} and {", ".join(TAG_COLUMNS)}, each a list
            (.jsonl, .parquet) or words with white space between them; or a .conll file, one word a line with
            its tag last, sentences apart by an empty line. Tags are the model's label names or their numbers.
  target    for text-to-text models, in place of the label: the wanted answer, optional; with it chrF and exact
            match are measured. The text is found as source too, the answer as
            {", ".join(ANSWER_COLUMNS)}; or name it with --label-column.
  rows      a row that cannot be read, or has no text or label, stops the run and is named by file and
            line. Rows that are also in the evaluation set are reported and not used for calibration
            (--allow-overlap uses them all the same).
  sizes     calibration takes --calibration-samples rows (default 128), stratified and seeded;
            evaluation takes every row.
"""


@record
class Sample:
    """`words` and `tags` (label names or numbers) are those of a tagger's sample, whose text is the words joined."""

    line: int
    text: str
    label: str | None = None
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] | None = None
    target: str | None = None  # the answer, where one is to be generated


@record
class DataFile:
    """A data file as read: its name (never its path), its hash, and its samples in file order."""

    name: str
    sha256: str
    text_column: str
    label_column: str | None
    samples: tuple[Sample, ...]


def read_samples(
    path: Path, *, kind: str = "text", text_column: str | None = None, label_column: str | None = None
) -> DataFile:
    """Read a data file into samples of a kind: "text", a text with a label; "words", words with a tag each.

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
    texts, labels, make = KINDS[kind]
    text = _column(path, columns, text_column, texts, "--text-column")
    if text is None and any(row.problem is None for row in rows):
        raise InputError(
            f"{path} has no column for the text",
            where=f"columns: {', '.join(columns)}",
            why=f"none of {', '.join(texts)} is among them",
            next_step="name it with --text-column; slm-export --schema prints what a file must hold",
        )
    label = _column(path, columns, label_column, labels, "--label-column")
    made = [(row.line, row.problem or make(row, str(text), label)) for row in rows]
    problems = [(line, problem) for line, problem in made if isinstance(problem, str)]
    if problems:
        raise _bad_rows(path, problems)
    samples = tuple(sample for _, sample in made if isinstance(sample, Sample))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return DataFile(name=path.name, sha256=digest, text_column=str(text), label_column=label, samples=samples)


def _column(path: Path, columns: list[str], named: str | None, known: tuple[str, ...], flag: str) -> str | None:
    if named is None:
        return next((c for c in known if c in columns), None)
    if named in columns:
        return named
    raise InputError(f"{path} has no column {named!r}", where=flag, why=nearest(named, columns))


def _text_sample(row: Row, text: str, label: str | None) -> Sample | str:
    """A sample, or what is wrong with the row."""
    value: Any = row.values.get(text)
    if not isinstance(value, str):
        return f"column {text!r} is {_kind(value)}, not a text"
    if not value.strip():
        return f"column {text!r} is empty"
    if label is None:
        return Sample(line=row.line, text=value)
    name = row.values.get(label)
    if name is None or not str(name).strip():
        return f"column {label!r} is empty"
    return Sample(line=row.line, text=value, label=str(name))


def _answered_sample(row: Row, text: str, answer: str | None) -> Sample | str:
    made = _text_sample(row, text, answer)
    return made if isinstance(made, str) else replace(made, label=None, target=made.label)


def _words_sample(row: Row, text: str, label: str | None) -> Sample | str:
    """Words and tags are lists, or texts with white space between them. A sample, or what is wrong with the row."""
    words = _listed(row.values.get(text))
    if not words or not all(w.strip() for w in words):
        return f"column {text!r} is {_kind(row.values.get(text))}, not words"
    if label is None:
        return Sample(line=row.line, text=" ".join(words), words=words)
    tags = _listed(row.values.get(label))
    if tags is None or len(tags) != len(words):
        return f"{len(words)} words, {len(tags or ())} tags"
    return Sample(line=row.line, text=" ".join(words), words=words, tags=tags)


def _listed(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list) and all(isinstance(v, (str, int)) for v in value):
        return tuple(map(str, value))
    return None


def _kind(value: Any) -> str:
    return "missing" if value is None else "empty" if value in ("", []) else f"a {type(value).__name__}"


# What a data file may hold: names of the column of the text, of the label, and how a row becomes a sample.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Row, str, str | None], Sample | str]]] = {
    "text": (TEXT_COLUMNS, LABEL_COLUMNS, _text_sample),
    "words": (WORD_COLUMNS, TAG_COLUMNS, _words_sample),
    "text-to-text": (("source", *TEXT_COLUMNS), ANSWER_COLUMNS, _answered_sample),
}


def _bad_rows(path: Path, problems: list[tuple[int, str]]) -> InputError:
    shown = [f"{path}:{line}: {problem}" for line, problem in problems[:SHOWN]]
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return InputError(
        f"{path} has {len(problems)} bad row{'s' if len(problems) > 1 else ''}",
        where="\n         ".join([*shown, *more]),
        next_step="mend or remove these rows; slm-export --schema prints what a row must hold",
    )
