"""Choosing calibration rows: stratified, seeded, and never a row that judges."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

from slm_export.calibration.kinds import Sample


def stratified(samples: Sequence[Sample], *, size: int, seed: int) -> list[Sample]:
    """`size` samples in file order, drawn so that each stratum keeps its share.

    Strata are labels; without labels, the quartiles of the text's length. Every stratum gives at least one sample
    while `size` allows; shares are rounded by largest remainder. The same samples, size and seed give the same choice.
    """
    if size >= len(samples):
        return list(samples)
    strata = _strata(samples)
    quota = _quotas({k: len(v) for k, v in strata.items()}, size)
    rng = random.Random(seed)
    chosen = [s for key in strata for s in rng.sample(strata[key], quota[key])]
    return sorted(chosen, key=lambda s: s.line)


def _strata(samples: Sequence[Sample]) -> dict[Hashable, list[Sample]]:
    strata: dict[Hashable, list[Sample]] = defaultdict(list)
    if samples[0].label is not None:
        for s in samples:
            strata[s.label].append(s)
    else:
        by_length = sorted(samples, key=lambda s: (len(s.text), s.line))
        for rank, s in enumerate(by_length):
            strata[4 * rank // len(by_length)].append(s)
    return dict(sorted(strata.items(), key=lambda item: str(item[0])))


def _quotas(counts: dict[Hashable, int], size: int) -> dict[Hashable, int]:
    total = sum(counts.values())
    floor = 1 if size >= len(counts) else 0
    exact = {k: size * n / total for k, n in counts.items()}
    quota = {k: min(counts[k], max(floor, int(x))) for k, x in exact.items()}
    order = sorted(counts, key=lambda k: (quota[k] - exact[k], str(k)))
    while sum(quota.values()) > size:  # the floor gave too many: take back from the largest
        quota[max(order, key=lambda k: quota[k])] -= 1
    while sum(quota.values()) < size:
        short = [k for k in order if quota[k] < counts[k]]
        for k in short[: size - sum(quota.values())]:
            quota[k] += 1
    return quota


def normalized(text: str) -> str:
    """What counts as the same text: letter case and white space aside."""
    return " ".join(text.casefold().split())


def overlap(calibration: Sequence[Sample], evaluation: Sequence[Sample]) -> list[Sample]:
    """The calibration samples whose text (and second text) is also in the evaluation set."""
    judged = {_key(s) for s in evaluation}
    return [s for s in calibration if _key(s) in judged]


def _key(sample: Sample) -> tuple[str, str]:
    return normalized(sample.text), normalized(sample.pair or "")
