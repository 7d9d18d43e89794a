"""Starting a stage, listening to it, and telling what it cost or how it died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slm_export.errors import ExportError, OutOfMemoryError, SlmExportError, from_json
from slm_export.records import read_json, record, write_json

PACKAGE = Path(__file__).resolve().parents[1]

# What a stage's libraries must not do: phone home, ask a hub, use a GPU, or depend on hash seeds and thread counts.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    # glibc keeps the memory of tensors up to the first for the next ones, in place of asking the kernel for new pages
    # each time: that took a third of rounding SmolLM2 to 4 bits. What is free above the second goes back.
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
}


@record
class StageResult:
    """What a stage gave, and what it cost: wall seconds, CPU seconds, peak resident memory in MB (10**6 bytes)."""

    name: str
    result: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float


def run_stage(
    stage: str,
    job: dict[str, Any],
    *,
    name: str,
    folder: Path,
    on_progress: Callable[[str, int, int], None] | None = None,
    python: Path | None = None,
) -> StageResult:
    """Run a stage of STAGES in a fresh process; its files and log (`<name>.log`) go to `folder`.

    `python` is another interpreter, which must have what the stage imports. Raises the stage's own error; ExportError
    if the process dies, naming the stage and its peak memory.
    """
    paths = {kind: folder / f"{name}.{kind}.json" for kind in ("job", "result")}
    write_json(paths["job"], job)
    started = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python or sys.executable), "-P", "-m", "slm_export.stages.child", stage, *map(str, paths.values())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": _import_path(folder)},
        )
        try:
            _listen(process, on_progress)
            status, usage = _wait(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
    return outcome(name, folder, status, usage, time.monotonic() - started)


def outcome(name: str, folder: Path, status: int, usage: Any, seconds: float) -> StageResult:
    """Of a process that has ended with exit code `status`, what it left in `folder` as `name`; raises as run_stage
    does."""
    path, log = folder / f"{name}.result.json", folder / f"{name}.log"
    peak_mb = usage.ru_maxrss * 1024 / 1e6
    if not path.is_file():
        raise _death(name, status, peak_mb, log)
    answer = read_json(path)
    if "error" in answer:
        raise _with_log(from_json(answer["error"]), log)
    return StageResult(
        name=name,
        result=answer["result"],
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_rss_mb=peak_mb,
    )


def _import_path(folder: Path) -> str:
    """A folder that holds this package and nothing else, so that another interpreter keeps its own libraries."""
    link = folder / "package" / "slm_export"
    if not link.is_symlink():
        link.parent.mkdir()
        link.symlink_to(PACKAGE)
    inherited = os.environ.get("PYTHONPATH")
    return str(link.parent) + (os.pathsep + inherited if inherited else "")


def _listen(process: subprocess.Popen[bytes], on_progress: Callable[[str, int, int], None] | None) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if on_progress:
            event = json.loads(line)
            on_progress(event["what"], event["done"], event["total"])


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, Any]:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def _death(name: str, code: int, peak_mb: float, log: Path) -> SlmExportError:
    if code == -signal.SIGKILL:
        return OutOfMemoryError(
            f"out of memory in stage {name} at {peak_mb:.0f} MB",
            why="the system killed the process; nothing else usually sends signal 9",
        )
    died = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return _with_log(ExportError(f"stage {name} died ({died}) at {peak_mb:.0f} MB"), log)


def _with_log(error: SlmExportError, log: Path) -> SlmExportError:
    """The same error with the end of the stage's log attached, for the file the run leaves behind."""
    error.add_note(log.read_text(encoding="utf-8", errors="replace"))
    return error
