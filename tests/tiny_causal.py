"""Causal language models small enough for tests: they have learnt in which order sixteen words follow each other."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.tiny import FILLER

END, START, TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 96

# What each family's config has beside what all are given.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": False, "head_dim": 32},
    "phi3": {"tie_word_embeddings": False, "original_max_position_embeddings": CONTEXT},
    "gemma3_text": {
        "tie_word_embeddings": True, "head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "smollm3": {"tie_word_embeddings": True, "no_rope_layers": [1, 0], "use_sliding_window": False},
    "gpt2": {
        "tie_word_embeddings": True, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_inner": 96, "n_positions": CONTEXT,
        "num_key_value_heads": 2,
    },
}  # fmt: skip
TRACED = ("smollm3", "gpt2")  # which onnxruntime-genai's builder cannot build


def make_tiny_causal(folder: Path, *, family: str = "llama", seed: int = 0) -> None:
    """Train and save a Hugging Face directory with a chat template; the same seed gives the same weights."""
    tokenizer = make_tokenizer()
    trained(family, tokenizer, seed=seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def texts(*, seed: int, rows: int, most: int = 12) -> list[str]:
    rng = random.Random(seed)
    starts = [(rng.randrange(len(FILLER)), rng.randint(2, most)) for _ in range(rows)]
    return [" ".join(FILLER[(start + i) % len(FILLER)] for i in range(count)) for start, count in starts]


def write_texts(path: Path, *, seed: int, rows: int, most: int = 12) -> None:
    lines = [json.dumps({"text": text}) for text in texts(seed=seed, rows=rows, most=most)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_tokenizer() -> Any:
    """Byte-level BPE, as most of these models have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=[END, START, TURN])
    tokenizer.train_from_iterator(texts(seed=1, rows=200), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=TURN, bos_token=END, pad_token=END)
    wrapped.chat_template = TEMPLATE
    return wrapped


def trained(family: str, tokenizer: Any, *, seed: int) -> Any:
    import torch
    import transformers

    torch.manual_seed(seed)
    given = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 96, "max_position_embeddings": CONTEXT,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0, **FAMILIES[family],
    }  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **given))
    model.generation_config.eos_token_id = [0, 2]
    batch = tokenizer([f"{t}{TURN}" for t in texts(seed=seed + 100, rows=128)], padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


def write_gguf(folder: Path, path: Path) -> None:
    """A saved Qwen2 or GPT-2 as one GGUF file: half the matrices float32, half Q8_0."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    kind = config["model_type"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(path, kind)
    writer.add_license("mit")
    _write_shapes(writer, config)
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {t["content"] for t in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre({"qwen2": "qwen2", "gpt2": "gpt-2"}[kind])
    writer.add_token_list(vocabulary)
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, kind.upper()), _blocks(config))
    for number, (name, values) in enumerate(sorted(load_file(folder / "model.safetensors").items())):
        stem, _, part = name.rpartition(".")
        if "c_" in stem and values.ndim == 2:  # GPT-2's Conv1D, which GGUF files hold as Linears
            values = np.ascontiguousarray(values.T)
        eight = values.ndim == 2 and number % 2 == 0
        stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0) if eight else values.astype(np.float32)
        raw = gguf.GGMLQuantizationType.Q8_0 if eight else None
        writer.add_tensor(f"{names.get_name(stem)}.{part}", stored, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _blocks(config: dict[str, Any]) -> int:
    count: int = config.get("num_hidden_layers") or config["n_layer"]
    return count


def _write_shapes(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(_blocks(config))
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config["n_inner"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
