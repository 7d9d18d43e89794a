"""Targets: the device classes slm-export knows, each a TOML file in this folder."""

from slm_export.targets.profile import Budgets, Limits, RuntimeSpec, Shapes, TargetProfile
from slm_export.targets.reading import load, names

__all__ = ["Budgets", "Limits", "RuntimeSpec", "Shapes", "TargetProfile", "load", "names"]
