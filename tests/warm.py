"""The command line with stages that need not import their libraries: forks of processes that hold them already.

    python -P tests/warm.py FOLDER OWNER ARGUMENTS OF SLM-EXPORT

A tiny model's stage imports for seconds and computes for a tenth of one. FOLDER is where servers listen, until the
process OWNER ends; the first to need one starts it. Tests that are about processes do not use this: see conftest.warm.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock

from slm_export import stages
from slm_export.records import write_json
from slm_export.stages import child, parent

# What a server imports. Converters change torch for each other: one server each.
EVERYWHERE = (
    "accelerate", "networkx", "scipy.optimize", "torch._dynamo", "torch._export", "torch.export", "transformers",
    "transformers.generation.utils", "transformers.modeling_utils", "transformers.models.auto.modeling_auto",
    "slm_export.quantization.compressed", "slm_export.sources.reference", "slm_export.stages.export",
)  # fmt: skip
LIBRARIES = {
    "torch": ("slm_export.stages.prepare",),
    "onnx": ("torch.onnx._internal.exporter._core", "onnxscript", "onnxruntime", "slm_export.exporters.onnx"),
    "executorch": ("torchao", "executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner",
                   "slm_export.exporters.executorch"),
    "tflite": ("litert_torch", "ai_edge_quantizer", "ai_edge_litert.interpreter", "slm_export.exporters.tflite"),
}  # fmt: skip
STARTING = 120  # seconds that a server may take to listen


def server_of(name: str) -> str | None:
    """Of the stage of this name ("export-onnx-twin"); None for those that import little."""
    kind, _, format = name.partition("-")
    if kind == "export":
        return format.removesuffix("-twin")
    return "torch" if kind == "prepare" or name.startswith("execute-executorch") else None


def run_stage(
    stage: str, job: dict[str, Any], *, on_progress: Callable[[str, int, int], None] | None = None, **how: Any
) -> parent.StageResult:
    name, folder = how["name"], how["folder"]
    server = server_of(name)
    if how.get("python") or not server:
        return parent.run_stage(stage, job, on_progress=on_progress, **how)
    paths = [str(folder / f"{name}.{kind}.json") for kind in ("job", "result")]
    write_json(Path(paths[0]), job)
    started = time.monotonic()
    asked = {"stage": stage, "paths": paths, "log": str(folder / f"{name}.log"), "cwd": os.getcwd()}
    with _connected(server) as connection, connection.makefile("rw", encoding="utf-8") as lines:
        lines.write(json.dumps(asked) + "\n")
        lines.flush()
        for line in lines:
            event = json.loads(line)
            if "status" in event:
                break
            if on_progress:
                on_progress(event["what"], event["done"], event["total"])
    usage = SimpleNamespace(ru_maxrss=event["peak_kb"], ru_utime=event["cpu"], ru_stime=0.0)
    return parent.outcome(name, folder, event["status"], usage, time.monotonic() - started)


def _connected(server: str) -> socket.socket:
    path = HOME / f"{server}.socket"
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            command = [sys.executable, "-P", __file__, "--serve", server, str(path), str(OWNER)]
            env = {**os.environ, **parent.ENVIRONMENT}
            with path.with_suffix(".log").open("wb") as log:
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/",
                                 start_new_session=True)  # fmt: skip
            end = time.monotonic() + STARTING
            while not path.exists() and time.monotonic() < end:
                time.sleep(0.05)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def serve(server: str, path: Path, owner: int) -> None:
    for name in (*LIBRARIES[server], *EVERYWHERE):
        importlib.import_module(name)
    gc.freeze()  # what is imported is here to stay: no fork need look through it for garbage
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    aside = path.with_suffix(".aside")
    listening.bind(str(aside))
    listening.listen(8)
    aside.rename(path)
    listening.settimeout(2)
    while _alive(owner):
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        if not os.fork():
            listening.close()
            _supervise(connection)
        connection.close()
    path.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _supervise(connection: socket.socket) -> None:
    """Never returns: a fork that waits for the fork that works, to tell what it cost."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    with connection.makefile("r", encoding="utf-8") as lines:
        asked = json.loads(lines.readline())
    worker = os.fork()
    if not worker:
        _work(asked, connection.fileno())
    _, status, usage = os.wait4(worker, 0)
    cost = {"peak_kb": usage.ru_maxrss, "cpu": usage.ru_utime + usage.ru_stime}
    connection.sendall(json.dumps({"status": os.waitstatus_to_exitcode(status), **cost}).encode() + b"\n")
    os._exit(0)


def _work(asked: dict[str, Any], events: int) -> None:
    """Never returns."""
    code = 1
    try:
        os.chdir(asked["cwd"])
        os.dup2(events, 1)
        with open(asked["log"], "wb") as log:
            os.dup2(log.fileno(), 2)
        child.main(asked["stage"], *asked["paths"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        HOME, OWNER = Path(sys.argv[1]), int(sys.argv[2])
        stages.run_stage = run_stage
        from slm_export.cli import entry

        sys.argv[:] = ["slm-export", *sys.argv[3:]]
        entry()
