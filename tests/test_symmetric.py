"""The symmetric study: what stands beside A2R on the same sets, and what more problems or more sets would buy."""

import numpy as np
import pandas as pd
import pytest
from fakes import write_profile

from a2r import difficulty, load_problems, load_profile, read_prices
from a2r.results import figures, tables
from a2r.studies import symmetric


def test_alone_stands_beside_a2r_on_every_set(lab, problems, use):
    engine = use()
    table, pools, syntheses = symmetric.run(lab, problems, ["a", "b"], read_prices(lab.prices))
    kinds = table.groupby(["explorer", "synthesizer", "method"]).size()
    assert kinds["a", "a", "Alone@1"] == kinds["a", "a", "A2R@4"] == 6 and "A2R@4, one temperature" not in set(
        table.method
    )
    alone, a2r = (table[table.method == m].set_index(["explorer", "problem_id", "set"]) for m in ("Alone@1", "A2R@4"))
    assert (
        alone.right.equals(a2r.right.loc[alone.index])
        and (alone.cost < a2r.cost).all()
        and (alone.explorer_prompt == 0).all()
    )
    asked = {r.key: r.messages[0]["content"] for r in engine.requests}
    assert sum("Reference 1" not in text and "Here are reference" in text for text in asked.values()) == 3, (
        "one prompt a problem"
    )
    assert set(pools) == {"a", "b"} and set(syntheses) == {("a", "a"), ("b", "b")}
    by_right = tables.by_right_references(table)
    assert {"Alone@1", "A2R − Alone"} <= set(by_right)
    assert by_right["Alone@1"].notna().all()
    (legend,) = figures.by_right_references(by_right).legends
    assert [t.get_text() for t in legend.get_texts()] == ["A2R − Cons", "A2R − Alone"]


def test_syntheses_at_the_temperature_of_the_paths_where_they_have_their_own(tmp_path, use):
    lab = load_profile(str(write_profile(tmp_path, sampling={"temperature": 1.0}, synthesis={"temperature": 0.3})))
    engine = use()
    table, _, syntheses = symmetric.run(lab, load_problems(lab), ["a"], read_prices(lab.prices))
    assert (table.method == "A2R@4, one temperature").sum() == (table.method == "A2R@4").sum() == 6
    referring = [r for r in engine.requests if "Reference 1" in r.messages[0]["content"]]
    assert sorted({r.sampling.temperature for r in referring}) == [0.3, 1.0] and len(syntheses["a", "a"]) == 6


def studied(n: int, sets: int, spread: float) -> pd.DataFrame:
    """Outcomes of a and b whose vote is a coin and whose A2R gains .1, or `spread` more on one half of the problems
    than the other."""
    rng = np.random.default_rng(0)
    rows = []
    for model in "ab":
        for i in range(n):
            gain = 0.1 + (spread / 2 if i % 2 else -spread / 2)
            for k in range(sets):
                for method, synthesizer, p in (("Cons@4", "", 0.4), ("A2R@4", model, 0.4 + gain)):
                    rows.append(("b", f"p{i}", model, synthesizer, k, method, float(rng.random() < p)))
    return pd.DataFrame(
        rows, columns=["benchmark", "problem_id", "explorer", "synthesizer", "set", "method", "correct"]
    )


def test_variance_components_say_what_to_buy():
    alike, apart = (
        symmetric.components(studied(400, 2, spread), 4).set_index("model").loc["a"] for spread in (0.0, 0.8)
    )
    assert alike["between problems"] < 0.03 and apart["between problems"] == pytest.approx(0.16, abs=0.05)
    as_run, problems, sets = (
        apart[f"error in points, {name}"] for name in ("as run", "twice the problems", "twice the sets")
    )
    assert as_run / problems == pytest.approx(2**0.5) and problems < sets < as_run
    assert alike["error in points, twice the sets"] == pytest.approx(
        alike["error in points, twice the problems"], rel=0.05
    )


def test_the_power_table_rises_with_the_gain_and_with_sets():
    table = symmetric.power(studied(60, 4, 0.0), 4, gains=(0.05, 0.2))
    small, large = table.to_dict("records")
    assert large["16 sets"] < large["4 sets"] < large["1 set"] and large["4 sets"] < small["16 sets"]
    assert small["power at 30 problems"] < large["power at 30 problems"]
    with pytest.raises(ValueError, match="two sets"):
        symmetric.power(studied(60, 1, 0.0), 4)


def test_one_problem_has_neither_variance_nor_power():
    one = studied(1, 2, 0.0)
    assert symmetric.components(one, 4).empty and len(symmetric.power(one, 4, gains=(0.2,))) == 1
    assert symmetric.power(one[one.explorer == "a"], 4).empty


def test_a_profile_of_one_set_gets_a_second_on_some_problems(lab):
    one = lab.with_(n_sets=1)
    two = symmetric.two_sets(one, 2)
    assert symmetric.two_sets(lab, 2) is lab and (two.n_sets, two.n_problems) == (2, 2)
    assert symmetric.two_sets(one.with_(n_problems=1), 2).n_problems == 1


@pytest.mark.parametrize("n", [1, 2])
def test_groups_that_no_problem_is_in_are_left_out(lab, use, n):
    """Thirds by accuracy, of fewer problems than there are thirds."""
    use()
    lab = lab.with_(n_problems=n)
    problems = load_problems(lab)
    outcomes, pools, _ = symmetric.run(lab, problems, ["a", "b"], read_prices(lab.prices))
    figure = symmetric.gain_by(outcomes, difficulty(problems, pools), "level of difficulty", lab.n_paths)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["medium", "hard"][-n:]
