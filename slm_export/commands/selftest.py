"""slm-export run --executor adb."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

import slm_export
from slm_export.devices.report import Outcome
from slm_export.devices.selftest import SelfTest
from slm_export.errors import ParityError, VerificationError
from slm_export.records import to_json
from slm_export.report.columns import columns

HEADER = ("artifact", "scheme", "runtime", "answers", "min cosine", "max error", "load ms", "ms a case", "verdict")


def run(
    bundle: Path,
    *,
    format: str | None,
    as_json: bool,
    serial: str | None,
    apk: Path | None,
    timeout: float,
    report: Path | None,
    adb: str | None,
) -> int:
    done = slm_export.self_test(
        bundle, format=format, adb=adb, serial=serial, apk=apk, timeout_s=timeout, keep=report,
        say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    click.echo(json.dumps(_told(done), indent=1, ensure_ascii=False) if as_json else _table(done))
    _raise_failed(done)
    return 0


def _told(done: SelfTest) -> object:
    data = to_json(done)
    for entry, outcome in zip(data["artifacts"], done.artifacts, strict=True):
        entry["verdict"] = _verdict(outcome)
    return data


def _table(done: SelfTest) -> str:
    device = done.device
    head = (
        f"{device.manufacturer} {device.model} ({done.serial}), Android {device.android} (API {device.sdk}), "
        f"{device.abi}; demo app {done.app}"
    )
    findings = [f"FAIL {o.path}: {why}" for o in done.artifacts for why in (*o.unproven, *o.differs)]
    return "\n".join([head, columns([HEADER, *(_cells(o) for o in done.artifacts)]), *findings])


def _cells(outcome: Outcome) -> Sequence[str]:
    told = outcome.report
    if told is None or told.cases == 0:
        return (outcome.path, outcome.scheme, told.runtime if told else "", *("" for _ in range(5)), _verdict(outcome))
    numbers = (
        _number(told.min_cosine, 6),
        _number(told.max_error, 6),
        f"{told.load_ms:.0f}",
        f"{told.ms_per_case:.1f}",
    )
    answers = f"{told.answers_agree}/{told.cases}"
    return (outcome.path, outcome.scheme, told.runtime, answers, *numbers, _verdict(outcome))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _verdict(outcome: Outcome) -> str:
    if outcome.passed:
        return "pass"
    return "not proven" if outcome.unproven else "fail"


def _raise_failed(done: SelfTest) -> None:
    unproven = [o.path for o in done.artifacts if o.unproven]
    if unproven:
        raise VerificationError(
            f"the device does not prove {len(unproven)} of {len(done.artifacts)} artifacts", where=", ".join(unproven),
            next_step="see what is told of each above; --format tests one format alone",
        )  # fmt: skip
    differs = [o.path for o in done.artifacts if o.differs]
    if differs:
        raise ParityError(
            f"{len(differs)} of {len(done.artifacts)} artifacts answer otherwise on the device",
            where=", ".join(differs),
            why="its runtime is another version than the manifest's, or its kernels round otherwise",
            next_step="compare the runtime above with the manifest's; --report FILE keeps what the device measured",
        )  # fmt: skip
