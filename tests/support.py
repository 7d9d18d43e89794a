"""What the tests saw of each family, task, format and scheme, for docs/support.md."""

from __future__ import annotations

import json
import os
from pathlib import Path


def note(run: Path, *, family: str, task: str = "text-classification") -> None:
    """Keep what a run record says of each format, in the folder $SLM_EXPORT_SUPPORT; without it nothing."""
    for made in json.loads(run.read_text(encoding="utf-8"))["formats"]:
        cell = {"family": family, "task": task, "format": made["format"], "scheme": made["scheme"]}
        _keep(cell, failed=made["error"] and _reason(made["error"]))


def note_refused(reason: str, *, family: str, task: str, format: str, scheme: str) -> None:
    """Keep that a family does not go with a scheme, which was said before any format was tried."""
    _keep({"family": family, "task": task, "format": format, "scheme": scheme}, failed=None, refused=reason)


def _keep(cell: dict[str, str], **said: str | None) -> None:
    if folder := os.environ.get("SLM_EXPORT_SUPPORT"):
        (Path(folder) / name(**cell)).write_text(json.dumps({**cell, **said}))


def name(family: str, task: str, format: str, scheme: str) -> str:
    """Of a cell's file."""
    return f"{family}-{task}-{format}-{scheme}.json".replace("/", "_")


def _reason(error: dict[str, str]) -> str:
    """What a closed gate measured; of other errors what they say."""
    if "does not answer like the reference" in error["what"]:
        return "; ".join(line.strip() for line in error["where"].splitlines())
    return error["what"]
