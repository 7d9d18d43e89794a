"""Before work: everything that can be decided, checked or refused without loading a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export import (
    calibration,
    config,
    doctor,
    exporters,
    oldest,
    pruning_flags,
    quantizing,
    sources,
    targets,
    tasks,
)
from slm_export.calibration import CalibrationSet, EvaluationSet
from slm_export.config import Choice, Setting, Shape
from slm_export.errors import UsageError, nearest
from slm_export.names import AUTO, TASKS, is_file_name
from slm_export.pruning.asked import Asked
from slm_export.quantization.schemes import SCHEMES
from slm_export.quantizing import Quantizing
from slm_export.records import record
from slm_export.sources import SourceInfo
from slm_export.targets import TargetProfile

OPERATORS_PER_STEP = 15  # of one direction of an LSTM, unrolled; a GRU has 17


@record
class RunPlan:
    """What a run will do; `settings` says where each value came from."""

    settings: dict[str, Setting]
    profile: TargetProfile
    source: SourceInfo
    choices: tuple[Choice, ...]
    shape: Shape
    quantizing: Quantizing
    pruning: Asked | None
    calibration: CalibrationSet | None
    evaluation: EvaluationSet
    out: Path
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.source.name}-{self.profile.name}"

    @property
    def bundle(self) -> Path:
        return self.out / self.name


def plan_run(flags: Mapping[str, Any], folder: Path) -> RunPlan:
    """Resolve flags and `folder`'s slm-export.toml against the target, the model and the data.

    Raises UsageError or InputError for anything that can be known before work starts.
    """
    settings = config.merge(flags, config.read_config(folder))
    profile = targets.load(config.require(settings, "target", flag="--target"))
    source = _source(settings)
    choices = config.choose_formats(settings, profile, lambda f, s: exporters.get(f).supports(source.task, s))
    wanted_less = pruning_flags.asked(settings, source)
    doctor.require((c.format for c in choices if not c.refused), source.task)
    aim = quantizing.goal(settings, choices)
    choices = _with_limits(choices, profile, source.task)
    _require_encoder(choices, source)
    unrolling = _unrolling(choices, source)
    shape, resolved = config.shapes(
        settings, profile, source.max_positions, unrolled=bool(unrolling), causal=source.task in tasks.CAUSAL
    )
    chosen, judge = calibration.load(_data_options(settings, source), source.labels)
    wanted, found = quantizing.resolve(settings, choices, chosen, aim, source.task)
    less, found_less = pruning_flags.resolve(settings, wanted_less, chosen)
    return RunPlan(
        settings={**settings, **resolved, **found, **found_less},
        quantizing=wanted,
        pruning=less,
        profile=profile,
        source=source,
        choices=tuple(choices),
        shape=shape,
        calibration=chosen,
        evaluation=judge,
        out=Path(settings["output"].value),
        notes=(
            *_notes(choices, chosen, judge, source, profile),
            *_recurrent_notes(choices, source, unrolling, shape),
            *pruning_flags.notes(less, chosen, aim.max_drop),
        ),
    )


def _value(settings: Mapping[str, Setting], key: str) -> Any:
    return settings[key].value if key in settings else None


def _source(settings: Mapping[str, Setting]) -> SourceInfo:
    model, name = config.require(settings, "model", flag="MODEL"), _value(settings, "name")
    if name is not None and not is_file_name(name):
        raise UsageError(
            f"--name {name!r} cannot be part of a folder's name", next_step="use letters, digits, dots, - and _"
        )
    location = sources.resolve(model, revision=_value(settings, "revision"), weights=_value(settings, "weights"))
    return sources.describe(location, name=name, task=_task(settings), base=_value(settings, "base"))


def _task(settings: Mapping[str, Setting]) -> str | None:
    task: str | None = _value(settings, "task")
    if task is not None and task not in TASKS:
        raise UsageError(f"unknown task {task!r}", where=settings["task"].origin, why=nearest(task, TASKS))
    return task


def _data_options(settings: Mapping[str, Setting], source: SourceInfo) -> calibration.DataOptions:
    task = tasks.get(source.task)
    files = {k: Path(settings[k].value) if k in settings else None for k in ("calibration", "eval")}
    return calibration.DataOptions(
        calibration=files["calibration"],
        evaluation=files["eval"],
        kind=task.SAMPLES,
        mask=source.mask_token or "",
        most=task.MOST_SAMPLES,
        text_column=_value(settings, "text-column"),
        label_column=_value(settings, "label-column"),
        pair_column=_value(settings, "pair-column"),
        slice_column=_value(settings, "slice-column"),
        size=settings["calibration-samples"].value,
        tried=quantizing.tried(settings, source.task),
        taught=max(pruning_flags.healed(settings), quantizing.taught(settings)),
        seed=settings["seed"].value,
        allow_overlap=settings["allow-overlap"].value,
    )


def _with_limits(choices: list[Choice], profile: TargetProfile, task: str) -> list[Choice]:
    """The choices, without candidates that no threshold would gate."""

    def gated(choice: Choice, scheme: str) -> bool:
        return profile.limits_for(task=task, scheme=scheme, format=choice.format) is not None

    kept = [replace(c, candidates=tuple(s for s in c.candidates if gated(c, s))) for c in choices]
    for choice in kept:
        if not choice.refused and not (choice.candidates or gated(choice, choice.scheme)):
            raise UsageError(
                f"target {profile.name} has no limits for {task} in {choice.scheme}",
                why="without thresholds there is no gate",
                next_step="add a [[limits]] row to the profile",
            )
    return kept


def _notes(
    choices: list[Choice],
    chosen: CalibrationSet | None,
    judge: EvaluationSet,
    source: SourceInfo,
    profile: TargetProfile,
) -> list[str]:
    notes = [f"{c.format} is left out: {c.refused}" for c in choices if c.refused]
    specs = [
        profile.runtimes[c.format].in_scheme(s) for c in choices if not c.refused for s in c.candidates or (c.scheme,)
    ]
    for spec in {(s.package, s.oldest): s for s in specs}.values():
        if spec.oldest != spec.version and oldest.interpreter(spec) is None:
            notes.append(
                f"not run in {spec.package} {spec.oldest}, the oldest that {profile.name} names: it is not installed "
                "(`slm-export doctor` has the line), and the bundle promises no older version than ran here"
            )
    if chosen and chosen.overlap_lines:
        count, lines = len(chosen.overlap_lines), ", ".join(map(str, chosen.overlap_lines[:8]))
        use = "used all the same (--allow-overlap)" if chosen.overlap_used else "not used"
        more = " ..." if count > 8 else ""
        notes.append(
            f"{count} calibration rows are also in the evaluation set and {use}: {chosen.file} lines {lines}{more}"
        )
    if len(judge.samples) < judge.rows and not judge.held_out:
        notes.append(f"{len(judge.samples)} of {judge.rows} rows of {judge.file} judge: a row is a whole vocabulary")
    if judge.held_out:
        notes.append(f"no --eval: {len(judge.samples)} rows of {judge.file} were held out of calibration to judge by")
    if chosen is None and quantizing.has_4_bits(choices):
        notes.append(
            "no --calibration: 4-bit weights are rounded by themselves, blind to what they are multiplied with; "
            "with texts like the app's, awq+gptq loses a quarter as much (MiniLM)"
        )
    if source.license is None:
        notes.append("the source names no licence: the manifest's licence field is null")
    return notes


def _require_encoder(choices: list[Choice], source: SourceInfo) -> None:
    static = [c.scheme for c in choices if not c.refused and c.scheme != AUTO and SCHEMES[c.scheme].static_bits]
    if source.plain is not None and static:
        raise UsageError(
            f"--scheme {static[0]} does not know classifiers in plain PyTorch",
            why="static ranges are found on the graph of a transformers encoder",
            next_step="take w8a8-dynamic",
        )


def _unrolling(choices: list[Choice], source: SourceInfo) -> list[str]:
    """The formats that will write recurrent layers out for a fixed number of tokens."""
    if source.plain is None or not source.plain.recurrent_layers:
        return []
    return [c.format for c in choices if not c.refused and exporters.get(c.format).UNROLLS]


def _recurrent_notes(choices: list[Choice], source: SourceInfo, unrolling: list[str], shape: Shape) -> list[str]:
    if source.plain is None or not source.plain.recurrent_layers:
        return []
    layers = source.plain.recurrent_layers
    notes = []
    if unrolling:
        operators = OPERATORS_PER_STEP * layers * shape.max_length
        notes.append(
            f"{' and '.join(unrolling)} repeat {layers} recurrent layers (directions counted) for each of "
            f"{shape.max_length} tokens: about {operators:,} operators. Longer texts are cut; --max-length changes it"
        )
    if quantizing.schemes(choices) != {"fp32"}:
        notes.append("weights of recurrent layers stay float32; lookups of a megabyte and Linears follow the scheme")
    return notes
