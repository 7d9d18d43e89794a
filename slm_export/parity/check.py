"""From outputs to a parity report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from slm_export import tasks
from slm_export.outputs import Array, Outputs
from slm_export.parity import metrics
from slm_export.parity.judge import Finding, judge
from slm_export.parity.report import ClassChange, ParityReport, RuntimeCheck
from slm_export.records import record
from slm_export.targets import Limits

PROBE_NAMES = ("one_token", "typical", "maximum")


@record
class Truth:
    """What an artifact is compared with. Rows of the eager outputs are `lowering_rows` of the evaluation set."""

    task: str
    labels: tuple[str, ...]
    label_ids: tuple[int, ...] | None
    lowering_rows: tuple[int, ...]
    reference: Outputs
    eager: Outputs  # the compressed model, activations quantized as the format does
    weights_only: Outputs  # the compressed model with float activations


@record
class Run:
    """What came out of an artifact (or its twin): outputs, or what the runtime said instead."""

    runtime: RuntimeCheck
    outputs: Outputs | None


def check(
    *,
    format: str,
    scheme: str,
    truth: Truth,
    artifact: Run,
    twin: Run | None,
    older: Sequence[RuntimeCheck],
    limits: Limits,
) -> ParityReport:
    """Compare an artifact with the reference, level 0 to 2, and judge it by `limits`.

    `twin` is the weight-only twin's run, None where the artifact has float activations itself. `older` are the
    checks in older versions of the runtime.
    """
    findings = [_refused(r.runtime) for r in (artifact, twin) if r and not r.runtime.loads]
    findings += _output_findings(truth, artifact, twin)
    numbers: dict[str, float] = {}
    answers: dict[str, float] = {}
    intervals: dict[str, tuple[float, ...]] = {}
    probes: dict[str, float] = {}
    classes: dict[str, ClassChange] = {}
    if not findings and artifact.outputs is not None:
        numbers = _numbers(truth, artifact.outputs, (twin or artifact).outputs)
        answers, intervals, classes = _answers(truth, artifact.outputs)
        pairs = _probe_pairs(truth.reference, artifact.outputs)
        probes = {name: metrics.max_abs_error(*pair) for name, pair in pairs.items()}
        findings = list(judge({**numbers, **answers}, _measurable(limits.bounds, truth)))
    findings += [_refused(r) for r in older if not r.loads]
    return ParityReport(
        format=format,
        scheme=scheme,
        samples=len(truth.reference.evaluation),
        lowering_samples=len(truth.lowering_rows),
        runtimes=(artifact.runtime, *older),
        numbers=numbers,
        answers=answers,
        intervals=intervals,
        noise_floor={k: v for k, v in numbers.items() if k == "lowering_max_abs_error"},
        probes=probes,
        classes=classes,
        limits=_measurable(limits.bounds, truth),
        limits_why=limits.why,
        findings=tuple(findings),
        verdict="fail" if findings else "pass",
    )


def _measurable(bounds: dict[str, float], truth: Truth) -> dict[str, float]:
    """Without labels there is no accuracy to bound; everything else must be measured."""
    return {m: b for m, b in bounds.items() if m != "accuracy_drop" or truth.label_ids is not None}


def _refused(check: RuntimeCheck) -> Finding:
    what = f"{check.package} {check.version} does not run it right: {check.refused}"
    advice = "the file is damaged, or needs a newer runtime than the target promises"
    return Finding(metric="load", value=math.nan, limit=math.nan, message=what, advice=advice)


def _output_findings(truth: Truth, *runs: Run | None) -> list[Finding]:
    """What no threshold may allow: outputs of another shape, NaN or infinity, on any row, probe or batch."""
    outputs = [(run.runtime, run.outputs) for run in runs if run is not None and run.outputs is not None]
    return [_output_finding(m) for runtime, got in outputs for m in _unusable(truth.reference.probes.shape[1:], got)]


def _output_finding(message: str) -> Finding:
    advice = "this is not an artifact of this model, or its arithmetic overflows: a finer scheme (fp32) tells which"
    return Finding(metric="output", value=math.nan, limit=math.nan, message=message, advice=advice)


def _unusable(expected: tuple[int, ...], got: Outputs) -> Iterator[str]:
    arrays = {"evaluation row": got.evaluation, "probe": got.probes, "row of the batch": got.batched_probes}
    for what, array in arrays.items():
        if array is None:
            continue
        if array.shape[1:] != expected:
            yield f"output has shape {list(array.shape[1:])} where the reference has {list(expected)}"
            return
        wrong = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(wrong):
            yield f"the output of {what} {wrong[0] + 1} is NaN or infinite ({len(wrong)} of {len(array)} are)"


def _numbers(truth: Truth, got: Outputs, float_run: Outputs | None) -> dict[str, float]:
    rows = list(truth.lowering_rows)
    reference = truth.reference
    cosine = metrics.cosine(reference.evaluation, got.evaluation)
    eager_cosine = metrics.cosine(reference.evaluation[rows], truth.eager.evaluation)
    values = {
        "max_abs_error": max(
            metrics.max_abs_error(reference.evaluation, got.evaluation),
            *(metrics.max_abs_error(*pair) for pair in _probe_pairs(reference, got).values()),
        ),
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "probe_cosine_min": min(metrics.cosine(*pair).min() for pair in _probe_pairs(reference, got).values()),
        "snr_db": metrics.snr_db(reference.evaluation, got.evaluation),
        "kl_mean": float(metrics.kl_divergence(reference.evaluation, got.evaluation).mean()),
        "eager_cosine_gap": float(eager_cosine.mean() - cosine[rows].mean()),
    }
    if float_run is not None:
        values["lowering_max_abs_error"] = _lowering_error(truth.weights_only, float_run, rows)
    return values


def _lowering_error(expected: Outputs, got: Outputs, rows: list[int]) -> float:
    """Over evaluation rows and probes; a twin is run on the lowering rows only, an artifact on all rows."""
    evaluation = got.evaluation if len(got.evaluation) == len(rows) else got.evaluation[rows]
    pairs = [(expected.evaluation, evaluation), *_probe_pairs(expected, got).values()]
    return max(metrics.max_abs_error(*pair) for pair in pairs)


def _probe_pairs(expected: Outputs, got: Outputs) -> dict[str, tuple[Array, Array]]:
    """(expected, got) by shape; the batch is of all shapes, padded."""
    pairs = {name: (expected.probes[i : i + 1], got.probes[i : i + 1]) for i, name in enumerate(PROBE_NAMES)}
    if got.batched_probes is not None:
        pairs["batch"] = (expected.probes[: len(got.batched_probes)], got.batched_probes)
    return pairs


def _answers(
    truth: Truth, got: Outputs
) -> tuple[dict[str, float], dict[str, tuple[float, ...]], dict[str, ClassChange]]:
    task = tasks.get(truth.task)
    before, after = task.answers(truth.reference.evaluation), task.answers(got.evaluation)
    changed = metrics.flips(before, after)
    values = {"flips": float(changed), "flip_rate": changed / len(before)}
    intervals: dict[str, tuple[float, ...]] = {"flip_rate": metrics.wilson_interval(changed, len(before))}
    if truth.label_ids is None:
        return values, intervals, _classes(truth.labels, before, before, after)
    labels = np.array(truth.label_ids, np.int64)
    values["accuracy_reference"] = metrics.accuracy(labels, before)
    values["accuracy"] = metrics.accuracy(labels, after)
    values["accuracy_drop"] = values["accuracy_reference"] - values["accuracy"]
    intervals["accuracy"] = metrics.wilson_interval(int((labels == after).sum()), len(labels))
    return values, intervals, _classes(truth.labels, labels, before, after)


def _classes(
    names: Sequence[str], labels: npt.NDArray[np.int64], before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]
) -> dict[str, ClassChange]:
    """By label of the evaluation set (by the reference's answer, if it has none)."""
    changes = {}
    for index in np.unique(labels):
        mine = labels == index
        changes[names[index]] = ClassChange(
            samples=int(mine.sum()),
            flips=int((before[mine] != after[mine]).sum()),
            accuracy_reference=float((before[mine] == index).mean()),
            accuracy=float((after[mine] == index).mean()),
        )
    return changes
