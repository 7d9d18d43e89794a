"""Golden vectors: a few texts with the reference's and each artifact's outputs, to check again on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slm_export.bundle.manifest import Golden, GoldenOutputs, GoldenSample
from slm_export.outputs import Array

SAMPLES = 8

# Another CPU's kernels may round an int8 activation the other way, and the network amplifies it; a float sum only
# changes its last digits. Weights of another fine-tune lie at .9 and below.
MIN_COSINE = {"fp32": 0.9999, "fp16": 0.9999}
MIN_COSINE_QUANTIZED = 0.99


def choose(reference: Array, lengths: Sequence[int], answers: Sequence[Array]) -> list[int]:
    """Rows for golden vectors, spread over the lengths, whose answer is safe.

    Safe: every artifact agrees with the reference, and the reference's best logit leads the second by no less than
    half of all samples do, so that another host's rounding does not turn it.
    """
    top = np.sort(reference, axis=1)[:, -2:]
    margin = top[:, 1] - top[:, 0]
    best = reference.argmax(axis=1)
    agreed = np.all([a.argmax(axis=1) == best for a in answers], axis=0)
    safe = [i for i in range(len(reference)) if agreed[i] and margin[i] >= np.median(margin)]
    pool = sorted(safe or range(len(reference)), key=lambda i: (lengths[i], i))
    step = max(1.0, (len(pool) - 1) / max(1, SAMPLES - 1))
    return sorted({pool[min(len(pool) - 1, round(k * step))] for k in range(SAMPLES)})


def golden(
    *,
    output: str,
    rows: Sequence[int],
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    labels: Sequence[str],
    reference: Array,
    artifacts: dict[str, tuple[str, Array]],
) -> Golden:
    """`artifacts` is {path: (scheme, outputs of every evaluation row)}."""
    samples = [
        GoldenSample(
            text=texts[r],
            input_ids=tuple(ids[r]),
            label=labels[int(reference[r].argmax())],
            reference=tuple(float(v) for v in reference[r]),
        )
        for r in rows
    ]
    outputs = {
        path: GoldenOutputs(
            outputs=tuple(tuple(float(v) for v in values[r]) for r in rows),
            min_cosine=MIN_COSINE.get(scheme, MIN_COSINE_QUANTIZED),
        )
        for path, (scheme, values) in artifacts.items()
    }
    return Golden(output=output, samples=tuple(samples), artifacts=outputs)
