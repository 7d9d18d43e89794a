"""What a device reports is judged again by the bundle's own hashes and bounds."""

import json

import pytest

from slm_export.bundle.manifest import read_golden, read_manifest
from slm_export.devices import report as reports
from slm_export.errors import VerificationError
from tests.devices import FILES, report_of, sha256, write_bundle


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "tiny")
    return tmp_path / "tiny"


def judged(bundle, report):
    read = reports.read(json.dumps(report).encode(), "here")
    artifacts = [entry.artifact for entry in read_manifest(bundle).artifacts]
    told = reports.of_bundle(read, sha256(bundle / "manifest.json"))
    return reports.judge(told, artifacts, read_golden(bundle / "golden.json"))


def test_what_is_well_passes(bundle):
    assert [(o.path, o.passed) for o in judged(bundle, report_of(bundle))] == [(path, True) for path in FILES.values()]


NUMBERS = {  # what the app says of the first artifact, how it answers otherwise, what is not proven
    "a low cosine that the app lets pass": ({"min_cosine": 0.5}, "cosine to the recorded output 0.500000", None),
    "no number": ({"min_cosine": None}, "cosine to the recorded output is not a number", None),
    "other answers": ({"answers_agree": 1}, "1 of 2 answers differ", None),
    "a failure of the app's own": (
        {"verdict": "fail", "failures": ["The outputs are 3 rows."]}, "verdict is fail: The outputs are 3 rows.", None),
    "a looser bound": ({"allowed_cosine": 0.9}, None, "the device allowed 0.9 as cosine, golden.json 0.99"),
    "a bound of its own": ({"allowed_error": 1.0}, None, "the device allowed 1 as error, golden.json nothing"),
    "another file": ({"files": [{"path": FILES["onnx"], "sha256": "0", "expected": "0"}]}, None, "another SHA-256"),
    "no file": ({"files": []}, None, "does not tell the SHA-256 of onnx/model.onnx"),
    "another scheme": ({"scheme": "fp32"}, None, "the device ran onnx fp32"),
    "fewer samples": ({"cases": 1, "answers_agree": 1}, None, "1 samples were run, golden.json has 2"),
    "another artifact": ({"path": "onnx/other.onnx"}, None, "the device does not report on it"),
    "not run": (
        {"cases": 0, "verdict": "skipped", "failures": ["There is no such library."], "min_cosine": None,
         "allowed_cosine": None, "answers_agree": 0}, None, "not run on the device: There is no such library."),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_verdict_is_judged_again_by_its_numbers(bundle, name):
    changes, differs, unproven = NUMBERS[name]
    first, second = judged(bundle, report_of(bundle, **changes))
    for found, expected in ((first.differs, differs), (first.unproven, unproven)):
        assert (len(found) == 1 and expected in found[0]) if expected else found == (), name
    assert second.passed and not first.passed


def test_a_bound_that_was_a_float32_on_its_way_is_the_same(bundle):
    assert all(o.passed for o in judged(bundle, report_of(bundle, allowed_cosine=0.9900000095367432)))


def test_single_numbers_are_judged_by_their_distance(tmp_path):
    write_bundle(tmp_path / "number", max_abs_error=0.25)
    told = {"max_error": 0.2, "allowed_error": 0.25, "answers_agree": 0}
    assert judged(tmp_path / "number", report_of(tmp_path / "number", **told))[0].passed
    for error, shown in ((0.3, "0.300000 from"), (None, "is not a number from")):
        far = judged(tmp_path / "number", report_of(tmp_path / "number", **told | {"max_error": error}))[0]
        assert far.differs == (f"{shown} the recorded value, must be <= 0.250000",)


def test_texts_that_become_other_tokens_prove_nothing(bundle):
    report = report_of(bundle)
    report["bundles"][0]["tokenizer"] = {"cases": 2, "failures": ['The tokenizer gives other ids for "a".']}
    assert all("other ids" in o.unproven[0] for o in judged(bundle, report))


def test_an_artifact_that_was_not_recorded_is_not_proven(bundle):
    golden = read_golden(bundle / "golden.json")
    golden.artifacts.pop(FILES["onnx"])
    read = reports.read(json.dumps(report_of(bundle)).encode(), "here")
    artifacts = [entry.artifact for entry in read_manifest(bundle).artifacts]
    assert reports.judge(read.bundles[0], artifacts, golden)[0].unproven == ("golden.json does not have it",)


def stale(bundle):
    report = report_of(bundle)
    report["bundles"][0]["manifest_sha256"] = "1" * 64
    return report


@pytest.mark.parametrize(
    ("made", "what", "why"),
    [
        (stale, "reports on another bundle", "the report is about tiny android-arm64 (111111111111)"),
        (lambda b: report_of(b) | {"bundles": []}, "reports on another bundle", "about no bundle"),
        (lambda b: report_of(b) | {"schema": 2}, "reports in schema 2, this slm-export reads 1", None),
        (lambda b: [], "no report", "TypeError"),
        (lambda b: {"schema": 1}, "no report", "Report.app"),
        (lambda b: report_of(b, load_ms="soon"), "no report", "soon"),
    ],
)
def test_a_report_that_is_none_or_about_another_bundle_is_refused(bundle, made, what, why):
    with pytest.raises(VerificationError) as caught:
        judged(bundle, made(bundle))
    assert what in caught.value.what and (why is None or why in caught.value.why) and caught.value.next_step
