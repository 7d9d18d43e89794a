"""modules.json: read whole, or refused by name."""

import json

import pytest

from slm_export.errors import InputError
from slm_export.sources.sentence_transformers import read_head

MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def write(folder, *steps, **files):
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules += [{"path": f"{i}_{s}", "type": f"sentence_transformers.models.{s}"} for i, s in enumerate(steps, 1)]
    (folder / "modules.json").write_text(json.dumps(modules))
    for i, step in enumerate(steps, 1):
        (folder / f"{i}_{step}").mkdir()
        (folder / f"{i}_{step}" / "config.json").write_text(json.dumps(files.get(step.lower(), MEAN)))
    return folder


def test_pooling_and_normalization_are_read(tmp_path):
    head = read_head(write(tmp_path, "Pooling", "Normalize"))
    assert (head.pooling, head.normalize, head.dense, head.max_tokens) == ("mean", True, (), None)
    assert head.similarity == "cosine"


def test_the_newer_way_to_name_pooling_and_similarity(tmp_path):
    write(tmp_path, "Pooling", pooling={"pooling_mode": "cls"})
    (tmp_path / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    head = read_head(tmp_path)
    assert (head.pooling, head.normalize, head.max_tokens, head.similarity) == ("cls", False, 256, "dot")


@pytest.mark.parametrize(
    ("steps", "files", "message"),
    [
        (("Pooling", "LSTM"), {}, "cannot be exported: sentence_transformers.models.LSTM"),
        (("Pooling", "Normalize", "Dense"), {}, "cannot be exported: sentence_transformers.models.Dense"),
        (("Pooling", "Pooling"), {}, "cannot be exported: sentence_transformers.models.Pooling"),
        (("Normalize",), {}, "cannot be exported: sentence_transformers.models.Normalize"),
        ((), {}, "has no Pooling step"),
        (("Pooling",), {"pooling": {"pooling_mode_lasttoken": True}}, "pooling pooling_mode_lasttoken"),
        (("Pooling",), {"pooling": {**MEAN, "pooling_mode_cls_token": True}}, "pooling cls, mean cannot"),
        (("Pooling",), {"pooling": {}}, "pooling none cannot"),
        (("Pooling", "Dense"), {"dense": {"activation_function": "x.SiLU"}}, "a Dense step with x.SiLU"),
        (("Pooling", "Dense"), {"dense": {"in_features": 2, "out_features": 1}}, "holds no model.safetensors"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(tmp_path, steps, files, message):
    with pytest.raises(InputError) as caught:
        read_head(write(tmp_path, *steps, **files))
    assert message in str(caught.value)


def test_lower_casing_outside_the_tokenizer_is_refused(tmp_path):
    write(tmp_path, "Pooling")
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(InputError, match="lower-cases texts outside"):
        read_head(tmp_path)


@pytest.mark.parametrize("damaged", [{}, [{}, {"path": "x"}], ["a", "b"], [1, {"type": "x.Pooling"}], "text"])
def test_damaged_files_are_told(tmp_path, damaged):
    (tmp_path / "modules.json").write_text(json.dumps(damaged))
    with pytest.raises(
        InputError, match=r"sentence-transformers directory that can be read|cannot be exported|no Pool"
    ):
        read_head(tmp_path)
