"""Metrics: pure functions of arrays.

Arrays are float, [samples, outputs]. NaN or infinity anywhere in a sample makes that sample's value the worst one
(infinite error, cosine -1), never a silent skip. An empty array or unequal shapes raise ValueError.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]
IMPOSSIBLE = -1e9  # a logit whose probability is 0: fills rows that are narrower than others
Doubles = npt.NDArray[np.float64]
RESAMPLES = 2000
ORDER = 6  # the longest n-grams of chrF


def _pair(reference: Array, got: Array) -> tuple[Doubles, Doubles, npt.NDArray[np.bool_]]:
    if reference.shape != got.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {got.shape}")
    if reference.size == 0:
        raise ValueError("nothing to compare")
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (reference, got))
    finite: npt.NDArray[np.bool_] = np.isfinite(np.concatenate([a, b], axis=1)).all(axis=1)
    return np.where(finite[:, None], a, 0.0), np.where(finite[:, None], b, 0.0), finite


def max_abs_error(reference: Array, got: Array) -> float:
    """Largest absolute difference; infinite if anything is not finite."""
    a, b, finite = _pair(reference, got)
    return float(np.abs(a - b).max()) if finite.all() else math.inf


def max_error_of_values(reference: Array, got: Array) -> float:
    """max_abs_error up to a largest reference value of 100; beyond it, per hundredth of that value.

    Of answers that may be of any size: float32 keeps 24 bits of a number, so one of 1000 has steps of 6e-5.
    """
    error = max_abs_error(reference, got)
    largest = float(np.abs(reference).max()) if math.isfinite(error) else 0.0
    return error / max(1.0, largest / 100)


def cosine(reference: Array, got: Array) -> npt.NDArray[np.float64]:
    """Cosine of each sample [samples], computed in float64; two zero samples give 1, one zero sample 0."""
    a, b, finite = _pair(reference, got)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = (np.linalg.norm(a, axis=1) == 0) & (np.linalg.norm(b, axis=1) == 0)
    value = np.where(norm > 0, (a * b).sum(axis=1) / np.where(norm > 0, norm, 1.0), both_zero.astype(np.float64))
    return np.where(finite, np.clip(value, -1.0, 1.0), -1.0)


def snr_db(reference: Array, got: Array) -> float:
    """10 log10 of the reference's energy over the difference's; infinite if equal, -infinite if not finite."""
    a, b, finite = _pair(reference, got)
    if not finite.all():
        return -math.inf
    signal, noise = float((a**2).sum()), float(((a - b) ** 2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def kl_divergence(reference: Array, got: Array) -> npt.NDArray[np.float64]:
    """KL(softmax(reference) || softmax(got)) of each sample [samples], nats; infinite where not finite."""
    a, b, finite = _pair(reference, got)
    p, q = _log_softmax(a), _log_softmax(b)
    value = np.maximum((np.exp(p) * (p - q)).sum(axis=1), 0.0)
    return np.where(finite, value, math.inf)


def _log_softmax(x: Doubles) -> Doubles:
    shifted = x - x.max(axis=1, keepdims=True)
    value: Doubles = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return value


def flips(reference: npt.NDArray[np.int64], got: npt.NDArray[np.int64]) -> int:
    """How many answers differ. An answer of -1 (no answer) always counts as one."""
    if reference.shape != got.shape or reference.size == 0:
        raise ValueError(f"cannot compare answers of shapes {reference.shape} and {got.shape}")
    return int(((reference != got) | (got < 0)).sum())


def wilson_interval(successes: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a rate, 95 % by default (Wilson 1927, JASA 22:209). n = 0 gives (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z
    center = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def drop_interval(
    before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], *, z: float = 1.959964
) -> tuple[float, float]:
    """Interval of the share of right answers before minus that after, of the same samples, 95 % by default.

    Adjusted Wald for matched pairs (Agresti and Min 2005, Statistics in Medicine 24:729): what counts is how many
    answers changed, not how many there are. Nothing at all gives (-1, 1).
    """
    if before.shape != after.shape:
        raise ValueError(f"shapes differ: {before.shape} and {after.shape}")
    if before.size == 0:
        return -1.0, 1.0
    n = before.size + 2
    lost, won = int((before & ~after).sum()) + 0.5, int((after & ~before).sum()) + 0.5
    center = (lost - won) / n
    half = z * math.sqrt(lost + won - (lost - won) ** 2 / n) / n
    return center - half, center + half


def ratio_drop_interval(before: Doubles, after: Doubles, *, share: float = 0.95) -> tuple[float, float]:
    """Interval of a ratio of sums over samples, before minus after, of the same samples; 95 % by default.

    `before` and `after` are [samples, 2]: each sample's part of the numerator and of the denominator; of an F1, twice
    the hits, and what was found plus what was there. Percentiles of a paired bootstrap (Efron and Tibshirani 1993,
    chapter 13) of 2,000 resamples with a fixed seed. Fewer than two samples give (-1, 1); 0 / 0 counts as 0.
    """
    if before.shape != after.shape or before.ndim != 2 or before.shape[1] != 2:
        raise ValueError(f"shapes differ, or are not [samples, 2]: {before.shape} and {after.shape}")
    if len(before) < 2:
        return -1.0, 1.0
    return _bootstrap(len(before), lambda times: _ratio(times @ before) - _ratio(times @ after), share)


def _bootstrap(samples: int, drop: Callable[[Doubles], float], share: float) -> tuple[float, float]:
    """Percentiles of what is lost in resamples; `drop` is told how many times each sample is in one."""
    chance, drops = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drops.append(drop(np.bincount(chance.integers(0, samples, samples), minlength=samples).astype(np.float64)))
    low, high = np.quantile(drops, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _ratio(sums: Doubles) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def accuracy(labels: npt.NDArray[np.int64], answers: npt.NDArray[np.int64]) -> float:
    """Share of answers that equal the label."""
    if labels.shape != answers.shape or labels.size == 0:
        raise ValueError(f"cannot score answers of shape {answers.shape} against labels of shape {labels.shape}")
    return float((labels == answers).mean())


def f1(truth: npt.NDArray[np.bool_], answers: npt.NDArray[np.bool_]) -> float:
    """F1 over all decisions of two arrays of one shape (micro); 1 if nothing is true in either."""
    if truth.shape != answers.shape or truth.size == 0:
        raise ValueError(f"cannot score answers of shape {answers.shape} against labels of shape {truth.shape}")
    both, total = int((truth & answers).sum()), int(truth.sum()) + int(answers.sum())
    return 2 * both / total if total else 1.0


def chrf(texts: Sequence[str], wanted: Sequence[str]) -> float:
    """chrF2 of a corpus, 0 to 100 (Popovic 2015): precision and recall of character n-grams up to ORDER, averaged over
    the orders that both sides have, white space left out, as sacrebleu counts."""
    return _chrf(_ngram_counts(texts, wanted).sum(axis=0))


def chrf_drop_interval(
    before: Sequence[str], after: Sequence[str], wanted: Sequence[str], *, share: float = 0.95
) -> tuple[float, float]:
    """Interval of chrF before minus chrF after, of the same samples; 95 % by default, bootstrapped as that of a ratio.
    Fewer than two samples give (-100, 100)."""
    counts = _ngram_counts(before, wanted), _ngram_counts(after, wanted)
    if len(wanted) < 2:
        return -100.0, 100.0
    flat = [c.reshape(len(wanted), -1) for c in counts]

    def drop(times: Doubles) -> float:
        old, new = (_chrf((times @ part).reshape(counts[0].shape[1:])) for part in flat)
        return old - new

    return _bootstrap(len(wanted), drop, share)


def _chrf(counts: Doubles, *, beta: float = 2.0) -> float:
    """Of [ORDER, 3]: n-grams that match, that were said, that were wanted."""
    known = counts[(counts[:, 1] > 0) & (counts[:, 2] > 0)]
    if not len(known):
        return 0.0
    precision, recall = (float((known[:, 0] / known[:, side]).mean()) for side in (1, 2))
    if precision + recall == 0:
        return 0.0
    return 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _ngram_counts(texts: Sequence[str], wanted: Sequence[str]) -> Doubles:
    """[texts, ORDER, 3], see _chrf."""
    if len(texts) != len(wanted) or not texts:
        raise ValueError(f"cannot score {len(texts)} texts against {len(wanted)}")
    counts = np.zeros((len(texts), ORDER, 3))
    for row, pair in enumerate(zip(texts, wanted, strict=True)):
        text, target = ("".join(part.split()) for part in pair)
        for size in range(1, ORDER + 1):
            mine, theirs = (Counter(t[i : i + size] for i in range(len(t) - size + 1)) for t in (text, target))
            said = mine.total() if theirs else 0  # sacrebleu's way with targets shorter than the n-gram
            counts[row, size - 1] = (mine & theirs).total(), said, theirs.total()
    return counts
