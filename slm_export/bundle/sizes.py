"""What an artifact and its bundle take, and what a target allows them."""

from __future__ import annotations

import zlib
from pathlib import Path

from slm_export.artifact import Artifact
from slm_export.bundle.manifest import Sizes
from slm_export.errors import BudgetError
from slm_export.targets import TargetProfile

PIECE = 1 << 20  # bytes that are read at once


def measure(folder: Path) -> Sizes:
    """Of every file in it."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return Sizes(
        download_bytes=sum(_deflated(path) for path in files), installed_bytes=sum(p.stat().st_size for p in files)
    )


def _deflated(path: Path) -> int:
    packer, size = zlib.compressobj(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            size += len(packer.compress(piece))
    return size + len(packer.flush())


def over_budget(artifact: Artifact, profile: TargetProfile, max_size: float | None) -> BudgetError | None:
    """Whether an artifact is larger than `max_size` megabytes, or takes more than the target's budgets allow."""
    size, memory = sum(f.bytes for f in artifact.files) / 1e6, artifact.memory
    if max_size is not None and size > max_size:
        return BudgetError(
            f"{artifact.path} is {size:.2f} MB, --max-size allows {max_size:g} MB",
            where="--max-size",
            next_step="a smaller scheme or model, or a larger --max-size",
        )
    read = memory.weights_bytes + memory.activations_bytes
    needs = {
        "artifact_mb": (size, profile.budgets.artifact_mb, "is"),
        "ram_mb": (max(read, memory.first_load_bytes or 0) / 1e6, profile.budgets.ram_mb, "takes in memory"),
    }
    for key, (needed, allowed, verb) in needs.items():
        if allowed is not None and needed > allowed:
            return BudgetError(
                f"{artifact.path} {verb} {needed:.1f} MB, target {profile.name} allows {allowed:g} MB",
                where=f"budgets.{key}",
                next_step="a smaller scheme or --max-length, a smaller model, or a budget of your own in a profile",
            )
    return None


def require_within(sizes: Sizes, profile: TargetProfile) -> None:
    """Raises BudgetError if a bundle is larger than the target allows."""
    needs = {
        "download_mb": (sizes.download_bytes, profile.budgets.download_mb, "to download, deflated"),
        "installed_mb": (sizes.installed_bytes, profile.budgets.installed_mb, "installed"),
    }
    for key, (size, allowed, how) in needs.items():
        if allowed is not None and size / 1e6 > allowed:
            raise BudgetError(
                f"the bundle is {size / 1e6:.2f} MB {how}, target {profile.name} allows {allowed:g} MB",
                where=f"budgets.{key}",
                next_step="fewer --format, a smaller scheme or model, or a budget of your own in a profile",
            )
