"""From outputs to a parity report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from slm_export import metrics, tasks
from slm_export.calibration.labels import Targets
from slm_export.outputs import Matrices, Outputs, Tokens, all_rows
from slm_export.parity.judge import Finding, judge
from slm_export.parity.report import Continuation, ParityReport, RuntimeCheck, SliceChange
from slm_export.records import record
from slm_export.targets import Limits
from slm_export.tasks.measured import Judged, Measured

NEED_LABELS = (
    "accuracy_drop", "span_f1_drop", "micro_f1_drop", "answer_f1_drop", "error_increase", "chrf_drop",
    "exact_match_drop",
)  # fmt: skip
PROBE_NAMES = ("one_token", "typical", "maximum")


@record
class Truth:
    """What an artifact is compared with. Rows of the eager outputs are `lowering_rows` of the evaluation set."""

    task: str
    labels: tuple[str, ...]
    targets: Targets | None  # what the data says of each evaluation sample
    slices: tuple[str | None, ...]  # the evaluation samples' values of the slice column
    tokens: tuple[Tokens, ...]
    lowering_rows: tuple[int, ...]
    reference: Outputs
    eager: Outputs  # the compressed model, activations quantized as the format does
    weights_only: Outputs  # the compressed model with float activations
    wanted: tuple[str, ...] | None = None  # the answers to generate, where the data holds them
    decode: Callable[[Sequence[int]], str] | None = None  # token ids to text


@record
class Run:
    """What came out of an artifact (or its twin): outputs, or what the runtime said instead."""

    runtime: RuntimeCheck
    outputs: Outputs | None
    first_load: int | None = None  # bytes


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
    probes: dict[str, float] = {}
    measured = Measured(answers={}, intervals={}, classes={})
    if not findings and artifact.outputs is not None:
        numbers = _numbers(truth, artifact.outputs, (twin or artifact).outputs)
        measured = _measure(truth, artifact.outputs)
        pairs = _probe_pairs(truth.reference, artifact.outputs)
        probes = {name: _error(truth.task)(all_rows(a), all_rows(b)) for name, (a, b) in pairs.items()}
        findings = list(judge({**numbers, **measured.answers}, _measurable(limits.bounds, truth)))
    findings += [_refused(r) for r in older if not r.loads]
    return ParityReport(
        format=format,
        scheme=scheme,
        samples=len(truth.reference.evaluation),
        lowering_samples=len(truth.lowering_rows),
        runtimes=(artifact.runtime, *older),
        numbers=numbers,
        answers=measured.answers,
        intervals=measured.intervals,
        noise_floor={k: v for k, v in numbers.items() if k == "lowering_max_abs_error"},
        probes=probes,
        classes=measured.classes,
        slices=_slices(truth, artifact.outputs) if measured.answers and artifact.outputs else {},
        continuations=tuple(_continuations(truth, artifact.outputs)) if artifact.outputs else (),
        limits=_measurable(limits.bounds, truth),
        limits_why=limits.why,
        findings=tuple(findings),
        verdict="fail" if findings else "pass",
    )


def _measurable(bounds: dict[str, float], truth: Truth) -> dict[str, float]:
    """Without labels there is no accuracy to bound; everything else must be measured."""
    labelled = truth.targets is not None or truth.wanted is not None
    return {m: b for m, b in bounds.items() if m not in NEED_LABELS or labelled}


def _refused(check: RuntimeCheck) -> Finding:
    what = f"{check.package} {check.version} does not run it right: {check.refused}"
    advice = "the file is damaged, or needs a newer runtime than the target promises"
    return Finding(metric="load", value=math.nan, limit=math.nan, message=what, advice=advice)


def _output_findings(truth: Truth, *runs: Run | None) -> list[Finding]:
    """What no threshold may allow: outputs of another shape, NaN or infinity, on any row, probe or batch."""
    findings = []
    for run in runs:
        if run is not None and run.outputs is not None:
            findings += [_output_finding(message) for message in _unusable(truth, run.outputs)]
    return findings


def _output_finding(message: str) -> Finding:
    advice = "this is not an artifact of this model, or its arithmetic overflows: a finer scheme (fp32) tells which"
    return Finding(metric="output", value=math.nan, limit=math.nan, message=message, advice=advice)


def _unusable(truth: Truth, got: Outputs) -> Iterator[str]:
    expected = truth.reference
    whole = len(got.evaluation) == len(expected.evaluation)  # a twin is run on the lowering rows only
    rows = expected.evaluation if whole else _picked(expected.evaluation, truth.lowering_rows)
    parts = {"evaluation row": (rows, got.evaluation), "probe": (expected.probes, got.probes)}
    if got.batched_probes is not None:
        parts["row of the batch"] = (expected.probes[: len(got.batched_probes)], got.batched_probes)
    for what, (wanted, matrices) in parts.items():
        for number, (a, b) in enumerate(zip(wanted, matrices, strict=True), 1):
            if a.shape != b.shape:
                yield f"the output of {what} {number} has shape {list(b.shape)} where the reference has {list(a.shape)}"
                return
        wrong = [number for number, m in enumerate(matrices, 1) if not np.isfinite(m).all()]
        if wrong:
            yield f"the output of {what} {wrong[0]} is NaN or infinite ({len(wrong)} of {len(matrices)} are)"


def _picked(matrices: Matrices, rows: Sequence[int]) -> Matrices:
    return tuple(matrices[r] for r in rows)


def _numbers(truth: Truth, got: Outputs, float_run: Outputs | None) -> dict[str, float]:
    reference, rows = all_rows(truth.reference.evaluation), all_rows(got.evaluation)
    picked = [_picked(m, truth.lowering_rows) for m in (truth.reference.evaluation, got.evaluation)]
    here, eager = (metrics.cosine(all_rows(picked[0]), all_rows(m)) for m in (picked[1], truth.eager.evaluation))
    probes = [(all_rows(a), all_rows(b)) for a, b in _probe_pairs(truth.reference, got).values()]
    cosine = metrics.cosine(reference, rows)
    filled = [all_rows(m, fill=metrics.IMPOSSIBLE) for m in (truth.reference.evaluation, got.evaluation)]
    values = {
        "max_abs_error": max(_error(truth.task)(*pair) for pair in [(reference, rows), *probes]),
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "probe_cosine_min": min(float(metrics.cosine(*pair).min()) for pair in probes),
        "snr_db": metrics.snr_db(reference, rows),
        "kl_mean": float(metrics.kl_divergence(*filled).mean()),
        "eager_cosine_gap": float(eager.mean() - here.mean()),
    }
    if float_run is not None:
        values["lowering_max_abs_error"] = _lowering_error(truth, float_run)
    return values


def _error(task: str) -> Callable[[metrics.Array, metrics.Array], float]:
    return metrics.max_error_of_values if task in tasks.VALUES else metrics.max_abs_error


def _lowering_error(truth: Truth, got: Outputs) -> float:
    """Over evaluation rows and probes; a twin is run on the lowering rows only, an artifact on all rows."""
    expected, rows = truth.weights_only, truth.lowering_rows
    evaluation = got.evaluation if len(got.evaluation) == len(rows) else _picked(got.evaluation, rows)
    pairs = [(expected.evaluation, evaluation), *_probe_pairs(expected, got).values()]
    return max(_error(truth.task)(all_rows(a), all_rows(b)) for a, b in pairs)


def _probe_pairs(expected: Outputs, got: Outputs) -> dict[str, tuple[Matrices, Matrices]]:
    """(expected, got) by shape; the batch is of all shapes, padded."""
    pairs = {name: (expected.probes[i : i + 1], got.probes[i : i + 1]) for i, name in enumerate(PROBE_NAMES)}
    if got.batched_probes is not None:
        pairs["batch"] = (expected.probes[: len(got.batched_probes)], got.batched_probes)
    return pairs


def _measure(truth: Truth, got: Outputs, rows: Sequence[int] | None = None) -> Measured:
    """The task's metrics of all evaluation samples, or of some."""
    chosen = range(len(truth.tokens)) if rows is None else rows
    judged = Judged(
        before=_picked(truth.reference.evaluation, chosen),
        after=_picked(got.evaluation, chosen),
        tokens=[truth.tokens[r] for r in chosen],
        labels=truth.labels,
        targets=None if truth.targets is None else [truth.targets[r] for r in chosen],
        said=None if got.said is None else [got.said[r] for r in chosen],
        wanted=None if truth.wanted is None else [truth.wanted[r] for r in chosen],
        decode=truth.decode,
    )
    measured: Measured = tasks.get(truth.task).measure(judged)
    return measured


def reference_answers(truth: Truth) -> dict[str, float]:
    """The task's metrics of the reference against itself: its own quality."""
    return _measure(truth, truth.reference).answers


def _continuations(truth: Truth, got: Outputs) -> Iterator[Continuation]:
    for tokens, said in zip(truth.tokens, got.said or (), strict=False):
        if tokens.continued is not None and truth.decode is not None:
            yield Continuation(
                prompt=truth.decode(tokens.input_ids[: tokens.continued.after]),
                reference=truth.decode(tokens.continued.ids),
                artifact=truth.decode(said),
            )


def _slices(truth: Truth, got: Outputs) -> dict[str, SliceChange]:
    """How each value of the slice column fares: a mean over all can hide a part that quantization hurts."""
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(truth.slices):
        if value is not None:
            rows.setdefault(value, []).append(row)
    return {
        value: SliceChange(samples=len(mine), answers=_measure(truth, got, mine).answers)
        for value, mine in sorted(rows.items())
    }
