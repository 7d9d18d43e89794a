"""Fixtures: the example model, a tiny seeded one, and bundles that the command line made of them, once a session."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from tests import support
from tests.tiny import make_tiny_model, write_csv
from tests.tiny_causal import make_tiny_causal, write_texts

# Matrices this small wait for threads longer than they compute: with two, training a tiny model takes three times as
# long, and with two processes doing so six times.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "banking-intents"
FILES = {"executorch": "executorch/model.pte", "tflite": "tflite/model.tflite", "onnx": "onnx/model.onnx"}


@dataclass(frozen=True)
class Cli:
    """Runs the command line as a user does: a fresh process in a folder."""

    folder: Path

    def __call__(self, *args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*args), cwd=self.folder, env={**os.environ, **(env or {})}, **PIPES)

    def ok(self, *args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        done = self(*args, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @staticmethod
    def command(*args: object) -> list[str]:
        return [sys.executable, *os.environ.get(WARM, "-m slm_export").split(), *map(str, args)]


WARM = "SLM_EXPORT_WARM"  # how Python runs the command line within the fixture `warm`
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stages of the command line are forks of processes that hold their libraries already: see warm.py. For tests of
    what comes out, not of the processes that make it."""
    base = tmp_path_factory.getbasetemp()
    workers = "PYTEST_XDIST_WORKER" in os.environ
    folder, owner = (base.parent, os.getppid()) if workers else (base, os.getpid())
    os.environ[WARM] = f"-P {ROOT / 'tests' / 'warm.py'} {folder} {owner}"
    yield
    del os.environ[WARM]


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ends `warm` for the rest of a test: forks of one process hold alike addresses, which hides what bytes owe to
    them."""
    return partial(monkeypatch.delenv, WARM, raising=False)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled, made by the first of the parallel workers that needs it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.with_suffix(".done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            folder.with_suffix(".done").touch()
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier that knows four words, with calibration.csv and eval.csv."""
    return once(tmp_path_factory, "tiny", partial(_tiny, seed=0))


@pytest.fixture(scope="session")
def other_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another fine-tune of the same architecture."""
    return once(tmp_path_factory, "other", partial(_tiny, seed=1))


def _tiny(folder: Path, *, seed: int) -> None:
    make_tiny_model(folder / "model", seed=seed)
    write_csv(folder / "calibration.csv", seed=10, rows=60)
    write_csv(folder / "eval.csv", seed=11, rows=120)


def tiny_args(tiny: Path, out: Path, *more: object) -> list[object]:
    data = ["--calibration", tiny / "calibration.csv", "--eval", tiny / "eval.csv", "--max-length", 24]
    return [tiny / "model", "--target", "linux-x86_64", *data, "-o", out, *more]


@pytest.fixture(scope="session")
def example_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's main job on the example: three formats, int8."""
    data = ["--calibration", EXAMPLE / "calibration.csv", "--eval", EXAMPLE / "eval.csv"]
    args = [EXAMPLE, "--target", "android-arm64", *data, "-o", "dist", "--junit", "junit.xml", "--report", "r.md"]
    folder = once(tmp_path_factory, "example", lambda folder: _exported(folder, *args))
    return folder / "dist" / "banking-intents-android-arm64"


def _exported(folder: Path, *args: object) -> None:
    Cli(folder).ok(*args)


@pytest.fixture(scope="session")
def make_bundle(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Bundles of the tiny model by their flags, each made once."""

    def make(*flags: object) -> Path:
        name = "-".join(["bundle", *(re.sub(r"[^a-z0-9]+", "", str(flag)) for flag in flags)])
        folder = once(tmp_path_factory, name, lambda folder: _bundled(folder, tiny, *flags))
        return folder / "dist" / "model-linux-x86_64"

    return make


def _bundled(folder: Path, tiny: Path, *flags: object) -> None:
    Cli(folder).ok(*tiny_args(tiny, folder / "dist", *flags))
    support.note(folder / "dist" / "model-linux-x86_64.run.json", family="bert")


@pytest.fixture(scope="session")
def causal_source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny causal model of a family in `model`, with calibration.jsonl and eval.jsonl."""

    def make(family: str) -> Path:
        return once(tmp_path_factory, f"causal-{family}", partial(_causal, family=family))

    return make


def _causal(folder: Path, *, family: str) -> None:
    make_tiny_causal(folder / "model", family=family)
    write_texts(folder / "calibration.jsonl", seed=10, rows=40)
    write_texts(folder / "eval.jsonl", seed=11, rows=24, most=40)


@pytest.fixture(scope="session")
def causal_bundle(
    causal_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Bundles of such models by family, scheme and formats (default: ONNX alone), each made once."""

    def make(family: str, scheme: str, *formats: str) -> Path:
        source, formats = causal_source(family), formats or ("onnx",)
        data = ["--calibration", source / "calibration.jsonl", "--eval", source / "eval.jsonl"]
        wanted = [part for format in formats for part in ("--format", format)]
        args = [source / "model", "--target", "linux-x86_64", *data, "--scheme", scheme, *wanted, "-o", "dist"]
        name = "-".join(["causal", family, scheme, *formats])
        folder = once(tmp_path_factory, name, lambda folder: _exported(folder, *args))
        support.note(folder / "dist/model-linux-x86_64.run.json", family=family, task="text-generation")
        return folder / "dist/model-linux-x86_64"

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real models and data."""
    folder = Path(os.environ.get("SLM_EXPORT_SHARED", ""))
    if not (folder / "models" / "minilm-banking77").is_dir():
        pytest.skip("$SLM_EXPORT_SHARED does not name the folder of the real models and data")
    return folder


@pytest.fixture(scope="session")
def torch_mb() -> float:
    """What `import torch` alone takes here, MB resident."""
    code = "import torch, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
