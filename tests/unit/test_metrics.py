import math

import numpy as np
import pytest

from slm_export import metrics

A = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]], np.float32)
NAN = np.array([[1.0, math.nan, 3.0], [0.0, -1.0, 0.5]], np.float32)
INF = np.array([[1.0, math.inf, 3.0], [0.0, -1.0, 0.5]], np.float32)
EMPTY = np.zeros((0, 3), np.float32)
NUMERIC = [metrics.max_abs_error, metrics.cosine, metrics.snr_db, metrics.kl_divergence]


def test_the_interval_of_a_drop_counts_the_answers_that_changed():
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    low, high = metrics.drop_interval(before, after)
    assert low < 0 < high and high < 0.02, "nothing changed"
    after[:4] = False
    low, high = metrics.drop_interval(before, after)
    assert low < 0.04 < high and high - low < 0.09
    assert metrics.drop_interval(before[:0], after[:0]) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.drop_interval(before, after[:5])


def test_equal_arrays_are_perfect():
    assert metrics.max_abs_error(A, A) == 0
    assert metrics.cosine(A, A) == pytest.approx([1, 1])
    assert metrics.snr_db(A, A) == math.inf
    assert metrics.kl_divergence(A, A) == pytest.approx([0, 0])


def test_known_values():
    assert metrics.max_abs_error(A, A + np.float32(0.25)) == 0.25
    assert metrics.cosine(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])) == pytest.approx([math.sqrt(0.5)])
    assert metrics.snr_db(np.array([[10.0]]), np.array([[9.0]])) == pytest.approx(20.0)
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert metrics.kl_divergence(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])) == pytest.approx([expected])


def test_an_error_of_large_values_is_told_per_hundredth_of_the_largest():
    assert metrics.max_error_of_values(A, A + np.float32(0.25)) == 0.25
    assert metrics.max_error_of_values(np.array([[-4000.0], [3.0]]), np.array([[-4000.0], [3.5]])) == 0.5 / 40
    assert metrics.max_error_of_values(A, INF) == metrics.max_error_of_values(NAN, A) == math.inf


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("reversed_", [False, True])
def test_what_is_not_finite_is_the_worst_value_of_its_sample(bad, reversed_):
    pair = (bad, A) if reversed_ else (A, bad)
    assert metrics.max_abs_error(*pair) == math.inf
    assert metrics.snr_db(*pair) == -math.inf
    assert metrics.cosine(*pair).tolist()[0] == -1 and metrics.cosine(*pair)[1] == pytest.approx(1)
    assert metrics.kl_divergence(*pair)[0] == math.inf and metrics.kl_divergence(*pair)[1] == pytest.approx(0)


@pytest.mark.parametrize("metric", NUMERIC)
def test_unequal_shapes_and_nothing_are_errors(metric):
    with pytest.raises(ValueError, match="shapes differ"):
        metric(A, A[:1])
    with pytest.raises(ValueError, match="nothing to compare"):
        metric(EMPTY, EMPTY)


def test_zero_samples():
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    assert metrics.cosine(zero, zero).tolist() == [1] and metrics.cosine(zero, one).tolist() == [0]
    assert metrics.snr_db(zero, one) == -math.inf


def test_kl_is_finite_for_large_logits():
    assert np.isfinite(metrics.kl_divergence(A * 1e4, -A * 1e4)).all()


def test_flips_count_changed_and_missing_answers():
    before = np.array([0, 1, 2, 1])
    assert metrics.flips(before, np.array([0, 1, 1, -1])) == 2
    assert metrics.flips(np.array([-1]), np.array([-1])) == 1
    with pytest.raises(ValueError, match="cannot compare"):
        metrics.flips(before, before[:2])


def test_wilson_interval_of_known_rates():
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)
    low, high = metrics.wilson_interval(5, 50)
    assert (low, high) == (pytest.approx(0.0435, abs=1e-3), pytest.approx(0.2136, abs=1e-3))
    assert metrics.wilson_interval(0, 3080)[0] == 0 and metrics.wilson_interval(0, 3080)[1] < 0.0013
    assert metrics.wilson_interval(7, 7)[1] == 1.0


def test_the_interval_of_a_drop_of_f1_covers_it_and_knows_what_did_not_change():
    chance = np.random.default_rng(1)
    before = np.stack([2.0 * chance.integers(0, 3, 300), chance.integers(4, 7, 300)], axis=1)
    after = before.copy()
    assert metrics.ratio_drop_interval(before, after) == (0.0, 0.0), "the same samples, so the same resamples"
    after[:20, 0] = 0
    drop = before[:, 0].sum() / before[:, 1].sum() - after[:, 0].sum() / after[:, 1].sum()
    low, high = metrics.ratio_drop_interval(before, after)
    assert 0 < low < drop < high < 3 * drop
    assert (low, high) == metrics.ratio_drop_interval(before, after), "the same each time"
    few = metrics.ratio_drop_interval(before[:60], after[:60])
    assert few[1] - few[0] > high - low
    assert metrics.ratio_drop_interval(before[:1], after[:1]) == (-1.0, 1.0)
    assert metrics.ratio_drop_interval(np.zeros((9, 2)), np.zeros((9, 2))) == (0.0, 0.0), "nothing there or found"
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.ratio_drop_interval(before, after[:5])


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    chance = np.random.default_rng(2)
    scores = chance.normal(0.5, 0.1, (2, 2000))
    low, high = metrics.ratio_drop_interval(*(np.stack([s, np.ones_like(s)], 1) for s in scores))
    half = 1.96 * (scores[0] - scores[1]).std() / np.sqrt(2000)
    middle = scores[0].mean() - scores[1].mean()
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.1 * half)


def test_accuracy():
    assert metrics.accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 0, -1])) == 0.5
    with pytest.raises(ValueError, match="cannot score"):
        metrics.accuracy(np.array([], np.int64), np.array([], np.int64))


@pytest.mark.parametrize(
    ("texts", "wanted", "score"),
    [  # as sacrebleu 2.6.0 gives them
        (["the cat sat on the mat", "a dog"], ["the cat is on the mat", "the dog"], 57.089541446512904),
        (["one two"], ["one two"], 100.0),
        (["", "ein haus"], ["das", "ein haus am see"], 46.963112179200756),
        (["ab", "zwei"], ["ab cd", "drei"], 22.095959595959595),
        ([""], ["abc"], 0.0),
    ],
)
def test_chrf_is_sacrebleus(texts, wanted, score):
    assert metrics.chrf(texts, wanted) == pytest.approx(score, abs=1e-9)


def test_the_interval_of_a_chrf_drop_holds_it_and_is_narrow_where_little_changed():
    wanted = [f"the {word} runs over row {n}" for n in range(20) for word in ("cat", "dog")]
    one, many = list(wanted), [t.replace("row", "wor") if n % 3 else t for n, t in enumerate(wanted)]
    one[0] = "something else"
    lost = [metrics.chrf(wanted, wanted) - metrics.chrf(after, wanted) for after in (one, many)]
    intervals = [metrics.chrf_drop_interval(wanted, after, wanted) for after in (one, many)]
    assert all(low <= drop <= high for (low, high), drop in zip(intervals, lost, strict=True))
    assert intervals[0][0] == 0 and intervals[1][0] > 0 and intervals[0][1] < intervals[1][0] + 10
    assert metrics.chrf_drop_interval(wanted, wanted, wanted) == (0, 0)
    assert metrics.chrf_drop_interval(["a"], ["b"], ["a"]) == (-100, 100)


def test_chrf_wants_as_many_texts_as_targets():
    with pytest.raises(ValueError, match="1 texts against 2"):
        metrics.chrf(["a"], ["a", "b"])
