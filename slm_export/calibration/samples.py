"""Rows to samples: which column is the text, which the label, and which rows are bad."""

from __future__ import annotations

import hashlib
from pathlib import Path

from slm_export.calibration.files import READERS, read_rows
from slm_export.calibration.kinds import (
    ANSWERS,
    CHATS,
    KINDS,
    LABELS,
    PAIRS,
    QUESTION,
    TAGS,
    TEXTS,
    WORDS,
    Columns,
    Kind,
    Sample,
)
from slm_export.errors import InputError, nearest
from slm_export.records import record

SHOWN = 10  # bad rows listed in a message

SCHEMA = f"""\
Calibration and evaluation files
  kinds     {" ".join(sorted(READERS))}: by the file's suffix; UTF-8. .csv and .tsv have a header
            line; .jsonl has one object a line; .json has a list of objects, or is SQuAD's; .txt has one text
            a line; .parquet has columns.
  text      one column of texts, none empty. Found by name, in this order:
            {", ".join(TEXTS[:8])},
            {", ".join(TEXTS[8:])}; or name it with --text-column.
  pair      for classifiers of text pairs, the second text: {", ".join(PAIRS)};
            or name it with --pair-column.
  label     one column of labels, optional for calibration; with it the sample is stratified and the
            evaluation measures accuracy. The model's label names, or their numbers. Found by name:
            {", ".join(LABELS)}; or name it with --label-column.
            Several labels a text: a list (.jsonl, .parquet), or names with ; or | between them, or nothing.
            A score (regression): a number.
  words     for taggers, in place of the two: {", ".join(WORDS[:2])} and {", ".join(TAGS)}, each a list
            (.jsonl, .parquet) or words with white space between them; or a .conll file, one word a line with
            its tag last, sentences apart by an empty line. Tags are the model's label names or their numbers.
  question  for question answering: {", ".join(QUESTION[:2])}, context, and optionally answers: a text, a list
            of texts, or SQuAD's {{"text": [...]}}.
  messages  for causal language models, in place of the text: a chat, {", ".join(CHATS)}, each a list of
            {{"role": ..., "content": ...}} (.jsonl, .json, .parquet), which the model's template writes out.
  masked    for masked language models: texts. In a text without the model's mask token one word is masked,
            always the same one; a label column, if the text has a mask, names the word behind it.
  slice     any column, named with --slice-column: the change is also reported by its values.
  target    for text-to-text models, in place of the label: the wanted answer, optional; with it chrF and exact
            match are measured. The text is found as source too, the answer as
            {", ".join(ANSWERS)}; or name it with --label-column.
  rows      a row that cannot be read, or has no text or label, stops the run and is named by file and
            line. Rows that are also in the evaluation set are reported and not used for calibration
            (--allow-overlap uses them all the same).
  sizes     calibration takes --calibration-samples rows (default 128), stratified and seeded;
            evaluation takes every row, of masked texts at most 512.
"""


@record
class DataFile:
    """A data file as read: its name (never its path), its hash, and its samples in file order."""

    name: str
    sha256: str
    text_column: str
    label_column: str | None
    samples: tuple[Sample, ...]


def read_samples(
    path: Path,
    *,
    kind: str = "text",
    text_column: str | None = None,
    label_column: str | None = None,
    pair_column: str | None = None,
    slice_column: str | None = None,
    mask: str = "",
) -> DataFile:
    """Read a data file into samples of a kind of kinds.KINDS. `mask` is the model's mask token, for masked texts.

    Raises InputError naming every bad row by file and line (the first ten of them), or the columns there are when
    none can be taken for the text.
    """
    rows = read_rows(path)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    wanted = KINDS[kind]
    _refuse_pairs(path, names, wanted, alone=text_column is not None)
    found = _column(path, names, text_column, wanted.texts, "--text-column")
    if found is None and any(row.problem is None for row in rows):
        raise _no_column(path, names, wanted.texts, "text", "--text-column")
    pair = None if text_column and not pair_column else _column(path, names, pair_column, wanted.pairs, "--pair-column")
    if pair is None and wanted.needs_pair:
        raise _no_column(path, names, wanted.pairs, "context", "--pair-column")
    columns = Columns(
        text=str(found),
        label=_column(path, names, label_column, wanted.labels, "--label-column"),
        pair=pair,
        slice=_column(path, names, slice_column, (), "--slice-column"),
        mask=mask,
    )
    made = [(row.line, row.problem or wanted.make(row, columns)) for row in rows]
    problems = [(line, problem) for line, problem in made if isinstance(problem, str)]
    if problems:
        raise _bad_rows(path, problems)
    return DataFile(
        name=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        text_column=columns.text,
        label_column=columns.label,
        samples=tuple(sample for _, sample in made if isinstance(sample, Sample)),
    )


def _column(path: Path, columns: list[str], named: str | None, known: tuple[str, ...], flag: str) -> str | None:
    if named is None:
        return next((c for c in known if c in columns), None)
    if named in columns:
        return named
    raise InputError(f"{path} has no column {named!r}", where=flag, why=nearest(named, columns))


def _refuse_pairs(path: Path, columns: list[str], kind: Kind, *, alone: bool) -> None:
    pairs = [c for c in columns if c in PAIRS]
    if pairs and not kind.pairs and not alone:
        raise InputError(
            f"{path} holds text pairs (column {pairs[0]!r}), and this model takes single texts",
            where=str(path),
            next_step="name the one column to use with --text-column",
        )


def _no_column(path: Path, columns: list[str], known: tuple[str, ...], what: str, flag: str) -> InputError:
    return InputError(
        f"{path} has no column for the {what}",
        where=f"columns: {', '.join(columns)}",
        why=f"none of {', '.join(known)} is among them",
        next_step=f"name it with {flag}; slm-export --schema prints what a file must hold",
    )


def _bad_rows(path: Path, problems: list[tuple[int, str]]) -> InputError:
    shown = [f"{path}:{line}: {problem}" for line, problem in problems[:SHOWN]]
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return InputError(
        f"{path} has {len(problems)} bad row{'s' if len(problems) > 1 else ''}",
        where="\n         ".join([*shown, *more]),
        next_step="mend or remove these rows; slm-export --schema prints what a row must hold",
    )
