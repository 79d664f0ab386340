"""Scaling N: every N from one pool."""

import pytest

from a2r import explore, grade, read_prices
from a2r.studies import scaling


def test_at_one_path_pass_n_is_the_pools(lab, problems, use):
    """Two sets of one path are two of the pool's 8: Pass@N knows all of them, the vote of one only its own."""
    use()
    found, pools, syntheses = scaling.run(lab, problems, [("a", "b")], [1, 8], read_prices(lab.prices))
    pool = found[(found.N == 8) & (found.method == "Cons@N")]
    assert set(syntheses) == {("a", "b", 1), ("a", "b", 8)} and len(pools["a"]) == 24
    assert len(pool) == 3 and set(found.N) == {1, 8}
    one = found[found.N == 1].set_index(["method", "problem_id", "set"]).correct
    table = scaling.table(found).set_index(["N", "method"])
    right = grade(explore(lab, "a", problems, 8), problems)
    assert table.loc[(1, "Pass@N"), "accuracy"].estimate == pytest.approx(right.correct.mean())
    firsts = right.groupby("problem_id").head(2).correct.mean()
    assert firsts != right.correct.mean(), "or this test could not fail"
    for row in scaling.gains(found).itertuples():
        a2r, cons = (table.loc[(row.N, method), "accuracy"].estimate for method in ("A2R@N", "Cons@N"))
        assert row.gain.estimate == pytest.approx(a2r - cons) and row.n == 3
    assert table.loc[(1, "Cons@N"), "accuracy"].estimate == pytest.approx(firsts) and len(one["Pass@N"]) == 6
