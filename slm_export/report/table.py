"""The table a terminal shows."""

from __future__ import annotations

from collections.abc import Sequence

from slm_export.report.rows import HEADER, cells, row
from slm_export.results import RunResult


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, left-aligned in columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def summary(result: RunResult) -> str:
    return columns([cells(HEADER), *(cells(row(f)) for f in result.formats)])
