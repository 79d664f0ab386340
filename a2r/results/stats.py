"""Uncertainty with the problem as the unit: samples of one problem are not independent, problems are.

Every function takes one number per problem (its mean over sets and samples). Methods that are compared are columns over
the same problems, in the same order, so that all comparisons are paired.

`interval` is for means of what has bounds: shares, and differences of shares. `bootstrap` is for any function of column
means, `ratio_interval` for a quotient of two. None of them ever has width 0: where the data say nothing of their own
uncertainty there is no interval (nan). tests/bench_coverage.py simulates how often each contains the truth.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil, lcm
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm, t

KEYS = ["benchmark", "problem_id"]  # what makes a problem
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # bounds of `interval`
FEW = 10  # problems, from which on the farthest value of theirs tells how far values go
TOLERANCE = 1e-9  # sums in another order differ in the last digits
MOST_STEPS = 10**8  # of the exact sign-flip test: about half a second


class Interval(NamedTuple):
    """An estimate, its interval (nan, nan where there is none), and the number of problems behind it."""

    estimate: float
    low: float
    high: float
    n: int


class Components(NamedTuple):
    """Variance of one set's score: what differs between problems, and what differs between sets of one problem."""

    between: float
    within: float

    def of_mean(self, n_problems: float, n_sets: float) -> float:
        """Variance of the mean over n_problems with n_sets each (Miller 2024, arXiv 2411.00640, section 3)."""
        return (self.between + self.within / n_sets) / n_problems

    def problems_needed(self, gain: float, n_sets: int, target: float = 0.8, alpha: float = 0.05) -> int:
        """How many problems show a gain (in 0..1) of this mean with the power `target`; normal approximation."""
        return max(1, ceil((norm.isf(alpha / 2) + norm.ppf(target)) ** 2 * self.of_mean(1, n_sets) / gain**2))

    def power(self, gain: float, n_problems: int, n_sets: int, alpha: float = 0.05) -> float:
        """Share of studies of this size that find the gain, on its own side; normal approximation."""
        error = max(self.of_mean(n_problems, n_sets), TOLERANCE) ** 0.5
        return float(norm.sf(norm.isf(alpha / 2) - abs(gain) / error))


def per_problem(outcomes: pd.DataFrame, column: str = "correct") -> pd.DataFrame:
    """Mean of `column` per problem (index: benchmark, problem_id) and method (columns), from the long table of
    outcomes.

    ValueError if a method lacks a problem that another one has: the comparisons would not be paired.
    """
    wide = outcomes.pivot_table(index=KEYS, columns="method", values=column, aggfunc="mean")
    if wide.isna().any(axis=None):
        method = wide.columns[wide.isna().any()][0]
        problem = wide.index[wide[method].isna()][0]
        raise ValueError(f"Method {method!r} has no {column!r} for {problem}; run it there, or compare fewer problems.")
    return wide


def per_pair(outcomes: pd.DataFrame, method: str) -> dict[tuple[str, str], pd.DataFrame]:
    """`per_problem` of every (explorer, synthesizer) that has `method`, the explorer's own methods among them."""
    pairs = outcomes.loc[outcomes.method == method, ["explorer", "synthesizer"]].drop_duplicates()
    return {
        (e, s): per_problem(outcomes[(outcomes.explorer == e) & outcomes.synthesizer.isin(["", s])])
        for e, s in pairs.itertuples(index=False, name=None)
    }


def interval(
    values: ArrayLike,
    bounds: tuple[float, float] | None = SHARE,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Interval over problems for the mean of `values` (problems,), which lie within `bounds`; without bounds a
    `bootstrap`, or nan where not one value is known, as the cost of a model that has no price.

    Bayesian bootstrap (Rubin 1981) with half a problem at either bound. For right or wrong answers that is Jeffreys'
    interval (Brown, Cai & DasGupta 2001), for paired differences of them a Dirichlet posterior over the cells "only one
    is right", "only the other", "neither or both" (Bowyer et al. 2025, arXiv 2503.01747, on why normal and bootstrap
    intervals are too short at these sizes). So it has a width where all problems agree, and at n = 1. Where values stay
    within the bounds (means over sets), and are not FEW, the two halves lie as far out as the farthest of them. Bounds
    are those of one problem: SHARE for scores, DIFFERENCE for a difference of two scores. ValueError for values beyond.
    """
    if bounds is None and np.isnan(np.asarray(values, dtype=float)).all():
        return Interval(np.nan, np.nan, np.nan, len(values))
    table = _columns(values)[:, 0]
    if bounds is None:
        return bootstrap(table, confidence=confidence, n_resamples=n_resamples, seed=seed)
    low, high = bounds
    if table.min() < low - TOLERANCE or table.max() > high + TOLERANCE:
        farthest = table[np.abs(table - (low + high) / 2).argmax()]
        raise ValueError(f"A value of {farthest:g} is not within {low:g} to {high:g}.")
    found, counts = np.unique(table.round(12), return_counts=True)
    middle, reach = (low + high) / 2, (high - low) / 2
    if len(found) > 1 and len(table) >= FEW:
        reach = np.abs(found - middle).max()
    at, weight = np.append(found, [middle - reach, middle + reach]), np.append(counts, [0.5, 0.5])
    drawn = np.random.default_rng(seed).standard_gamma(weight, size=(n_resamples, len(at)))
    ends = np.quantile(drawn @ at / drawn.sum(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    mean = float(table.mean())
    return Interval(mean, min(mean, float(ends[0])), max(mean, float(ends[1])), len(table))


def difference(a: ArrayLike, b: ArrayLike, **options) -> Interval:
    """`interval` of the mean of a - b, two scores in 0..1 of the same problems in the same order."""
    table = _columns([a, b])
    return interval(table[:, 0] - table[:, 1], DIFFERENCE, **options)


def bootstrap(
    columns: ArrayLike | Sequence[ArrayLike],
    statistic: Callable[..., ArrayLike] | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over problems for a mean, or for `statistic(mean of column 1, mean of column 2, ...)`.

    `columns` is one array (problems,) or several paired ones; the statistic gets arrays, one entry per resample.
    Resamples where it is nan are left out. The levels are widened for few problems: Student's t times sqrt(n/(n-1))
    (Hesterberg 2015, arXiv 1411.5279). One matrix of resampling weights serves every statistic; scipy.stats.bootstrap,
    which draws anew for each, takes 0.3 s a column at 1,000 problems and agrees (tests/test_stats.py).
    """
    table = _columns(columns)
    n, statistic = len(table), statistic or (lambda mean: mean)
    estimate = float(statistic(*table.mean(axis=0)))
    if n == 1 or np.isnan(estimate):
        return Interval(estimate, np.nan, np.nan, n)
    resampled = np.asarray(statistic(*(_weights(n, n_resamples, seed) @ table).T), dtype=float)
    tail = norm.cdf(t.ppf((1 - confidence) / 2, n - 1) * np.sqrt(n / (n - 1)))
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    if high - low <= TOLERANCE * max(1, abs(estimate)):
        low = high = np.nan  # nothing varies, which says nothing of problems not seen
    return Interval(estimate, float(low), float(high), n)


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike, confidence: float = 0.95) -> Interval:
    """Fieller's interval of mean(numerator) / mean(denominator), both (problems,).

    All ratios r for which mean(numerator - r * denominator) does not differ from 0 (Fieller 1954). Where the
    denominator itself does not, that is no interval, and every number is nan; as it is where a column is not known.
    """
    if any(np.isnan(np.asarray(column, dtype=float)).all() for column in (numerator, denominator)):
        return Interval(np.nan, np.nan, np.nan, len(numerator))
    table = _columns([numerator, denominator])
    n, (a, b) = len(table), table.mean(axis=0).tolist()
    (aa, ab), (_, bb) = np.cov(table.T) / n if n > 1 else np.full((2, 2), np.inf)
    quantile = t.ppf((1 + confidence) / 2, n - 1) if n > 1 else np.inf
    if n == 1 or b * b <= quantile**2 * bb + TOLERANCE**2:
        return Interval(np.nan, np.nan, np.nan, n)
    g = quantile**2 * bb / b**2
    centre = (a / b - g * ab / bb) / (1 - g) if g else a / b
    within = aa - 2 * a / b * ab + (a / b) ** 2 * bb - g * (aa - ab**2 / bb if g else 0.0)
    half = quantile / abs(b) / (1 - g) * np.sqrt(max(within, 0.0))
    if half <= TOLERANCE * max(1, abs(centre)):
        return Interval(a / b, np.nan, np.nan, n)
    return Interval(a / b, float(centre - half), float(centre + half), n)


def paired_test(a: ArrayLike, b: ArrayLike, n_resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the paired sign-flip permutation test that a and b, (problems,), have the same mean.

    Exact wherever the differences are multiples of one fraction, as those of right answers over sets are (all 2^n sign
    patterns, by convolution). Otherwise random patterns, counting the observed one (Phipson & Smyth 2010). Never 0. For
    one set of 0/1 outcomes it is the exact McNemar test.
    """
    table = _columns([a, b])
    differences = table[:, 0] - table[:, 1]
    if (steps := _lattice(differences)) is None:
        observed, drawn = abs(differences.sum()), np.abs(_signs(len(differences), n_resamples, seed) @ differences)
        return float(((drawn >= observed - TOLERANCE * (1 + observed)).sum() + 1) / (n_resamples + 1))
    sums = np.ones(1)  # distribution of the sum of those steps whose sign is plus
    for step in np.sort(np.abs(steps[steps != 0])):
        longer = np.zeros(len(sums) + step)
        longer[: len(sums)] += sums / 2
        longer[step:] += sums / 2
        sums = longer
    plus, minus = steps[steps > 0].sum(), -steps[steps < 0].sum()
    return 1.0 if plus == minus else min(1.0, max(2 * float(sums[max(plus, minus) :].sum()), np.finfo(float).tiny))


def holm(pvalues: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p-values (Holm 1979), same order and shape (comparisons,). nan is refused with
    ValueError."""
    p = np.asarray(pvalues, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("holm takes a flat list of numbers in 0..1; leave out comparisons that were not tested.")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def components(scores: pd.DataFrame | ArrayLike) -> Components:
    """Variance between problems and within a problem of `scores` (problems, sets), by one-way analysis of variance.

    ValueError for fewer than two problems or sets: the luck of a set cannot then be told from the problem.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(f"Variance components need two problems and two sets of each, all scored, not {table.shape}.")
    within = table.var(axis=1, ddof=1).mean()
    return Components(max(0.0, float(table.mean(axis=1).var(ddof=1) - within / table.shape[1])), float(within))


def _columns(columns) -> np.ndarray:
    """One array, or several of the same problems, as (problems, columns) floats; ValueError if a value is missing or
    the problems differ."""
    if np.ndim(next(iter(columns), 0)) == 0:
        columns = [columns]
    if len(lengths := {len(column) for column in columns}) > 1:
        raise ValueError(f"Paired columns have {sorted(lengths)} problems; give every method the same problems.")
    labels = [column.index for column in columns if isinstance(column, pd.Series)]
    if any(not label.equals(labels[0]) for label in labels):
        raise ValueError("Paired columns name other problems or order them differently; take them from `per_problem`.")
    table = np.column_stack([np.asarray(column, dtype=float) for column in columns])
    if not len(table):
        raise ValueError("Statistics over problems: there are no problems; run some, or leave this out.")
    if not (finite := np.isfinite(table).all(axis=1)).all():
        raise ValueError(f"Statistics over problems: number {finite.argmin()} has no score; grade it or leave it out.")
    return table


def _lattice(differences: np.ndarray) -> np.ndarray | None:
    """The differences as whole multiples (problems,) of one fraction; None where that is too fine to enumerate."""
    fractions = [Fraction(d).limit_denominator(10_000) for d in np.unique(np.abs(differences).round(12)).tolist()]
    unit = 1
    for fraction in fractions:
        if (unit := lcm(unit, fraction.denominator)) > MOST_STEPS:
            return None
    steps = (differences * unit).round()
    if np.abs(steps / unit - differences).max() > TOLERANCE or np.abs(steps).sum() * len(steps) > MOST_STEPS:
        return None
    return steps.astype(int)


@lru_cache(maxsize=3)
def _weights(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """(resamples, problems): the share of each problem in each bootstrap resample. 80 MB at 1,000 problems."""
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    drawn += np.arange(n_resamples)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=n_resamples * n).reshape(n_resamples, n) / n


@lru_cache(maxsize=3)
def _signs(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """(patterns, problems) of random -1 and 1."""
    return np.random.default_rng(seed).integers(0, 2, size=(n_resamples, n), dtype=np.int8) * 2.0 - 1
