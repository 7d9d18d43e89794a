"""The gate, on outputs made by hand: what no threshold may let pass."""

import dataclasses

import numpy as np
import pytest

from slm_export import targets
from slm_export.outputs import Outputs, Tokens
from slm_export.parity.check import Run, Truth, check
from slm_export.parity.older import no_worse, on_rows, picked
from slm_export.parity.report import RuntimeCheck

ROWS, LABELS = 40, 4


def outputs():
    rng = np.random.default_rng(0)
    rows, probes = (5 * rng.standard_normal((n, LABELS)).astype(np.float32) for n in (ROWS, 3))
    return Outputs(evaluation=split(rows), probes=split(probes), batched_probes=split(probes))


def split(rows):
    return tuple(rows[i : i + 1] for i in range(len(rows)))


def run(made):
    return Run(runtime=RuntimeCheck(package="p", version="1", executor="host", loads=True), outputs=made)


def truth(task="text-classification", good=None):
    good = good or outputs()
    return Truth(
        task=task,
        labels=tuple("abcd"),
        targets=None,
        slices=ROWS * (None,),
        tokens=ROWS * (Tokens(input_ids=(1, 2)),),
        lowering_rows=tuple(range(ROWS)),
        reference=good,
        eager=good,
        weights_only=good,
    )


def judge(artifact, *, format="onnx", scheme="w8a8-dynamic", twin=None):
    limits = targets.load("android-arm64").limits_for(task="text-classification", scheme=scheme, format=format)
    return check(
        format=format,
        scheme=scheme,
        truth=truth(),
        artifact=run(artifact),
        twin=run(twin or outputs()) if scheme == "w8a8-dynamic" else None,
        older=(),
        limits=limits,
    )


def spoiled(field, row, value):
    good = outputs()
    matrices = [m.copy() for m in getattr(good, field)]
    matrices[row][:] = value
    return dataclasses.replace(good, **{field: tuple(matrices)})


CASES = [(f, s) for f in ("executorch", "tflite", "onnx") for s in ("fp32", "w8a8-dynamic")]


@pytest.mark.parametrize(("format", "scheme"), CASES)
def test_equal_outputs_pass(format, scheme):
    assert judge(outputs(), format=format, scheme=scheme).verdict == "pass"


@pytest.mark.parametrize(("format", "scheme"), CASES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("field", "what"), [("evaluation", "evaluation row 2"), ("probes", "probe 2"),
                                             ("batched_probes", "row of the batch 2")])  # fmt: skip
def test_nan_or_infinity_anywhere_closes_the_gate(format, scheme, field, what, value):
    report = judge(spoiled(field, 1, value), format=format, scheme=scheme)
    assert report.verdict == "fail" and what in report.findings[0].message


@pytest.mark.parametrize(("format", "scheme"), CASES)
@pytest.mark.parametrize("field", ["probes", "batched_probes"])
def test_a_wrong_answer_at_one_shape_closes_the_gate(format, scheme, field):
    """Short evaluation texts never reach the longest bucket; the probes do."""
    wrong = -getattr(outputs(), field)[2]
    report = judge(spoiled(field, 2, wrong), format=format, scheme=scheme)
    assert report.verdict == "fail" and {f.metric for f in report.findings} & {"probe_cosine_min", "max_abs_error"}


def test_a_twin_that_answers_nan_closes_the_gate():
    assert judge(outputs(), twin=spoiled("probes", 0, np.nan)).verdict == "fail"


def test_outputs_of_another_width_close_the_gate():
    narrow = Outputs(evaluation=split(np.ones((ROWS, 2), np.float32)), probes=split(np.ones((3, 2), np.float32)))
    report = judge(narrow)
    assert report.verdict == "fail" and "has shape [1, 2] where the reference has [1, 4]" in report.findings[0].message


def test_an_older_runtime_may_be_no_worse_on_some_rows_than_the_tested_one():
    rows, limits = (3, 5, 8), targets.load("android-arm64").limits_for(
        task="text-classification", scheme="w8a8-dynamic", format="onnx"
    )  # fmt: skip
    limits = dataclasses.replace(limits, bounds={"flip_rate": 0.01, "cosine_mean": 0.9995, "accuracy_drop": 0.005})
    some = picked(outputs(), rows)
    part = on_rows(dataclasses.replace(truth(), lowering_rows=rows, eager=some, weights_only=some), rows)
    assert [m.tolist() for m in part.reference.evaluation] == [outputs().evaluation[r].tolist() for r in rows]

    def judged(made, limits):
        return check(
            format="onnx", scheme="w8a8-dynamic", truth=part, artifact=run(picked(made, rows)), twin=None, older=(),
            limits=limits,
        )  # fmt: skip

    bad = outputs()
    flipped = tuple(-m if row == 5 else m for row, m in enumerate(bad.evaluation))
    bad = dataclasses.replace(bad, evaluation=flipped)
    assert judged(bad, limits).verdict == "fail"
    loose = no_worse(limits, judged(bad, limits))
    assert loose.bounds["flip_rate"] == pytest.approx(1.1 / 3) and loose.bounds["accuracy_drop"] == 0.005
    assert judged(bad, loose).verdict == "pass"
    worse = dataclasses.replace(bad, evaluation=tuple(-m if row == 8 else m for row, m in enumerate(flipped)))
    assert judged(worse, loose).verdict == "fail"
    assert no_worse(limits, judged(outputs(), limits)).bounds == limits.bounds


def test_a_bound_that_the_tested_version_keeps_holds_for_the_older_one_as_it_is():
    limits = targets.load("android-arm64").limits_for(
        task="text-classification", scheme="w8a8-dynamic", format="onnx"
    )  # fmt: skip
    limits = dataclasses.replace(limits, bounds={"flip_rate": 0.3, "cosine_mean": 0.9})
    report = check(
        format="onnx", scheme="w8a8-dynamic", truth=truth(), artifact=run(outputs()), twin=None, older=(), limits=limits
    )
    close = {**report.answers, "flip_rate": 0.29, "cosine_mean": 0.901}
    assert no_worse(limits, dataclasses.replace(report, answers=close)).bounds == limits.bounds


@pytest.mark.parametrize(("task", "passes"), [("text-classification/regression", True), ("text-classification", False)])
def test_float32_may_round_large_values_but_no_logits(task, passes):
    """8000 is 2^-11 from its neighbour."""
    values = np.linspace(1000, 8000, ROWS, dtype=np.float32)[:, None]
    values = values if passes else np.tile(values, LABELS)
    near = np.nextafter(values, np.float32(np.inf))
    good, got = (Outputs(evaluation=split(v), probes=split(v[:3]), batched_probes=split(v[:3])) for v in (values, near))
    limits = targets.load("android-arm64").limits_for(task=task, scheme="fp32", format="onnx")
    told = truth(task, good)
    report = check(format="onnx", scheme="fp32", truth=told, artifact=run(got), twin=None, older=(), limits=limits)
    assert ("max_abs_error" not in {f.metric for f in report.findings}) == passes
    assert (report.verdict == "pass") == passes
