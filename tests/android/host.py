"""The demo's host build, and bundles for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli

TOOLS = ("java", "mvn", "npm", "gcc")
needs_tools = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")


def host_build(command: str, bundles: Iterable[Path], out: Path, *more: object) -> str:
    """What it prints; its exit code is 0 only if every suite ran and passed."""
    named = [part for bundle in bundles for part in ("--bundle", bundle)]
    line = [sys.executable, ROOT / "android-demo/host/build.py", command, *named, "--out", out, *more]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def asset_pack(work: Path, bundle: Path, *formats: str) -> Path:
    """The bundle with some of its artifacts: TensorFlow Lite 2.16.1, LiteRT's stand-in, misreads int8 tables."""
    wanted = [part for format in formats for part in ("--format", format)]
    Cli(work).ok("pack", bundle, "--as", "play-asset-pack", *wanted, "-o", "packs")
    (manifest,) = (work / "packs").rglob("src/main/assets/slm/*/manifest.json")
    return manifest.parent
