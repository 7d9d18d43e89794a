"""The oldest runtime a profile promises: a virtual environment of its own, if this machine has one."""

from __future__ import annotations

import os
from pathlib import Path

from slm_export.targets import RuntimeSpec


def folder() -> Path:
    """Where such environments are looked for: $SLM_EXPORT_RUNTIMES, else below the user's cache."""
    if given := os.environ.get("SLM_EXPORT_RUNTIMES"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "slm-export" / "runtimes"


def interpreter(spec: RuntimeSpec) -> Path | None:
    """The Python of the environment that holds the oldest version, or None."""
    python = folder() / f"{spec.package}-{spec.oldest}" / "bin" / "python"
    return python if python.exists() else None


def install_line(spec: RuntimeSpec) -> str:
    home = folder() / f"{spec.package}-{spec.oldest}"
    return f"python3 -m venv {home} && {home}/bin/pip install {spec.package}=={spec.oldest} numpy"
