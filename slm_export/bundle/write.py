"""From a run's results to a bundle's files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export import tasks
from slm_export.artifact import FileRecord, file_record
from slm_export.bundle import sbom
from slm_export.bundle.golden import choose, golden, narrowed
from slm_export.bundle.manifest import ArtifactEntry, Manifest, SourceEntry, TokenizerEntry, manifest_json, versions
from slm_export.bundle.sizes import measure, require_within
from slm_export.outputs import Inputs, load_outputs
from slm_export.planning import RunPlan
from slm_export.records import from_json, read_json, write_json
from slm_export.report.card import model_card
from slm_export.results import FormatResult, RunResult
from slm_export.sources import SourceInfo
from slm_export.stages.prepare import Prepared


def write_bundle(result: RunResult, prepared: Prepared, work: Path, target: Path) -> None:
    """Write the bundle of everything that passed into the new folder `target`; the manifest last.

    Raises BudgetError if it is larger than the target's budgets allow.
    """
    plan = result.plan
    passed = [f for f in result.formats if f.error is None]
    target.mkdir()
    _move_artifacts(passed, work / "artifacts", target)
    shutil.copytree(work / "tokenizer", target / "tokenizer")
    write_json(target / "labels.json", plan.source.labels)
    if prepared.calibration is not None:
        write_json(target / "calibration.json", prepared.calibration)
    _write_golden(result, passed, work, target)
    write_json(target / "parity.json", {"reports": [f.report for f in result.formats if f.report]})
    (target / "report.md").write_text(result.markdown, encoding="utf-8")
    (target / "MODEL_CARD.md").write_text(model_card(result), encoding="utf-8")
    name, head = tasks.split(plan.source.task)
    manifest = Manifest(
        name=plan.source.name,
        target=plan.profile.name,
        task=name,
        head=head,
        labels=plan.source.labels,
        max_length=plan.shape.max_length,
        task_settings=tasks.get(plan.source.task).settings(plan.source),
        source=SourceEntry(
            kind=plan.source.kind,
            name=plan.source.name,
            hub_id=plan.source.hub_id,
            revision=plan.source.revision,
            architecture=plan.source.architecture,
            sha256=plan.source.sha256,
            license=plan.source.license,
            adapter=_adapter(plan.source),
            files=plan.source.files,
        ),
        tokenizer=TokenizerEntry(
            files=prepared.tokenizer_files,
            chat_template=prepared.chat_template,
            chat=prepared.chat,
            **prepared.tokenizer,
        ),
        pruning=prepared.pruning,
        calibration="calibration.json" if prepared.calibration is not None else None,
        artifacts=tuple(_entry(f) for f in passed),
        files=(),
        versions=versions(f.format for f in passed),
    )
    (target / sbom.NAME).write_text(sbom.sbom(manifest, _data(plan)), encoding="utf-8")
    sizes = measure(target)
    require_within(sizes, plan.profile)
    manifest = replace(manifest, files=tuple(_other_files(passed, target)), sizes=sizes)
    write_json(target / "manifest.json", manifest_json(manifest))


def _data(plan: RunPlan) -> list[sbom.Data]:
    sets = {"calibration": plan.calibration, "evaluation": plan.evaluation}
    return [sbom.Data(name=s.file, sha256=s.sha256, purpose=purpose) for purpose, s in sets.items() if s is not None]


def _adapter(source: SourceInfo) -> dict[str, Any] | None:
    adapter = source.adapter
    return None if adapter is None else {"kind": adapter.kind, "rank": adapter.rank, "base": adapter.base_name}


def _move_artifacts(passed: Sequence[FormatResult], source: Path, target: Path) -> None:
    for done in passed:
        assert done.artifact is not None
        for file in done.artifact.files:
            (target / file.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source / file.path, target / file.path)
            (target / file.path).chmod(0o644)


def _write_golden(result: RunResult, passed: Sequence[FormatResult], work: Path, target: Path) -> None:
    task = tasks.get(result.plan.source.task)
    whole, texts = load_outputs(work / "reference.npz").evaluation, from_json(Inputs, read_json(work / "inputs.json"))
    artifacts = [done.artifact for done in passed if done.artifact is not None]
    outputs = [load_outputs(work / f"execute-{artifact.format}.npz").evaluation for artifact in artifacts]
    tokens, reference, outputs = narrowed(task, texts.evaluation, whole, outputs)
    vectors = golden(
        task=task,
        rows=choose(task, tokens, reference, outputs),
        samples=result.plan.evaluation.samples,
        tokens=tokens,
        labels=result.plan.source.labels,
        reference=reference,
        artifacts={a.path: (a.scheme, matrices) for a, matrices in zip(artifacts, outputs, strict=True)},
    )
    write_json(target / "golden.json", vectors)


def _entry(done: FormatResult) -> ArtifactEntry:
    assert done.artifact is not None and done.report is not None
    return ArtifactEntry(artifact=done.artifact, thresholds=done.report.limits, verdict=done.report.verdict)


def _other_files(passed: Sequence[FormatResult], target: Path) -> list[FileRecord]:
    artifacts = {f.path for done in passed if done.artifact for f in done.artifact.files}
    files = sorted(p for p in target.rglob("*") if p.is_file())
    return [file_record(p, root=target) for p in files if p.relative_to(target).as_posix() not in artifacts]
