"""The figures that every report shows of a format, made once."""

from __future__ import annotations

from collections.abc import Mapping

from slm_export.parity.report import ParityReport
from slm_export.records import record
from slm_export.results import FormatResult

WORDS = {
    "sequence_match": "the same", "flip_rate": "changed", "neighbour_agreement": "same neighbour",
    "value_error_mean": "of a deviation off",
}  # fmt: skip
QUALITIES = ("accuracy", "span_f1", "micro_f1", "answer_f1")


@record
class Row:
    """One format on one line, ready to print; "-" where there is no figure."""

    format: str
    scheme: str
    megabytes: str
    cosine: str
    answers: str
    accuracy: str
    lowering: str
    verdict: str


HEADER = Row(
    format="format",
    scheme="scheme",
    megabytes="MB",
    cosine="cosine mean / min",
    answers="answers (95 %)",
    accuracy="accuracy or F1",
    lowering="lowering loss",
    verdict="verdict",
)


def row(done: FormatResult) -> Row:
    size = f"{sum(f.bytes for f in done.artifact.files) / 1e6:.2f}" if done.artifact else "-"
    verdict = "pass" if done.error is None else type(done.error).__name__.removesuffix("Error").lower() + " failed"
    if done.report is None or not done.report.numbers:
        return Row(
            format=done.format, scheme=done.scheme, megabytes=size, verdict=verdict,
            cosine="-", answers="-", accuracy="-", lowering="-",
        )  # fmt: skip
    numbers, answers = done.report.numbers, done.report.answers
    return Row(
        format=done.format,
        scheme=done.scheme,
        megabytes=size,
        cosine=f"{numbers['cosine_mean']:.6f} / {numbers['cosine_min']:.4f}",
        answers=_answers(done.report),
        accuracy=_quality(answers),
        lowering=f"{numbers['lowering_max_abs_error']:.1e}" if "lowering_max_abs_error" in numbers else "-",
        verdict=verdict,
    )


def _answers(report: ParityReport) -> str:
    name = next(n for n in WORDS if n in report.answers)
    low, high = report.intervals.get(name, (None, None))
    interval = f" ({low:.2%}-{high:.2%})" if low is not None else ""
    return f"{report.answers[name]:.2%} {WORDS[name]}{interval}"


def _quality(answers: Mapping[str, float]) -> str:
    name = next((n for n in QUALITIES if n in answers), None)
    if name:
        return f"{answers[f'{name}_reference']:.2%} -> {answers[name]:.2%}"
    if "chrf" in answers:
        return f"chrF {answers['chrf_reference']:.2f} -> {answers['chrf']:.2f}"
    if "mean_absolute_error" in answers:
        return f"error {answers['mean_absolute_error_reference']:.3f} -> {answers['mean_absolute_error']:.3f}"
    return "no labels"


def cells(line: Row) -> list[str]:
    return [
        line.format, line.scheme, line.megabytes, line.cosine, line.answers, line.accuracy, line.lowering, line.verdict,
    ]  # fmt: skip
