"""Statistics against scipy, enumeration and simulation."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from a2r.metrics import relative_gain
from a2r.results.stats import holm, interval, paired_test, per_problem, power, problems_needed, ratio_interval

SCORES = np.random.default_rng(1).binomial(16, np.random.default_rng(2).beta(0.5, 0.25, 200)) / 16


def test_interval_agrees_with_scipy():
    ours = interval(SCORES)
    theirs = scipy.stats.bootstrap(
        (SCORES,), np.mean, method="percentile", n_resamples=10_000, batch=1000, rng=3
    ).confidence_interval
    assert ours.estimate == SCORES.mean() and ours.n == 200
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_interval_is_reproducible_and_narrows():
    assert interval(SCORES) == interval(list(SCORES)) == interval(pd.Series(SCORES))
    ninety = interval(SCORES, confidence=0.9)
    assert interval(SCORES).low < ninety.low < ninety.high < interval(SCORES).high
    assert interval(SCORES[:50]).high - interval(SCORES[:50]).low > interval(SCORES).high - interval(SCORES).low


@pytest.mark.parametrize("n", [30, 60])
def test_coverage(n):
    rng = np.random.default_rng(n)
    hits = []
    for _ in range(800):
        found = interval(rng.binomial(16, rng.beta(0.5, 0.25, n)) / 16, n_resamples=1000)
        hits.append(found.low <= 2 / 3 <= found.high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_paired_columns():
    rng = np.random.default_rng(0)
    pass1 = rng.random(100) * 0.6
    cons, a2r = pass1 + 0.2 + 0.05 * rng.random(100), pass1 + 0.35 + 0.05 * rng.random(100)
    together = interval([a2r, cons, pass1], relative_gain)
    assert together.estimate == pytest.approx((a2r - pass1).mean() / (cons - pass1).mean())
    ratio, reason = ratio_interval(a2r - pass1, cons - pass1)
    assert reason == "" and ratio == pytest.approx(together)
    difference = interval([a2r, cons], np.subtract)
    assert difference == pytest.approx(interval(a2r - cons))
    # paired: the problems cancel
    assert difference.high - difference.low < 0.2 * (interval(a2r).high - interval(a2r).low)


def test_undefined_ratio_in_words():
    rng = np.random.default_rng(0)
    ratio, reason = ratio_interval(np.full(40, 0.1), rng.normal(0, 0.3, 40))
    assert np.isnan(ratio[:3]).all() and ratio.n == 40
    assert reason.startswith("undefined") and "contains 0" in reason and "40 problems" in reason
    assert ratio_interval(np.ones(5), np.zeros(5))[1].startswith("undefined")
    assert ratio_interval([0.1], [0.1])[1].startswith("undefined")  # one problem: no interval
    assert ratio_interval(np.ones(40), np.full(40, -2.0))[0].estimate == -0.5


def test_degenerate_intervals():
    assert interval(np.ones(30)) == pytest.approx((1, 1, 1, 30))
    assert interval([0.5])[0] == 0.5 and np.isnan(interval([0.5]).low)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([0.1, np.nan, 0.3], "number 1 has no score"),
        ([], "no problems"),
        ([[1.0, 2.0], [1.0]], "same problems"),
        ([pd.Series([1.0, 2.0], ["a", "b"]), pd.Series([1.0, 2.0], ["b", "a"])], "order them"),
    ],
)
def test_interval_refuses(columns, words):
    with pytest.raises(ValueError, match=words):
        interval(columns)


def test_paired_test_by_enumeration():
    difference = np.array([0.5, 0.25, -0.25, 0.75, 0.1, 0.3, 0.0, -0.05])
    flipped = [abs(np.dot(signs, difference)) for signs in product([-1, 1], repeat=8)]
    exact = np.mean(np.array(flipped) >= abs(difference.sum()) - 1e-12)
    b = np.linspace(0, 0.2, 8)
    assert paired_test(b + difference, b) == paired_test(b, b + difference) == pytest.approx(exact)
    assert paired_test(np.ones(5), np.zeros(5)) == pytest.approx(2 / 32)
    assert paired_test(b, b) == 1.0


def test_paired_test_agrees_with_scipy_and_is_never_zero():
    rng = np.random.default_rng(5)
    a, b = rng.random(100), rng.random(100) + 0.07
    theirs = scipy.stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=9999, batch=1000, rng=1
    )
    assert paired_test(a, b) == pytest.approx(theirs.pvalue, abs=0.015)
    assert paired_test(a + 1, b) == pytest.approx(1 / 10_001)


def test_paired_test_holds_its_level():
    rng = np.random.default_rng(7)
    found = [
        paired_test(rng.binomial(4, 0.6, 30), rng.binomial(4, 0.6, 30), n_resamples=500) <= 0.05 for _ in range(1000)
    ]
    assert 0.03 <= np.mean(found) <= 0.07


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1, 1]) and len(holm([])) == 0
    with pytest.raises(ValueError, match="numbers in 0"):
        holm([0.1, np.nan])


@given(arrays(float, st.integers(1, 12), elements=st.floats(0, 1)))
def test_holm_properties(p):
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, p * len(p))).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@settings(deadline=None, max_examples=50)
@given(arrays(float, st.integers(2, 40), elements=st.floats(0, 1)))
def test_interval_bounds(values):
    found = interval(values, n_resamples=200)
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    assert 0 < paired_test(values, np.roll(values, 1), n_resamples=200) <= 1


def test_per_problem():
    long = pd.DataFrame(
        [("aime", "1", m, s, c) for m, s, c in [("cons", 0, 1.0), ("cons", 1, 0.5), ("a2r", 0, 1.0), ("a2r", 1, 1.0)]]
        + [("aime", "2", m, 0, 0.0) for m in ("cons", "a2r")],
        columns=["benchmark", "problem_id", "method", "set", "correct"],
    )
    wide = per_problem(long)
    assert wide["cons"].tolist() == [0.75, 0] and wide["a2r"].tolist() == [1, 0]
    assert interval([wide["a2r"], wide["cons"]], np.subtract).estimate == 0.125
    with pytest.raises(ValueError, match=r"'cons'.*'2'"):
        per_problem(long[(long["problem_id"] != "2") | (long["method"] != "cons")])


PILOT = pd.DataFrame({"cons": SCORES, "a2r": np.clip(SCORES + 0.05, 0, 1)})


def test_power():
    curve = [power(PILOT, 0.05, n, n_sets=8, simulations=300) for n in (10, 30, 100, 300)]
    assert curve == sorted(curve) and curve[0] < 0.3 and curve[-1] > 0.95
    by_gain = [power(PILOT, gain, 60, n_sets=8, simulations=300) for gain in (0.02, 0.05, 0.1)]
    assert by_gain == sorted(by_gain)
    assert power(PILOT, 0.05, 60, n_sets=32, simulations=300) > power(PILOT, 0.05, 60, n_sets=2, simulations=300)
    # no gain: the test's level
    assert power(PILOT, 0.0, 60, n_sets=8, simulations=1000) == pytest.approx(0.05, abs=0.025)
    assert power(PILOT.to_numpy(), 0.05, 30, n_sets=8, simulations=300) == curve[1]
    with pytest.raises(ValueError, match="smaller gain"):
        power(PILOT, 0.9, 30, n_sets=8)


def test_problems_needed():
    needed = problems_needed(PILOT, 0.05, n_sets=8, simulations=200)
    assert power(PILOT, 0.05, needed, n_sets=8, simulations=200) >= 0.8
    assert power(PILOT, 0.05, needed // 2, n_sets=8, simulations=200) < 0.8
    assert problems_needed(PILOT, 0.001, n_sets=1, most=64, simulations=50) is None
