"""Golden vectors: a few texts with the reference's and each artifact's outputs, to check again on the device."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from slm_export.bundle.manifest import Golden, GoldenOutputs, GoldenSample
from slm_export.calibration import Sample
from slm_export.outputs import Array, Matrices, Tokens, all_rows

SAMPLES = 8

# Another CPU's kernels may round an int8 activation the other way, and the network amplifies it; a float sum only
# changes its last digits. Weights of another fine-tune lie at .9 and below.
MIN_COSINE = {"fp32": 0.9999, "fp16": 0.9999}
MIN_COSINE_QUANTIZED = 0.99
TOLERANCE, TOLERANCE_QUANTIZED = 0.001, 0.25  # of the values' standard deviation, for outputs of one number


def narrowed(
    task: ModuleType, tokens: Sequence[Tokens], reference: Matrices, artifacts: Sequence[Matrices]
) -> tuple[list[Tokens], Matrices, list[Matrices]]:
    """The samples with those of their rows that golden vectors hold: all of them, unless the task has a `surest`."""
    if not hasattr(task, "surest"):
        return list(tokens), reference, list(artifacts)
    outputs = zip(reference, *artifacts, strict=True)
    chosen = [task.surest(t, own, others) for t, (own, *others) in zip(tokens, outputs, strict=True)]

    def kept(matrices: Matrices) -> Matrices:
        return tuple(m[rows] for m, (_, rows) in zip(matrices, chosen, strict=True))

    return [t for t, _ in chosen], kept(reference), [kept(matrices) for matrices in artifacts]


def choose(task: ModuleType, tokens: Sequence[Tokens], reference: Matrices, artifacts: Sequence[Matrices]) -> list[int]:
    """Rows for golden vectors, spread over the lengths, whose answer is safe.

    Safe: every artifact agrees with the reference, and the reference's answer is as far from another as half of all
    samples' are, so that another host's rounding does not turn it.
    """
    margins = [task.margin(m, t) for m, t in zip(reference, tokens, strict=True)]
    middle = float(np.median(margins))
    safe = [
        i
        for i, margin in enumerate(margins)
        if margin >= middle and all(_same(task, tokens[i], reference[i], a[i]) for a in artifacts)
    ]
    pool = sorted(safe or range(len(reference)), key=lambda i: (len(tokens[i].input_ids), i))
    step = max(1.0, (len(pool) - 1) / max(1, SAMPLES - 1))
    return sorted({pool[min(len(pool) - 1, round(k * step))] for k in range(SAMPLES)})


def _same(task: ModuleType, tokens: Tokens, a: Array, b: Array) -> bool:
    numbers = [str(n) for n in range(a.shape[1])]
    same: bool = task.answer(a, tokens, numbers) == task.answer(b, tokens, numbers)
    return same


def golden(
    *,
    task: ModuleType,
    rows: Sequence[int],
    samples: Sequence[Sample],
    tokens: Sequence[Tokens],
    labels: Sequence[str],
    reference: Matrices,
    artifacts: dict[str, tuple[str, Matrices]],
) -> Golden:
    """`artifacts` is {path: (scheme, outputs of every evaluation row)}."""
    columns = {r: _columns(task, reference[r]) for r in rows}
    spread = float(np.std(all_rows(reference))) or 1.0
    return Golden(
        outputs=tuple(task.OUTPUTS),
        samples=tuple(
            GoldenSample(
                text=tokens[r].written or samples[r].text,
                special_tokens=tokens[r].written is None,
                pair=samples[r].pair,
                words=samples[r].words,
                input_ids=tokens[r].input_ids,
                token_type_ids=tokens[r].token_type_ids,
                positions=tokens[r].positions,
                spans=tokens[r].spans,
                columns=columns[r],
                steps=tokens[r].steps,
                answer=task.answer(reference[r], tokens[r], labels),
                reference=_nested(pick(reference[r], columns[r])),
            )
            for r in rows
        ),
        artifacts={
            path: GoldenOutputs(
                outputs=tuple(_nested(pick(matrices[r], columns[r])) for r in rows),
                min_cosine=MIN_COSINE.get(scheme, MIN_COSINE_QUANTIZED),
                max_abs_error=_tolerance(scheme, spread) if reference[0].shape[1] == 1 else None,
            )
            for path, (scheme, matrices) in artifacts.items()
        },
    )


def _tolerance(scheme: str, spread: float) -> float:
    """For single numbers, of which a cosine tells nothing: a share of the reference's standard deviation."""
    return spread * (TOLERANCE if scheme in MIN_COSINE else TOLERANCE_QUANTIZED)


def _columns(task: ModuleType, matrix: Array) -> tuple[int, ...] | None:
    """The columns to keep of a wide output: those with the largest values."""
    if task.GOLDEN_COLUMNS is None or matrix.shape[1] <= task.GOLDEN_COLUMNS:
        return None
    largest = np.argsort(-matrix.max(axis=0, initial=-np.inf), kind="stable")[: task.GOLDEN_COLUMNS]
    return tuple(sorted(int(i) for i in largest))


def pick(matrix: Array, columns: Sequence[int] | None) -> Array:
    return matrix if columns is None else matrix[:, list(columns)]


def _nested(matrix: Array) -> tuple[tuple[float, ...], ...]:
    """Each number as the shortest decimal that is the same float32: half of the digits, and nothing lost."""
    return tuple(tuple(float(str(v)) for v in row) for row in np.asarray(matrix, np.float32))
