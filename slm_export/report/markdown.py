"""report.md: the parity report for people. The same run gives the same bytes: no times, no paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from slm_export.distillation import Distilled
from slm_export.names import METRICS, SCHEMES
from slm_export.parity.judge import show
from slm_export.parity.report import Continuation, ParityReport
from slm_export.quantization.search import Trial
from slm_export.quantplan import QuantPlan
from slm_export.report.pruning import pruning_lines
from slm_export.report.rows import HEADER, cells, row
from slm_export.results import FormatResult, RunResult
from slm_export.stages.prepare import Prepared

WORST_CLASSES = 5
PROMPT = 80  # characters of a prompt's end that are shown


def report_markdown(result: RunResult, prepared: Prepared) -> str:
    parts = (_head(result), _data(result, prepared), pruning_lines(prepared.pruning), _artifacts(result, prepared))
    return "\n".join(line for part in parts for line in part) + "\n"


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first line is the header."""
    head, *body = lines
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]


def _head(result: RunResult) -> Iterator[str]:
    plan = result.plan
    yield f"# {plan.source.name} for {plan.profile.name}"
    yield ""
    source = plan.source
    yield f"{source.architecture}, {source.task}, {len(source.labels)} labels, up to {plan.shape.max_length} tokens."
    yield f"Source {source.sha256[:16]}, licence {source.license or 'not stated'}."
    yield ""
    yield from table([cells(HEADER), *(cells(row(f)) for f in result.formats)])
    yield ""
    yield "The artifacts ran in their own runtimes on the host that exported them, not on the device."
    yield "Lowering loss is the largest difference between the weight-only twin and the compressed model run eager."
    yield ""
    for note in plan.notes:
        yield f"- {note}"


def _data(result: RunResult, prepared: Prepared) -> Iterator[str]:
    judge = result.plan.evaluation
    yield ""
    yield "## Data"
    yield ""
    held_out = ", held out of the calibration file" if judge.held_out else ""
    yield f"- Evaluation: {judge.file}, {len(judge.samples)} samples{held_out}, SHA-256 {judge.sha256[:16]}."
    if prepared.calibration is None:
        yield "- Calibration: none; the schemes need none."
        return
    facts = prepared.calibration
    yield (
        f"- Calibration: {facts['file']}, {facts['samples']} of {facts['rows']} rows, seed {facts['seed']}, "
        f"truncation rate {facts['truncation_rate']:.1%}, SHA-256 {facts['sha256'][:16]}."
    )
    lengths = ", ".join(f"{bins}: {count}" for bins, count in facts["length_histogram"].items())
    yield f"- Calibration lengths in tokens: {lengths}."


def _searched(trials: Sequence[Trial]) -> Iterator[str]:
    """What each step was estimated to take, and lost on the rows held out for the search; the last was chosen."""
    yield "Searched (weights in MB as estimated; drop on calibration rows held out for it):"
    yield ""
    head = ["scheme", "int8 instead of int4", "MB", "step", "drop", "within"]
    lines = []
    for before, trial in zip([None, *trials], trials, strict=False):
        step = f"{trial.megabytes - before.megabytes:+.2f}" if before else ""
        wider = f"{trial.int8_share:.0%}: {len(trial.int8_layers)} layers" if trial.int8_share else ""
        drop = "not measured" if trial.drop is None else f"{trial.drop:.4f} {trial.metric}"
        lines.append([trial.scheme, wider, f"{trial.megabytes:.2f}", step, drop, "yes" if trial.within else "no"])
    yield from table([head, *lines])
    if trials[-1].int8_layers:
        yield ""
        yield f"In int8: {', '.join(trials[-1].int8_layers)}."
    yield ""


def _artifacts(result: RunResult, prepared: Prepared) -> Iterator[str]:
    for done in result.formats:
        yield ""
        yield f"## {done.format}, {done.scheme}"
        yield ""
        yield f"{SCHEMES[done.scheme]}."
        yield ""
        if done.format in prepared.trials:
            yield from _searched(prepared.trials[done.format])
        if done.format in prepared.tuning:
            yield from _tuned(prepared.tuning[done.format])
        if done.error:
            yield from ("```", str(done.error), "```", "")
        if done.artifact:
            yield from _made(done)
        if done.report and done.report.numbers:
            yield from _measured(done.report)


def _tuned(went: Distilled) -> Iterator[str]:
    yield (
        f"Scales and norms tuned in {went.steps} steps on {went.samples} texts; distillation loss on {went.judged} "
        f"others: {went.before:.4g} before, {went.after:.4g} after."
    )
    yield ""


def _made(done: FormatResult) -> Iterator[str]:
    artifact = done.artifact
    assert artifact is not None
    layers = [p for p in artifact.plan.layers.values() if p.bits <= 8]
    kinds, bits = Counter(p.activations for p in layers), Counter(p.bits for p in layers)
    yield f"- {artifact.path}, SHA-256 {artifact.files[0].sha256[:16]}"
    if artifact.layers_carried:
        yield f"- integers and scales read back equal: {artifact.layers_carried} layers"
        yield f"- weights: {', '.join(f'{n} layers int{b}' for b, n in sorted(bits.items()))}"
        yield f"- activations: {', '.join(f'{n} layers {kind}' for kind, n in sorted(kinds.items()))}"
    if artifact.plan.ranges:
        yield from _static(artifact.plan)
    if artifact.delegation_share is not None:
        yield f"- {artifact.delegation_share:.0%} of operators run in {artifact.runtime.backend}"
    if done.deflated_bytes is not None:
        plain = sum(f.bytes for f in artifact.files)
        yield f"- deflated, as in a download: {done.deflated_bytes / 1e6:.2f} of {plain / 1e6:.2f} MB"
    memory = artifact.memory
    first = f"; first load {memory.first_load_bytes / 1e6:.1f} MB" if memory.first_load_bytes is not None else ""
    read = f"weights {memory.weights_bytes / 1e6:.1f} MB, activations {memory.activations_bytes / 1e6:.1f} MB"
    yield f"- memory: {read}{first}"
    for check in done.report.runtimes if done.report else ():
        yield f"- {check.package} {check.version}: {'runs it' if check.loads else check.refused}"
    yield ""


def _static(plan: QuantPlan) -> Iterator[str]:
    worst = sorted(plan.kept_float.items(), key=lambda item: (-item[1], item[0]))
    named = "; ".join(f"`{name}` {show(harm)}" for name, harm in worst)
    yield f"- static ranges: {len(plan.ranges)} tensors"
    yield f"- kept float, with the harm that a range would do alone: {named or 'none'}"
    if plan.masked:
        yield f"- kept float, because the mask of padding is in them or put into them next: {_quoted(plan.masked)}"
    dynamic = [n for n, p in plan.layers.items() if p.bits <= 8 and p.activations not in ("float", "static")]
    yield f"- Linears that find their ranges at run time: {_quoted(dynamic) or 'none'}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _measured(report: ParityReport) -> Iterator[str]:
    values = {**report.numbers, **report.answers}
    bounded = [
        [m, show(values[m]) + _interval(m, report), _bound(m, report), METRICS[m][1]] for m in METRICS if m in values
    ]
    yield from table([["metric", "value", "threshold", "meaning"], *bounded])
    yield ""
    yield f"In brackets: 95 % intervals. Thresholds: {report.limits_why}."
    yield ""
    shapes = ", ".join(f"{name.replace('_', ' ')} {show(v)}" for name, v in report.probes.items())
    yield f"Largest difference to the reference by shape: {shapes}."
    changed = sorted(report.classes.items(), key=lambda c: (-c[1].flips / c[1].samples, c[0]))
    worst = [c for c in changed if c[1].flips][:WORST_CLASSES]
    if worst:
        yield ""
        lines = [[n, str(c.samples), str(c.flips), f"{c.accuracy_reference:.1%} -> {c.accuracy:.1%}"] for n, c in worst]
        yield from table([["label", "samples", "changed answers", "accuracy"], *lines])

    yield from _sliced(report)
    yield from _continued(report.continuations)


def _interval(metric: str, report: ParityReport) -> str:
    if metric not in report.intervals:
        return ""
    low, high = report.intervals[metric]
    return f" ({show(low)} to {show(high)})"


def _sliced(report: ParityReport) -> Iterator[str]:
    """One line a slice: what each metric of the answers is there."""
    if not report.slices:
        return
    names = list(dict.fromkeys(n for s in report.slices.values() for n in s.answers))
    lines = [
        [value, str(s.samples), *(show(s.answers[n]) if n in s.answers else "-" for n in names)]
        for value, s in report.slices.items()
    ]
    yield ""
    yield from table([["slice", "samples", *names], *lines])


def _continued(continuations: Sequence[Continuation]) -> Iterator[str]:
    """Verbatim, in blocks that no text can end."""
    for shown in continuations:
        yield ""
        yield f"Greedily after …{shown.prompt[-PROMPT:]!r}, to read and not to judge:"
        yield ""
        same = shown.artifact == shown.reference
        yield f"- reference: {shown.reference!r}"
        yield f"- artifact: {'the same' if same else repr(shown.artifact)}"


def _bound(metric: str, report: ParityReport) -> str:
    return f"{METRICS[metric][0]} {show(report.limits[metric])}" if metric in report.limits else ""
