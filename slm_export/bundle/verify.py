"""verify: is a bundle what its manifest says, and does each artifact still answer as it did?

Needs numpy and the artifacts' runtimes; torch only where ExecuTorch's runtime brings it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from slm_export.artifact import file_record
from slm_export.bundle import sbom
from slm_export.bundle.golden import pick
from slm_export.bundle.manifest import (
    ArtifactEntry,
    Golden,
    GoldenOutputs,
    GoldenSample,
    Manifest,
    read_golden,
    read_manifest,
    task_module,
)
from slm_export.bundle.shared import located, tokenizer_file
from slm_export.errors import DependencyError, ExportError, VerificationError, first_line
from slm_export.outputs import Tokens
from slm_export.parity.report import ParityReport, rejudge
from slm_export.records import from_json, read_json, record, to_json
from slm_export.requirements import RUN_NEEDS
from slm_export.stages import run_stage


@record
class Check:
    """One thing looked at: `ok` None means it could not be, and `detail` says why."""

    name: str
    ok: bool | None
    detail: str


@record
class Verification:
    bundle: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.ok is False)


def find_bundles(path: Path) -> list[Path]:
    """The bundle at `path`, or every bundle directly in it. Raises VerificationError if there is none."""
    if (path / "manifest.json").is_file():
        return [path]
    found = sorted(p.parent for p in path.glob("*/manifest.json") if not p.parent.name.startswith("."))
    if not found:
        raise VerificationError(f"{path} is no bundle and holds none", why="there is no manifest.json", where=str(path))
    return found


def verify(bundle: Path, *, formats: Sequence[str] = ()) -> Verification:
    """Check hashes, verdicts, tokenizer and golden vectors of a bundle; `formats` limits which artifacts are run.

    A format asked for that the bundle does not hold is a failed check. Raises VerificationError if the manifest or
    the golden vectors cannot be read, DependencyError if a runtime is missing.
    """
    manifest = read_manifest(bundle)
    golden = read_golden(bundle / manifest.golden)
    chosen = [e for e in manifest.artifacts if not formats or e.artifact.format in formats]
    _require_runtimes(chosen)
    checks = [
        _hash_check(bundle, manifest),
        _verdict_check(bundle, manifest),
        _sbom_check(bundle, manifest),
        _tokenizer_check(bundle, manifest, golden),
        *(_golden_check(bundle, manifest, golden, entry) for entry in chosen),
        *(_absent(format, manifest) for format in formats if format not in {e.artifact.format for e in chosen}),
    ]
    return Verification(bundle=str(bundle), checks=tuple(checks))


def _absent(format: str, manifest: Manifest) -> Check:
    held = ", ".join(e.artifact.format for e in manifest.artifacts)
    return Check(name=f"golden {format}", ok=False, detail=f"the bundle has no {format} artifact; it has {held}")


def _verdict_check(bundle: Path, manifest: Manifest) -> Check:
    """Judge the stored values once more, by the thresholds stored with them."""
    try:
        reports = [from_json(ParityReport, r) for r in read_json(bundle / manifest.parity)["reports"]]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as err:
        return Check(name="verdicts", ok=False, detail=f"{manifest.parity} holds no parity reports: {first_line(err)}")
    by_format = {r.format: r for r in reports}
    wrong = []
    for entry in manifest.artifacts:
        report = by_format.get(entry.artifact.format)
        if report is None:
            wrong.append(f"{entry.artifact.format} was not judged")
        elif report.limits != entry.thresholds:
            wrong.append(f"{report.format} was judged by other thresholds than the manifest says")
        else:
            wrong += [f"{report.format}: {finding.message}" for finding in rejudge(report)]
    detail = "; ".join(wrong) or f"{len(manifest.artifacts)} artifacts pass by their own thresholds"
    return Check(name="verdicts", ok=not wrong, detail=detail)


def _sbom_check(bundle: Path, manifest: Manifest) -> Check:
    if not any(f.path == sbom.NAME for f in manifest.files):
        return Check(name="sbom", ok=None, detail="the bundle has none: it was made by an older slm-export")
    try:
        wrong = sbom.problems(bundle / sbom.NAME, manifest)
    except VerificationError as err:
        wrong = [err.what]
    parts = 1 + sum(len(e.artifact.files) for e in manifest.artifacts)
    return Check(
        name="sbom", ok=not wrong, detail="; ".join(wrong) or f"source and {parts - 1} files with their hashes"
    )


def _hash_check(bundle: Path, manifest: Manifest) -> Check:
    wrong = changed_files(bundle, manifest)
    count = len(manifest.files) + sum(len(e.artifact.files) for e in manifest.artifacts)
    return Check(name="hashes", ok=not wrong, detail="; ".join(wrong) or f"{count} files as listed")


def changed_files(bundle: Path, manifest: Manifest) -> list[str]:
    """What is not as the manifest lists it."""
    listed = [*manifest.files, *(f for e in manifest.artifacts for f in e.artifact.files)]
    wrong = []
    for expected in listed:
        path = located(bundle, expected)
        if not (bundle / expected.path).resolve().is_relative_to(bundle.resolve()):
            wrong.append(f"{expected.path} lies outside the bundle")
        elif not path.is_file():
            wrong.append(f"{expected.path} is missing")
        elif (got := replace(file_record(path, root=path.parent), path=expected.path)) != expected:
            how = f"{got.bytes} bytes, not {expected.bytes}" if got.bytes != expected.bytes else "another SHA-256"
            wrong.append(f"{expected.path} has {how}")
    return wrong


def _tokenizer_check(bundle: Path, manifest: Manifest, golden: Golden) -> Check:
    if find_spec("tokenizers") is None:
        return Check(name="tokenizer", ok=None, detail="not checked: pip install tokenizers")
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file(bundle, manifest)))
    except Exception as err:  # the Rust library raises plain Exception
        return Check(name="tokenizer", ok=False, detail=f"tokenizer.json does not load: {err}")
    task = task_module(manifest)
    wrong = [s.text for s in golden.samples if tuple(task.retokenize(tokenizer, s)) != s.input_ids]
    detail = f"other ids for {wrong[0]!r}" if wrong else f"{len(golden.samples)} golden texts give their ids"
    return Check(name="tokenizer", ok=not wrong, detail=detail)


def _require_runtimes(entries: Sequence[ArtifactEntry]) -> None:
    needs = {dist: module for e in entries for dist, module in RUN_NEEDS[e.artifact.format].items()}
    missing = sorted(dist for dist, module in needs.items() if find_spec(module) is None)
    if missing:
        raise DependencyError(
            f"the bundle's artifacts need {', '.join(missing)}, which is not installed",
            next_step=f"pip install {' '.join(missing)}, or check other formats with --format",
        )


def _golden_check(bundle: Path, manifest: Manifest, golden: Golden, entry: ArtifactEntry) -> Check:
    artifact = entry.artifact
    name = f"golden {artifact.path}"
    expected = golden.artifacts.get(artifact.path)
    if expected is None:
        return Check(name=name, ok=False, detail="golden.json does not have it")
    with tempfile.TemporaryDirectory() as folder:  # absolute, as the stage changes its directory
        job = {
            "artifact": to_json(artifact),
            "path": str((bundle / artifact.path).resolve()),
            "task": "/".join(filter(None, (manifest.task, manifest.head))),
            "samples": to_json([_tokens(s) for s in golden.samples]),
            "probes": [],
            "outputs": str(Path(folder) / "outputs.npz"),
        }
        try:
            stage = run_stage("execute", job, name=f"execute-{artifact.format}", folder=Path(folder))
        except ExportError as err:  # a damaged file can kill the runtime's process: that is the finding
            return Check(name=name, ok=False, detail=str(err).replace("\n", ";"))
        if "refused" in stage.result:
            return Check(name=name, ok=False, detail=f"the runtime refuses it: {stage.result['refused']}")
        wrong = _differences(Path(folder) / "outputs.npz", manifest, golden, expected)
    ran = f"{artifact.runtime.package} {stage.result['version']}"
    return Check(
        name=name, ok=not wrong, detail="; ".join(wrong) or f"{len(golden.samples)} samples as recorded, {ran}"
    )


def _tokens(sample: GoldenSample) -> Tokens:
    return Tokens(
        input_ids=sample.input_ids,
        token_type_ids=sample.token_type_ids,
        positions=sample.positions,
        spans=sample.spans,
        context=sample.pair,
        steps=sample.steps,
    )


def _differences(npz: Path, manifest: Manifest, golden: Golden, expected: GoldenOutputs) -> list[str]:
    import numpy as np

    from slm_export.metrics import cosine, max_abs_error
    from slm_export.outputs import all_rows, load_outputs

    task = task_module(manifest)
    got = load_outputs(npz).evaluation
    recorded = [np.array(m, np.float32).reshape(len(m), -1) for m in expected.outputs]
    kept = [pick(m, s.columns) for m, s in zip(got, golden.samples, strict=True)]
    for a, b in zip(recorded, kept, strict=True):
        if a.shape != b.shape:
            return [f"outputs of shape {list(b.shape)}, recorded {list(a.shape)}"]
    if manifest.labels and got[0].shape[1] != len(manifest.labels):
        return [f"{got[0].shape[1]} outputs, {len(manifest.labels)} labels in the manifest"]
    wrong = []
    lowest = float(cosine(all_rows(recorded), all_rows(kept)).min())
    farthest = max_abs_error(all_rows(recorded), all_rows(kept))
    if expected.max_abs_error is not None and not farthest <= expected.max_abs_error:
        wrong.append(f"{farthest:.6f} from the recorded value, must be <= {expected.max_abs_error:.6f}")
    if not lowest >= expected.min_cosine:
        wrong.append(f"cosine to the recorded output {lowest:.6f}, must be >= {expected.min_cosine}")
    answers = [task.answer(m, _tokens(s), manifest.labels) for m, s in zip(got, golden.samples, strict=True)]
    changed = [(s, a) for s, a in zip(golden.samples, answers, strict=True) if a != s.answer]
    if changed:
        sample, answer = changed[0]
        wrong.append(
            f"{len(changed)} answers differ, first {answer!r} for {sample.text[:40]!r}, recorded {sample.answer!r}"
        )
    return wrong
