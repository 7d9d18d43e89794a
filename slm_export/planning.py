"""Before work: everything that can be decided, checked or refused without loading a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export import calibration, config, doctor, exporters, oldest, sources, targets, tasks
from slm_export.calibration import CalibrationSet, EvaluationSet
from slm_export.config import Choice, Setting, Shape
from slm_export.errors import InputError, UsageError, nearest
from slm_export.names import AUTO, RANKINGS, ROUNDINGS, TASKS, is_file_name
from slm_export.parity import budget
from slm_export.parity.budget import MaxDrop
from slm_export.quantization.schemes import NEEDS_CALIBRATION, SCHEMES
from slm_export.records import record
from slm_export.sources import SourceInfo
from slm_export.targets import TargetProfile

TRIED = 1000  # rows of the calibration file that trials of a search are judged by, at most
OPERATORS_PER_STEP = 15  # of one direction of an LSTM, unrolled; a GRU has 17


@record
class RunPlan:
    """What a run will do; `settings` says where each value came from."""

    settings: dict[str, Setting]
    profile: TargetProfile
    source: SourceInfo
    choices: tuple[Choice, ...]
    shape: Shape
    rounding: str
    int8_share: float
    int8_by: str
    max_drop: MaxDrop | None
    max_size: float | None  # of an artifact, megabytes
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
    doctor.require((c.format for c in choices if not c.refused), source.task)
    max_drop, max_size = _max_drop(settings), _max_size(settings)
    _require_goal(settings, choices, source.task)
    choices = _with_limits(choices, profile, source.task)
    unrolling = _unrolling(choices, source)
    shape, resolved = config.shapes(settings, profile, source.max_positions, unrolled=bool(unrolling))
    chosen, judge = calibration.load(_data_options(settings, source), source.labels)
    _require_calibration(choices, chosen)
    rounding = _rounding(settings, chosen)
    if _has_4_bits(choices):
        resolved = {**resolved, "rounding": rounding}
    return RunPlan(
        settings={**settings, **resolved},
        rounding=rounding.value,
        int8_share=_int8_share(settings, choices),
        int8_by=_int8_by(settings, chosen),
        max_drop=max_drop,
        max_size=max_size,
        profile=profile,
        source=source,
        choices=tuple(choices),
        shape=shape,
        calibration=chosen,
        evaluation=judge,
        out=Path(settings["output"].value),
        notes=(*_notes(choices, chosen, judge, source, profile), *_recurrent_notes(choices, source, unrolling, shape)),
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
        tried=TRIED if _value(settings, "scheme") == AUTO and "max-drop" in settings else 0,
        seed=settings["seed"].value,
        allow_overlap=settings["allow-overlap"].value,
    )


def _require_calibration(choices: list[Choice], chosen: CalibrationSet | None) -> None:
    needy = sorted(_schemes(choices) & NEEDS_CALIBRATION)
    if needy and chosen is None:
        raise InputError(
            f"scheme {AUTO if any(c.scheme == AUTO for c in choices) else needy[0]} needs a calibration set",
            why="it measures on real texts which layers the rounding of activations hurts; random data would not tell",
            next_step="give texts like the app's with --calibration, or choose --scheme fp32",
        )


def _schemes(choices: list[Choice]) -> set[str]:
    """All that may be made."""
    return {s for c in choices if not c.refused for s in (c.candidates or (c.scheme,))}


def _has_4_bits(choices: list[Choice]) -> bool:
    return any(SCHEMES[s].bits == 4 for s in _schemes(choices))


def _max_drop(settings: Mapping[str, Setting]) -> MaxDrop | None:
    asked = settings.get("max-drop")
    return budget.parse(asked.value, origin=asked.origin) if asked else None


def _max_size(settings: Mapping[str, Setting]) -> float | None:
    """Megabytes."""
    asked = settings.get("max-size")
    if asked is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+) ?(KB|MB|GB)", asked.value.strip(), flags=re.IGNORECASE)
    if found is None or not float(found[1]):
        raise UsageError(f"--max-size {asked.value!r} is no size", where=asked.origin, next_step="write 25MB")
    return float(found[1]) * {"KB": 1e-3, "MB": 1.0, "GB": 1e3}[found[2].upper()]


def _require_goal(settings: Mapping[str, Setting], choices: list[Choice], task: str) -> None:
    if all(c.scheme != AUTO for c in choices):
        return
    if "max-drop" not in settings and "max-size" not in settings:
        raise UsageError(
            "--scheme auto needs a goal",
            where=settings["scheme"].origin,
            next_step="say what may be lost with --max-drop 0.5%, or how large it may be with --max-size 25MB",
        )
    if task in tasks.GENERATING:
        raise UsageError(f"--scheme auto does not know {task} yet", next_step="name a scheme")


def _rounding(settings: Mapping[str, Setting], chosen: CalibrationSet | None) -> Setting:
    """How 4-bit weights are rounded: as asked for, else as well as the data allows."""
    asked = settings.get("rounding")
    if asked is None:
        return Setting(value="awq+gptq" if chosen else "mse", origin="default" if chosen else "no calibration set")
    if asked.value not in ROUNDINGS:
        raise UsageError(f"unknown rounding {asked.value!r}", where=asked.origin, why=nearest(asked.value, ROUNDINGS))
    if asked.value == "awq+gptq" and chosen is None:
        raise UsageError(
            "--rounding awq+gptq needs a calibration set",
            why="it measures on real texts what each weight's error does to the outputs",
            next_step="give texts like the app's with --calibration, or choose --rounding mse",
        )
    return asked


def _int8_share(settings: Mapping[str, Setting], choices: list[Choice]) -> float:
    share = settings.get("int8-share")
    if share is None:
        return 0.0
    if not 0 <= share.value <= 1:
        raise UsageError(f"--int8-share {share.value:g} is no share", where=share.origin, next_step="give 0 to 1")
    if not _has_4_bits(choices):
        raise UsageError(
            "--int8-share means nothing here: no format gets 4-bit weights",
            where=share.origin,
            next_step="add --scheme w4a8-dynamic",
        )
    return float(share.value)


def _int8_by(settings: Mapping[str, Setting], chosen: CalibrationSet | None) -> str:
    asked = settings.get("int8-by")
    if asked is None:
        return "hessian"
    if asked.value not in RANKINGS:
        raise UsageError(f"unknown ranking {asked.value!r}", where=asked.origin, why=nearest(asked.value, RANKINGS))
    if asked.value == "harm" and chosen is None:
        raise UsageError("--int8-by harm needs a calibration set to measure with", next_step="give --calibration")
    return str(asked.value)


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
    for spec in (profile.runtimes[c.format].in_scheme(c.scheme) for c in choices if not c.refused):
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
    if chosen is None and _has_4_bits(choices):
        notes.append(
            "no --calibration: 4-bit weights are rounded by themselves (mse), blind to what they are multiplied with; "
            "with texts like the app's, awq+gptq loses a quarter as much (MiniLM)"
        )
    if source.license is None:
        notes.append("the source names no licence: the manifest's licence field is null")
    return notes


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
    if _schemes(choices) != {"fp32"}:
        notes.append("weights of recurrent layers stay float32; lookups of a megabyte and Linears follow the scheme")
    return notes
