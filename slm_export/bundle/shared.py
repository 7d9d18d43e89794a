"""Files that several models of one bundle have alike: stored once, shared/<SHA-256>, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slm_export.artifact import FileRecord
from slm_export.bundle.manifest import Manifest

FOLDER = "shared"


def share(made: Path, models: Sequence[tuple[Path, Manifest]]) -> tuple[FileRecord, ...]:
    """Move tokenizer files that more than one of the models' folders has into made/shared. Their manifests stay: a
    file that is not in a model's folder is found by its hash. Gives what is shared."""
    homes: dict[str, list[tuple[Path, FileRecord]]] = {}
    for folder, manifest in models:
        for record in manifest.files:
            if record.path in manifest.tokenizer.files:
                homes.setdefault(record.sha256, []).append((folder / record.path, record))
    kept = []
    for sha256, found in sorted(homes.items()):
        if len(found) > 1:
            (made / FOLDER).mkdir(exist_ok=True)
            found[0][0].rename(made / FOLDER / sha256)
            for path, _ in found[1:]:
                path.unlink()
            kept.append(FileRecord(path=f"{FOLDER}/{sha256}", bytes=found[0][1].bytes, sha256=sha256))
    return tuple(kept)


def located(bundle: Path, record: FileRecord) -> Path:
    """Where a file that a bundle's manifest lists is, or would be."""
    own, shared = bundle / record.path, bundle.parent / FOLDER / record.sha256
    return shared if not own.exists() and shared.is_file() else own


def tokenizer_file(bundle: Path, manifest: Manifest, number: int = 0) -> Path:
    record = next(f for f in manifest.files if f.path == manifest.tokenizer.files[number])
    return located(bundle, record)
