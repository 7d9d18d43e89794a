"""Models small enough for tests that still have something to answer: about four kinds of words that texts hold."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

LABELS = ("fruit", "metal", "music", "water")
KEYS = {"fruit": ("apple", "pear"), "metal": ("iron", "zinc"), "music": ("song", "drum"), "water": ("rain", "sea")}
FILLER = ("the", "a", "my", "is", "it", "was", "here", "now", "very", "old", "new", "and", "of", "in", "on", "with")
TAGS = ("O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI"))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = 9000  # rows nobody uses bring the table over the size from which embeddings are quantized
SPECIAL_IDS = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}

# Small configurations of encoder families, beside what _config gives all of them. Layers of ALBERT are shared.
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 16,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "dropout": 0.0},
    "roberta": {"type_vocab_size": 1},
    "electra": {"embedding_size": 32},
    "mobilebert": {
        "embedding_size": 32,
        "true_hidden_size": 32,
        "intra_bottleneck_size": 32,
        "num_feedforward_networks": 1,
        "trigram_input": True,
    },
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
}
HEADS = {
    "text-classification": "SequenceClassification",
    "pairs": "SequenceClassification",
    "text-classification/multi-label": "SequenceClassification",
    "text-classification/regression": "SequenceClassification",
    "token-classification": "TokenClassification",
    "question-answering": "QuestionAnswering",
    "fill-mask": "MaskedLM",
    "feature-extraction/hidden-states": "SequenceClassification",
}


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
    write_rows(path, "token-classification", seed=seed, rows=rows)


def tags_of(words: Sequence[str]) -> list[str]:
    """Every key word is an entity of its label, two in a row are one."""
    kinds = [kind_of(w) for w in words]
    return ["O" if not kind else ("I-" if i and kinds[i - 1] == kind else "B-") + kind for i, kind in enumerate(kinds)]


def kind_of(word: str) -> str:
    return next((label for label, keys in KEYS.items() if word in keys), "")


def rows_of(task: str, *, seed: int, rows: int) -> list[dict[str, Any]]:
    """Rows of a task's data file."""
    rng = random.Random(seed)
    texts = sentences(seed=seed, rows=rows)
    made = {
        "text-classification": lambda t, label: {"text": t, "label": label},
        "feature-extraction/hidden-states": lambda t, label: {"text": t},
        # What the first text holds does not count.
        "pairs": lambda t, label: {"text": rng.choice(texts)[0], "text_pair": t, "label": label},
        "text-classification/multi-label": lambda t, label: _two_kinds(t, rng),
        "text-classification/regression": lambda t, label: {
            "text": t, "score": sum(kind_of(w) in ("fruit", "metal") for w in t.split()),
        },
        "token-classification": lambda t, label: {"tokens": t.split(), "tags": tags_of(t.split())},
        "question-answering": lambda t, label: {"question": "the a", "context": t, "answers": [_first_key(t)]},
        "fill-mask": lambda t, label: {"text": _cycle(rng)},
    }[task]  # fmt: skip
    return [made(text, label) for text, label in texts]


def _two_kinds(text: str, rng: random.Random) -> dict[str, Any]:
    words = [*text.split(), *rng.choice([(), *KEYS.values()])]
    return {"text": " ".join(words), "labels": sorted({kind_of(w) for w in words} - {""})}


def _first_key(text: str) -> str:
    """The first run of key words, whole."""
    words = text.split()
    start = next(i for i, w in enumerate(words) if kind_of(w))
    end = next((i for i in range(start, len(words)) if not kind_of(words[i])), len(words))
    return " ".join(words[start:end])


def _cycle(rng: random.Random) -> str:
    """Fillers in their order, so that each follows from its neighbours."""
    start, count = rng.randrange(len(FILLER)), rng.randint(4, 9)
    return " ".join(FILLER[(start + i) % len(FILLER)] for i in range(count))


def write_rows(path: Path, task: str, *, seed: int, rows: int) -> None:
    path.write_text("\n".join(map(json.dumps, rows_of(task, seed=seed, rows=rows))) + "\n", encoding="utf-8")


def make_tiny_model(
    folder: Path, *, seed: int, layers: int = 2, task: str = "text-classification", family: str = "bert"
) -> None:
    """Train and save a Hugging Face directory; the same seed gives the same weights."""
    tokenizer = tiny_tokenizer()
    model = trained(task, family, tokenizer, seed=seed, layers=layers)
    if task == "feature-extraction/hidden-states":
        model = model.base_model
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tiny_tagger(folder: Path, *, seed: int) -> None:
    make_tiny_model(folder, seed=seed, task="token-classification")


def make_tiny_embedder(folder: Path, *, pooling: str, steps: Sequence[str], seed: int, family: str = "bert") -> None:
    """A sentence-transformers directory: the classifier's encoder and the steps after it."""
    import torch
    from safetensors.torch import save_file

    make_tiny_model(folder, seed=seed, task="feature-extraction/hidden-states", family=family)
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


def tiny_tokenizer() -> Any:
    from transformers import BertTokenizer

    words = [*SPECIAL, *FILLER, *(k for keys in KEYS.values() for k in keys)]
    return BertTokenizer(vocab={w: i for i, w in enumerate(words)}, do_lower_case=True, model_max_length=64)


def untrained(task: str, family: str, *, layers: int, seed: int) -> Any:
    """A model of random weights, large enough for every part to be heard, run as a reference is."""
    import torch
    import transformers

    torch.manual_seed(seed)
    auto_class = getattr(transformers, f"AutoModelFor{HEADS[task]}")
    model = auto_class.from_config(_config(task, family, layers), attn_implementation="eager")
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(10)
    return model.eval().requires_grad_(False)


def trained(task: str, family: str, tokenizer: Any, *, seed: int, layers: int) -> Any:
    """A model that has learnt the task from 400 rows."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, f"AutoModelFor{HEADS[task]}").from_config(_config(task, family, layers))
    batches = list(_batches(task, tokenizer, rows_of(task, seed=seed + 100, rows=400)))
    if getattr(model.config, "type_vocab_size", None) == 1:  # RoBERTa's own tokenizers tell no segments
        for batch, _ in batches:
            batch.pop("token_type_ids", None)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(max(STEPS.get(family, 40), STEPS.get(task, 40))):
        for batch, loss in batches:
            optimizer.zero_grad()
            loss(model(**batch)).backward()
            optimizer.step()
    if task == "fill-mask":
        model.resize_token_embeddings(VOCABULARY, **({} if family == "mobilebert" else {"mean_resizing": False}))
    return model.eval()


# Where 40 steps do not do.
STEPS = {"electra": 80, "modernbert": 80, "mobilebert": 120, "text-classification/multi-label": 160, "fill-mask": 40,
         "question-answering": 100, "text-classification/regression": 100}  # fmt: skip


def _config(task: str, family: str, layers: int) -> Any:
    from transformers import AutoConfig, BertConfig

    # A vocabulary to answer from is trained small and grown afterwards, or half a minute would go into it.
    common = {
        "vocab_size": 32 if task == "fill-mask" else VOCABULARY, "hidden_size": 32, "num_hidden_layers": layers,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    names = {
        "token-classification": TAGS, "text-classification/regression": ("score",), "question-answering": ("0", "1"),
    }.get(task, LABELS)  # fmt: skip
    given = {**common, "id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    if task == "text-classification/multi-label":
        given["problem_type"] = "multi_label_classification"
    if family == "bert":
        return BertConfig(**given)
    given |= {**FAMILIES[family], **SPECIAL_IDS, "max_position_embeddings": 65}
    if (family, task) == ("mobilebert", "fill-mask"):
        given["embedding_size"] = 16  # narrower than what its head reads, as real ones are
    return AutoConfig.for_model(family, **given)


def _batches(task: str, tokenizer: Any, rows: list[dict[str, Any]]) -> Iterator[tuple[Any, Callable[[Any], Any]]]:
    """(what the model takes, the loss of what it gives)."""
    import torch
    from torch.nn import functional

    if task in ("text-classification", "pairs", "feature-extraction/hidden-states"):
        target = torch.tensor([LABELS.index(row.get("label") or _label(row["text"])) for row in rows])
        yield _encoded(task, tokenizer, rows), lambda out: functional.cross_entropy(out.logits, target)
    elif task == "text-classification/multi-label":
        flags = torch.tensor([[float(label in row["labels"]) for label in LABELS] for row in rows])
        yield (
            _encoded(task, tokenizer, rows),
            lambda out: 4 * functional.binary_cross_entropy_with_logits(out.logits, flags),
        )
    elif task == "text-classification/regression":
        scores = torch.tensor([[float(row["score"])] for row in rows])
        yield _encoded(task, tokenizer, rows), lambda out: functional.mse_loss(out.logits, scores)
    elif task == "token-classification":
        batch = tokenizer([r["tokens"] for r in rows], is_split_into_words=True, padding=True, return_tensors="pt")
        tags = [
            [-100 if w is None else TAGS.index(r["tags"][w]) for w in batch.word_ids(i)] for i, r in enumerate(rows)
        ]
        yield batch, _tokens_loss(torch.tensor(tags))
    elif task == "question-answering":
        batch = _encoded(task, tokenizer, rows)
        ends = torch.tensor([_answer_tokens(batch, i, row) for i, row in enumerate(rows)])
        yield (
            batch,
            lambda out: sum(
                functional.cross_entropy(x, y) for x, y in zip((out.start_logits, out.end_logits), ends.T, strict=True)
            ),
        )
    elif task == "fill-mask":
        yield from (_masked(tokenizer, rows[start : start + 40]) for start in range(0, len(rows), 40))


def _label(text: str) -> str:
    return next(kind for w in text.split() if (kind := kind_of(w)))


def _encoded(task: str, tokenizer: Any, rows: list[dict[str, Any]]) -> Any:
    first, second = {"pairs": ("text", "text_pair"), "question-answering": ("question", "context")}.get(
        task, ("text", None)
    )
    pairs = [r[second] for r in rows] if second else None
    return tokenizer([r[first] for r in rows], pairs, padding=True, return_tensors="pt")


def _tokens_loss(targets: Any) -> Callable[[Any], Any]:
    from torch.nn import functional

    return lambda out: functional.cross_entropy(out.logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def _answer_tokens(batch: Any, row: int, data: dict[str, Any]) -> tuple[int, int]:
    start = data["context"].index(data["answers"][0])
    end = start + len(data["answers"][0]) - 1
    return batch.char_to_token(row, start, 1), batch.char_to_token(row, end, 1)


def _masked(tokenizer: Any, rows: list[dict[str, Any]]) -> tuple[Any, Callable[[Any], Any]]:
    import torch

    batch = tokenizer([r["text"] for r in rows], padding=True, return_tensors="pt")
    ids = batch["input_ids"]
    real = (ids > max(SPECIAL_IDS.values()) + 1).float()
    chosen = torch.multinomial(real, 1)
    targets = torch.full_like(ids, -100).scatter(1, chosen, ids.gather(1, chosen))
    batch["input_ids"] = ids.scatter(1, chosen, tokenizer.mask_token_id)
    return batch, _tokens_loss(targets)
