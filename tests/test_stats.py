"""Statistics against scipy, enumeration and simulation."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from a2r.results.stats import (
    DIFFERENCE,
    bootstrap,
    components,
    difference,
    holm,
    interval,
    paired_test,
    per_problem,
    ratio_interval,
)

SCORES = np.random.default_rng(1).binomial(16, np.random.default_rng(2).beta(0.5, 0.25, 200)) / 16


def test_interval_agrees_with_scipy():
    ours = interval(SCORES)
    theirs = scipy.stats.bootstrap(
        (SCORES,), np.mean, method="percentile", n_resamples=10_000, batch=1000, rng=3
    ).confidence_interval
    assert ours.estimate == SCORES.mean() and ours.n == 200
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_a_bootstrap_of_few_problems_is_as_wide_as_student_s_t():
    """Percentiles alone would be as wide as the normal's, and 5% too short by the n in the variance."""
    rng = np.random.default_rng(4)
    for n in (8, 20):
        values = rng.normal(size=n)
        found, t = bootstrap(values), scipy.stats.t(n - 1).ppf(0.975) * values.std(ddof=1) / n**0.5
        assert (found.high - found.low) / 2 == pytest.approx(t, rel=0.06)


def test_interval_is_reproducible_and_narrows():
    assert interval(SCORES) == interval(list(SCORES)) == interval(pd.Series(SCORES))
    ninety = interval(SCORES, confidence=0.9)
    assert interval(SCORES).low < ninety.low < ninety.high < interval(SCORES).high
    assert interval(SCORES[:50]).high - interval(SCORES[:50]).low > interval(SCORES).high - interval(SCORES).low


@pytest.mark.parametrize("n", [30, 60])
def test_coverage(n):
    rng = np.random.default_rng(n)
    hits, sparse = [], []
    for _ in range(800):
        found = interval(rng.binomial(16, rng.beta(0.5, 0.25, n)) / 16, n_resamples=1000)
        hits.append(found.low <= 2 / 3 <= found.high)
        found = interval(rng.choice([-1.0, 0.0, 1.0], n, p=[0.05, 0.85, 0.1]), DIFFERENCE, n_resamples=1000)
        sparse.append(found.low <= 0.05 <= found.high)
    assert 0.92 <= np.mean(hits) <= 0.97 and 0.93 <= np.mean(sparse) <= 0.98, "a bootstrap has .87 on the sparse ones"


def test_intervals_of_shares_are_jeffreys():
    for right, n in ((0, 10), (3, 10), (37, 40), (400, 400)):
        found = interval([1.0] * right + [0.0] * (n - right))
        low, high = scipy.stats.beta(right + 0.5, n - right + 0.5).ppf([0.025, 0.975])
        assert found.low == pytest.approx(low if right else 0, abs=0.004)
        assert found.high == pytest.approx(high if right < n else 1, abs=0.004)


def test_no_interval_has_width_0():
    """Nothing differs, all differ alike, one problem: the width is that of not having seen more problems."""
    for found in (interval(np.zeros(10)), interval(np.ones(30)), interval([0.5]), interval(np.full(40, 0.25))):
        assert 0 <= found.low < found.high <= 1 and found.low <= found.estimate <= found.high
    for found in (difference(np.ones(40), np.ones(40)), difference([1.0], [0.0]), difference([1, 1, 1], [0, 0, 0])):
        assert -1 <= found.low < found.high <= 1
    assert difference([1, 1, 1], [0, 0, 0]).low < 0, "three of three is not beyond chance"
    assert difference([0.1, 0.2], [0, 0]).low < -0.3, "two values do not tell how far values go"
    assert difference(np.ones(400), np.ones(400)).high < 0.02
    assert np.isnan(bootstrap(np.ones(30)).low) and np.isnan(bootstrap([0.5]).high), "no bounds, so no interval"
    assert np.isnan(ratio_interval(np.full(9, 3.0), np.full(9, 2.0)).low)


def test_bounds_are_kept_and_asked_for():
    assert interval([0.0, 0.25, 0.25], DIFFERENCE).low < 0 < interval([0.0, 0.25, 0.25]).low
    with pytest.raises(ValueError, match=r"-0\.5 is not within 0 to 1"):
        interval([0.5, -0.5])


def test_paired_columns():
    rng = np.random.default_rng(0)
    pass1 = rng.random(100) * 0.6
    cons, a2r = pass1 + 0.2 + 0.05 * rng.random(100), pass1 + 0.35 + 0.05 * rng.random(100)
    together = bootstrap([a2r, cons, pass1], lambda a, c, p: (a - p) / (c - p))
    assert together.estimate == pytest.approx((a2r - pass1).mean() / (cons - pass1).mean())
    assert ratio_interval(a2r - pass1, cons - pass1) == pytest.approx(together, abs=0.01)
    paired = difference(a2r, cons)
    assert paired == interval(a2r - cons, DIFFERENCE)
    assert paired.high - paired.low < 0.2 * (interval(a2r).high - interval(a2r).low)  # paired: the problems cancel


def test_a_ratio_to_what_may_be_0_is_undefined():
    noise = np.random.default_rng(0).normal(0, 0.3, 40)
    for numerator, denominator in ((np.full(40, 0.1), noise), (np.ones(5), np.zeros(5)), ([0.1], [0.1])):
        ratio = ratio_interval(numerator, denominator)
        assert np.isnan(ratio[:3]).all() and ratio.n == len(numerator)
    assert ratio_interval(np.ones(40), np.full(40, -2.0)).estimate == -0.5


def test_a_ratio_s_interval_is_what_fieller_s_definition_says():
    """Its ends are the ratios r at which the t interval of numerator - r * denominator just touches 0."""
    rng = np.random.default_rng(3)
    small = rng.normal(0.03, 0.1, 300)
    numerator = rng.normal(0.15, 0.2, 300)
    found = ratio_interval(numerator, small)
    for end in found[1:3]:
        assert scipy.stats.ttest_1samp(numerator - end * small, 0).pvalue == pytest.approx(0.05, abs=1e-6)
    assert found.high - found.estimate > 1.5 * (found.estimate - found.low), "a denominator near 0 bounds little above"


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


@pytest.mark.parametrize(("better", "worse", "same"), [(19, 3, 378), (30, 6, 364), (5, 0, 35), (400, 0, 0)])
def test_paired_test_of_right_and_wrong_answers_is_mcnemar_s_exact_one(better, worse, same):
    a, b = np.repeat([1.0, 0.0, 1.0], [better, worse, same]), np.repeat([0.0, 1.0, 1.0], [better, worse, same])
    assert paired_test(a, b) == pytest.approx(scipy.stats.binomtest(better, better + worse).pvalue, rel=1e-9)


def test_paired_test_is_exact_where_a_vote_ties():
    """Sets of three with ties: differences in sixths. No draw of 10,000 patterns sees a p-value of 1e-6."""
    rng = np.random.default_rng(1)
    a = rng.choice([0, 1 / 3, 0.5, 1], 15)
    b = rng.choice([0, 1 / 3, 0.5, 1], 15)
    signs = ((np.arange(2**15)[:, None] >> np.arange(15)) & 1) * 2.0 - 1
    exact = np.mean(np.abs(signs @ (a - b)) >= abs((a - b).sum()) - 1e-9)
    assert paired_test(a, b) == pytest.approx(exact, rel=1e-9)
    assert 0 < paired_test(np.append(a, np.ones(60)), np.append(b, np.full(60, 0.75))) < 1e-6


def test_paired_test_of_what_has_no_common_unit_draws_patterns():
    a, b = np.random.default_rng(0).random((2, 400)) ** 3
    assert 1 / 10_001 <= paired_test(a, b) <= 1 and paired_test(a + 1, b) == 1 / 10_001


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
    assert 0 <= found.low <= found.estimate <= found.high <= 1 and found.low < found.high
    assert 0 < paired_test(values, np.roll(values, 1), n_resamples=200) <= 1


def test_per_problem():
    long = pd.DataFrame(
        [("aime", "1", m, s, c) for m, s, c in [("cons", 0, 1.0), ("cons", 1, 0.5), ("a2r", 0, 1.0), ("a2r", 1, 1.0)]]
        + [("aime", "2", m, 0, 0.0) for m in ("cons", "a2r")],
        columns=["benchmark", "problem_id", "method", "set", "correct"],
    )
    wide = per_problem(long)
    assert wide["cons"].tolist() == [0.75, 0] and wide["a2r"].tolist() == [1, 0]
    assert difference(wide["a2r"], wide["cons"]).estimate == 0.125
    with pytest.raises(ValueError, match=r"'cons'.*'2'"):
        per_problem(long[(long["problem_id"] != "2") | (long["method"] != "cons")])


def test_components_by_hand_and_as_simulated():
    assert components([[0, 1], [0, 1]]) == (0, 0.5) and components([[0, 0], [1, 1]]) == (0.5, 0)
    rng = np.random.default_rng(0)
    ability = rng.beta(2, 2, 4000)
    found = components(rng.random((4000, 4)) < ability[:, None])
    assert found == pytest.approx((1 / 20, 1 / 5), abs=0.006)  # the variance of Beta(2, 2), and the mean of p(1 - p)
    assert found.of_mean(100, 4) == pytest.approx((found.between + found.within / 4) / 100)
    with pytest.raises(ValueError, match="two sets"):
        components(np.ones((30, 1)))


def studied(n_problems: int, n_sets: int, gain: float, rng) -> np.ndarray:
    """Differences (problems, sets) of two methods whose probabilities are known: Beta(1, 1), and `gain` more on
    average."""
    p = rng.beta(1, 1, n_problems)
    q = np.clip(p + rng.normal(0, 0.1, n_problems), 0, 1)
    q = q + 2 * gain * (1 - q)
    return (rng.random((n_sets, n_problems)) < q).T.astype(float) - (rng.random((n_sets, n_problems)) < p).T


@pytest.mark.parametrize("n_sets", [1, 4, 16])
def test_power_is_that_of_studies_with_known_probabilities(n_sets):
    rng = np.random.default_rng(n_sets)
    pilot = components(studied(4000, 4, 0.04, rng))
    found = [
        paired_test(d.mean(axis=1), np.zeros(300)) <= 0.05
        for d in (studied(300, n_sets, 0.04, rng) for _ in range(300))
    ]
    assert pilot.power(0.04, 300, n_sets) == pytest.approx(np.mean(found), abs=0.08)
    needed = pilot.problems_needed(0.04, n_sets)
    assert pilot.power(0.04, needed, n_sets) == pytest.approx(0.8, abs=0.01)
    assert pilot.power(-0.04, 300, n_sets) == pilot.power(0.04, 300, n_sets) < pilot.power(0.05, 300, n_sets)
    assert pilot.power(0.0, 300, n_sets) == pytest.approx(0.025), "its own side's half of the level"
