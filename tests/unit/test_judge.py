import math

import pytest

from slm_export.names import METRICS
from slm_export.parity.judge import ADVICE, judge


def test_values_within_their_limits_pass():
    limits = {"flip_rate": 0.01, "cosine_mean": 0.999}
    assert judge({"flip_rate": 0.01, "cosine_mean": 0.999, "other": 9}, limits) == ()


@pytest.mark.parametrize(
    ("metric", "value", "limit"),
    [
        ("flip_rate", 0.0101, 0.01),
        ("cosine_mean", 0.9989, 0.999),
        ("max_abs_error", math.inf, 1),
        ("snr_db", -math.inf, 0),
    ],
)
def test_a_broken_limit_is_a_finding_with_metric_value_threshold_and_advice(metric, value, limit):
    (finding,) = judge({metric: value}, {metric: limit})
    assert (finding.metric, finding.value, finding.limit) == (metric, value, limit)
    assert metric in finding.message and METRICS[metric][0] in finding.message and finding.advice


@pytest.mark.parametrize("metric", METRICS)
def test_nan_and_what_was_not_measured_break_every_limit(metric):
    assert len(judge({metric: math.nan}, {metric: 0.5})) == 1
    assert len(judge({}, {metric: 0.5})) == 1


def test_every_metric_has_a_side_and_advice():
    assert all(side in ("<=", ">=") for side, _ in METRICS.values()) and set(ADVICE) == set(METRICS)
