"""Metrics against enumeration and numbers worked out by hand."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import scorio.eval
from hypothesis import given
from hypothesis import strategies as st

from a2r.metrics import pass_at_k


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_the_mean_over_all_subsets(n):
    for c in range(n + 1):
        pool = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            subsets = [any(subset) for subset in combinations(pool, k)]
            assert pass_at_k(n, c, k) == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


def test_pass_at_k_is_scorio_s():
    right = np.random.default_rng(0).random((40, 12)) < np.random.default_rng(1).random((40, 1))
    for k in (1, 2, 4, 12):
        assert pass_at_k(12, right.sum(axis=1), k).mean() == pytest.approx(scorio.eval.pass_at_k(right.astype(int), k))


def test_pass_at_k_broadcasts():
    found = pass_at_k(np.array([4, 8, 64]), np.array([[0], [1], [4]]), 4)
    assert found.shape == (3, 3) and found.dtype == float
    assert found[:, 0].tolist() == [0, 1, 1]
    assert isinstance(pass_at_k(4, 2, 2), float)
    assert pass_at_k(np.array([], int), np.array([], int), 3).shape == (0,)


def test_pass_at_k_is_stable_for_large_pools():
    assert pass_at_k(100_000, 1, 1) == pytest.approx(1e-5, rel=1e-9)
    assert pass_at_k(100_000, 50_000, 1000) == 1.0


@pytest.mark.parametrize(
    ("n", "c", "k", "words"),
    [(3, 1, 4, "lower k"), ([8, 3], [1, 1], 4, "3 samples"), (4, 1, 0, "1 <= k"), (4, 5, 2, "between 0 and n")],
)
def test_pass_at_k_refuses(n, c, k, words):
    with pytest.raises(ValueError, match=words):
        pass_at_k(n, c, k)


@given(st.integers(1, 80).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_bounds_and_monotone(pool):
    n, c = pool
    curve = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert curve[0] == pytest.approx(c / n) and curve[-1] == (c > 0)
    assert all(0 <= a <= b <= 1 for a, b in pairwise(curve))
    assert c == n or pass_at_k(n, c + 1, n // 2 + 1) >= pass_at_k(n, c, n // 2 + 1)
