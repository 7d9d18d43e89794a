import json

import numpy as np

from slm_export.bundle.golden import SAMPLES, choose, golden, narrowed
from slm_export.calibration import Sample
from slm_export.outputs import Step, Tokens
from slm_export.records import to_json
from slm_export.tasks import text2text_generation, text_classification, text_generation
from slm_export.tasks.measured import GOLDEN_ROWS


def of(length):
    return Tokens(input_ids=tuple(range(length)))


def test_golden_rows_are_safe_answers_of_all_lengths():
    rng = np.random.default_rng(0)
    reference = tuple(rng.normal(size=(200, 1, 5)).astype(np.float32))
    lengths = rng.integers(3, 60, 200).tolist()
    flipped = tuple(m if i % 2 else -m for i, m in enumerate(reference))
    rows = choose(text_classification, [of(n) for n in lengths], reference, [reference, flipped])
    assert len(rows) == SAMPLES and all(r % 2 for r in rows), "only rows on which every artifact agrees"
    chosen = sorted(lengths[r] for r in rows)
    assert chosen[0] < 15 and chosen[-1] > 45


def test_golden_rows_of_a_tiny_evaluation_set():
    reference = tuple(np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32))
    assert choose(text_classification, [of(3), of(4)], reference, [reference]) == [0, 1]


def test_of_a_causal_text_positions_are_kept_where_all_agree_and_the_best_token_leads():
    rng = np.random.default_rng(0)
    steps = tuple(Step(token=0, compared=(0, 1, 2)) for _ in range(40))
    reference = rng.normal(size=(40, 5)).astype(np.float32)
    reference[:, 0] = np.where(np.arange(40) % 2, 9, 3.1) + np.arange(40) / 100  # odd positions lead more
    same, other = reference + 0.1, reference.copy()
    other[5, 1] = 20  # another answer
    other[::2, 1:] += 3
    other[7] += 40  # the same, from afar
    other[9, 1] = other[9, 0] - 0.01  # the same, by a hair
    tokens = Tokens(input_ids=tuple(range(50)), steps=steps)
    ((sample,), (kept,), ((first,), (second,))) = narrowed(text_generation, [tokens], [reference], [[same], [other]])
    assert len(sample.steps) == len(sample.positions) == len(kept) == GOLDEN_ROWS
    rows = [position - 10 for position in sample.positions]  # steps are of the last 40 tokens
    assert all(row % 2 for row in rows) and not {5, 7, 9} & set(rows) and rows[0] == 1 and rows[-1] == 39
    for narrow, whole in ((kept, reference), (first, same), (second, other)):
        np.testing.assert_array_equal(narrow, whole[rows])


def test_of_a_written_answer_steps_are_told_and_not_compared_where_an_artifact_chose_otherwise():
    steps = (*(Step(token=n, compared=(n, n + 1), refused=(9,)) for n in range(5)), Step(token=8))
    reference = np.tile(np.array([5, 1, 0], np.float32), (5, 1))
    artifact = reference.copy()
    artifact[2, 1] = 6
    tokens = Tokens(input_ids=(1,), steps=steps)
    ((sample,), (kept,), ((narrow,),)) = narrowed(text2text_generation, [tokens], [reference], [[artifact]])
    assert [step.token for step in sample.steps] == [0, 1, 2, 3, 4, 8], "the decoder is told all of them"
    assert [len(step.compared) for step in sample.steps] == [2, 2, 0, 2, 2, 0]
    assert len(kept) == len(narrow) == 4 and (narrow == kept).all()
    answers = {tuple(text2text_generation.answer(m, sample, ())) for m in (kept, narrow)}
    assert answers == {(0, 1, 2, 3, 4, 8)}, "an artifact's too"


def test_numbers_are_short_and_the_same_float32():
    matrix = np.random.default_rng(0).normal(scale=20, size=(1, 50)).astype(np.float32)
    labels = [str(n) for n in range(50)]
    artifacts = {"onnx/model.onnx": ("fp32", [matrix / 3])}
    sample = Sample(line=1, text="the a my")
    made = golden(
        task=text_classification, rows=[0], samples=[sample], tokens=[of(4)], labels=labels, reference=[matrix],
        artifacts=artifacts,
    )  # fmt: skip
    stored = json.loads(json.dumps(to_json(made)))
    for numbers, meant in (
        (stored["samples"][0]["reference"][0], matrix[0]),
        (stored["artifacts"]["onnx/model.onnx"]["outputs"][0][0], matrix[0] / 3),
    ):
        np.testing.assert_array_equal(np.array(numbers, np.float32), meant)
        assert max(len(json.dumps(n).lstrip("-")) for n in numbers) <= 12
