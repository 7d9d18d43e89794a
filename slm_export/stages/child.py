"""The inside of a stage subprocess: python -m slm_export.stages.child STAGE JOB RESULT."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from slm_export.errors import OutOfMemoryError, SlmExportError, ran_out_of_memory
from slm_export.records import read_json, write_json
from slm_export.stages import STAGES


def main(stage: str, job: str, result: str) -> None:
    _die_with_parent()
    events = _take_stdout()
    module, function = STAGES[stage].split(":")

    def progress(what: str, done: int, total: int) -> None:
        print(json.dumps({"what": what, "done": done, "total": total}), file=events, flush=True)

    try:
        answer = {"result": getattr(importlib.import_module(module), function)(read_json(Path(job)), progress)}
    except Exception as err:
        if ran_out_of_memory(err):
            answer = {"error": _out_of_memory(Path(job)).to_json()}
        elif isinstance(err, SlmExportError):
            answer = {"error": err.to_json()}
        else:
            raise  # a bug: the parent tells where the trace is
        traceback.print_exc()
    aside = Path(result).with_suffix(".aside")
    write_json(aside, answer)
    aside.replace(result)


def _out_of_memory(job: Path) -> OutOfMemoryError:
    import resource

    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    stage = job.name.removesuffix(".job.json")
    return OutOfMemoryError(f"out of memory in stage {stage} at {peak_mb:.0f} MB")


def _die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies, so that a killed run leaves no stage working on."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _take_stdout() -> TextIO:
    """Keep stdout for progress events; what libraries print goes to the log with stderr."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


if __name__ == "__main__":
    main(*sys.argv[1:])
