"""What other tools make of SmolLM2, as their documentation says to use them; lm.py calls it.

Tools that cannot share an environment with slm-export get one of their own; llama.cpp is compiled, which takes minutes
and a C++ compiler. What is there is not made again. Of what is made, CPU seconds and the peak of memory are told.
Run as a script, it is one step in an environment that has the tool; see MAKERS.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

LLAMA_CPP = ("llama-cpp-python==0.3.36", "numpy==2.4.6")
OPTIMUM = (
    "optimum-executorch==1.1.0", "executorch==1.5.1", "torch==2.13.0", "torchao==0.18.0", "optimum==2.0.0",
    "transformers==5.0.0rc1",
)  # fmt: skip
LONGEST = 1024  # tokens: lm.py's windows, and what it writes
CONTEXT = 2048  # our bundles', all of which LiteRT attends to


@dataclass(frozen=True)
class Sources:
    """One float model in the forms that tools read, and where environments and what is shared are kept."""

    reference: Path  # Hugging Face directory, float32
    gguf: Path
    work: Path


@dataclass(frozen=True)
class Peer:
    kind: str  # one of lm_child.py's
    python: str  # an interpreter that has its runtime
    file: Path  # or folder
    opened: str = ""  # what lm_child.py is told, if that is not the file


def genai(sources: Sources, folder: Path, *, flags: Sequence[str]) -> Peer:
    """onnxruntime-genai's own builder."""
    if not (folder / "genai_config.json").is_file():
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", sources.reference, "-o", folder]
        _run(*command, "-e", "cpu", "-c", sources.work / "cache", *flags)
    return Peer("genai", sys.executable, folder)


def llama_cpp(sources: Sources, folder: Path, *, kind: str) -> Peer:
    """Its own quantizer, without an importance matrix, from the file that is everybody's source."""
    python, file = _environment(sources.work / "llama.cpp", LLAMA_CPP), folder / "model.gguf"
    if not file.is_file():
        _run(python, __file__, "gguf", sources.gguf, file, kind)
    return Peer("llama.cpp", python, file)


def optimum_executorch(sources: Sources, folder: Path, *, linears: str) -> Peer:
    """XNNPACK, custom attention and cache, lookups in 8 bits."""
    python, file = _environment(sources.work / "optimum-executorch", OPTIMUM), folder / "model.pte"
    if not file.is_file():
        command = [Path(python).with_name("optimum-cli"), "export", "executorch", "--model", sources.reference]
        command += ["--task", "text-generation", "--recipe", "xnnpack", "--use_custom_sdpa", "--use_custom_kv_cache"]
        _run(*command, "--qlinear", linears, "--qembedding", "8w", "--max_seq_len", LONGEST, "-o", folder)
    return Peer("executorch", python, file)


def litert_torch(sources: Sources, folder: Path, *, recipe: str) -> Peer:
    """Its export of Hugging Face models, then ai-edge-quantizer."""
    whole, file = sources.work / "litert-torch/model.tflite", folder / "model.tflite"
    if not whole.is_file():
        _run(sys.executable, __file__, "tflite", sources.reference, whole.parent)
    if not file.is_file():
        _run(sys.executable, __file__, "recipe", whole, file, recipe)
    return Peer("litert-torch", sys.executable, file)


K_QUANT = ("algo_config=k_quant", "matmul_mixed_precision=last_matmul:int8,mixed_layers:int8")
PEERS: dict[str, Callable[[Sources, Path], Peer]] = {
    "genai int4": partial(genai, flags=("-p", "int4")),
    "genai k_quant mixed": partial(genai, flags=("-p", "int4", "--extra_options", *K_QUANT)),
    "genai int8": partial(genai, flags=("-p", "int8")),
    "llama.cpp q4_0": partial(llama_cpp, kind="Q4_0"),
    "llama.cpp q8_0": partial(llama_cpp, kind="Q8_0"),
    "optimum-executorch 8da4w": partial(optimum_executorch, linears="8da4w"),
    "optimum-executorch 8da8w": partial(optimum_executorch, linears="8da8w"),
    "litert-torch wi4b32": partial(litert_torch, recipe="dynamic_wi4b32_afp32"),
    "litert-torch wi8": partial(litert_torch, recipe="dynamic_wi8_afp32"),
}


def build(name: str, sources: Sources) -> Peer:
    """`name` is one of PEERS'."""
    folder = sources.work / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return PEERS[name](sources, folder)


def _environment(folder: Path, packages: Sequence[str]) -> str:
    python = folder / "venv/bin/python"
    done = folder / "installed.txt"  # what a killed run left is not used
    if not done.is_file() or done.read_text(encoding="utf-8").split() != list(packages):
        venv.create(folder / "venv", with_pip=True, clear=True)
        _run(python, "-m", "pip", "install", "-q", *packages)
        done.write_text("\n".join(packages), encoding="utf-8")
    return str(python)


def _run(*command: object) -> None:
    line = list(map(str, command))
    child = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {child.returncode}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # which a child begins with
    peak = f"peak {'below ' * (used.ru_maxrss <= own)}{used.ru_maxrss * 1024 / 1e6:.0f} MB"
    print(f"{used.ru_utime + used.ru_stime:.0f} CPU-s, {peak}: {' '.join(line)}", file=sys.stderr, flush=True)


def make_gguf(source: str, file: str, kind: str) -> None:
    import llama_cpp as library

    wanted = library.llama_model_quantize_default_params()
    wanted.ftype, wanted.allow_requantize = getattr(library, f"LLAMA_FTYPE_MOSTLY_{kind}"), True
    part = Path(file).with_suffix(".part")
    if library.llama_model_quantize(source.encode(), str(part).encode(), wanted):
        raise SystemExit(f"llama.cpp could not quantize {source}")
    part.rename(file)


def make_tflite(reference: str, folder: str) -> None:
    """The float model, model.tflite in `folder`."""
    import importlib.machinery
    import types

    import torch
    import transformers
    from ai_edge_litert import schema_py_generated

    print(torch.__version__, transformers.__version__)  # imported before, else they would take the stand-in for it
    modules: dict[str, Any] = {}
    for name in ("tensorflow", "tensorflow.lite", "tensorflow.lite.python"):  # which it wants for this schema alone
        module: Any = types.ModuleType(name)
        module.__path__, module.__spec__ = [], importlib.machinery.ModuleSpec(name, None, is_package=True)
        modules[name] = module
    modules["tensorflow.lite.python"].schema_py_generated = schema_py_generated
    sys.modules.update(modules, **{"tensorflow.lite.python.schema_py_generated": schema_py_generated})
    from litert_torch.generative.export_hf import export

    lengths = {"prefill_lengths": [128], "cache_length": CONTEXT}
    export.export(reference, folder, quantization_recipe=None, keep_temporary_files=True, **lengths)


def make_recipe(whole: str, file: str, recipe: str) -> None:
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    made = quantizer.Quantizer(whole)
    made.load_quantization_recipe(getattr(recipes, recipe)())
    made.quantize().export_model(file, overwrite=True)


MAKERS: dict[str, Callable[..., None]] = {"gguf": make_gguf, "tflite": make_tflite, "recipe": make_recipe}

if __name__ == "__main__":
    MAKERS[sys.argv[1]](*sys.argv[2:])
