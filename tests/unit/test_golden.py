import json

import numpy as np

from slm_export.bundle.golden import SAMPLES, choose, golden
from slm_export.calibration import Sample
from slm_export.outputs import Tokens
from slm_export.records import to_json
from slm_export.tasks import text_classification


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
