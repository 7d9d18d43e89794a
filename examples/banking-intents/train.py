"""Train the intent classifier of this example from Banking77 (10,003 questions of bank customers, 77 intents).

    python train.py TRAIN.csv TEST.csv -o model

Four minutes on two CPU cores; test accuracy .884. A two-layer BERT with its own 4,000-entry WordPiece vocabulary, from
random weights; the result is a plain Hugging Face directory, which is all slm-export needs.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

LENGTH = 64


def read(path: Path) -> tuple[list[str], list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [r["text"].strip() for r in rows], [r["category"] for r in rows]


def make_tokenizer(texts: list[str], vocabulary: int) -> BertTokenizer:
    backend = BertWordPieceTokenizer(lowercase=True)
    backend.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=2)
    return BertTokenizer(vocab=backend.get_vocab(), do_lower_case=True, model_max_length=LENGTH)


def batches(ids: list[list[int]], labels: torch.Tensor, size: int, generator: torch.Generator, drop: float, unk: int):
    """Shuffled batches of similar length; each token is hidden with probability `drop`."""
    order = torch.randperm(len(ids), generator=generator).tolist()
    chunks = [sorted(order[i : i + 16 * size], key=lambda j: len(ids[j])) for i in range(0, len(order), 16 * size)]
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            part = chunk[start : start + size]
            tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[j]) for j in part], batch_first=True)
            mask = (tokens != 0).long()
            hide = (torch.rand(tokens.shape, generator=generator) < drop) & (tokens > 4)
            yield tokens.masked_fill(hide, unk), mask, labels[part]


def accuracy(model: BertForSequenceClassification, ids: list[list[int]], labels: torch.Tensor) -> float:
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(ids), 256):
            part = [torch.tensor(i) for i in ids[start : start + 256]]
            tokens = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            logits = model(input_ids=tokens, attention_mask=(tokens != 0).long()).logits
            right += int((logits.argmax(-1) == labels[start : start + 256]).sum())
    return right / len(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("model"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    texts, names = read(args.train)
    test_texts, test_names = read(args.test)
    classes = sorted(set(names))
    tokenizer = make_tokenizer(texts, args.vocabulary)
    encode = lambda t: tokenizer(t, truncation=True, max_length=LENGTH)["input_ids"]  # noqa: E731
    ids, test_ids = encode(texts), encode(test_texts)
    labels, test_labels = (torch.tensor([classes.index(n) for n in group]) for group in (names, test_names))

    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 32,
        intermediate_size=4 * args.hidden,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.2,
        id2label=dict(enumerate(classes)),
        label2id={name: i for i, name in enumerate(classes)},
    )
    model = BertForSequenceClassification(config)
    steps = args.epochs * -(-len(ids) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(args.seed)
    for epoch in range(args.epochs):
        model.train()
        for tokens, mask, target in batches(ids, labels, 64, generator, 0.15, tokenizer.unk_token_id):
            logits = model(input_ids=tokens, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4:
            print(
                f"epoch {epoch + 1}: loss {loss:.3f}, test accuracy {accuracy(model, test_ids, test_labels):.4f}",
                flush=True,
            )

    model.half().save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
