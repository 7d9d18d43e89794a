"""ParityReport: what was measured of one artifact, by which thresholds, and the verdict."""

from __future__ import annotations

from slm_export.parity.judge import Finding, judge
from slm_export.records import record
from slm_export.tasks.measured import ClassChange


@record
class RuntimeCheck:
    """The artifact in one version of its runtime. `executor` says where: this host, not the device."""

    package: str
    version: str
    executor: str
    loads: bool
    refused: str | None = None


@record
class SliceChange:
    """The metrics of one value of the slice column."""

    samples: int
    answers: dict[str, float]


@record
class Continuation:
    """What reference and artifact write after a prompt; shown, never judged."""

    prompt: str
    reference: str
    artifact: str


@record
class ParityReport:
    format: str
    scheme: str
    samples: int
    lowering_samples: int
    runtimes: tuple[RuntimeCheck, ...]  # level 0
    numbers: dict[str, float]  # level 1
    answers: dict[str, float]  # level 2
    intervals: dict[str, tuple[float, ...]]  # 95 %
    noise_floor: dict[str, float]  # the format's own lowering of float arithmetic: twin against compressed eager
    probes: dict[str, float]  # max abs error by shape: one token, typical, maximum, batch
    classes: dict[str, ClassChange]
    slices: dict[str, SliceChange]
    continuations: tuple[Continuation, ...] = ()  # of a causal model
    limits: dict[str, float]
    limits_why: str
    findings: tuple[Finding, ...]
    verdict: str  # "pass" or "fail"


def rejudge(report: ParityReport) -> tuple[Finding, ...]:
    """The findings of a stored report by its own thresholds; what could not be measured stays a finding."""
    unmeasured = tuple(f for f in report.findings if f.metric in ("load", "output"))
    return unmeasured or judge({**report.numbers, **report.answers}, report.limits)
