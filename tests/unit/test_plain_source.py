"""module:factory and its weights: what is read before work, and what each mistake is told as."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slm_export.errors import InputError, UsageError
from slm_export.records import from_json, to_json
from slm_export.sources import SourceInfo, describe, load, resolve
from tests import classifiers
from tests.tiny import word_tokenizer

ARGUMENTS = {"kind": "lstm", "bidirectional": True, "packed": True, "answer": "h_n", "layers": 2}
SAID = {"task": "text-classification", "labels": ["a", "b", "c", "d"], "max_length": 64, "pad_token": "[PAD]",
        "inputs": ["input_ids", "lengths"], "arguments": ARGUMENTS, "license": "mit"}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with classifiers.py and model/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_classifiers", raising=False)
    shutil.copy(classifiers.__file__, tmp_path / "own_classifiers.py")
    (tmp_path / "model").mkdir()
    word_tokenizer(tmp_path / "model/tokenizer.json")
    save_file(classifiers.make(**ARGUMENTS).state_dict(), tmp_path / "model/model.safetensors")
    say(tmp_path)
    return tmp_path


def say(folder, **changes):
    said = {k: v for k, v in {**SAID, **changes}.items() if v is not None}
    (folder / "model/model.json").write_text(json.dumps(said))


def described(factory="own_classifiers:make"):
    return describe(resolve(factory, weights="model"))


def loaded(factory="own_classifiers:make"):
    return load(from_json(SourceInfo, to_json(described(factory))), max_length=12)


def own(folder, code, name=None):
    """A module of the user's, and no arguments for its factory."""
    name = name or folder.name  # which no other test has
    text = "import torch\nfrom torch import nn\nfrom torch.nn.utils import rnn\n"
    (folder / f"{name}.py").write_text(text + code)
    say(folder, arguments=None)
    return f"{name}:make"


def test_a_factory_is_described_without_running_it(folder):
    (folder / "own_classifiers.py").write_text("raise SystemExit\n")
    info = described()
    assert (info.kind, info.name, info.architecture) == ("pytorch", "model", "own_classifiers:make")
    assert (info.task, info.labels) == ("text-classification", ("a", "b", "c", "d"))
    assert (info.max_positions, info.license) == (64, "mit")
    assert info.plain.folder == str(folder) and info.plain.recurrent_layers == 4
    assert set(info.files) == {"model.json", "model.safetensors", "tokenizer.json", "own_classifiers.py"}


def test_the_hash_covers_the_code(folder):
    before = described().sha256
    with (folder / "own_classifiers.py").open("a") as file:
        file.write("# changed\n")
    assert described().sha256 != before


def test_a_module_in_a_package_is_found(folder):
    (folder / "mine/nets").mkdir(parents=True)
    shutil.move(folder / "own_classifiers.py", folder / "mine/nets/spam.py")
    assert "mine/nets/spam.py" in described("mine.nets.spam:make").files
    assert loaded("mine.nets.spam:make").task == "text-classification"


def test_the_reference_is_the_users_module(folder):
    reference = loaded()
    assert type(reference.module.model).__name__ == "Classifier" and reference.pad_id == 0
    ids = torch.tensor([[7, 8, 9]])
    same = reference.module.model(ids, torch.tensor([3]))
    assert torch.equal(reference.module(ids, torch.ones_like(ids))["logits"], same)


def test_half_precision_weights_are_computed_in_float32(folder):
    tensors = {n: t.half() for n, t in classifiers.make(**ARGUMENTS).state_dict().items()}
    save_file(tensors, folder / "model/model.safetensors")
    assert {p.dtype for p in loaded().module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("model", "weights", "kind", "message"),
    [
        ("own_classifiers:make", None, UsageError, "give --weights DIR"),
        ("own_classifiers:make", "nowhere", InputError, "there is no directory nowhere"),
        ("model", "model", UsageError, "--weights model goes with a factory"),
        ("own_classifier:make", "model", UsageError, "there is no module own_classifier in"),
        ("own_classifiers.sub:make", "model", UsageError, "there is no module own_classifiers.sub in"),
    ],
)
def test_model_and_weights_must_go_together(folder, model, weights, kind, message):
    with pytest.raises(kind) as caught:
        describe(resolve(model, weights=weights))
    assert message in str(caught.value)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "model.json"])
def test_a_missing_file_is_named(folder, file):
    (folder / "model" / file).unlink()
    with pytest.raises(InputError, match=f"holds no {file}"):
        described()


def test_a_description_tells_all_its_problems_at_once(folder):
    say(folder, task="regression", labels=["a", "a"], max_length="64", inputs=["ids"], lables=[], pad_token=None)
    with pytest.raises(InputError) as caught:
        described()
    told = str(caught.value)
    assert "task: 'regression'" in told and "labels: must be two" in told and "max_length: '64' is not int" in told
    assert "inputs: 'ids' is unknown" in told and "inputs: must name input_ids" in told
    assert "lables: unknown; did you mean 'labels'?" in told and "pad_token: missing" in told


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.json", "{", "is not JSON"),
        ("model.json", "[]", "it is not an object"),
        ("model.safetensors", "not weights", "is no safetensors file"),
    ],
)
def test_a_damaged_file_is_named(folder, file, content, message):
    (folder / "model" / file).write_text(content)
    with pytest.raises(InputError, match=message):
        described()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "cannot be imported\n  where: ZeroDivisionError"),
        ("def mak(): pass", "has no factory make"),
        ("def make(): raise OSError('no disk')", "fails when called with no arguments\n  where: OSError: no disk"),
        ("def make(): return 3", "gives a int, not a torch.nn.Module"),
    ],
)
def test_a_factory_that_makes_no_model_is_told(folder, code, message):
    with pytest.raises(InputError) as caught:
        loaded(own(folder, code))
    assert message in str(caught.value)


def test_a_name_that_another_module_has_is_told(folder):
    with pytest.raises(InputError, match="the name json is taken by another module"):
        loaded(own(folder, "def make(): pass", "json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), "where: head.bias\n  why:   missing tensors would be random numbers"),
        (lambda t: t.update(extra=torch.zeros(1)), "where: extra\n  why:   tensors that the model has no place for"),
        (lambda t: t.update({"head.bias": torch.zeros(9)}), "head.bias: copying a param"),
    ],
)
def test_weights_that_do_not_fit_are_told(folder, change, message):
    tensors = classifiers.make(**ARGUMENTS).state_dict()
    change(tensors)
    save_file(tensors, folder / "model/model.safetensors")
    with pytest.raises(InputError) as caught:
        loaded()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pad_token": "<pad>"}, "pad_token '<pad>' is not in"),
        ({"inputs": ["input_ids"]}, "fails when called with input_ids"),
        ({"labels": ["a", "b"]}, "gives torch.float32 [2, 4] where logits are expected: floating point [2, 2]"),
        ({"arguments": {**ARGUMENTS, "rows": 3}}, "their shapes differ"),
        ({"arguments": {"kind": "lstm"}}, "fails when called with {'kind': 'lstm'}"),
    ],
)
def test_a_description_of_another_model_is_told(folder, changes, message):
    say(folder, **changes)
    with pytest.raises(InputError) as caught:
        loaded()
    assert message in str(caught.value)


def test_a_tokenizer_with_more_tokens_than_the_model_is_told(folder):
    arguments = {**ARGUMENTS, "rows": 10}
    save_file(classifiers.make(**arguments).state_dict(), folder / "model/model.safetensors")
    say(folder, arguments=arguments)
    with pytest.raises(InputError, match="tokens, the model embeds 10"):
        loaded()


def test_a_text_without_tokens_is_told(folder):
    nothing = torch.zeros((1, 0), dtype=torch.int64)
    with pytest.raises(InputError, match="a text has no tokens"):
        loaded().module(nothing, nothing)


MODEL = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(40, 8)
        self.rnn = {rnn}
        self.head = nn.Linear(8, 4)

    def forward(self, input_ids, lengths):
        x = self.embedding(input_ids)
        {answer}

def make():
    torch.manual_seed(0)
    return Model()
"""
GRU = "nn.GRU(8, 8, batch_first=True)"


@pytest.mark.parametrize(
    ("rnn", "answer", "message"),
    [
        ("nn.GRU(8, 8)", "return self.head(self.rnn(x)[0][:, -1])", "lacks batch_first=True"),
        ("nn.LSTM(8, 16, proj_size=8, batch_first=True)", "return self.head(self.rnn(x)[0][:, -1])", "has a proj_size"),
        ("nn.RNN(8, 8, batch_first=True)", "return self.head(self.rnn(x)[0][:, -1])", "RNN is neither"),
        (GRU, "return self.head(self.rnn(x)[0].mean(1))", "padding changes what the model of"),
        (GRU, "return rnn.pack_padded_sequence(x, lengths.cpu(), True)", "gives torch.float32 [14, 8] where logits"),
        (GRU, "return self.head(rnn.pack_padded_sequence(x, lengths.cpu(), True).data[:2])", "fails on padded texts"),
        (GRU, "return self.head(self.rnn(rnn.pack_padded_sequence(x.transpose(0, 1), lengths.cpu()))[1][0])",
         "called without batch_first=True"),
    ],
)  # fmt: skip
def test_a_model_whose_padding_cannot_be_followed_is_told(folder, rnn, answer, message):
    code = MODEL.format(rnn=rnn, answer=answer)
    factory = own(folder, code)
    namespace = {}
    exec((folder / factory.replace(":make", ".py")).read_text(), namespace)
    save_file(namespace["make"]().state_dict(), folder / "model/model.safetensors")
    with pytest.raises(InputError) as caught:
        loaded(factory)
    assert message in str(caught.value)


def test_a_model_that_looks_nothing_up_is_told(folder):
    factory = own(folder, "def make(): return nn.Linear(1, 4)")
    save_file(torch.nn.Linear(1, 4).state_dict(), Path("model/model.safetensors"))
    with pytest.raises(InputError, match=r"without an nn\.Embedding"):
        loaded(factory)
