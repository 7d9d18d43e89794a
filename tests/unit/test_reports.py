from xml.etree import ElementTree

from slm_export.report.columns import columns
from slm_export.report.junit import Case, write_junit


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
