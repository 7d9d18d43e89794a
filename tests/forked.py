"""Exports in this process, whose stages are forks of it: what they import is imported once.

For the support table's hundreds of exports alone; every other test starts the command line as a user does.
"""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slm_export import pipeline
from slm_export.records import write_json
from slm_export.results import RunResult
from slm_export.stages import StageResult, child, parent

# What a format's stages import; never two formats' in one process, as converters change torch for each other.
LIBRARIES = {
    "onnx": ("transformers", "torch.onnx", "onnxscript", "onnxruntime"),
    "executorch": ("transformers", "torchao", "executorch.exir",
                   "executorch.backends.xnnpack.partition.xnnpack_partitioner"),
    "tflite": ("transformers", "litert_torch", "ai_edge_quantizer", "ai_edge_litert.interpreter"),
}  # fmt: skip
_loaded: list[str] = []


def export(patch: pytest.MonkeyPatch, format: str, settings: Mapping[str, Any]) -> RunResult:
    """Raises as slm_export.export_model does."""
    for key, value in parent.ENVIRONMENT.items():
        patch.setenv(key, value)
    if not _loaded:
        _loaded.append(format)
        for name in LIBRARIES[format]:
            importlib.import_module(name)
    patch.setattr(pipeline, "run_stage", _forked if _loaded == [format] else parent.run_stage)
    from slm_export.planning import plan_run

    return pipeline.execute(plan_run(settings, Path.cwd()))


def _forked(stage: str, job: dict[str, Any], *, name: str, folder: Path, **_: Any) -> StageResult:
    paths = [folder / f"{name}.{kind}.json" for kind in ("job", "result")]
    write_json(paths[0], job)
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        _inside(stage, [str(p) for p in paths], folder / f"{name}.log")
    _, status, usage = os.wait4(pid, 0)
    return parent.outcome(name, folder, os.waitstatus_to_exitcode(status), usage, time.monotonic() - started)


def _inside(stage: str, paths: list[str], log: Path) -> None:
    """Never returns: this is the fork."""
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        child.main(stage, *paths)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
