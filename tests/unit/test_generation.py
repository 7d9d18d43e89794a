"""Greedy generation by rules, on a decoder that is a table."""

import numpy as np
import pytest

from slm_export.generation import Rules, follow, generate
from slm_export.outputs import Step, Tokens
from slm_export.tasks import text2text_generation as task

END, SIZE = 1, 40


class Table:
    """Says after each token the one that `after` names."""

    def __init__(self, after):
        self.after = after
        self.steps = 0

    def encode(self, input_ids):
        return ()

    def step(self, state, token):
        self.steps += 1
        logits = np.arange(SIZE, dtype=np.float32) / SIZE
        logits[self.after[token]] = 5
        return (*state, token), logits


def rules(**more):
    return Rules(**{"start": 0, "ends": (END,), "max_new_tokens": 6, **more})


CHAIN = {0: 7, 7: 8, 8: 9, 9: END, 39: 8}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, (7, 8, 9, 1)),
        ({"max_new_tokens": 2}, (7, 8)),
        ({"max_new_tokens": 3, "forced_last": END}, (7, 8, 1)),
        ({"forced_first": 9}, (9, 1)),
        ({"ends": (8, 1)}, (7, 8)),
        ({"banned": (7,)}, (39, 8, 9, 1)),
        ({"banned": (7, 39), "forced_first": 7}, (7, 8, 9, 1)),
        ({"min_new_tokens": 4}, (7, 8, 9, 39, 8, 9)),
        ({"min_new_tokens": 4, "no_repeat_ngram": 2}, (7, 8, 9, 39, 8, 39)),
    ],
)
def test_an_answer_keeps_the_rules(more, said):
    assert generate(Table(CHAIN), (), rules(**more)) == said


def test_nan_ends_an_answer():
    decoder = Table(CHAIN)
    decoder.step = lambda state, token: (state, np.full(SIZE, np.nan, np.float32))
    assert generate(decoder, (), rules()) == (-1,)


def test_a_decoder_that_agrees_walks_once_and_one_that_does_not_goes_its_own_way():
    agrees = Table(CHAIN)
    rows, said = follow(agrees, [5], rules(), (7, 8, 9, 1))
    assert said == (7, 8, 9, 1) and len(rows) == agrees.steps == 4
    differs = Table({**CHAIN, 7: 39})
    rows, said = follow(differs, [5], rules(), (7, 8, 9, 1))
    assert said == (7, 39, 8, 9, 1) and [int(r.argmax()) for r in rows] == [7, 39, 9, 1]


def test_compared_are_the_references_best_tokens_and_the_best_of_all_others():
    step = Step(token=7, compared=(7, 3), refused=(39,))
    matrix, said = task.execute(Table(CHAIN), Tokens(input_ids=(5,), steps=(step, Step(token=END))), rules())
    assert matrix.tolist() == [[5.0, np.float32(3 / SIZE), np.float32(38 / SIZE)]], "a forced step is not compared"
    assert said == (7, 8, 9, 1)
    assert task.answer(matrix, Tokens(input_ids=(5,), steps=(step, Step(token=END))), ()) == [7, END]
    other = np.array([[1.0, 0.0, 2.0]], np.float32)
    assert task.answer(other, Tokens(input_ids=(5,), steps=(step,)), ()) == [task.OTHER]
