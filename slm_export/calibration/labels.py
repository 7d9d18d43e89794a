"""The labels of samples as indices of the model's own."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from slm_export.calibration.samples import Sample
from slm_export.errors import InputError, nearest

Targets = tuple[tuple[int, ...], ...]


def targets(samples: Sequence[Sample], labels: Sequence[str], *, file: str) -> Targets | None:
    """Label indices of each sample: one, or one a word; None if the samples, or the model, have none.

    A file may hold label names or label numbers. Raises InputError naming the first row whose label the model lacks.
    """
    named = [(s.line, s.tags if s.tags is not None else () if s.label is None else (s.label,)) for s in samples]
    if not labels or not any(names for _, names in named):
        return None
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
