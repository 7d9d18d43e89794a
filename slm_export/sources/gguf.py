"""GGUF files: a causal language model and its tokenizer in one file, as llama.cpp keeps them.

Weights that the file quantizes are made float32 once; that float model is the reference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from slm_export.errors import DependencyError, InputError, first_line
from slm_export.sources import huggingface
from slm_export.sources.files import sha256
from slm_export.sources.hub import Location
from slm_export.sources.huggingface import SourceInfo, name_of

KIND, SUFFIX = "gguf", ".gguf"
# general.architecture -> the class transformers loads it as, of those it can read whole
ARCHITECTURES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM", "gpt2": "GPT2LMHeadModel",
}  # fmt: skip
TASK = "text-generation"


def is_one(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX


def describe(location: Location, *, name: str | None = None, task: str | None = None) -> SourceInfo:
    """Read the file's own key and value pairs, no weights.

    Raises InputError if it is no GGUF file, or holds a model or task that slm-export cannot take from one.
    """
    path = location.path.resolve()
    said = _fields(path)
    architecture = ARCHITECTURES.get(str(said.get("general.architecture")))
    if architecture is None or task not in (None, TASK):
        raise InputError(
            f"{path.name} holds a {said.get('general.architecture')} model, which cannot be taken from a GGUF file"
            if architecture is None
            else f"a GGUF file holds a model for {TASK}, not for {task}",
            where=str(path),
            why=f"slm-export reads {', '.join(ARCHITECTURES)}",
            next_step="give the Hugging Face directory it was made of",
        )
    digest = sha256(path)
    return SourceInfo(
        kind=KIND,
        name=name or name_of(path.stem),
        path=str(path),
        hub_id=None,
        revision=None,
        architecture=architecture,
        task=TASK,
        labels=(),
        max_positions=said.get(f"{said['general.architecture']}.context_length"),
        tokenizer_path=str(path),
        license=said.get("general.license"),
        sha256=digest,
        files={path.name: digest},
    )


def _fields(path: Path) -> dict[str, Any]:
    """Everything but lists, such as the vocabulary."""
    try:
        from gguf import GGUFReader
    except ImportError as err:
        raise DependencyError("reading a GGUF file needs gguf", next_step="pip install gguf") from err
    try:
        fields = GGUFReader(path).fields
        return {name: f.contents() for name, f in fields.items() if len(f.data) == 1 and len(f.types) == 1}
    except Exception as err:  # numpy's and the reader's own kinds
        raise InputError(f"{path} is no GGUF file: {first_line(err)}", where=str(path)) from err


def unpack(info: SourceInfo, folder: Path) -> SourceInfo:
    """Write the float32 model and its tokenizer into `folder`, as a Hugging Face directory: transformers reads it in a
    tenth of the time, and stages do so one after another. Raises InputError if transformers cannot read the file."""
    import torch
    import transformers

    path = Path(info.path)
    try:
        made = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as err:  # transformers raises OSError, ValueError, KeyError and gguf's kinds here
        raise InputError(f"transformers cannot load {info.path}", where=first_line(err)) from err
    made.config.__dict__.pop("quantization_config", None)  # what it was is over: the weights are float32
    made.hf_quantizer = None  # which would refuse to save them
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return replace(info, kind=huggingface.KIND, path=str(folder), tokenizer_path=str(folder))
