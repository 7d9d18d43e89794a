"""Encoder-decoders small enough for tests that have learned something: to spell a number's digits out."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
PAD, EOS, UNK, BOS = 0, 1, 2, 3
VOCABULARY = 9000  # rows nobody uses bring the table over the size from which embeddings are quantized
FAMILIES = ("t5", "bart", "marian")
RULES: dict[str, dict[str, Any]] = {  # what checkpoints of each family ask of generation
    "t5": {},
    "bart": {"forced_bos_token_id": BOS, "forced_eos_token_id": EOS},
    "marian": {"bad_words_ids": [[PAD]], "forced_eos_token_id": EOS},
}


def spelled(number: int) -> str:
    """1204 -> "one thousand two hundred four"."""
    if number < 20:
        return UNITS[number]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{spelled(number // size)} {name}" + (f" {spelled(rest)}" if rest else "")
    return TENS[number // 10] + (f" {UNITS[number % 10]}" if number % 10 else "")


def pairs(*, seed: int, rows: int, largest: int = 9999) -> list[tuple[str, str]]:
    """Distinct (digits, words) pairs, as many short numbers as long ones."""
    rng = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < rows:
        number = rng.randrange(min(10 ** rng.randint(1, len(str(largest))), largest + 1))
        made[str(number)] = spelled(number)
    return list(made.items())


def write_pairs(path: Path, *, seed: int, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "target"])
        writer.writerows(pairs(seed=seed, rows=rows))


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", "<s>", *"0123456789", *UNITS, *TENS[2:], "hundred", "thousand"]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
        model_max_length=64, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def make_config(family: str, *, width: int = 32) -> Any:
    from transformers import BartConfig, MarianConfig, T5Config

    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS, "decoder_start_token_id": PAD}
    if family == "t5":
        return T5Config(
            vocab_size=VOCABULARY, d_model=width, d_kv=width // 4, d_ff=2 * width, num_layers=2, num_heads=4,
            feed_forward_proj="gated-gelu", dropout_rate=0.0, **ids,
        )  # fmt: skip
    shape = {
        "vocab_size": VOCABULARY, "d_model": width, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 2 * width,
        "decoder_ffn_dim": 2 * width, "max_position_embeddings": 64, "init_std": 0.1, **ids,
    }  # fmt: skip
    if family == "bart":
        return BartConfig(**{**shape, "decoder_start_token_id": EOS})
    return MarianConfig(**shape, activation_function="swish", scale_embedding=True)


def make_model(family: str, *, seed: int, steps: int = 400, width: int = 32) -> Any:
    """A trained model of the family; the same seed gives the same weights."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(seed)
    model = AutoModelForSeq2SeqLM.from_config(make_config(family, width=width))
    for name, value in RULES[family].items():
        setattr(model.generation_config, name, value)
    _train(model, first=BOS if family == "bart" else None, seed=seed, steps=steps)
    return model.eval().requires_grad_(False)


def _train(model: Any, *, first: int | None, seed: int, steps: int) -> None:
    import torch

    tokenizer = make_tokenizer()
    made = pairs(seed=seed + 100, rows=1500)
    sources = tokenizer([s for s, _ in made], padding=True, return_tensors="pt")
    targets = [[*([] if first is None else [first]), *tokenizer(t)["input_ids"]] for _, t in made]
    labels = torch.full((len(made), max(map(len, targets))), -100)
    for row, ids in enumerate(targets):
        labels[row, : len(ids)] = torch.tensor(ids)
    optimizer = torch.optim.AdamW(model.parameters())  # the schedule gives the rate
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    order = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(made), (64,), generator=order)
        loss = model(
            input_ids=sources["input_ids"][rows], attention_mask=sources["attention_mask"][rows], labels=labels[rows]
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def make_tiny_seq2seq(folder: Path, *, family: str, seed: int) -> None:
    """Train and save a Hugging Face directory."""
    make_model(family, seed=seed).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
