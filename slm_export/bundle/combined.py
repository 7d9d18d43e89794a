"""Several models behind one manifest: bundles of one target, each whole in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from slm_export.artifact import FileRecord, file_record
from slm_export.bundle.atomic import replace_folder, work_folder
from slm_export.bundle.manifest import SCHEMA, Manifest, read_manifest
from slm_export.bundle.shared import FOLDER, located, share
from slm_export.bundle.verify import Check, Verification
from slm_export.errors import UsageError, VerificationError
from slm_export.names import is_file_name
from slm_export.records import from_json, read_json, record, to_json, write_json


@record
class Model:
    """One of the models; `manifest` is the path of its own, and `sha256` that file's."""

    name: str
    task: str
    head: str | None
    manifest: str
    sha256: str


@record
class Combined:
    name: str
    target: str
    models: tuple[Model, ...]
    shared: tuple[FileRecord, ...] = ()  # files that several models have alike: see shared.py


def combine(bundles: Sequence[Path], *, name: str, out: Path) -> Path:
    """Copy the bundles into one, out/<name>-<target>.

    Raises UsageError if there are fewer than two, two have one name, or their targets differ; VerificationError if one
    is no bundle.
    """
    if not is_file_name(name):
        raise UsageError(f"--name {name!r} cannot be part of a folder's name", next_step="use letters, digits and -")
    manifests = {path: read_manifest(path) for path in bundles}
    _refuse_strangers(list(manifests.values()))
    target = next(iter(manifests.values())).target
    with work_folder(out) as work:
        made = work / "bundle"
        models = [_copy(path, manifest, made) for path, manifest in manifests.items()]
        alike = share(made, [(made / m.name, m) for m in manifests.values()])
        data = to_json(Combined(name=name, target=target, models=tuple(models), shared=alike))
        write_json(made / "manifest.json", {"schema": SCHEMA, **data})
        replace_folder(made, out / f"{name}-{target}")
    return out / f"{name}-{target}"


def _refuse_strangers(manifests: list[Manifest]) -> None:
    targets, names = {m.target for m in manifests}, [m.name for m in manifests]
    if len(manifests) < 2:
        raise UsageError("one bundle is nothing to combine", next_step="name two bundles or more")
    if len(targets) > 1:
        raise UsageError(
            f"the bundles are for different targets: {', '.join(sorted(targets))}",
            next_step="export all of them for one target",
        )
    if FOLDER in names:
        raise UsageError(f"a bundle is named {FOLDER}", next_step="export it with another --name")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise UsageError(f"two bundles are named {twice[0]}", next_step="export one of them with another --name")


def _copy(bundle: Path, manifest: Manifest, made: Path) -> Model:
    shutil.copytree(bundle, made / manifest.name)
    for file in manifest.files:  # of a bundle that is one of several itself
        if not (bundle / file.path).exists() and (found := located(bundle, file)).is_file():
            shutil.copyfile(found, made / manifest.name / file.path)
    own = file_record(made / manifest.name / "manifest.json", root=made)
    return Model(name=manifest.name, task=manifest.task, head=manifest.head, manifest=own.path, sha256=own.sha256)


def read_combined(path: Path) -> Combined | None:
    """None if there is no manifest of several models at `path`. Raises VerificationError if it is damaged."""
    file = path / "manifest.json"
    try:
        data = read_json(file) if file.is_file() else {}
        return from_json(Combined, data) if isinstance(data, dict) and "models" in data else None
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as err:
        raise VerificationError(f"{file} is not a manifest: {err}", where=str(file)) from err


def verify_models(path: Path, combined: Combined) -> Verification:
    """Whether each model's manifest is there as listed; what that lists is checked with its own bundle."""
    wrong = []
    listed = {m.manifest: m.sha256 for m in combined.models} | {f.path: f.sha256 for f in combined.shared}
    for name, sha256 in listed.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()):
            wrong.append(f"{name} lies outside the bundle")
        elif not file.is_file():
            wrong.append(f"{name} is missing")
        elif file_record(file, root=path).sha256 != sha256:
            wrong.append(f"{name} has another SHA-256")
    detail = "; ".join(wrong) or f"{len(combined.models)} models as listed"
    return Verification(bundle=str(path), checks=(Check(name="models", ok=not wrong, detail=detail),))
