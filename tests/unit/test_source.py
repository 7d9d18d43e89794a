import json

import pytest

from slm_export.errors import InputError
from slm_export.sources import Location, describe, resolve

CONFIG = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "no", "1": "yes"},
          "max_position_embeddings": 512}  # fmt: skip


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    write_config(folder)
    return folder


def write_config(folder, **changes):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))


def test_a_model_is_described_without_loading_it(model):
    info = describe(Location(path=model))
    assert (info.name, info.task, info.labels) == ("my-model", "text-classification", ("no", "yes"))
    assert info.max_positions == 512 and info.license is None
    assert set(info.files) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_the_hash_covers_weights_and_tokenizer(model):
    before = describe(Location(path=model)).sha256
    (model / "model.safetensors").write_bytes(b"other weights")
    changed = describe(Location(path=model)).sha256
    (model / "tokenizer.json").write_text("{ }")
    assert len({before, changed, describe(Location(path=model)).sha256}) == 3


def test_the_licence_is_the_model_cards(model):
    (model / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n")
    assert describe(Location(path=model)).license == "apache-2.0"
    (model / "README.md").write_text("# Model\nlicense: not front matter\n")
    assert describe(Location(path=model)).license is None


def test_pickled_weights_are_refused_by_name(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="only pickled weights") as caught:
        describe(Location(path=model))
    assert "pytorch_model.bin" in str(caught.value) and "save_pretrained" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BertForNextSentencePrediction"]}, "BertForNextSentencePrediction"),
        ({"architectures": []}, "none in"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "needs its own Python code"),
        ({"problem_type": "regression"}, "is a regression model with 2 outputs"),
        ({"problem_type": "ranking"}, "is a ranking model"),
        ({"architectures": ["BertForMaskedLM"]}, "names no mask token"),
        ({"architectures": ["LlamaModel"], "model_type": "llama"}, "is no encoder whose hidden states"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label skips number 1"),
        ({"id2label": {"0": "a", "1": "a"}}, "gives two labels the same name"),
        ({"id2label": {"x": "a", "1": "b"}}, "not a map of numbers to names"),
    ],
)
def test_a_model_that_cannot_be_exported_is_told_why(model, change, message):
    write_config(model, **change)
    with pytest.raises(InputError) as caught:
        describe(Location(path=model))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("config.json", "is no Hugging Face model directory"), ("tokenizer.json", "holds no tokenizer"),
     ("model.safetensors", "holds no weights")],
)  # fmt: skip
def test_a_missing_part_is_named(model, missing, message):
    (model / missing).unlink()
    with pytest.raises(InputError, match=message):
        describe(Location(path=model))


def test_a_config_that_is_not_json_is_told(model):
    (model / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        describe(Location(path=model))


def test_a_local_directory_is_itself_and_a_bad_path_is_told(model, tmp_path):
    assert resolve(str(model)) == Location(path=model)
    with pytest.raises(InputError, match="there is no directory"):
        resolve(str(tmp_path / "no" / "such" / "model"))
    with pytest.raises(InputError, match="is a file"):
        resolve(str(model / "config.json"))


@pytest.mark.parametrize(
    ("change", "task"),
    [
        ({}, "text-classification"),
        ({"problem_type": "multi_label_classification"}, "text-classification/multi-label"),
        ({"problem_type": "regression", "id2label": {"0": "score"}}, "text-classification/regression"),
        ({"id2label": {"0": "score"}}, "text-classification/regression"),
        ({"architectures": ["BertForTokenClassification"]}, "token-classification"),
        ({"architectures": ["BertForQuestionAnswering"]}, "question-answering"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "feature-extraction/hidden-states"),
    ],
)
def test_the_task_is_what_the_config_says(model, change, task):
    write_config(model, **change)
    assert describe(Location(path=model)).task == task


def test_the_task_can_be_forced(model):
    write_config(model, architectures=[], model_type="bert")
    assert describe(Location(path=model), task="text-classification").task == "text-classification"
    assert describe(Location(path=model), task="feature-extraction").task == "feature-extraction/hidden-states"


def test_the_mask_token_is_the_tokenizers(model):
    write_config(model, architectures=["BertForMaskedLM"])
    for token in ("[MASK]", {"content": "[MASK]", "lstrip": False}):
        (model / "tokenizer_config.json").write_text(json.dumps({"mask_token": token}))
        assert describe(Location(path=model)).mask_token == "[MASK]"
