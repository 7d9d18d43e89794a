"""Calibration: data files to the samples that drive quantization, and those that judge it."""

from slm_export.calibration.dataset import CalibrationSet, DataOptions, EvaluationSet, load, manifest
from slm_export.calibration.kinds import Sample
from slm_export.calibration.samples import SCHEMA

__all__ = [
    "SCHEMA",
    "CalibrationSet",
    "DataOptions",
    "EvaluationSet",
    "Sample",
    "load",
    "manifest",
]
