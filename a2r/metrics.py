"""Pure metrics of per-problem counts and scores. No sampling, no uncertainty: that is `stats`."""

import numpy as np
from numpy.typing import ArrayLike


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> np.ndarray | float:
    """Unbiased Pass@k, 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, section 2.1).

    n samples of a problem, c of them correct: whole numbers or arrays that broadcast. Returns that shape (a float for
    numbers), in 0..1. The quotient is a product of k factors in 0..1, so nothing overflows. ValueError unless
    1 <= k <= n and 0 <= c <= n.
    """
    n, c = np.broadcast_arrays(np.asarray(n), np.asarray(c))
    if k < 1 or (n < k).any():
        raise ValueError(
            f"Pass@{k} needs 1 <= k <= n, but the smallest pool has {n.min()} samples; draw more samples or lower k."
        )
    if (c < 0).any() or (c > n).any():
        raise ValueError(
            "pass_at_k: the number of correct samples c must lie between 0 and n; "
            "check the order of the arguments (n, c, k)."
        )
    all_wrong = np.ones(n.shape)
    for i in range(k):
        all_wrong = all_wrong * (np.maximum(n - c - i, 0) / (n - i))
    result = 1.0 - all_wrong
    return result if result.ndim else float(result)


def relative_gain(a2r: ArrayLike, cons: ArrayLike, pass1: ArrayLike) -> np.ndarray | float:
    """Gain over Pass@1 as a multiple of self-consistency's: (A2R - Pass@1) / (Cons@N - Pass@1).

    The likely reading of the paper's "75%" (1.75 here). nan where the denominator is 0; whether it differs from 0 by
    more than chance is for `stats.ratio_interval`, through which every printed value goes.
    """
    return ratio(np.subtract(a2r, pass1), np.subtract(cons, pass1))


def gap_closed(a2r: ArrayLike, cons: ArrayLike, pass_n: ArrayLike) -> np.ndarray | float:
    """Share of what voting leaves on the table that A2R takes: (A2R - Cons@N) / (Pass@N - Cons@N). nan as in
    `relative_gain`."""
    return ratio(np.subtract(a2r, cons), np.subtract(pass_n, cons))


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray | float:
    """Elementwise quotient, nan where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    result = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)
    return result if result.ndim else float(result)
