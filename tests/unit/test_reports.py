from xml.etree import ElementTree

import numpy as np

from slm_export.bundle.golden import SAMPLES, choose
from slm_export.outputs import Tokens
from slm_export.report.columns import columns
from slm_export.report.junit import Case, write_junit
from slm_export.tasks import text_classification


def test_junit_counts_failures_and_skips_and_survives_control_characters(tmp_path):
    cases = [Case(name="good"), Case(name="bad", failure="line\x00one\nline two"), Case(name="unseen", skipped="why")]
    write_junit(tmp_path / "sub" / "j.xml", "suite", cases)
    suite = ElementTree.parse(tmp_path / "sub" / "j.xml").getroot()[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
    }
    assert suite[1][0].get("message") == "line one"


def test_columns_line_up():
    assert columns([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc  d"


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
