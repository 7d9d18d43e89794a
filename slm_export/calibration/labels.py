"""What the data says each sample's answer is: indices of the model's labels, a score, texts."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from slm_export.calibration.kinds import Sample
from slm_export.errors import InputError, nearest

Target = int | float | str
Targets = tuple[tuple[Target, ...], ...]


def targets(samples: Sequence[Sample], labels: Sequence[str], *, file: str) -> Targets | None:
    """Of each sample: label indices (one; one a word; or all that hold), its score, its answers, or the masked word.

    None if the file has none, or the model has no labels to compare with. A file may hold label names or label
    numbers. Raises InputError naming the first row whose label the model lacks.
    """
    if any(s.score is not None for s in samples):
        return tuple((s.score or 0.0,) for s in samples)
    if any(s.answers is not None for s in samples):
        return tuple(s.answers or () for s in samples)
    named = [(s.line, s.labels if s.labels is not None else () if s.label is None else (s.label,)) for s in samples]
    if not any(s.label is not None or s.labels is not None for s in samples):
        return None
    return _indices(named, labels, file=file) if labels else tuple(names for _, names in named)


def _indices(named: Sequence[tuple[int, tuple[str, ...]]], labels: Sequence[str], *, file: str) -> Targets:
    by_name = {name: i for i, name in enumerate(labels)}
    by_number = {str(i): i for i in range(len(labels))}
    table = by_name if any(n in by_name for _, names in named for n in names) else by_number
    unknown = [(line, n) for line, names in named for n in names if n not in table]
    if unknown:
        line, name = unknown[0]
        raise InputError(
            f"{len(unknown)} of {sum(len(names) for _, names in named)} labels in {file} are not labels of the model",
            where=f"{file}:{line}: {name!r}",
            why=_nearest_label(name, labels),
            next_step="use the model's label names or their numbers, or name another column with --label-column",
        )
    return tuple(tuple(table[n] for n in names) for _, names in named)


def _nearest_label(label: str, labels: Sequence[str]) -> str:
    if len(labels) <= 20:
        return nearest(label, labels)
    close = difflib.get_close_matches(label, labels, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the model has {len(labels)} labels, such as {labels[0]!r}"
