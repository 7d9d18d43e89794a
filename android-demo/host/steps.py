"""Commands, and steps that are skipped while what they read is the same."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says. `cache` outlives `out`: what was fetched, and what Maven does not have."""

    out: Path
    cache: Path
    bundles: Sequence[Path] = ()
    models: Sequence[Path] = ()
    tokenizers: Path | None = None
    screenshots: Path | None = None
    only: Sequence[str] = ()
    offline: bool = False
    told: set[str] = field(default_factory=set)

    def say_once(self, line: str) -> None:
        if line not in self.told:
            self.told.add(line)
            print(line, flush=True)


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], check=True, text=True, **options)


def java(classpath: Iterable[Path], *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    # ONNX Runtime's telemetry overflows its stack on long command lines, and sends what nobody asked for:
    # https://github.com/vespa-engine/vespa/issues/37786
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"} | options.pop("environment", {})
    return run("java", "-cp", ":".join(map(str, classpath)), *arguments, env=environment, **options)


def java_home() -> Path:
    found = shutil.which("javac")
    if not found:
        raise SystemExit("javac is not on the path: the host build needs a JDK 17 or newer")
    return Path(found).resolve().parent.parent


def step(options: Options, name: str, inputs: Sequence[Any], made: Path, make: Callable[[], None]) -> Path:
    """`made`, by `make` where it is not there yet or came from other `inputs`: paths, by what is in them, or words."""
    stamp = options.out / "stamps" / name
    digest = _digest([*inputs, *sorted(path for path in HOST.iterdir() if path.is_file())])
    if not (made.exists() and stamp.exists() and stamp.read_text() == digest):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        started = time.monotonic()
        make()
        stamp.write_text(digest)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    return made


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _digest(inputs: Iterable[Any]) -> str:
    words = [_of_path(item) if isinstance(item, Path) else repr(item) for item in inputs]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _of_path(path: Path) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return " ".join(f"{file} {_of_file(file, file.stat().st_mtime_ns)}" for file in files)


@functools.cache
def _of_file(path: Path, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
