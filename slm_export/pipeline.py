"""The main job, top to bottom: source -> reference -> compressed model -> artifacts -> parity -> bundle."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from slm_export import exporters, oldest, tasks
from slm_export.artifact import Artifact, RuntimeRecord
from slm_export.bundle.atomic import replace_folder, work_folder
from slm_export.bundle.pack import pack
from slm_export.bundle.sizes import over_budget
from slm_export.bundle.write import write_bundle
from slm_export.config import Choice
from slm_export.errors import ExportError, OutOfMemoryError, ParityError, SlmExportError
from slm_export.exporters.common import ExportRequest
from slm_export.generation import text_decoder
from slm_export.names import AUTO, PACKS
from slm_export.outputs import Inputs, load_outputs
from slm_export.parity.budget import loss, of_pruned, tightened
from slm_export.parity.check import Run, Truth, check, reference_answers
from slm_export.parity.older import no_worse, on_rows, picked
from slm_export.parity.report import ParityReport, RuntimeCheck
from slm_export.planning import RunPlan
from slm_export.quantization.schemes import GROUP
from slm_export.quantization.trials import key_of
from slm_export.records import from_json, read_json, record, to_json
from slm_export.report.markdown import report_markdown
from slm_export.requirements import installed_version
from slm_export.results import FormatResult, RunResult
from slm_export.runtimes.worker import ExecuteJob
from slm_export.stages import StageResult, run_stage
from slm_export.stages.compress import FormatNeeds, Search, Wishes
from slm_export.stages.export import ExportJob
from slm_export.stages.prepare import PRUNED, Prepared, PrepareJob
from slm_export.targets import Limits, RuntimeSpec


@record
class Listener:
    """Who wants to hear how a run goes: a stage's name, its progress (what, done, total), and what it cost."""

    started: Callable[[str], None] = lambda name: None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    finished: Callable[[StageResult], None] = lambda result: None


def execute(plan: RunPlan, listener: Listener | None = None) -> RunResult:
    """Do what `plan` says and write the bundle.

    An artifact that fails is left out, with its error in the result; the others are bundled. If none passes, nothing
    is written. Raises InputError or ExportError if the run cannot get as far as a first artifact.
    """
    with work_folder(plan.out) as work:
        run = _Run(plan, work, listener or Listener())
        try:
            prepared = run.prepare()
            formats = tuple(run.make(choice, prepared) for choice in plan.choices if not choice.refused)
            result = RunResult(plan=plan, bundle=None, formats=formats, stages=tuple(run.stages))
            result = replace(result, markdown=report_markdown(result, prepared))
            if any(f.error is None for f in formats):
                write_bundle(result, prepared, work, work / "bundle")
                replace_folder(work / "bundle", plan.bundle)
                kind = plan.profile.bundle
                packed = pack(plan.bundle, kind, out=plan.out) if kind in PACKS else None
                result = replace(result, bundle=plan.bundle, packed=packed)
        except SlmExportError as err:
            err.add_note(f"log: {_keep_log(plan, work)}")
            raise
        if result.error:
            result.error.add_note(f"log: {_keep_log(plan, work)}")
        else:
            _log(plan).unlink(missing_ok=True)  # of an earlier run that failed
    return result


def _log(plan: RunPlan) -> Path:
    return plan.out / f"{plan.name}.log"


def _keep_log(plan: RunPlan, work: Path) -> Path:
    """What the stages' libraries printed, traces included, beside where the bundle would be."""
    kept = _log(plan)
    logs = sorted(work.glob("*.log"), key=lambda p: p.stat().st_mtime)
    kept.write_text("".join(f"== {p.stem}\n{p.read_text(errors='replace')}\n" for p in logs), encoding="utf-8")
    return kept


class _Run:
    """One run's folder, stages and listener, so that each step below reads as what it does."""

    def __init__(self, plan: RunPlan, work: Path, listener: Listener) -> None:
        self.plan, self.work, self.listener = plan, work, listener
        self.stages: list[StageResult] = []
        self.checkpoints = plan.out / f".{plan.name}.rounding"  # of a rounding that is not finished

    def stage(self, kind: str, name: str, job: Any, *, python: Path | None = None) -> dict[str, Any]:
        self.listener.started(name)
        result = run_stage(
            kind, to_json(job), name=name, folder=self.work, on_progress=self.listener.progress, python=python
        )
        self.stages.append(result)
        self.listener.finished(result)
        return result.result

    def prepare(self) -> Prepared:
        chosen = [c for c in self.plan.choices if not c.refused]
        job = PrepareJob(
            source=self.plan.source,
            max_length=self.plan.shape.max_length,
            wishes=Wishes(
                formats={c.format: self.needs(c, chosen) for c in chosen},
                rounding=self.plan.quantizing.rounding,
                int8_share=self.plan.quantizing.int8_share,
                int8_by=self.plan.quantizing.int8_by,
                effort=self.plan.quantizing.effort,
                checkpoints=str(self.checkpoints),
                key=self.key(),
                search=self.search() if any(c.scheme == AUTO for c in chosen) else None,
            ),
            pruning=self.plan.pruning,
            calibration=self.plan.calibration,
            evaluation=self.plan.evaluation,
            folder=str(self.work),
        )
        prepared = from_json(Prepared, self.stage("prepare", "prepare", job))
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        return prepared

    def needs(self, choice: Choice, chosen: Sequence[Choice]) -> FormatNeeds:
        exporter = exporters.get(choice.format)
        causal = self.plan.source.task in tasks.CAUSAL  # whose Linears bear only the finest: see docs/architecture.md
        return FormatNeeds(
            scheme=choice.scheme,
            schemes=choice.candidates,
            activations=exporter.ACTIVATIONS[-1:] if causal else exporter.ACTIVATIONS,
            int8_group=GROUP if causal and self.groups_int8(chosen) else None,
        )

    def groups_int8(self, chosen: Sequence[Choice]) -> bool:
        """Whether every format can: the integers are the same in all."""
        return all(exporters.get(c.format).INT8_GROUPS for c in chosen)

    def key(self) -> str:
        """Of what roundings and trials depend on: model, data, lengths, pruning, and the code that makes them."""
        plan = self.plan
        version = installed_version("slm-export", "slm_export")
        made = (plan.source.sha256, plan.source.task, plan.calibration, plan.shape.max_length, plan.pruning)
        return key_of(version, *made)

    def search(self) -> Search:
        plan, aim = self.plan, self.plan.quantizing.goal
        plan.out.mkdir(parents=True, exist_ok=True)
        store = str(plan.out / f"{plan.name}.trials.jsonl")
        return Search(max_drop=aim.max_drop, max_megabytes=aim.max_size, store=store)

    def make(self, choice: Choice, prepared: Prepared) -> FormatResult:
        """Export, run, compare and judge one format, in the scheme that was chosen or found."""
        choice = replace(choice, scheme=prepared.plans[choice.format].scheme)
        artifact: Artifact | None = None
        report: ParityReport | None = None
        error: SlmExportError | None = None
        try:
            artifact, twin = self.export(choice, prepared)
            artifact, report = self.judge(choice, artifact, twin)
            error = _gate(report, pruned=self.plan.pruning is not None) or over_budget(
                artifact, self.plan.profile, self.plan.quantizing.goal.max_size
            )
        except ExportError as err:
            error = err
        return FormatResult(
            format=choice.format,
            scheme=choice.scheme,
            artifact=artifact,
            report=report,
            error=error,
            deflated_bytes=self.deflated(artifact),
        )

    def deflated(self, artifact: Artifact | None) -> int | None:
        """What zeros among the weights are good for."""
        if artifact is None or self.plan.pruning is None or not self.plan.pruning.weights:
            return None
        return sum(len(zlib.compress((self.work / "artifacts" / f.path).read_bytes())) for f in artifact.files)

    def export(self, choice: Choice, prepared: Prepared) -> tuple[Artifact, Artifact | None]:
        spec, shape = self.plan.profile.runtimes[choice.format].in_scheme(choice.scheme), self.plan.shape
        request = ExportRequest(
            task=self.plan.source.task,
            inputs=prepared.inputs,
            max_length=shape.max_length,
            buckets=shape.buckets,
            batch=shape.batch,
            pad_id=prepared.pad_id,
            generation=prepared.generation,
            tokenizer=str(self.work / "tokenizer"),
            runtime=RuntimeRecord(
                package=spec.package,
                version=spec.version,
                oldest=spec.oldest,
                backend=spec.backend,
                options=spec.options,
            ),
        )
        job = ExportJob(
            format=choice.format,
            source=prepared.source,
            plan=prepared.plans[choice.format],
            request=request,
            tensors=str(self.work / f"compressed-{choice.format}.safetensors"),
            pruned=str(self.work / PRUNED) if prepared.pruning else None,
            out=str(self.work / "artifacts"),
        )
        made = self.stage("export", f"export-{choice.format}", job)
        artifact = from_json(Artifact, made["artifact"])
        if job.plan.quantizes_activations and request.task in exporters.get(choice.format).TWIN_APART:
            made = self.stage("export", f"export-{choice.format}-twin", replace(job, artifact=artifact))
        return artifact, from_json(Artifact, made["twin"]) if made["twin"] else None

    def judge(self, choice: Choice, artifact: Artifact, twin: Artifact | None) -> tuple[Artifact, ParityReport]:
        """Run the artifact and its twin, compare, and run it in the oldest promised runtime too, if there is one.

        The artifact comes back with the version it ran in, and as `oldest` the oldest it was seen to pass in.
        """
        spec = self.plan.profile.runtimes[choice.format].in_scheme(choice.scheme)
        limits = self.plan.profile.limits_for(task=self.plan.source.task, scheme=choice.scheme, format=choice.format)
        assert limits is not None, "planning refuses targets without limits"
        truth = self.truth(choice.format)
        max_drop = self.plan.quantizing.goal.max_drop
        if max_drop is not None:
            bound = of_pruned if self.plan.pruning else tightened
            limits = bound(limits, max_drop, loss(self.plan.source.task, reference_answers(truth), max_drop))
        run = self.run(artifact, f"execute-{choice.format}", spec)
        rows = truth.lowering_rows
        twin_run = self.run(twin, f"execute-{choice.format}-twin", spec, rows=rows) if twin else None
        older = self.oldest(artifact, choice.format, spec, run, truth, limits)
        report = check(
            format=choice.format,
            scheme=artifact.scheme,
            truth=truth,
            artifact=run,
            twin=twin_run,
            older=older,
            limits=limits,
        )
        seen = min((run.runtime.version, *(r.version for r in older if r.loads)), key=_version_key)
        ran = replace(artifact.runtime, version=run.runtime.version, oldest=seen)
        return replace(artifact, runtime=ran, memory=replace(artifact.memory, first_load_bytes=run.first_load)), report

    def oldest(
        self, artifact: Artifact, format: str, spec: RuntimeSpec, tested: Run, truth: Truth, limits: Limits
    ) -> tuple[RuntimeCheck, ...]:
        """A causal model's every position is minutes of single steps: some of the texts must do."""
        python = oldest.interpreter(spec)
        if spec.oldest == tested.runtime.version or python is None or tested.outputs is None:
            return ()
        rows = truth.lowering_rows if self.plan.source.task in tasks.CAUSAL else None
        run = self.run(artifact, f"execute-{format}-oldest", spec, rows=rows, python=python)
        if run.outputs is None:
            return (run.runtime,)
        limits = replace(limits, bounds={m: b for m, b in limits.bounds.items() if m != "lowering_max_abs_error"})
        judged = partial(check, format=format, scheme=artifact.scheme, twin=None, older=())
        if rows is not None:
            truth, tested = on_rows(truth, rows), replace(tested, outputs=picked(tested.outputs, rows))
            limits = no_worse(limits, judged(truth=truth, artifact=tested, limits=limits))
        report = judged(truth=truth, artifact=run, limits=limits)
        wrong = "; ".join(f.message for f in report.findings)
        return (replace(run.runtime, loads=not wrong, refused=wrong or None),)

    def truth(self, format: str) -> Truth:
        inputs = self.inputs()
        task, name = tasks.get(self.plan.source.task), self.plan.source.task
        answers = name in tasks.ENCODER_DECODERS
        return Truth(
            task=name,
            labels=self.plan.source.labels,
            targets=self.plan.evaluation.targets,
            slices=tuple(s.slice for s in self.plan.evaluation.samples),
            tokens=inputs.evaluation,
            lowering_rows=inputs.lowering_rows,
            reference=load_outputs(self.work / "reference.npz"),
            eager=load_outputs(self.work / f"eager-{format}.npz"),
            weights_only=load_outputs(self.work / f"weights-only-{format}.npz"),
            wanted=task.wanted(self.plan.evaluation.samples) if answers else None,
            decode=text_decoder(str(self.work / "tokenizer/tokenizer.json")) if name in tasks.GENERATING else None,
        )

    def inputs(self) -> Inputs:
        return from_json(Inputs, read_json(self.work / "inputs.json"))

    def run(
        self,
        artifact: Artifact,
        name: str,
        spec: RuntimeSpec,
        *,
        rows: tuple[int, ...] | None = None,
        python: Path | None = None,
    ) -> Run:
        inputs = self.inputs()
        job = ExecuteJob(
            artifact=artifact,
            path=str(self.work / "artifacts" / artifact.path),
            task=self.plan.source.task,
            samples=inputs.evaluation if rows is None else tuple(inputs.evaluation[r] for r in rows),
            probes=inputs.probes,
            outputs=str(self.work / f"{name}.npz"),
        )
        version = spec.oldest if python else spec.version
        try:
            result = self.stage("execute", name, job, python=python)
        except OutOfMemoryError:  # which says nothing about the artifact
            raise
        except ExportError as err:  # a file can kill the process that opens it
            result = {"refused": err.what, "version": version}
        refused = result.get("refused")
        checked = RuntimeCheck(
            package=spec.package,
            version=result["version"],
            executor=self.plan.profile.executors[0],
            loads=refused is None,
            refused=refused,
        )
        outputs = None if refused else load_outputs(Path(job.outputs))
        return Run(runtime=checked, outputs=outputs, first_load=result.get("first_load_bytes"))


AFTER_PRUNING = "prune less, give healing more texts or passes (--calibration, --heal), or allow more with --max-drop"


def _gate(report: ParityReport, *, pruned: bool) -> ParityError | None:
    if report.verdict == "pass":
        return None
    advice = [AFTER_PRUNING] if pruned else []
    return ParityError(
        f"the {report.format} artifact does not answer like the reference, and is not in the bundle",
        where="\n         ".join(f.message for f in report.findings),
        why=f"thresholds: {report.limits_why}",
        next_step="; ".join(dict.fromkeys([*advice, *(f.advice for f in report.findings)])),
    )


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdigit())
