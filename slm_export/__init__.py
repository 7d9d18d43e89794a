"""slm-export: fine-tuned small language models to device bundles, proven to answer like the float model.

These functions are what the command line calls. They import heavy libraries only when they run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slm_export.asking import Answer
    from slm_export.bundle.verify import Verification
    from slm_export.devices.selftest import SelfTest
    from slm_export.doctor import Backend
    from slm_export.pipeline import Listener
    from slm_export.readers.facts import FileFacts
    from slm_export.results import RunResult

__all__ = [
    "ask",
    "calibration_schema",
    "check_backends",
    "combine_bundles",
    "export_model",
    "inspect_file",
    "pack_bundle",
    "self_test",
    "verify_bundle",
]


def export_model(
    settings: dict[str, Any], *, folder: Path | None = None, listener: Listener | None = None
) -> RunResult:
    """Export a model for a target and write the bundle.

    `settings` are the command's flags by name ("model", "target", "calibration", "eval", "output", ...); what is
    missing comes from slm-export.toml in `folder` (default: the working directory), the target and the defaults.
    An artifact that fails is named in the result's `error` and is not in the bundle.
    Raises UsageError, InputError or ExportError if there is nothing to judge.
    """
    from slm_export.pipeline import execute
    from slm_export.planning import plan_run

    return execute(plan_run(settings, folder or Path.cwd()), listener)


def verify_bundle(bundle: Path, *, formats: Sequence[str] = ()) -> Verification:
    """Check a bundle's hashes, tokenizer and golden vectors; see slm_export.bundle.verify."""
    from slm_export.bundle.verify import verify

    return verify(bundle, formats=formats)


def ask(bundle: Path, text: str, **options: Any) -> Answer:
    """A bundle's answer to one text; see slm_export.asking."""
    from slm_export.asking import ask as answer

    return answer(bundle, text, **options)


def self_test(bundle: Path, **options: Any) -> SelfTest:
    """A bundle's golden vectors, run again on a connected Android device; see slm_export.devices.selftest."""
    from slm_export.devices.selftest import self_test as test

    return test(bundle, **options)


def combine_bundles(bundles: Sequence[Path], *, name: str, out: Path) -> Path:
    """Put bundles of one target behind one manifest; see slm_export.bundle.combined."""
    from slm_export.bundle.combined import combine

    return combine(bundles, name=name, out=out)


def pack_bundle(bundle: Path, kind: str, *, out: Path, **options: Any) -> Path:
    """Make a bundle into what an app's build takes; see slm_export.bundle.pack."""
    from slm_export.bundle.pack import pack

    return pack(bundle, kind, out=out, **options)


def inspect_file(path: Path) -> FileFacts:
    """What a .pte, .tflite, .litertlm or .onnx file holds.

    Raises InputError if it is none or is damaged, DependencyError if the library that reads it is not installed.
    """
    from slm_export import readers
    from slm_export.errors import DependencyError

    try:
        facts: FileFacts = readers.get(path).read(path)
    except ModuleNotFoundError as err:
        raise DependencyError(f"reading {path} needs {err.name}", next_step="slm-export doctor") from err
    return facts


def check_backends() -> list[Backend]:
    """Which formats can be exported and run here; see slm_export.doctor."""
    from slm_export.doctor import check

    return check()


def calibration_schema() -> str:
    """What calibration and evaluation files must hold, for people."""
    from slm_export.calibration import SCHEMA

    return SCHEMA
