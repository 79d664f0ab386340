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
        raise ValueError(f"Pass@{k} needs 1 <= k <= n, but a pool has {n.min()} samples; draw more or lower k.")
    if (c < 0).any() or (c > n).any():
        raise ValueError("pass_at_k: c must lie between 0 and n; check the order of the arguments (n, c, k).")
    all_wrong = np.ones(n.shape)
    for i in range(k):
        all_wrong = all_wrong * (np.maximum(n - c - i, 0) / (n - i))
    result = 1.0 - all_wrong
    return result if result.ndim else float(result)
