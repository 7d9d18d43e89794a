"""Everything that can go wrong, told the same way: what happened, where, why probably, what next.

One class per exit code, so a script can tell a bad row from a closed gate.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class SlmExportError(Exception):
    """Base of every error slm-export raises on purpose. Exit code 1 is left to bugs."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, next_step: str | None = None):
        super().__init__(what)
        self.what, self.where, self.why, self.next_step = what, where, why, next_step

    def __str__(self) -> str:
        labelled = (("where", self.where), ("why", self.why), ("next", self.next_step))
        return "\n".join([self.what, *(f"  {label + ':':6} {text}" for label, text in labelled if text)])

    def to_json(self) -> dict[str, Any]:
        fields = {"what": self.what, "where": self.where, "why": self.why, "next_step": self.next_step}
        return {"type": type(self).__name__, "exit_code": self.exit_code, **fields}


class UsageError(SlmExportError):
    """A flag, a config file or a target profile says something that cannot be done."""

    exit_code = 2


class InputError(SlmExportError):
    """The model directory or a data file is not what it must be."""

    exit_code = 2


class DependencyError(SlmExportError):
    """A library or backend that this run needs is missing."""

    exit_code = 3


class DeviceError(DependencyError):
    """A device could not run a self-test: nothing is said about the bundle."""


class ExportError(SlmExportError):
    """A stage could not make its artifact."""

    exit_code = 4


class OutOfMemoryError(ExportError):
    """A stage ran out of memory: nothing is said about the artifact."""

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, next_step: str | None = None):
        advice = "free memory, or use a machine with more; stages already run one at a time"
        super().__init__(what, where=where, why=why, next_step=next_step or advice)


class ParityError(SlmExportError):
    """An artifact does not answer like the reference."""

    exit_code = 5


class BudgetError(SlmExportError):
    """An artifact is larger than the target allows."""

    exit_code = 6


class VerificationError(SlmExportError):
    """A bundle is not what its manifest says."""

    exit_code = 7


INTERRUPTED = 130


def from_json(data: dict[str, Any]) -> SlmExportError:
    """Rebuild an error that a stage subprocess wrote down."""
    kinds = [*SlmExportError.__subclasses__(), *ExportError.__subclasses__()]
    cls = {c.__name__: c for c in kinds}.get(data["type"], SlmExportError)
    return cls(data["what"], where=data["where"], why=data["why"], next_step=data["next_step"])


def first_line(err: BaseException) -> str:
    """A foreign error's kind and first line, for a message; the whole trace goes to the stage's log."""
    lines = str(err).strip().splitlines()
    return f"{type(err).__name__}: {lines[0] if lines else 'no message'}"


def ran_out_of_memory(err: BaseException | None) -> bool:
    """Whether `err`, or what it was raised from, is Python's MemoryError or what native libraries say in its place."""
    while err is not None:
        if isinstance(err, MemoryError) or any(words in str(err) for words in _OUT_OF_MEMORY):
            return True
        err = err.__cause__
    return False


# torch, C++'s own, and ONNX Runtime's arena
_OUT_OF_MEMORY = ("can't allocate memory", "std::bad_alloc", "Failed to allocate memory")


def nearest(name: str, choices: Iterable[str]) -> str:
    """The end of an "unknown name" sentence: the near miss if there is one, and the choices.

    >>> nearest("anroid", ["android", "ios"])
    "did you mean 'android'? choices: android, ios"
    """
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1)
    listed = f"choices: {', '.join(known)}" if known else "there are none"
    return f"did you mean {close[0]!r}? {listed}" if close else listed
