"""The tokenizer a bundle carries: truncation and padding as the manifest says, whatever the source had saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slm_export.sources.reference import Reference
from slm_export.tasks import CAUSAL, get

# Of tokenizer_config.json, what readers need; the rest is about the machine it was trained on.
KEPT = (
    "add_bos_token", "add_eos_token", "add_prefix_space", "bos_token", "chat_template", "clean_up_tokenization_spaces",
    "cls_token",
    "do_lower_case", "eos_token", "mask_token", "model_input_names", "pad_token", "padding_side", "sep_token",
    "strip_accents", "tokenize_chinese_chars", "tokenizer_class", "truncation_side", "unk_token",
)  # fmt: skip


def write_tokenizer(reference: Reference, folder: Path, *, strategy: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Write tokenizer/tokenizer.json and tokenizer_config.json below `folder`.

    Gives their paths, and what the manifest says of truncation and padding. A source's tokenizer.json may carry the
    truncation of some training run; the bundle's truncates at the artifact's own maximum (of a pair what `strategy`
    says) and pads nothing, because how far to pad depends on the artifact.
    """
    target = folder / "tokenizer"
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = reference.tokenizer
    side = getattr(tokenizer, "truncation_side", "right")
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length=reference.max_length, direction=side, strategy=strategy)
    backend.no_padding()
    backend.save(str(target / "tokenizer.json"), pretty=False)
    config = {k: v for k, v in sorted(_config(tokenizer).items()) if k in KEPT}
    config["model_max_length"] = reference.max_length
    if reference.task in CAUSAL:  # some readers hand everything that a tokenizer gives to the model
        config["model_input_names"] = list(get(reference.task).INPUTS)
    text = json.dumps(config, indent=1, ensure_ascii=False, default=str) + "\n"
    (target / "tokenizer_config.json").write_text(text, encoding="utf-8")
    facts = {
        "truncation": {"max_length": reference.max_length, "side": side, "strategy": strategy},
        "padding": {"applied": False, "side": "right", "pad_id": reference.pad_id},
    }
    return ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"), facts


def _config(tokenizer: Any) -> dict[str, Any]:
    """The source's own tokenizer_config, special tokens as text."""
    config = dict(tokenizer.init_kwargs)
    config["tokenizer_class"] = _class_for_old_readers(str(config.get("tokenizer_class") or type(tokenizer).__name__))
    return config | {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}


def _class_for_old_readers(name: str) -> str:
    """transformers 4 knows no TokenizersBackend."""
    return "PreTrainedTokenizerFast" if name == "TokenizersBackend" else name
