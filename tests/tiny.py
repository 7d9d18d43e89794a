"""A BERT small enough for tests that still has something to answer: which of four words a text holds."""

from __future__ import annotations

import csv
import random
from pathlib import Path

LABELS = ("fruit", "metal", "music", "water")
KEYS = {"fruit": ("apple", "pear"), "metal": ("iron", "zinc"), "music": ("song", "drum"), "water": ("rain", "sea")}
FILLER = ("the", "a", "my", "is", "it", "was", "here", "now", "very", "old", "new", "and", "of", "in", "on", "with")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def sentences(*, seed: int, rows: int) -> list[tuple[str, str]]:
    """Distinct (text, label) pairs: fillers with one or two words of one label among them."""
    rng = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < rows:
        label = rng.choice(LABELS)
        words = [*rng.choices(FILLER, k=rng.randint(2, 12)), *rng.choices(KEYS[label], k=rng.randint(1, 2))]
        rng.shuffle(words)
        made[" ".join(words)] = label
    return list(made.items())


def write_csv(path: Path, *, seed: int, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(sentences(seed=seed, rows=rows))


def make_tiny_model(folder: Path, *, seed: int, layers: int = 2) -> None:
    """Train and save a Hugging Face directory; the same seed gives the same weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    words = [*SPECIAL, *FILLER, *(k for keys in KEYS.values() for k in keys)]
    tokenizer = BertTokenizer(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True, model_max_length=64)

    torch.manual_seed(seed)
    config = BertConfig(
        # Rows nobody uses bring the table over the size from which embeddings are quantized.
        vocab_size=9000,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    model = BertForSequenceClassification(config)
    pairs = sentences(seed=seed + 100, rows=400)
    batch = tokenizer([t for t, _ in pairs], padding=True, return_tensors="pt")
    target = torch.tensor([LABELS.index(label) for _, label in pairs])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = torch.nn.functional.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
