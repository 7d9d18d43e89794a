"""Tasks: for each, the graph that is exported, its inputs and outputs by name, the answer, and the task's metrics."""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = {"text-classification": "slm_export.tasks.text_classification"}


def get(task: str) -> ModuleType:
    return importlib.import_module(TASKS[task])
