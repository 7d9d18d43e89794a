"""What the tests saw of each family, task, format and scheme, for docs/support.md."""

from __future__ import annotations

import json
import os
from pathlib import Path


def note(run: Path, *, family: str, task: str = "text-classification") -> None:
    """Keep what a run record says of each format, in the folder $SLM_EXPORT_SUPPORT; without it nothing."""
    folder = os.environ.get("SLM_EXPORT_SUPPORT")
    if not folder:
        return
    record = json.loads(run.read_text(encoding="utf-8"))
    for made in record["formats"]:
        cell = {"family": family, "task": task, "format": made["format"], "scheme": made["scheme"]}
        error = made["error"] and _reason(made["error"])
        (Path(folder) / name(**cell)).write_text(json.dumps({**cell, "failed": error}))


def name(family: str, task: str, format: str, scheme: str) -> str:
    """Of a cell's file."""
    return f"{family}-{task}-{format}-{scheme}.json".replace("/", "_")


def _reason(error: dict[str, str]) -> str:
    """What a closed gate measured; of other errors what they say."""
    if "does not answer like the reference" in error["what"]:
        return "; ".join(line.strip() for line in error["where"].splitlines())
    return error["what"]
