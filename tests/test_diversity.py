"""Diversity against small cases worked out by hand, and its bounds against any set."""

import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from a2r.studies import diversity
from a2r.studies.diversity import Counter, parting, vendi


def pool(
    *texts: str, answers: list | None = None, correct: list[bool] | None = None, problem: str = "p"
) -> pd.DataFrame:
    n = len(texts)
    return pd.DataFrame(
        {
            **{"benchmark": "b", "problem_id": problem, "model": "m", "index": range(n), "text": texts},
            **{"answer": answers or ["1"] * n, "correct": correct or [False] * n},
        }
    )


def test_four_paths_alike():
    (row,) = diversity.of_sets(pool(*["a b c d e"] * 4), 4, 1).to_dict("records")
    assert row["answers"] == 1 and row["effective answers"] == pytest.approx(1) and row["disagreement"] == 0
    assert row["distinct-2"] == pytest.approx(4 / 16) and row["self-BLEU"] == pytest.approx(100) and row["parting"] == 5
    assert row["Vendi"] == pytest.approx(1)


def test_four_paths_that_share_nothing():
    different = pool("a b c", "d e f", "g h i", "j k l", answers=list("1234"), correct=[True, False, False, False])
    (row,) = diversity.of_sets(different, 4, 1).to_dict("records")
    assert row["answers"] == 4 and row["effective answers"] == pytest.approx(4) and row["disagreement"] == 1
    assert row["distinct-2"] == 1 and row["self-BLEU"] == pytest.approx(0, abs=1e-9) and row["parting"] == 0
    assert row["Vendi"] == pytest.approx(4) and row["pass1"] == 0.25 and row["cons"] == 0.25


def test_two_and_two_and_a_path_without_an_answer():
    (even,) = diversity.of_sets(pool(*["a b"] * 4, answers=["1", "1", "2", "2"]), 4, 1).to_dict("records")
    assert even["effective answers"] == pytest.approx(2) and even["disagreement"] == pytest.approx(4 / 6)
    (silent,) = diversity.of_sets(pool(*["a b"] * 4, answers=["1", "1", "1", None]), 4, 1).to_dict("records")
    assert silent["answers"] == 1 and silent["disagreement"] == pytest.approx(3 / 6)


def test_where_two_paths_part():
    assert parting(list("abcd"), list("abxyz")) == 2
    assert parting(list("ab"), list("abc")) == 2 and parting(["a"], ["b"]) == 0 and parting([], ["a"]) == 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(string.ascii_lowercase[:4] + " ", min_size=1, max_size=20), min_size=4, max_size=4), st.data())
def test_every_measure_keeps_its_bounds(texts, data):
    answers = [data.draw(st.sampled_from(["1", "2", "3", None])) for _ in texts]
    (row,) = diversity.of_sets(pool(*texts, answers=answers), 4, 1).to_dict("records")
    assert 0 <= row["answers"] <= 4 and min(1, row["answers"]) <= row["effective answers"] <= row["answers"] + 1e-9
    assert 0 <= row["disagreement"] <= 1 and 0 <= row["distinct-2"] <= 1 and 0 <= row["parting"] <= 20
    assert -1e-9 <= row["self-BLEU"] <= 100 + 1e-9 and 1 - 1e-9 <= row["Vendi"] <= 4 + 1e-9


def test_vendi_of_two_pairs():
    same, other = Counter({("a", "b"): 1}), Counter({("c", "d"): 3})
    assert vendi([same, same, other, other]) == pytest.approx(2)


def test_mixed_sets_take_their_paths_in_turn():
    a = pd.concat([pool(*[f"a{p}{i}" for i in range(4)], problem=p) for p in "pq"]).assign(model="a")
    b = pd.concat([pool(*[f"b{p}{i}" for i in range(4)], problem=p) for p in "pq"]).assign(model="b")
    made = diversity.mixed({"a": a, "b": b}, 2, 2)
    assert made.text.tolist() == ["ap0", "bp1", "ap2", "bp3", "bq0", "aq1", "bq2", "aq3"]


def test_mixed_sets_of_more_explorers_than_paths_use_all_of_them_over_the_problems():
    pools = {m: pd.concat([pool(f"{m}{p}0", f"{m}{p}1", problem=p) for p in "pqr"]).assign(model=m) for m in "abc"}
    made = diversity.mixed(pools, 2, 1)
    assert made.text.tolist() == ["ap0", "bp1", "bq0", "cq1", "cr0", "ar1"] and not made.isna().any(axis=None)


def test_escapes_are_pairs_of_a_wrong_path_with_another():
    made = diversity.escapes(pool("a b c d", "a b x x", "z z z z", "a b c e", correct=[False, True, True, False]), 4, 1)
    assert sorted(zip(made.parting, made.escaped, strict=True)) == sorted(
        [(2, True), (0, True), (3, False), (3, False), (2, True), (0, True)]
    )


def test_a_path_with_the_very_text_of_a_wrong_one_is_no_evidence():
    made = diversity.escapes(pool("a b c", "a b c", "a b x", correct=[False, False, True]), 3, 1)
    assert made.parting.tolist() == [2, 2] and made.escaped.all()


def test_no_answer_is_no_effective_answer():
    (row,) = diversity.of_sets(pool("a", "b", answers=[None, None]), 2, 1).to_dict("records")
    assert row["answers"] == 0 and row["effective answers"] == 0


def test_the_prefix_trap_compares_within_problem_explorer_and_temperature(lab):
    """A weak explorer parts early and fails, a strong one parts late and is right: pooled, parting late would look
    better."""

    def drawn(model: str, texts: list[str], right: list[bool]) -> pd.DataFrame:
        return pd.concat([pool(*texts, correct=right, problem=p) for p in "pqr"]).assign(model=model)

    weak = drawn("a", ["w v u t", "x x x x", "w y y y", "w v z z"], [False, False, False, False])
    strong = drawn("b", ["w v u t", "w v u x", "w v x x", "w y y y"], [False, True, True, True])
    at = {("a", 1.0): weak, ("b", 1.0): strong, ("b", 0.3): strong.assign(text="w v u t"), ("mixed", 1.0): strong}
    found = diversity.trap(at, lab.with_(n_sets=1))
    assert set(found.explorer) == {"a", "b"} and set(found.temperature) == {1.0}, (
        "identical texts make no pair, mixed sets none"
    )
    means = found.groupby(["explorer", "method"]).correct.mean()
    assert means["a", "early"] == means["a", "late"] == 0 and means["b", "early"] == means["b", "late"] == 1
    table = diversity.trap_table(found).set_index("explorer")
    assert table.loc["all", "early − late"].estimate == 0 and table.loc["all", "n"] == 3
    assert table.loc["b", "pairs"] == 9


def test_early_and_late_are_told_apart_where_most_pairs_part_at_one_place(lab):
    texts = ["a b c d", "a b c x", "a b c y", "z z z z"]
    found = diversity.trap({("a", 1.0): pool(*texts, correct=[False, False, False, True])}, lab.with_(n_sets=1))
    assert dict(zip(found.method, found.correct, strict=True)) == {"early": 1, "late": 0}


def test_a_stratum_whose_pairs_all_part_at_one_place_says_nothing(lab):
    at_one = pool("a b c d", "z z z z", "y y y y", "x x x x", correct=[False, True, True, True])
    apart = pool("a b c d", "a b c x", "a b c y", "z z z z", correct=[False, False, False, True], problem="q")
    found = diversity.trap({("a", 1.0): pd.concat([at_one, apart])}, lab.with_(n_sets=1))
    assert set(found.problem_id) == {"q"} and sorted(found.method) == ["early", "late"]


def test_a_path_that_ends_where_it_has_found_the_answer_parts_no_later_for_being_short(lab):
    """Right paths are short. All pairs here part after one word, so nothing can be said of early and late."""
    paths = pool("t x", "t a b c d e f", "t g h i j k l", "t m n", correct=[True, False, False, True])
    assert diversity.trap({("a", 1.0): paths}, lab.with_(n_sets=1)).empty


def sets(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=n)
    return pd.DataFrame(
        {
            **{
                "benchmark": "b",
                "problem_id": [f"p{i}" for i in range(n)],
                "pass1": hard,
                "x": hard + rng.normal(size=n),
            },
            **{"y": hard + rng.normal(size=n), "answers": rng.integers(1, 4, n)},
        }
    )


def test_spearman_is_scipy_s_and_its_interval_covers_the_noise():
    table = sets()
    value = diversity.spearman(table, "x", "y")
    assert value.estimate == pytest.approx(spearmanr(table.x, table.y).statistic, abs=1e-9)
    assert value.low < 0.48 < value.high and value.high - value.low < 0.25  # the true rank correlation is about 0.48


def test_the_partial_correlation_takes_difficulty_out():
    """x and y have only difficulty in common."""
    plain, partial = diversity.spearman(sets(), "x", "y"), diversity.spearman(sets(), "x", "y", "pass1")
    assert plain.low > 0.3 and partial.low < 0 < partial.high


def test_repeated_sets_of_a_problem_do_not_narrow_the_interval():
    table = sets(80)
    once, often = (
        diversity.spearman(table, "x", "y"),
        diversity.spearman(pd.concat([table] * 5, ignore_index=True), "x", "y"),
    )
    assert often.n == 80 and often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)


def test_the_least_diversity_that_pays_or_that_none_is_known():
    table = sets().assign(gain=lambda t: (t.answers == 3) * 1.0)
    assert diversity.least(table, "gain").startswith("From 3 distinct answers on: +100.0 [")
    assert "There is no number" in diversity.least(table.assign(gain=0.0), "gain")
    worse_later = table.assign(gain=table.answers.map({1: 0.0, 2: 0.75, 3: -0.75}))
    assert "There is no number" in diversity.least(worse_later, "gain"), "from 2 on would not hold at 3"
    all_pay = table.assign(gain=table.answers / 4)
    assert diversity.least(all_pay, "gain").startswith("From 1 distinct answers on: +25.0 [")
