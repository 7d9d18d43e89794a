"""The table a terminal shows."""

from __future__ import annotations

from slm_export.report.columns import columns
from slm_export.report.rows import HEADER, cells, row
from slm_export.results import RunResult


def summary(result: RunResult) -> str:
    return columns([cells(HEADER), *(cells(row(f)) for f in result.formats)])
