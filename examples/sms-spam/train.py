"""Train the spam filter of this example on the SMS Spam Collection (5,574 messages, ham or spam).

    python train.py SMSSpamCollection -o sms-spam

A minute on one CPU core. The folder then holds what slm-export needs (model.safetensors, tokenizer.json, model.json),
and the rows the filter learnt from (train.csv) and those it did not (eval.csv).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from model import SpamFilter, make
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

ROWS = 5574  # of the collection; some copies append other data
LENGTH = 64  # tokens, more than 97 of 100 messages have
LABELS = ["ham", "spam"]


def read(path: Path, seed: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(text, label) pairs to learn from and to judge by, a fifth; messages that repeat another are left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:ROWS]
    rows = {text.strip(): label for label, _, text in (line.partition("\t") for line in lines) if label in LABELS}
    pairs = list(rows.items())
    random.Random(seed).shuffle(pairs)
    return pairs[len(pairs) // 5 :], pairs[: len(pairs) // 5]


def make_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    )
    return tokenizer


def batches(
    ids: list[list[int]], targets: list[int], size: int, order: list[int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(ids padded with 0, lengths, targets) of `size` texts at a time."""
    for start in range(0, len(order), size):
        part = order[start : start + size]
        rows = [torch.tensor(ids[i]) for i in part]
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        yield padded, lengths, torch.tensor([targets[i] for i in part])


def accuracy(model: SpamFilter, ids: list[list[int]], targets: list[int]) -> float:
    model.eval()
    with torch.no_grad():
        parts = batches(ids, targets, 256, list(range(len(ids))))
        right = sum(int((model(padded, lengths).argmax(1) == wanted).sum()) for padded, lengths, wanted in parts)
    return right / len(ids)


def train(model: SpamFilter, ids: list[list[int]], targets: list[int], *, epochs: int, seed: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    shuffle = random.Random(seed)
    for epoch in range(epochs):
        model.train()
        order = shuffle.sample(range(len(ids)), len(ids))
        for padded, lengths, wanted in batches(ids, targets, 64, order):
            loss = torch.nn.functional.cross_entropy(model(padded, lengths), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss:.4f}", flush=True)


def write_rows(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("sms-spam"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    rows, kept = read(args.collection, args.seed)
    tokenizer = make_tokenizer([text for text, _ in rows], args.vocabulary)
    tokenizer.enable_truncation(LENGTH)
    ids, kept_ids = ([e.ids for e in tokenizer.encode_batch([text for text, _ in part])] for part in (rows, kept))
    targets, kept_targets = ([LABELS.index(label) for _, label in part] for part in (rows, kept))
    arguments = {"vocabulary": tokenizer.get_vocab_size(), "width": 64, "hidden": 64, "labels": len(LABELS)}
    model = make(**arguments)
    train(model, ids, targets, epochs=args.epochs, seed=args.seed)
    print(f"accuracy on {len(kept)} messages it has not seen: {accuracy(model, kept_ids, kept_targets):.4f}")

    args.output.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), args.output / "model.safetensors")
    tokenizer.save(str(args.output / "tokenizer.json"))
    said = {
        "task": "text-classification",
        "labels": LABELS,
        "max_length": LENGTH,
        "pad_token": "[PAD]",
        "inputs": ["input_ids", "lengths"],
        "arguments": arguments,
        "license": "cc-by-4.0",
    }
    (args.output / "model.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    write_rows(args.output / "train.csv", rows)
    write_rows(args.output / "eval.csv", kept)


if __name__ == "__main__":
    main()
