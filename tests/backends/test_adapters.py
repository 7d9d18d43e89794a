"""LoRA adapters: merged into their base, compared with the merged model."""

import json
import shutil

import numpy as np
import pytest

from slm_export.records import read_json
from slm_export.sources import Location, describe, load
from tests.conftest import Cli
from tests.tiny import LABELS, make_tiny_model, sentences, tiny_tokenizer, write_csv


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """base/: a plain encoder with its tokenizer; adapter/: LoRA and a head, trained on it."""
    folder = tmp_path_factory.mktemp("adapter")
    make_tiny_model(folder / "base", seed=3, task="feature-extraction/hidden-states")
    train_adapter(folder)
    write_csv(folder / "calibration.csv", seed=10, rows=60)
    write_csv(folder / "eval.csv", seed=11, rows=120)
    return folder


def train_adapter(folder):
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base", **names)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"], lora_alpha=8)
    model = peft.get_peft_model(base, config)
    pairs = sentences(seed=103, rows=400)
    batch = tiny_tokenizer()([t for t, _ in pairs], padding=True, return_tensors="pt")
    target = torch.tensor([LABELS.index(label) for _, label in pairs])
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(**batch).logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder / "adapter")
    base.config.save_pretrained(folder / "adapter")  # the labels of the head
    with torch.no_grad():
        logits = model(**{k: v[:5] for k, v in batch.items()}).logits.numpy()
    np.savez(folder / "unmerged.npz", logits=logits, **{k: v[:5].numpy() for k, v in batch.items()})


def test_the_reference_is_the_merged_model(folder):
    import torch

    info = describe(Location(path=folder / "adapter"))
    assert (info.kind, info.task, info.labels) == ("peft", "text-classification", LABELS)
    assert {"adapter_model.safetensors", "base/model.safetensors"} <= set(info.files)
    reference = load(info, max_length=24)
    stored = np.load(folder / "unmerged.npz")
    feed = {k: torch.tensor(stored[k]) for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        merged = reference.module(**feed).logits.numpy()
    assert np.abs(merged - stored["logits"]).max() < 1e-5
    assert not [n for n, _ in reference.module.named_modules() if "lora" in n]


def test_an_adapter_exports_like_any_model(folder):
    data = ["--calibration", "calibration.csv", "--eval", "eval.csv", "--max-length", 24, "--format", "onnx"]
    Cli(folder).ok("adapter", "--target", "linux-x86_64", *data, "-o", "dist")
    bundle = folder / "dist/adapter-linux-x86_64"
    report = read_json(bundle / "parity.json")["reports"][0]
    assert report["verdict"] == "pass" and report["answers"]["accuracy_reference"] >= 0.9
    assert read_json(bundle / "manifest.json")["source"]["adapter"] == {"kind": "LORA", "rank": 4, "base": "base"}


def test_an_adapter_that_lies_beside_its_base_is_merged_too(folder, tmp_path):
    import torch

    shutil.copytree(folder / "base", tmp_path / "both")
    for name in ("adapter_config.json", "adapter_model.safetensors", "config.json"):
        shutil.copy(folder / "adapter" / name, tmp_path / "both" / name)
    reference = load(describe(Location(path=tmp_path / "both")), max_length=24)
    stored = np.load(folder / "unmerged.npz")
    feed = {k: torch.tensor(stored[k]) for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert np.abs(reference.module(**feed).logits.numpy() - stored["logits"]).max() < 1e-5


def change(folder, **changes):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))


def test_what_cannot_be_merged_is_told(folder, cli):
    args = ["--target", "linux-x86_64", "--eval", folder / "eval.csv", "--scheme", "fp32", "--format", "onnx"]

    def complaint(name, *more):
        done = cli(name, *args, *more)
        assert done.returncode == 2, done.stderr
        return done.stderr

    for name in ("lost", "other", "weightless", "labelless"):
        shutil.copytree(folder / "adapter", cli.folder / name)
    change(cli.folder / "lost", base_model_name_or_path="somewhere/else")
    assert "the model it belongs to is not here: somewhere/else" in complaint("lost")
    change(cli.folder / "other", peft_type="PREFIX_TUNING")
    assert "holds a PREFIX_TUNING adapter" in complaint("other")
    (cli.folder / "weightless/adapter_model.safetensors").unlink()
    assert "an adapter without its weights" in complaint("weightless")
    (cli.folder / "labelless/config.json").unlink()
    shutil.copytree(folder / "base", cli.folder / "base")
    config = json.loads((cli.folder / "base/config.json").read_text())
    (cli.folder / "base/config.json").write_text(json.dumps({k: v for k, v in config.items() if "label" not in k}))
    args[args.index("--eval") + 1] = cli.folder / "eval.txt"
    (cli.folder / "eval.txt").write_text("the apple\nmy iron\n")
    text = complaint("labelless", "--base", "base")
    assert "does not fit its base" in text and "config.json, which has the labels" in text
