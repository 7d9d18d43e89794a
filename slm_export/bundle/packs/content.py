"""What a pack holds: the bundle's files, or those of some of its artifacts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from slm_export.bundle.manifest import Manifest, manifest_json, read_manifest
from slm_export.bundle.shared import located
from slm_export.bundle.verify import changed_files
from slm_export.errors import UsageError, VerificationError
from slm_export.records import record, write_json


@record
class Content:
    manifest: Manifest
    manifest_sha256: str
    files: dict[str, Path]  # by their paths in the bundle, manifest.json among them
    suffixes: tuple[str, ...]  # of the artifacts' files, which are to be mapped into memory


def content(bundle: Path, formats: Collection[str], work: Path) -> Content:
    """Of the artifacts of `formats`, all if there are none; a manifest of a part is written into `work`.

    Raises VerificationError if a file is not what the manifest says, UsageError for a format that is not there.
    """
    manifest = read_manifest(bundle)
    if wrong := changed_files(bundle, manifest):
        raise VerificationError(
            f"{bundle} is not what its manifest says", where="\n         ".join(wrong), next_step="export it again"
        )
    chosen = tuple(e for e in manifest.artifacts if not formats or e.artifact.format in formats)
    held = [e.artifact.format for e in manifest.artifacts]
    if missing := sorted(set(formats) - set(held)):
        raise UsageError(f"{bundle} has no {missing[0]} artifact", next_step=f"it has {', '.join(held)}")
    models = [f for e in chosen for f in e.artifact.files]
    files = {file.path: located(bundle, file) for file in (*models, *manifest.files)}
    files["manifest.json"] = bundle / "manifest.json"
    if len(chosen) < len(held):
        files["manifest.json"] = work / "manifest.json"
        write_json(files["manifest.json"], manifest_json(replace(manifest, artifacts=chosen, sizes=None)))
    sha256 = hashlib.sha256(files["manifest.json"].read_bytes()).hexdigest()
    suffixes = tuple(sorted({Path(file.path).suffix for file in models}))
    return Content(manifest=replace(manifest, artifacts=chosen), manifest_sha256=sha256, files=files, suffixes=suffixes)
