"""The calibration and the evaluation set of a run, and what is recorded about them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slm_export.calibration.kinds import Sample
from slm_export.calibration.labels import Targets, targets
from slm_export.calibration.samples import DataFile, read_samples
from slm_export.calibration.sampling import overlap, stratified
from slm_export.errors import InputError
from slm_export.records import record, to_json

FEWEST_TRIED = 20  # rows that trials of a search are judged by
HELD_OUT = 512  # rows taken from the calibration file to judge by, when no evaluation file is given
LENGTH_BINS = (8, 16, 32, 64, 128, 256, 512)


@record
class CalibrationSet:
    """What drives quantization: the chosen samples and where they came from."""

    file: str
    sha256: str
    rows: int
    seed: int
    overlap_lines: tuple[int, ...]  # rows that are also in the evaluation set
    overlap_used: bool
    samples: tuple[Sample, ...]
    tried: tuple[Sample, ...] = ()  # rows of the same file that trials of a search are judged by
    tried_targets: Targets | None = None
    taught: tuple[Sample, ...] = ()  # rows of the same file that distillation teaches, calibration samples among them


@record
class EvaluationSet:
    """What judges artifacts. Never the calibration rows, unless forced."""

    file: str
    sha256: str
    held_out: bool  # taken from the calibration file because no evaluation file was given
    samples: tuple[Sample, ...]
    targets: Targets | None  # of each sample; None: the file has none
    rows: int  # in the file, where not all judge


@record
class DataOptions:
    calibration: Path | None
    evaluation: Path | None
    kind: str = "text"  # of kinds.KINDS
    mask: str = ""  # the model's mask token
    text_column: str | None = None
    label_column: str | None = None
    pair_column: str | None = None
    slice_column: str | None = None
    most: int | None = None  # samples that judge; None: every row
    size: int = 128
    tried: int = 0  # rows to hold out for a search
    taught: int = 0  # rows for distillation, at most
    seed: int = 0
    allow_overlap: bool = False


def load(options: DataOptions, labels: Sequence[str]) -> tuple[CalibrationSet | None, EvaluationSet]:
    """Read, sample and separate the two sets. `labels` are the model's, in order.

    Raises InputError if neither file is given, if a file is bad, if every calibration row is in the evaluation set,
    or if the evaluation set has labels that the model lacks.
    """
    calibration, evaluation = (_read(path, options) for path in (options.calibration, options.evaluation))
    if evaluation is not None:
        size = options.most or len(evaluation.samples)
        judging = stratified(evaluation.samples, size=size, seed=options.seed)
        judge = _evaluation_set(evaluation, judging, labels, held_out=False)
        return None if calibration is None else _choose(calibration, judge, options, labels), judge
    if calibration is None:
        raise InputError(
            "there is nothing to judge the artifacts by",
            why="parity is measured on real texts, never on random data",
            next_step="give an evaluation file with --eval, or a calibration file to hold rows out of",
        )
    return _held_out(calibration, options, labels)


def _read(path: Path | None, options: DataOptions) -> DataFile | None:
    if path is None:
        return None
    return read_samples(
        path,
        kind=options.kind,
        text_column=options.text_column,
        label_column=options.label_column,
        pair_column=options.pair_column,
        slice_column=options.slice_column,
        mask=options.mask,
    )


def _choose(data: DataFile, judge: EvaluationSet, options: DataOptions, labels: Sequence[str]) -> CalibrationSet:
    leaked = overlap(data.samples, judge.samples)
    refused = set() if options.allow_overlap else {s.line for s in leaked}
    usable = [s for s in data.samples if s.line not in refused]
    if not usable:
        raise InputError(
            f"every row of {data.name} is also in the evaluation set {judge.file}",
            where=f"{data.name}: lines {_lines(leaked)}",
            why="rows that tune an artifact cannot judge it",
            next_step="use other rows for one of the two, or force it with --allow-overlap",
        )
    chosen = stratified(usable, size=options.size, seed=options.seed)
    made = _with_tried(_calibration_set(data, chosen, leaked, options), usable, labels, options)
    return _with_taught(made, usable, options)


def _with_tried(
    chosen: CalibrationSet, usable: Sequence[Sample], labels: Sequence[str], options: DataOptions
) -> CalibrationSet:
    """With rows for the trials of a search: none that drive quantization."""
    if not options.tried:
        return chosen
    taken = {s.line for s in chosen.samples} | {s.line for s in overlap(usable, chosen.samples)}
    left = [s for s in usable if s.line not in taken]
    if len(left) < FEWEST_TRIED:
        raise InputError(
            f"{chosen.file} leaves {len(left)} rows to judge trials by, beside {len(chosen.samples)} to calibrate with",
            why=f"a search needs {FEWEST_TRIED} at least, and neither may be rows of the evaluation set",
            next_step="give more rows, fewer --calibration-samples, or name a --scheme",
        )
    tried = tuple(stratified(left, size=options.tried, seed=options.seed))
    return replace(chosen, tried=tried, tried_targets=targets(tried, labels, file=chosen.file))


def _with_taught(chosen: CalibrationSet, usable: Sequence[Sample], options: DataOptions) -> CalibrationSet:
    """With rows for distillation: none that judge a search's trials."""
    if not options.taught:
        return chosen
    judging = {s.line for s in (*chosen.tried, *overlap(usable, chosen.tried))}
    left = [s for s in usable if s.line not in judging]
    return replace(chosen, taught=tuple(stratified(left, size=options.taught, seed=options.seed)))


def _evaluation_set(
    data: DataFile, samples: Sequence[Sample], labels: Sequence[str], *, held_out: bool
) -> EvaluationSet:
    return EvaluationSet(
        file=data.name,
        sha256=data.sha256,
        held_out=held_out,
        samples=tuple(samples),
        targets=targets(samples, labels, file=data.name),
        rows=len(data.samples),
    )


def _held_out(data: DataFile, options: DataOptions, labels: Sequence[str]) -> tuple[CalibrationSet, EvaluationSet]:
    if len(data.samples) < 2:
        raise InputError(f"{data.name} has one row; it cannot both tune and judge", next_step="give --eval")
    size = min(options.size, len(data.samples) // 2)
    chosen = stratified(data.samples, size=size, seed=options.seed)
    lines = {s.line for s in chosen}
    same = {s.line for s in overlap(data.samples, chosen)}
    rest = [s for s in data.samples if s.line not in lines | same]
    if not rest:
        raise InputError(f"{data.name} repeats one text; nothing is left to judge by", next_step="give --eval")
    judge = _evaluation_set(data, stratified(rest, size=HELD_OUT, seed=options.seed), labels, held_out=True)
    judging = {s.line for s in (*judge.samples, *overlap(data.samples, judge.samples))}
    unjudged = [s for s in data.samples if s.line not in judging]
    made = _with_tried(_calibration_set(data, chosen, [], options), unjudged, labels, options)
    return _with_taught(made, unjudged, options), judge


def _calibration_set(
    data: DataFile, chosen: Sequence[Sample], leaked: Sequence[Sample], options: DataOptions
) -> CalibrationSet:
    return CalibrationSet(
        file=data.name,
        sha256=data.sha256,
        rows=len(data.samples),
        seed=options.seed,
        overlap_lines=tuple(s.line for s in leaked),
        overlap_used=options.allow_overlap,
        samples=tuple(chosen),
    )


def _lines(samples: Sequence[Sample]) -> str:
    shown = ", ".join(str(s.line) for s in samples[:10])
    return shown + (f" and {len(samples) - 10} more" if len(samples) > 10 else "")


def manifest(data: CalibrationSet, token_counts: Sequence[int], *, max_length: int) -> dict[str, object]:
    """What the bundle records of a calibration set.

    `token_counts` are the samples' lengths in tokens before truncation; a sample longer than `max_length` is truncated.
    """
    texts = "\n".join(t for s in data.samples for t in (s.text, s.pair) if t is not None)
    labels = Counter(s.label for s in data.samples if s.label is not None)
    return {
        "file": data.file,
        "sha256": data.sha256,
        "rows": data.rows,
        "seed": data.seed,
        "samples": len(data.samples),
        "samples_sha256": hashlib.sha256(texts.encode()).hexdigest(),
        "row_ids": [s.line for s in data.samples],
        **({"distillation_row_ids": [s.line for s in data.taught]} if data.taught else {}),
        "overlap_with_evaluation": {"row_ids": to_json(data.overlap_lines), "used": data.overlap_used},
        "label_histogram": dict(sorted(labels.items())),
        "length_histogram": length_histogram(token_counts),
        "truncation_rate": sum(n > max_length for n in token_counts) / len(token_counts),
    }


def length_histogram(token_counts: Sequence[int]) -> dict[str, int]:
    """How many samples have up to 8, 16, 32 ... tokens, and more than 512; empty bins left out."""
    edges = [0, *LENGTH_BINS]
    bins = {
        f"{lo + 1}-{hi}": sum(lo < n <= hi for n in token_counts) for lo, hi in zip(edges, LENGTH_BINS, strict=False)
    }
    bins[f">{LENGTH_BINS[-1]}"] = sum(n > LENGTH_BINS[-1] for n in token_counts)
    return {name: count for name, count in bins.items() if count}
