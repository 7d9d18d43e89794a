"""Stage "execute": run an artifact on token ids in its own runtime, from a working directory that is not its own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import runtimes
from slm_export.artifact import Artifact
from slm_export.errors import SlmExportError, ran_out_of_memory
from slm_export.outputs import Outputs, save_outputs
from slm_export.records import from_json, record


@record
class ExecuteJob:
    artifact: Artifact
    path: str
    ids: tuple[tuple[int, ...], ...]
    probes: tuple[tuple[int, ...], ...]
    outputs: str  # the .npz to write


def run(data: dict[str, Any], progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Gives the runtime's version and CPU seconds, or, under "refused", what the runtime said instead of running.

    Whatever a runtime raises is an answer here: it is for parity to judge, not for this process to die of.
    """
    job = from_json(ExecuteJob, data)
    runtime = runtimes.get(job.artifact.format)
    result: dict[str, Any] = {"version": runtime.version()}
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)
        try:
            started = time.process_time()
            session = runtime.open(Path(job.path), job.artifact)
            result["load_cpu_seconds"] = time.process_time() - started
            started = time.process_time()
            outputs = _answer(session, job, progress)
            result["run_cpu_seconds"] = time.process_time() - started
            save_outputs(Path(job.outputs), outputs)
        except SlmExportError:  # something is not installed: not the artifact's fault
            raise
        except Exception as err:  # runtimes raise RuntimeError, ValueError and their own kinds
            if ran_out_of_memory(err):
                raise
            result["refused"] = f"{type(err).__name__}: {err}"
        os.chdir("/")
    return result


def _answer(session: Any, job: ExecuteJob, progress: Callable[[str, int, int], None]) -> Outputs:
    name = job.artifact.outputs[0].name
    rows = []
    for done, ids in enumerate(job.ids, 1):
        rows.append(_one(session, [ids], name)[0])
        if done % 64 == 0 or done == len(job.ids):
            progress("running the artifact", done, len(job.ids))
    together = job.probes[: job.artifact.batch]
    return Outputs(
        evaluation=np.stack(rows),
        probes=np.stack([_one(session, [ids], name)[0] for ids in job.probes]),
        batched_probes=_one(session, together, name, job.artifact.pad_id) if len(together) > 1 else None,
    )


def _one(session: Any, batch: Sequence[Sequence[int]], name: str, pad_id: int = 0) -> Any:
    """The named output [rows, outputs] of one call; ValueError if it is missing, of another type or another shape."""
    width = max(len(ids) for ids in batch)
    tokens = np.full((len(batch), width), pad_id, np.int64)
    mask = np.zeros((len(batch), width), np.int64)
    for row, ids in enumerate(batch):
        tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    outputs = session.run({"input_ids": tokens, "attention_mask": mask})
    if name not in outputs:
        raise ValueError(f"there is no output {name!r}; there are {', '.join(outputs)}")
    value = outputs[name]
    if value.dtype != np.float32 or value.ndim != 2 or len(value) != len(batch):
        raise ValueError(f"output {name!r} is {value.dtype} {value.shape}, not float32 [{len(batch)}, outputs]")
    return value
