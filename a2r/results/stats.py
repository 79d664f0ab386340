"""Uncertainty with the problem as the unit: samples of one problem are not independent, problems are.

Every function takes one number per problem (its mean over sets and samples) and resamples problems. Methods that are
compared are columns over the same problems, in the same order, so that all comparisons are paired.

All bootstrap statistics here are functions of column means. So one matrix of resampling weights (resamples x problems)
serves every method, metric and ratio with a matrix product of milliseconds; scipy.stats.bootstrap, which draws anew for
each, takes 0.3 s a column at 1,000 problems and agrees (tests/test_stats.py).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from a2r.metrics import ratio


class Interval(NamedTuple):
    """An estimate, its bootstrap interval, and the number of problems behind it."""

    estimate: float
    low: float
    high: float
    n: int


def per_problem(outcomes: pd.DataFrame, column: str = "correct") -> pd.DataFrame:
    """Mean of `column` per problem (index: benchmark, problem_id) and method (columns), from the long table of
    outcomes.

    ValueError if a method lacks a problem that another one has: the comparisons would not be paired.
    """
    wide = outcomes.pivot_table(index=["benchmark", "problem_id"], columns="method", values=column, aggfunc="mean")
    if wide.isna().any(axis=None):
        method = wide.columns[wide.isna().any()][0]
        problem = wide.index[wide[method].isna()][0]
        raise ValueError(
            f"Method {method!r} has no {column!r} for problem {problem}; run it there, or compare fewer problems."
        )
    return wide


def interval(
    columns: ArrayLike | Sequence[ArrayLike],
    statistic: Callable[..., ArrayLike] | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval over problems for a mean, or for `statistic(mean of column 1, mean of column 2, ...)`.

    `columns` is one array (problems,) or several paired ones, e.g. `interval([a2r, cons, pass1],
    metrics.relative_gain)`; the statistic gets arrays, one entry per resample. Resamples where it is nan are left out.

    Percentile interval with the levels widened for few problems: Student's t times sqrt(n/(n-1)) (Hesterberg 2015,
    arXiv 1411.5279). Simulated coverage of "95%" at 30, 60, 100 problems: per-problem scores 96, 94, 94%; ratios 96,
    95, 95%; differences that are 0 in 85% of problems 87, 92, 94%. The plain percentile interval is 1 to 2 points worse
    below 60; BCa is 1 to 2 better on such sparse differences but undefined where all problems agree. There the width is
    0, which says nothing of problems not seen.
    """
    table = _columns(columns)
    n, statistic = len(table), statistic or (lambda mean: mean)
    estimate = float(statistic(*table.mean(axis=0)))
    if n == 1 or np.isnan(estimate):
        return Interval(estimate, np.nan, np.nan, n)
    resampled = np.asarray(statistic(*(_weights(n, n_resamples, seed) @ table).T), dtype=float)
    tail = norm.cdf(t.ppf((1 - confidence) / 2, n - 1) * np.sqrt(n / (n - 1)))
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), n)


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike, **options) -> tuple[Interval, str]:
    """Interval of mean(numerator) / mean(denominator), both (problems,), and "" - or why there is none.

    A ratio is undefined when its denominator's own interval contains 0: then every number is nan and the reason is
    given in words, to be shown in its place. `options` as in `interval`.
    """
    below = interval(denominator, **options)
    if not (below.low > 0 or below.high < 0):
        reason = (
            f"undefined: the denominator is {below.estimate:.3g} with interval {below.low:.3g} to {below.high:.3g} "
            f"over {below.n} problems, which contains 0"
        )
        return Interval(np.nan, np.nan, np.nan, below.n), reason
    return interval([numerator, denominator], ratio, **options), ""


def paired_test(a: ArrayLike, b: ArrayLike, n_resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the paired sign-flip permutation test that a and b, (problems,), have the same mean.

    Exact (all sign patterns) while these are no more than n_resamples; otherwise random ones, counting the observed one
    (Phipson & Smyth 2010), so p is never 0. The same test as scipy.stats.permutation_test(permutation_type="samples"),
    which takes 0.9 s a pair at 1,000 problems where the shared matrix of signs takes 0.03 s.
    """
    table = _columns([a, b])
    return float(_sign_flip((table[:, 0] - table[:, 1])[:, None], n_resamples, seed)[0])


def holm(pvalues: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p-values (Holm 1979), same order and shape (comparisons,). nan is refused with
    ValueError."""
    p = np.asarray(pvalues, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            "holm: p-values must be a flat list of numbers in 0..1; leave out comparisons that were not tested."
        )
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def power(
    pilot: pd.DataFrame | ArrayLike,
    gain: float,
    n_problems: int,
    n_sets: int,
    alpha: float = 0.05,
    simulations: int = 500,
    n_resamples: int = 1_000,
    seed: int = 0,
) -> float:
    """Share of simulated studies in which the paired test finds a true gain of `gain` (in 0..1, not points), in 0..1.

    `pilot` (problems, 2): each problem's mean correctness under the baseline and under the method. A study draws
    `n_problems` from it, moves the method's column to the wanted mean (mixing every problem with always right, or
    always wrong, so probabilities stay probabilities), and draws `n_sets` right or wrong outcomes of either. Slightly
    pessimistic: a pilot's scores carry noise of their own, and the real methods share their sets. ValueError if the
    gain does not fit between 0 and 1.
    """
    baseline, method = _columns(pilot if isinstance(pilot, pd.DataFrame) else np.asarray(pilot).T).T
    target = baseline.mean() + gain
    if not 0 <= target <= 1:
        raise ValueError(
            f"power: a gain of {gain:g} on a baseline of {baseline.mean():.3f} leaves 0..1; ask for a smaller gain."
        )
    if target > method.mean():
        method = 1 - (1 - method) * (1 - target) / (1 - method.mean())
    elif target < method.mean():
        method = method * target / method.mean()
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(baseline), size=(n_problems, simulations))
    difference = (rng.binomial(n_sets, method[drawn]) - rng.binomial(n_sets, baseline[drawn])) / n_sets
    return float((_sign_flip(difference, n_resamples, seed) <= alpha).mean())


def problems_needed(
    pilot: pd.DataFrame | ArrayLike, gain: float, n_sets: int, target: float = 0.8, most: int = 5_000, **options
) -> int | None:
    """The smallest number of problems at which `power` reaches `target`, to about 5%; None if even `most` do not."""
    low, high = 1, 16
    while power(pilot, gain, high, n_sets, **options) < target:
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if power(pilot, gain, middle, n_sets, **options) >= target else (middle, high)
    return high


def _columns(columns) -> np.ndarray:
    """One array, several, or a frame, as (problems, columns) floats; ValueError if they do not pair or a value is
    missing."""
    if isinstance(columns, pd.DataFrame):
        columns = [columns[name] for name in columns]
    elif np.ndim(next(iter(columns), 0)) == 0:
        columns = [columns]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"Paired columns have {lengths} problems; give every method the same problems in the same order."
        )
    labels = [column.index for column in columns if isinstance(column, pd.Series)]
    if any(not label.equals(labels[0]) for label in labels):
        raise ValueError(
            "Paired columns name different problems or order them differently; take them from one `per_problem` table."
        )
    table = np.column_stack([np.asarray(column, dtype=float) for column in columns])
    if not len(table) or not np.isfinite(table).all():
        where = (
            f"problem number {np.argmin(np.isfinite(table).all(axis=1))} has no score"
            if len(table)
            else "there are no problems"
        )
        raise ValueError(f"Statistics over problems: {where}; grade it or leave it out.")
    return table


@lru_cache(maxsize=3)
def _weights(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """(resamples, problems): the share of each problem in each bootstrap resample. 80 MB at 1,000 problems."""
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    drawn += np.arange(n_resamples)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=n_resamples * n).reshape(n_resamples, n) / n


@lru_cache(maxsize=3)
def _signs(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """(patterns, problems) of -1 and 1: all 2^n of them where these are no more than n_resamples, else random ones."""
    if n < 60 and 2**n <= n_resamples:
        return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) * 2.0 - 1
    return np.random.default_rng(seed).integers(0, 2, size=(n_resamples, n), dtype=np.int8) * 2.0 - 1


def _sign_flip(differences: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Two-sided p-values (comparisons,) of differences (problems, comparisons), all with the same sign patterns."""
    n = len(differences)
    observed = np.abs(differences.sum(axis=0))
    flipped = np.abs(_signs(n, n_resamples, seed) @ differences)
    exact = len(flipped) == 2**n if n < 60 else False
    # sums in another order differ in the last digits
    as_extreme = (flipped >= observed - 1e-9 * (1 + observed)).sum(axis=0)
    return as_extreme / len(flipped) if exact else (as_extreme + 1) / (len(flipped) + 1)
