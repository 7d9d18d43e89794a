"""Kinds of samples: what a task's data files hold, and how a row becomes a sample."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slm_export.calibration.files import Row
from slm_export.records import record

TEXTS = (
    "text", "sentence", "utterance", "query", "question", "content", "message", "input",
    "review", "sentence1", "text_a", "premise", "question1",
)  # fmt: skip
LABELS = ("label", "category", "intent", "class", "target", "label_text", "y")
SETS = ("labels", *LABELS)
SCORES = ("score", "rating", "similarity", *LABELS)
WORDS = ("tokens", "words", *TEXTS)
TAGS = ("tags", "ner_tags", "labels")
PAIRS = ("text_pair", "sentence2", "text_b", "hypothesis", "question2")
QUESTION = ("question", "query", *TEXTS)
ANSWERS = ("target", "answer", "summary", "translation", "output", "completion")
CHATS = ("messages", "conversation")
CONTEXTS = ("context", "passage", "paragraph", *PAIRS)


@record
class Turn:
    role: str
    content: str


@record
class Sample:
    """One row, of the kind its task wants.

    `pair` is the second text, or a question's context. `labels` are names or numbers: one for each word of a tagger's
    `words`, or those that hold for a text. `answers` are the texts that answer a question. `turns` are a chat's, for
    the model's template to write out; `special_tokens` says whether the tokenizer adds its own to the text.
    """

    line: int
    text: str
    pair: str | None = None
    label: str | None = None
    score: float | None = None
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    answers: tuple[str, ...] | None = None
    target: str | None = None  # the answer, where one is to be generated
    turns: tuple[Turn, ...] = ()
    special_tokens: bool = True
    slice: str | None = None


@record
class Columns:
    """Which column is what, and the model's mask token."""

    text: str
    label: str | None = None
    pair: str | None = None
    slice: str | None = None
    mask: str = ""


Make = Callable[[Row, Columns], Sample | str]


@record
class Kind:
    """Names that columns are found by; `make` gives a sample, or what is wrong with the row."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    pairs: tuple[str, ...] = ()
    needs_pair: bool = False
    make: Make


def _text(row: Row, columns: Columns) -> Sample | str:
    """The sample's texts; the label is left to the kinds."""
    for column in filter(None, (columns.text, columns.pair)):
        value: Any = row.values.get(column)
        if not isinstance(value, str):
            return f"column {column!r} is {_what(value)}, not a text"
        if not value.strip():
            return f"column {column!r} is empty"
    pair = row.values[columns.pair] if columns.pair else None
    return Sample(line=row.line, text=row.values[columns.text], pair=pair, slice=_slice(row, columns))


def _slice(row: Row, columns: Columns) -> str | None:
    return None if columns.slice is None else str(row.values.get(columns.slice) or "(none)")


def _labelled(row: Row, columns: Columns) -> Sample | str:
    sample = _text(row, columns)
    if isinstance(sample, str) or columns.label is None:
        return sample
    name = row.values.get(columns.label)
    if name is None or not str(name).strip():
        return f"column {columns.label!r} is empty"
    return replace(sample, label=str(name))


def _label_set(row: Row, columns: Columns) -> Sample | str:
    """Several labels, or none: a list, or names with ; or | between them."""
    sample = _text(row, columns)
    if isinstance(sample, str) or columns.label is None:
        return sample
    value = row.values.get(columns.label)
    names = re.split(r"[;|]", value) if isinstance(value, str) else () if value is None else value
    if isinstance(names, int):
        names = [names]
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, (str, int)) for n in names):
        return f"column {columns.label!r} is {_what(value)}, not labels"
    return replace(sample, labels=tuple(str(n).strip() for n in names if str(n).strip()))


def _scored(row: Row, columns: Columns) -> Sample | str:
    sample = _text(row, columns)
    if isinstance(sample, str) or columns.label is None:
        return sample
    value = row.values.get(columns.label)
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return f"column {columns.label!r} is {value!r}, not a number"
    if score != score or score in (float("inf"), float("-inf")):
        return f"column {columns.label!r} is {value!r}, not a finite number"
    return replace(sample, score=score)


def _tagged(row: Row, columns: Columns) -> Sample | str:
    """Words and tags are lists, or texts with white space between them."""
    words = _listed(row.values.get(columns.text))
    if not words or not all(w.strip() for w in words):
        return f"column {columns.text!r} is {_what(row.values.get(columns.text))}, not words"
    sample = Sample(line=row.line, text=" ".join(words), words=words, slice=_slice(row, columns))
    if columns.label is None:
        return sample
    tags = _listed(row.values.get(columns.label))
    if tags is None or len(tags) != len(words):
        return f"{len(words)} words, {len(tags or ())} tags"
    return replace(sample, labels=tags)


def _listed(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list) and all(isinstance(v, (str, int)) for v in value):
        return tuple(map(str, value))
    return None


def _asked(row: Row, columns: Columns) -> Sample | str:
    sample = _text(row, columns)
    if isinstance(sample, str) or columns.label is None:
        return sample
    value = row.values.get(columns.label)
    texts = value.get("text") if isinstance(value, dict) else value
    answers = [texts] if isinstance(texts, str) else texts
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        return f"column {columns.label!r} is {_what(value)}, not answers"
    return replace(sample, answers=tuple(answers))


def _answered(row: Row, columns: Columns) -> Sample | str:
    sample = _labelled(row, columns)
    return sample if isinstance(sample, str) else replace(sample, label=None, target=sample.label)


def _written(row: Row, columns: Columns) -> Sample | str:
    """A text, or a chat: a list of {"role": ..., "content": ...}."""
    value = row.values.get(columns.text)
    if not isinstance(value, list):
        return _labelled(row, columns)
    turns = []
    for number, turn in enumerate(value, 1):
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            return f"column {columns.text!r}, turn {number} is no role and content, both texts"
        turns.append(Turn(role=role, content=content))
    if not turns:
        return f"column {columns.text!r} is empty"
    whole = "\n".join(turn.content for turn in turns)
    return Sample(line=row.line, text=whole, turns=tuple(turns), slice=_slice(row, columns))


def _masked(row: Row, columns: Columns) -> Sample | str:
    """A text with its mask; where it has none, one word, chosen by the text itself, is masked and is the label."""
    sample = _text(row, columns)
    if isinstance(sample, str):
        return sample
    if columns.mask in sample.text:
        word = row.values.get(columns.label) if columns.label else None
        return replace(sample, label=str(word) if word else None)
    words = list(re.finditer(r"\w+", sample.text))
    if not words:
        return f"column {columns.text!r} has neither {columns.mask} nor a word to mask"
    chosen = words[int(hashlib.sha256(sample.text.encode()).hexdigest(), 16) % len(words)]
    text = sample.text[: chosen.start()] + columns.mask + sample.text[chosen.end() :]
    return replace(sample, text=text, label=chosen.group())


def _what(value: Any) -> str:
    return "missing" if value is None else "empty" if value in ("", []) else f"a {type(value).__name__}"


KINDS = {
    "text": Kind(texts=TEXTS, labels=LABELS, pairs=PAIRS, make=_labelled),
    "single text": Kind(texts=TEXTS, labels=LABELS, make=_labelled),
    "text or chat": Kind(texts=(*CHATS, *TEXTS), labels=LABELS, make=_written),
    "label set": Kind(texts=TEXTS, labels=SETS, pairs=PAIRS, make=_label_set),
    "score": Kind(texts=TEXTS, labels=SCORES, pairs=PAIRS, make=_scored),
    "words": Kind(texts=WORDS, labels=TAGS, make=_tagged),
    "question": Kind(texts=QUESTION, labels=("answers", "answer"), pairs=CONTEXTS, needs_pair=True, make=_asked),
    "text-to-text": Kind(texts=("source", *TEXTS), labels=ANSWERS, make=_answered),
    "masked": Kind(texts=TEXTS, labels=LABELS, make=_masked),
}
