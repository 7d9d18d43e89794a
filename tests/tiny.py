"""A BERT small enough for tests that still has something to answer: which of four words a text holds."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LABELS = ("fruit", "metal", "music", "water")
KEYS = {"fruit": ("apple", "pear"), "metal": ("iron", "zinc"), "music": ("song", "drum"), "water": ("rain", "sea")}
FILLER = ("the", "a", "my", "is", "it", "was", "here", "now", "very", "old", "new", "and", "of", "in", "on", "with")
SPECIAL_IDS = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
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


def write_tags(path: Path, *, seed: int, rows: int) -> None:
    """JSONL of words and tags: every key word is an entity of its label, two in a row are one."""
    with path.open("w", encoding="utf-8") as file:
        for text, _ in sentences(seed=seed, rows=rows):
            file.write(json.dumps({"tokens": text.split(), "tags": tags_of(text.split())}) + "\n")


def tags_of(words: list[str]) -> list[str]:
    kinds = [next((label for label, keys in KEYS.items() if w in keys), "") for w in words]
    return ["O" if not kind else ("I-" if i and kinds[i - 1] == kind else "B-") + kind for i, kind in enumerate(kinds)]


def make_tiny_model(folder: Path, *, seed: int, layers: int = 2) -> None:
    """Train and save a classifier's Hugging Face directory; the same seed gives the same weights."""
    from transformers import BertForSequenceClassification

    pairs = sentences(seed=seed + 100, rows=400)
    tokenizer = _tokenizer()
    batch = tokenizer([t for t, _ in pairs], padding=True, return_tensors="pt")
    targets = [LABELS.index(label) for _, label in pairs]
    _train(BertForSequenceClassification, LABELS, batch, targets, seed=seed, layers=layers).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# Small configurations of encoder families, beside what _train gives all of them. Layers of ALBERT are shared.
FAMILIES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 16,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "dropout": 0.0},
    "roberta": {"type_vocab_size": 1},
}


def make_tiny_family(folder: Path, *, family: str, seed: int) -> None:
    """A classifier of another family than BERT."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    pairs = sentences(seed=seed + 100, rows=400)
    tokenizer = _tokenizer()
    batch = tokenizer([t for t, _ in pairs], padding=True, return_tensors="pt")
    targets = [LABELS.index(label) for _, label in pairs]

    def kind(config: Any) -> Any:
        given = {**config.to_diff_dict(), **FAMILIES[family], **SPECIAL_IDS, "max_position_embeddings": 65}
        given = {k: v for k, v in given.items() if k not in ("model_type", "transformers_version")}
        return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **given))

    _train(kind, LABELS, batch, targets, seed=seed, layers=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tiny_tagger(folder: Path, *, seed: int) -> None:
    """The same for a token classifier."""
    from transformers import BertForTokenClassification

    tags = ["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")]
    texts = [t.split() for t, _ in sentences(seed=seed + 100, rows=400)]
    tokenizer = _tokenizer()
    batch = tokenizer(texts, is_split_into_words=True, padding=True, return_tensors="pt")
    targets = [
        [-100 if w is None else tags.index(tags_of(words)[w]) for w in batch.word_ids(i)]
        for i, words in enumerate(texts)
    ]
    _train(BertForTokenClassification, tags, batch, targets, seed=seed, layers=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tiny_embedder(folder: Path, *, pooling: str, steps: Sequence[str], seed: int) -> None:
    """A sentence-transformers directory: the classifier's encoder and the steps after it."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertForSequenceClassification

    texts, labels = zip(*sentences(seed=seed + 100, rows=400), strict=True)
    batch = _tokenizer()(list(texts), padding=True, return_tensors="pt")
    targets = [LABELS.index(label) for label in labels]
    _train(BertForSequenceClassification, LABELS, batch, targets, seed=seed, layers=2).bert.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, step in enumerate(steps, 1):
        (folder / f"{number}_{step}").mkdir()
        modules.append({"path": f"{number}_{step}", "type": f"sentence_transformers.models.{step}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    key = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}.get(pooling, pooling)
    (folder / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, f"pooling_mode_{key}": True})
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48}))
    if "Dense" in steps:
        config = {"in_features": 32, "out_features": 16, "bias": True}
        (folder / "2_Dense/config.json").write_text(json.dumps(config))
        torch.manual_seed(seed)
        layer = torch.nn.Linear(32, 16)
        save_file({f"linear.{n}": t for n, t in layer.state_dict().items()}, folder / "2_Dense/model.safetensors")


def make_tiny_recurrent(folder: Path, *, seed: int, steps: int = 40, **arguments: Any) -> Any:
    """A classifier in plain PyTorch: folder/classifiers.py, and folder/model with the trained weights. Gives it."""
    from safetensors.torch import save_file

    shutil.copy(Path(__file__).with_name("classifiers.py"), folder / "classifiers.py")
    (folder / "model").mkdir()
    model = _train_recurrent(word_tokenizer(folder / "model/tokenizer.json"), arguments, seed=seed, steps=steps)
    save_file(model.state_dict(), folder / "model/model.safetensors")
    said = {"task": "text-classification", "labels": LABELS, "max_length": 64, "pad_token": "[PAD]",
            "inputs": ["input_ids", "lengths"], "arguments": arguments}  # fmt: skip
    (folder / "model/model.json").write_text(json.dumps(said))
    return model


def _train_recurrent(encode: Callable[[list[str]], list[list[int]]], arguments: Any, *, seed: int, steps: int) -> Any:
    """Trained on texts of one length at a time, because some variants are wrong about padding."""
    import torch

    from tests.classifiers import make

    texts, labels = zip(*sentences(seed=seed + 100, rows=400), strict=True)
    groups: dict[int, list[tuple[list[int], int]]] = {}
    for ids, label in zip(encode(list(texts)), labels, strict=True):
        groups.setdefault(len(ids), []).append((ids, LABELS.index(label)))
    torch.manual_seed(seed)
    model = make(**arguments)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        for group in groups.values():
            rows, targets = (torch.tensor(part) for part in zip(*group, strict=True))
            logits = model(rows, torch.full((len(rows),), rows.shape[1]))
            (torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / len(texts)).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def word_tokenizer(path: Path) -> Callable[[list[str]], list[list[int]]]:
    """Save a tokenizer of whole words, without special tokens around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*SPECIAL, *FILLER, *(k for keys in KEYS.values() for k in keys)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return lambda texts: [encoded.ids for encoded in tokenizer.encode_batch(texts)]


def _tokenizer() -> Any:
    from transformers import BertTokenizer

    words = [*SPECIAL, *FILLER, *(k for keys in KEYS.values() for k in keys)]
    return BertTokenizer(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True, model_max_length=64)


def _train(kind: Any, labels: Sequence[str], batch: Any, targets: list[Any], *, seed: int, layers: int) -> Any:
    import torch
    from transformers import BertConfig

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
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
    )
    model = kind(config)
    target = torch.tensor(targets).flatten()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(len(target), -1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
