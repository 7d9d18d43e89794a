import pytest

from slm_export import errors
from slm_export.errors import BudgetError, DependencyError, ExportError, InputError, ParityError, UsageError, nearest


def test_message_says_what_where_why_and_next():
    err = InputError("a row is bad", where="f.csv:3", why="it is empty", next_step="fill it")
    assert str(err) == "a row is bad\n  where: f.csv:3\n  why:   it is empty\n  next:  fill it"


@pytest.mark.parametrize(
    ("cls", "code"),
    [(UsageError, 2), (InputError, 2), (DependencyError, 3), (ExportError, 4), (ParityError, 5), (BudgetError, 6),
     (errors.VerificationError, 7)],
)  # fmt: skip
def test_each_kind_has_its_exit_code_and_survives_json(cls, code):
    back = errors.from_json(cls("what", why="why").to_json())
    assert type(back) is cls and back.exit_code == code and (back.what, back.why, back.where) == ("what", "why", None)


def test_nearest_names_the_near_miss_and_the_choices():
    assert nearest("anroid", ["ios", "android"]) == "did you mean 'android'? choices: android, ios"
    assert nearest("zzz", ["ios"]) == "choices: ios"
    assert nearest("zzz", []) == "there are none"


def test_a_task_whose_library_is_missing_is_told_before_any_work(monkeypatch):
    from slm_export import doctor

    find = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "seqeval" else find(name))
    doctor.require(["onnx"], "text-classification")
    with pytest.raises(DependencyError, match="token-classification cannot be exported here") as caught:
        doctor.require(["onnx"], "token-classification")
    assert "pip install seqeval" in str(caught.value)
