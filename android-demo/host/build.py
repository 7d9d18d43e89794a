#!/usr/bin/env python3
"""Builds and tests the app where Gradle cannot run: Maven artifacts, an npm package, JDK 17, gcc and Python 3.11.

    host/build.py test      compile the app and its tests, run them in this machine's JVM
    host/build.py apk       an APK, aligned and signed with a throw-away key
    host/build.py aab       an app bundle, unsigned
    host/build.py all       all three

What to build is read from the Gradle files. What did not change since the last run is not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiling import instrumented_tests
from maven import OutOfReach
from packages import aab, apk
from project import ROOT
from runtimes import Runtimes, runtimes
from steps import Options
from suites import run_all

BUILD = ROOT / "build/host"


def test(options: Options, linked: Runtimes) -> None:
    instrumented_tests(options, linked)
    run_all(options, linked)


COMMANDS: dict[str, list[Callable[[Options, Runtimes], object]]] = {
    "test": [test],
    "apk": [apk],
    "aab": [aab],
    "all": [test, apk, aab],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    folders: dict[str, Any] = {"type": _folder, "action": "append", "default": [], "metavar": "DIR"}
    parser.add_argument("--bundle", **folders, dest="bundles", help="written by slm-export: assets/slm/<its name>/")
    parser.add_argument("--models", **folders, help="with slm/<bundle>/..., instead of models/")
    parser.add_argument("--tokenizers", type=_folder, metavar="DIR", help="what tests find as slm.tokenizers")
    parser.add_argument("--screenshots", type=_path, metavar="DIR", help="where tests put them")
    parser.add_argument("--only", action="append", default=[], metavar="SUITE", help="a part of its name")
    parser.add_argument("--out", type=_path, default=BUILD, metavar="DIR", help="default: build/host")
    parser.add_argument("--offline", action="store_true", help="only what Maven and npm have fetched before")
    given = vars(parser.parse_args())
    commands = COMMANDS[given.pop("command")]
    options = Options(**given, cache=BUILD / "cache")
    options.cache.mkdir(parents=True, exist_ok=True)
    linked = runtimes(options)
    for command in commands:
        command(options, linked)


def _path(text: str) -> Path:
    return Path(text).resolve()


def _folder(text: str) -> Path:
    if not _path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return _path(text)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        last = " ".join(map(str, error.cmd[-3:]))
        sys.exit(f"{error.cmd[0]} ... {last} failed with {error.returncode}\n{error.stdout or ''}{error.stderr or ''}")
    except OutOfReach as error:
        sys.exit(f"no repository that Maven asks has {error}")
