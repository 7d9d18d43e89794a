"""Stages: the steps of a run that load a big library, each in a fresh subprocess.

A fresh process gives the same bytes every time, gives memory back, and can be killed by the kernel without taking the
run's message with it. A stage is a function from a JSON job to a JSON result.
"""

from slm_export.stages.parent import StageResult, run_stage

STAGES = {
    "prepare": "slm_export.stages.prepare:run",
    "export": "slm_export.stages.export:run",
    "execute": "slm_export.runtimes.worker:run",
}

__all__ = ["STAGES", "StageResult", "run_stage"]
