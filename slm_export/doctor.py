"""doctor: which backends are usable here, and the line that installs what is missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from importlib.util import find_spec

from slm_export import oldest, targets
from slm_export.errors import DependencyError
from slm_export.names import FORMATS
from slm_export.records import record
from slm_export.requirements import EXPORT_NEEDS, RUN_NEEDS, TASK_NEEDS, TESTED, installed_version, tested
from slm_export.targets import RuntimeSpec


@record
class Backend:
    """One job, such as "export onnx". `install` is the line to type; None: nothing is missing."""

    name: str
    usable: bool
    versions: dict[str, str]
    install: str | None
    note: str = ""
    missing: tuple[str, ...] = ()


def check() -> list[Backend]:
    """Every job there is, and whether this Python can do it."""
    return [
        _python(),
        *(_job(f"export {f}", EXPORT_NEEDS[f]) for f in FORMATS),
        *(_job(f"run {f}", RUN_NEEDS[f]) for f in FORMATS),
        *(_oldest(spec, f) for f in FORMATS for spec in _specs(f)),
    ]


def _python() -> Backend:
    version = platform.python_version()
    usable = sys.version_info >= (3, 11)
    return Backend(
        name="python", usable=usable, versions={"python": version}, install=None if usable else "Python 3.11+"
    )


def _job(name: str, needs: dict[str, str]) -> Backend:
    missing = [dist for dist, module in needs.items() if find_spec(module) is None]
    versions = {d: installed_version(d, m) for d, m in needs.items() if d not in missing}
    untested = [f"{d} {v}, tested with {TESTED[d]}" for d, v in versions.items() if TESTED.get(d, v) != v.split("+")[0]]
    return Backend(
        name=name,
        usable=not missing,
        versions=versions,
        install=_install_line(missing) if missing else None,
        note="; ".join(untested),
        missing=tuple(missing),
    )


def _install_line(distributions: Iterable[str]) -> str:
    return f"{sys.executable} -m pip install {' '.join(tested(d) for d in distributions)}"


def require(formats: Iterable[str], task: str) -> None:
    """Raises DependencyError with the line to type, if a format cannot be exported, run or judged here."""
    formats = list(formats)
    jobs = [(f, _job(f, needs[f])) for f in formats for needs in (EXPORT_NEEDS, RUN_NEEDS)]
    jobs += [(task, _job(task, TASK_NEEDS.get(task, {}).get(f, {}))) for f in formats]
    missing = list(dict.fromkeys(dist for _, job in jobs for dist in job.missing))
    if missing:
        raise DependencyError(
            f"{', '.join(dict.fromkeys(f for f, job in jobs if job.missing))} cannot be exported here",
            why=f"not installed: {', '.join(missing)}",
            next_step=f"{_install_line(missing)}; `slm-export doctor` tells what works",
        )


def _specs(format: str) -> list[RuntimeSpec]:
    """The runtime's with each of the oldest versions that some scheme must pass in."""
    spec = targets.load("android-arm64").runtimes[format]
    return list({s.oldest: s for s in map(spec.in_scheme, spec.schemes)}.values())


def _oldest(spec: RuntimeSpec, format: str) -> Backend:
    """The oldest runtime that the built-in targets promise; usable means that exports are checked in it."""
    name = f"oldest {format} runtime"
    if spec.oldest == spec.version:
        return Backend(name=name, usable=True, versions={spec.package: spec.oldest}, install=None)
    found = oldest.interpreter(spec) is not None
    return Backend(
        name=name,
        usable=found,
        versions={spec.package: spec.oldest},
        install=None if found else oldest.install_line(spec),
        note="" if found else "optional: without it a bundle promises only the version that ran here",
    )
