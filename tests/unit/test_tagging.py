"""Words to tokens and back to tags, by hand."""

import numpy as np
import pytest

from slm_export.outputs import Tokens
from slm_export.tasks import token_classification as task
from slm_export.tasks.measured import Judged

LABELS = ("O", "B-x", "I-x")


def matrix(*labels):
    return np.eye(3, dtype=np.float32)[[LABELS.index(label) for label in labels]]


def tokens(*positions):
    return Tokens(input_ids=(7, 8, 9, 10), positions=positions)


def test_a_word_is_tagged_by_its_first_token_and_a_cut_off_one_is_outside():
    out = matrix("O", "B-x", "I-x", "B-x")
    assert task.answer(out, tokens(1, 3, -1), LABELS) == ["B-x", "B-x", "O"]
    assert task.answer(out, Tokens(input_ids=(7, 8, 9, 10)), LABELS) == ["O", "B-x", "I-x", "B-x"]


def test_nan_is_an_answer_of_its_own():
    out = matrix("O", "B-x", "I-x", "B-x")
    out[1] = np.nan
    assert task.answer(out, tokens(1, 2), LABELS) == ["NaN", "I-x"]


def test_a_broken_entity_costs_f1_and_one_word_is_one_flip():
    before, after = matrix("O", "B-x", "I-x", "O"), matrix("O", "B-x", "O", "O")
    judged = Judged(
        before=(before,), after=(after,), tokens=(tokens(1, 2, 3, -1),), labels=LABELS, targets=((1, 2, 0, 0),)
    )
    measured = task.measure(judged)
    assert measured.answers["flips"] == 1 and measured.answers["flip_rate"] == pytest.approx(1 / 3)
    assert measured.answers["span_f1_reference"] == 1 and measured.answers["span_f1"] == 0
    assert measured.answers["span_f1_drop"] == 1
    assert measured.classes["I-x"].samples == 1 and measured.classes["I-x"].flips == 1


def test_the_drop_of_f1_has_an_interval_around_it():
    right, wrong = matrix("O", "B-x", "I-x", "O"), matrix("O", "B-x", "O", "O")
    n = 200
    judged = Judged(
        before=(right,) * n,
        after=(wrong,) * 20 + (right,) * (n - 20),
        tokens=(tokens(1, 2, 3, -1),) * n,
        labels=LABELS,
        targets=((1, 2, 0, 0),) * n,
    )
    measured = task.measure(judged)
    low, high = measured.intervals["span_f1_drop"]
    assert measured.answers["span_f1_drop"] == pytest.approx(0.1) and 0.05 < low < 0.1 < high < 0.15


def test_without_tags_there_is_no_f1():
    out = matrix("O", "B-x", "I-x", "O")
    judged = Judged(before=(out,), after=(out,), tokens=(tokens(1, 2),), labels=LABELS, targets=None)
    assert set(task.measure(judged).answers) == {"flips", "flip_rate"}


def test_words_may_take_several_tokens_none_or_be_cut_off():
    class Encoded(dict):
        def word_ids(self):
            return [None, 0, 0, 2, None]

    class Sample:
        words = ("two", "\u200b", "one", "cut")

    (made,) = task.tokenize(lambda words, **options: Encoded(input_ids=[1, 5, 6, 7, 2]), [Sample], 5)
    assert made == Tokens(input_ids=(1, 5, 6, 7, 2), positions=(1, -1, 3, -1))
