"""ExecuTorch without torch: its Python runtime links libtorch, its C++ libraries in the same wheel do not.

A small C++ program is compiled against them once (ten seconds) and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact
from slm_export.errors import DependencyError
from slm_export.requirements import tested

SOURCE = Path(__file__).with_name("executorch_runner.cpp")
LIBRARIES = ("executorch", "executorch_kernels_optimized", "executorch_kernels_quantized", "executorch_backend_xnnpack",
             "executorch_threadpool")  # fmt: skip
DTYPES = {3: np.int32, 4: np.int64, 6: np.float32, 7: np.float64}  # executorch's ScalarType
SCALAR_TYPES = {np.dtype(dtype): number for number, dtype in DTYPES.items()}


def runner() -> Path:
    """The compiled program, built if it is not in the cache.

    Raises DependencyError if there is neither torch's way nor a C++ compiler.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    wheel = Path(str(find_spec("executorch").submodule_search_locations[0]))  # type: ignore[union-attr, index]
    key = hashlib.sha256(SOURCE.read_bytes() + f"{metadata.version('executorch')} {wheel}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slm-export"
    program = cache / f"executorch-runner-{key}"
    if program.exists():
        return program
    if compiler is None:
        raise DependencyError(
            "running a .pte here needs torch, or a C++ compiler",
            why="ExecuTorch's Python runtime is linked with torch; without it a small program is compiled instead",
            next_step=f"pip install {tested('torch')}, or apt-get install g++",
        )
    cache.mkdir(parents=True, exist_ok=True)
    _compile(compiler, wheel, program)
    return program


def _compile(compiler: str, wheel: Path, program: Path) -> None:
    aside = program.with_suffix(f".{os.getpid()}")
    headers = [f"-I{wheel}/include", f"-I{wheel}/include/executorch/runtime/core/portable_type/c10"]
    command = [compiler, "-std=c++17", "-O2", "-DC10_USING_CUSTOM_GENERATED_MACROS", *headers, str(SOURCE)]
    link = [f"-L{wheel}/lib", "-Wl,--no-as-needed", *(f"-l{name}" for name in LIBRARIES), f"-Wl,-rpath,{wheel}/lib"]
    done = subprocess.run([*command, *link, "-o", str(aside)], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise DependencyError(
            "the program that runs a .pte without torch does not compile",
            where=lines[0] if lines else f"{compiler} ended with {done.returncode}",
            next_step=f"pip install {tested('torch')}",
        )
    aside.replace(program)


class Session:
    def __init__(self, path: Path, artifact: Artifact) -> None:
        self._process = subprocess.Popen([str(runner()), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._methods = artifact.methods

    def run(self, inputs: dict[str, Any], part: str = "forward") -> dict[str, Any]:
        assert self._process.stdin is not None
        specs = self._methods[part]
        message = struct.pack("<i", len(part)) + part.encode() + struct.pack("<i", len(specs.inputs))
        for spec in specs.inputs:
            value = np.ascontiguousarray(inputs[spec.name], spec.dtype)
            head = SCALAR_TYPES[value.dtype], value.ndim, *value.shape
            message += struct.pack(f"<{len(head)}i", *head) + value.tobytes()
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except BrokenPipeError as err:
            raise RuntimeError(f"the runtime died with {self._process.wait()}") from err
        refused, number = self._ints(2)
        if refused:
            raise RuntimeError(f"ExecuTorch error 0x{number:x}")
        return {spec.name: self._tensor() for spec in specs.outputs[:number]}

    def _tensor(self) -> Any:
        kind, rank = self._ints(2)
        shape = self._ints(rank)
        dtype = np.dtype(DTYPES[kind])
        return np.frombuffer(self._read(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape).copy()

    def _ints(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self._read(4 * count))

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise RuntimeError(f"the runtime died with {self._process.wait()}")
        return data
