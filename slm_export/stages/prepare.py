"""Stage "prepare": load the reference, answer the evaluation set with it, calibrate, and quantize once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from slm_export import calibration, chat, sources, tasks
from slm_export.calibration import CalibrationSet, EvaluationSet, Sample
from slm_export.distillation import Distilled
from slm_export.errors import InputError
from slm_export.exporters.common import TRACED_LENGTH, copy_structure, sample_inputs
from slm_export.generation import Rules, text_decoder
from slm_export.outputs import Inputs, Matrices, Outputs, Tokens, save_outputs
from slm_export.parity.probes import LOWERING_ROWS, LOWERING_TEXTS, lowering_rows
from slm_export.pruning.asked import Asked
from slm_export.pruning.facts import PruningFacts
from slm_export.pruning.prune import Prunable, find_prunable
from slm_export.quantization import checkpoints
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.points import trace
from slm_export.quantization.rounding import Rounded
from slm_export.quantization.search import Trial
from slm_export.quantization.simulated import simulated
from slm_export.quantplan import QuantPlan
from slm_export.records import from_json, record, to_json, write_json
from slm_export.sources import Reference, SourceInfo
from slm_export.sources.tokenizer import write_tokenizer
from slm_export.stages.compress import Compressing, Samples, Wishes
from slm_export.stages.slim import slim
from slm_export.tasks.encoder import SEGMENTS, takes_segments

PRUNED = "pruned.safetensors"
Progress = Callable[[str, int, int], None]


@record
class PrepareJob:
    source: SourceInfo
    max_length: int
    wishes: Wishes
    pruning: Asked | None = None
    calibration: CalibrationSet | None
    evaluation: EvaluationSet
    folder: str


@record
class Prepared:
    """What the stage leaves in its folder: plans, integers, token ids, and the outputs artifacts are compared with."""

    source: SourceInfo  # what later stages load
    plans: dict[str, QuantPlan]
    inputs: tuple[str, ...]  # what the exported graph takes, in order
    pad_id: int
    tokenizer_files: tuple[str, ...]
    tokenizer: dict[str, Any]
    calibration: dict[str, Any] | None
    generation: Rules | None = None
    chat_template: str | None = None
    chat: dict[str, Any] | None = None  # the template of a causal model without Jinja, or why that cannot be
    tuning: dict[str, Distilled] = field(default_factory=dict)  # by format, of 4-bit scales where --effort asks for it
    trials: dict[str, tuple[Trial, ...]] = field(default_factory=dict)  # by format, of those that were searched
    pruning: PruningFacts | None = None  # the pruned model itself is the file PRUNED


def run(data: dict[str, Any], progress: Progress) -> dict[str, Any]:
    job = from_json(PrepareJob, data)
    folder = Path(job.folder)
    task = tasks.get(job.source.task)
    progress("loading the reference", 0, 1)
    source = sources.unpacked(job.source, folder / "unpacked")
    reference = sources.load(source, max_length=job.max_length)
    prunable = find_prunable(reference.module, task, job.pruning) if job.pruning else None
    tokenizer_files, tokenizer = write_tokenizer(reference, folder, strategy=task.TRUNCATION)
    samples = job.evaluation.samples
    tokens: Sequence[Tokens] = _tokens(task, reference, samples, job.max_length)
    _require_same_tokens(task, folder, samples, tokens)

    shapes: Sequence[Tokens] = probes(reference, tokens)
    rules = _rules(task, reference)
    tokens, answered = _answered(task, reference, tokens, rules, progress)
    _require_finite(answered)
    shapes, probed = _answered(task, reference, shapes, rules, progress)
    most = LOWERING_TEXTS if reference.task in tasks.CAUSAL else LOWERING_ROWS
    inputs = Inputs(
        evaluation=tuple(tokens),
        probes=tuple(shapes),
        lowering_rows=tuple(lowering_rows([len(t.input_ids) for t in tokens], most)),
    )
    write_json(folder / "inputs.json", inputs)
    save_outputs(folder / "reference.npz", Outputs(evaluation=answered, probes=probed))

    module, pruned = _pruned(job, reference, task, prunable, progress)
    names = (*task.INPUTS, *([SEGMENTS] if any(t.token_type_ids for t in tokens) else []))
    traced = partial(_trace, task, module, names, reference.max_length)
    known = _samples(job, reference, task, rules, progress)
    made = Compressing(reference, module, task, job.wishes, known, inputs, traced, progress).made()
    progress("answering with the compressed model", 0, 1)
    eager = _Eager(task, inputs, traced)
    for format, compressed in made.compressed.items():
        rounded = Rounded(tensors=compressed.tensors, floats=compressed.floats)
        checkpoints.save(rounded, folder / f"compressed-{format}.safetensors")
        save_outputs(folder / f"eager-{format}.npz", eager.outputs(compressed, compressed.plan))
        save_outputs(folder / f"weights-only-{format}.npz", eager.outputs(compressed, compressed.plan.weights_only()))
    prepared = Prepared(
        source=source,
        plans={format: compressed.plan for format, compressed in made.compressed.items()},
        trials=made.trials,
        tuning=made.tuning,
        inputs=names,
        pad_id=reference.pad_id,
        tokenizer_files=tokenizer_files,
        tokenizer=tokenizer,
        calibration=_calibration_manifest(job, task, reference),
        generation=rules,
        chat_template=getattr(reference.tokenizer, "chat_template", None),
        chat=chat.described(reference.tokenizer) if reference.task in tasks.CAUSAL else None,
        pruning=pruned,
    )
    result: dict[str, Any] = to_json(prepared)
    return result


def _trace(task: ModuleType, module: Any, names: Sequence[str], max_length: int) -> Any:
    sample = sample_inputs(names, batch=2, length=min(TRACED_LENGTH, max_length))
    return trace(task.graph(copy_structure(module)), sample, max_length=max_length)


def _tokens(task: ModuleType, reference: Reference, samples: Sequence[Sample], max_length: int | None) -> list[Tokens]:
    """The samples as the model takes them: without segment ids where it knows none."""
    made: list[Tokens] = task.tokenize(reference.tokenizer, samples, max_length)
    return made if takes_segments(reference.module) else [replace(t, token_type_ids=None) for t in made]


def _rules(task: ModuleType, reference: Reference) -> Rules | None:
    if reference.task not in tasks.GENERATING:
        return None
    rules: Rules = task.rules(reference.module, max_length=reference.max_length)
    return rules


def _answered(
    task: ModuleType, reference: Reference, tokens: Sequence[Tokens], rules: Rules | None, progress: Progress
) -> tuple[Sequence[Tokens], Matrices]:
    """The samples, of a task that generates with the reference's own answers, and its matrices of them."""

    def told(done: int) -> None:
        progress("answering with the reference", done, len(tokens))

    if rules is None:
        return tokens, task.run(reference.module, tokens, progress=told)
    taught: tuple[list[Tokens], Matrices] = task.teach(reference.module, tokens, rules, told)
    return taught


def _require_same_tokens(task: ModuleType, folder: Path, samples: Sequence[Sample], tokens: Sequence[Tokens]) -> None:
    """The bundle's tokenizer.json, alone, must give every evaluation sample the ids the reference's tokenizer gives."""
    from tokenizers import Tokenizer

    alone = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    for sample, expected in zip(samples, tokens, strict=True):
        if expected.written is not None:
            sample = replace(sample, text=expected.written, special_tokens=False)
        got = task.retokenize(alone, sample)
        if list(expected.input_ids) != got:
            raise InputError(
                "tokenizer.json alone tokenizes differently from the source's tokenizer",
                where=repr(sample.text[:60]),
                why=f"{list(expected.input_ids)[:8]} became {got[:8]}",
                next_step="report this with the tokenizer's class and files",
            )


def _require_finite(answered: Matrices) -> None:
    wrong = [number for number, matrix in enumerate(answered, 1) if not np.isfinite(matrix).all()]
    if wrong:
        raise InputError(
            "the reference itself answers NaN or infinity",
            where=f"evaluation sample {wrong[0]}",
            why="the checkpoint is damaged, or its float16 weights overflowed when they were saved",
            next_step="check the model before exporting it",
        )


def probes(reference: Reference, tokens: Sequence[Tokens]) -> tuple[Tokens, ...]:
    """One token, a typical sample, and as many tokens as the artifact takes: samples end to end, the last cut off."""
    typical = sorted((t.input_ids for t in tokens), key=len)[len(tokens) // 2]
    last = typical[-1]
    long: list[int] = []
    for sample in itertools.cycle(tokens):
        long += sample.input_ids if not long else sample.input_ids[1:]
        if len(long) >= reference.max_length:
            break
    made = (typical[:1], typical, (*long[: reference.max_length - 1], last))
    return tuple(Tokens(input_ids=ids) for ids in made)


def _samples(
    job: PrepareJob, reference: Reference, task: ModuleType, rules: Rules | None, progress: Progress
) -> Samples:
    if job.calibration is None:
        return Samples(calibration=())
    taught = job.calibration.taught if job.wishes.effort == "high" else ()
    calibration, tried, lessons = (
        tuple(_tokens(task, reference, samples, job.max_length)) if samples else ()
        for samples in (job.calibration.samples, job.calibration.tried, taught)
    )
    if not tried:
        return Samples(calibration=calibration, taught=lessons)
    answered, before = _answered(task, reference, tried, rules, progress)
    return Samples(
        calibration=calibration,
        taught=lessons,
        tried=tuple(answered),
        tried_before=before,
        tried_targets=job.calibration.tried_targets,
        tried_wanted=task.wanted(job.calibration.tried) if reference.task in tasks.ENCODER_DECODERS else None,
        rules=rules,
        decode=text_decoder(str(Path(job.folder) / "tokenizer/tokenizer.json")),
    )


def _pruned(
    job: PrepareJob, reference: Reference, task: ModuleType, prunable: Prunable | None, progress: Progress
) -> tuple[Any, PruningFacts | None]:
    """What is to be compressed: the reference's own module, or what pruning leaves of it."""
    if job.pruning is None or prunable is None:
        return reference.module, None
    chosen = job.calibration
    calibration, texts = (
        _tokens(task, reference, samples, job.max_length) if samples else []
        for samples in ((chosen.samples, chosen.taught) if chosen else ((), ()))
    )
    path = Path(job.folder) / PRUNED
    return slim(
        reference, task, job.pruning, prunable, calibration=calibration, texts=texts, path=path, progress=progress
    )


class _Eager:
    """The compressed model's own outputs, eager, on the rows that lowering is judged by; each plan computed once."""

    def __init__(self, task: ModuleType, inputs: Inputs, traced: Callable[[], Any]) -> None:
        self._task, self._inputs, self._traced = task, inputs, traced
        self._known: dict[str, Outputs] = {}

    def outputs(self, compressed: Compressed, plan: QuantPlan) -> Outputs:
        key = f"{plan.scheme} {plan.layers!r} {plan.ranges!r}"
        if key not in self._known:
            with simulated(replace(compressed, plan=plan), self._traced) as module:
                rows = self._task.run(module, [self._inputs.evaluation[r] for r in self._inputs.lowering_rows])
                self._known[key] = Outputs(evaluation=rows, probes=self._task.run(module, self._inputs.probes))
        return self._known[key]


def _calibration_manifest(job: PrepareJob, task: ModuleType, reference: Reference) -> dict[str, Any] | None:
    if job.calibration is None:
        return None
    counts = [len(t.input_ids) for t in _tokens(task, reference, job.calibration.samples, None)]
    return calibration.manifest(job.calibration, counts, max_length=job.max_length)
