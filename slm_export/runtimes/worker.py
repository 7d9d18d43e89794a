"""Stage "execute": run an artifact on token ids in its own runtime, from a working directory that is not its own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import runtimes, tasks
from slm_export.artifact import Artifact
from slm_export.errors import SlmExportError, ran_out_of_memory
from slm_export.outputs import Array, Outputs, Tokens, save_outputs
from slm_export.records import from_json, record
from slm_export.runtimes.resident import forget_peak, peak, resident, rounded_up


@record
class ExecuteJob:
    artifact: Artifact
    path: str
    task: str
    samples: tuple[Tokens, ...]
    probes: tuple[Tokens, ...]
    outputs: str  # the .npz to write


def run(data: dict[str, Any], progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Gives the runtime's version, CPU seconds and the bytes that a first answer took, or, under "refused", what the
    runtime said instead of running.

    Whatever a runtime raises is an answer here: it is for parity to judge, not for this process to die of.
    """
    job = from_json(ExecuteJob, data)
    runtime = runtimes.get(job.artifact.format)
    result: dict[str, Any] = {"version": runtime.version()}
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)
        try:
            runtime.load()
            before = resident()
            forget_peak()
            started = time.process_time()
            session = runtime.open(Path(job.path), job.artifact)
            result["load_cpu_seconds"] = time.process_time() - started
            _answer_first(session, job)
            result["first_load_bytes"] = None if before is None else rounded_up(max(0, (peak() or 0) - before))
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


def _answer_first(session: Any, job: ExecuteJob) -> None:
    """The shortest of the samples, alone: what an app that has just opened the artifact does."""
    shortest = min(job.samples, key=lambda tokens: len(tokens.input_ids))
    if job.task in tasks.GENERATING:
        tasks.get(job.task).execute(session, shortest, job.artifact.generation)
    else:
        run_batch(session, job.artifact, job.task, [shortest])


def _answer(session: Any, job: ExecuteJob, progress: Callable[[str, int, int], None]) -> Outputs:
    if job.task in tasks.GENERATING:
        return _generate(session, job, progress)
    rows = []
    for done, tokens in enumerate(job.samples, 1):
        rows += run_batch(session, job.artifact, job.task, [tokens])
        if done % 64 == 0 or done == len(job.samples):
            progress("running the artifact", done, len(job.samples))
    together = job.probes[: job.artifact.batch]
    return Outputs(
        evaluation=tuple(rows),
        probes=tuple(m for tokens in job.probes for m in run_batch(session, job.artifact, job.task, [tokens])),
        batched_probes=tuple(run_batch(session, job.artifact, job.task, together)) if len(together) > 1 else None,
    )


def _generate(decoder: Any, job: ExecuteJob, progress: Callable[[str, int, int], None]) -> Outputs:
    task, rules = tasks.get(job.task), job.artifact.generation
    rows, said = [], []
    for done, tokens in enumerate(job.samples, 1):
        matrix, answer = task.execute(decoder, tokens, rules)
        rows.append(matrix)
        said.append(answer)
        if done % 16 == 0 or done == len(job.samples):
            progress("running the artifact", done, len(job.samples))
    probes = tuple(task.execute(decoder, tokens, rules)[0] for tokens in job.probes)
    return Outputs(evaluation=tuple(rows), probes=probes, said=tuple(said))


def run_batch(session: Any, artifact: Artifact, task_name: str, batch: Sequence[Tokens]) -> list[Array]:
    """Each sample's matrix from one call; ValueError if an output is missing, or of another type or another shape."""
    outputs = session.run(_feed(artifact, batch))
    task = tasks.get(task_name)
    for name, dimensions in task.OUTPUTS.items():
        _require(outputs, name, rows=len(batch), rank=len(dimensions))
    return [task.cut(outputs, row, tokens) for row, tokens in enumerate(batch)]


def _feed(artifact: Artifact, batch: Sequence[Tokens]) -> dict[str, Any]:
    """{input: int64 [samples, longest]}, padded."""
    width = max(len(tokens.input_ids) for tokens in batch)
    fill = {"input_ids": artifact.pad_id}
    feed = {i.name: np.full((len(batch), width), fill.get(i.name, 0), np.int64) for i in artifact.inputs}
    for row, tokens in enumerate(batch):
        length = len(tokens.input_ids)
        values: dict[str, Any] = {
            "input_ids": tokens.input_ids,
            "attention_mask": 1,
            "token_type_ids": tokens.token_type_ids or 0,
        }
        for name, array in feed.items():
            array[row, :length] = values[name]
    return feed


def _require(outputs: dict[str, Any], name: str, *, rows: int, rank: int) -> None:
    if name not in outputs:
        raise ValueError(f"there is no output {name!r}; there are {', '.join(outputs)}")
    value = outputs[name]
    if value.dtype != np.float32 or value.ndim != rank or len(value) != rows:
        raise ValueError(
            f"output {name!r} is {value.dtype} {value.shape}, not float32 with {rows} rows and rank {rank}"
        )
