"""The grid's decomposition, its reference line, and the cost of pairs, on outcomes whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fakes import write_profile

from a2r import collect, load_problems, load_profile, read_prices
from a2r.results.stats import Interval
from a2r.studies import cost, grid

NAMES = ("s", "m", "l")
SIZE = dict(zip(NAMES, (1.0, 2.0, 4.0), strict=True))
PRICES = pd.DataFrame({"input": 0.0, "output": [10.0, 20.0, 80.0]}, index=list(NAMES))


def outcomes(
    accuracy,
    n: int = 400,
    seed: int = 0,
    costs=lambda e, s: 4 * SIZE[e] + SIZE.get(s, 0.0),
    alone=lambda s: 0.1,
    noise: float = 0.0,
) -> pd.DataFrame:
    """A grid of 0/1 outcomes with `accuracy(explorer, synthesizer)` and synthesizers that have `alone(synthesizer)` by
    themselves.

    Pass@1 of s, m, l is .3, .5, .7, and Cons@4 .05 more. Costs vary by problem by the share `noise`.
    """
    rng = np.random.default_rng(seed)
    rows = []

    def add(explorer, synthesizer, method, p, price, tokens=0.0):
        rows.append(
            pd.DataFrame(
                {
                    **{
                        "benchmark": "b",
                        "problem_id": [f"p{i}" for i in range(n)],
                        "explorer": explorer,
                        "synthesizer": synthesizer,
                    },
                    **{"set": 0, "method": method, "correct": (rng.random(n) < p).astype(float)},
                    "cost": price * (1 + noise * np.random.default_rng(len(rows)).uniform(-1, 1, n)),
                    "synthesizer_completion": tokens,
                }
            )
        )

    for k, e in enumerate(NAMES):
        own = 0.3 + 0.2 * k
        add(e, "", "Pass@1", own, costs(e, "") / 4)
        add(e, "", "Cons@4", own + 0.05, costs(e, ""))
        add(e, "", "Pass@4", 0.95, costs(e, ""))
        for s in NAMES:
            add(e, s, "A2R@4", accuracy(NAMES.index(e), NAMES.index(s)), costs(e, s), tokens=100.0)
    for s in NAMES:
        add("", s, "Alone@1", alone(NAMES.index(s)), SIZE[s])
    return pd.concat(rows, ignore_index=True)


def share(table: pd.DataFrame, quantity: str) -> Interval:
    return table.set_index("quantity").value[quantity]


def test_a_grid_that_only_the_synthesizer_moves():
    table = grid.decomposition(outcomes(lambda e, s: 0.2 + 0.3 * s))
    assert share(table, "share of synthesizer").low > 0.9 and share(table, "share of explorer").high < 0.1
    assert share(table, "rise with synthesizer").estimate == pytest.approx(0.6, abs=0.05)
    assert abs(share(table, "rise with explorer").estimate) < 0.05


def test_shares_sum_to_one_and_the_sides_are_told_apart():
    table = grid.decomposition(outcomes(lambda e, s: 0.2 + 0.3 * e))
    shares = [share(table, f"share of {side}").estimate for side in ("explorer", "synthesizer", "interaction")]
    assert sum(shares) == pytest.approx(1) and share(table, "share of synthesizer - explorer").high < -0.8


def test_by_hand_without_noise():
    """Two by two, .5 .8 / .5 .8: on the logit scale all is the synthesizer's."""
    rows = outcomes(lambda e, s: 1.0, n=10)
    rows = rows[rows.explorer.isin(["s", "m"]) & rows.synthesizer.isin(["s", "m", ""])]
    a2r = rows.method == "A2R@4"
    right = {"s": 5, "m": 8}
    rows.loc[a2r, "correct"] = [
        float(int(p[1:]) < right[s]) for p, s in zip(rows[a2r].problem_id, rows[a2r].synthesizer, strict=True)
    ]
    table = grid.decomposition(rows)
    assert share(table, "share of synthesizer").estimate == pytest.approx(1)
    assert share(table, "rise with synthesizer").estimate == pytest.approx(0.3)


def test_an_empty_cell_is_refused():
    rows = outcomes(lambda e, s: 0.5, n=20)
    with pytest.raises(ValueError, match="the grid has empty cells"):
        grid.decomposition(rows[(rows.explorer != "m") | (rows.synthesizer != "l")])


def test_the_front():
    points = pd.DataFrame({"cost": [1, 2, 3, 3, 1], "correct": [0.5, 0.4, 0.9, 0.8, 0.5]})
    assert cost.front(points).tolist() == [True, False, True, False, True]


@pytest.fixture
def lab(tmp_path):
    profile = load_profile("nano")
    models = tuple(replace(profile.models[0], name=name, parameters=SIZE[name]) for name in NAMES)
    return replace(
        profile, models=models, explorers=NAMES, synthesizers=NAMES, symmetric=NAMES, efficient=NAMES, n_paths=4
    )


def test_efficiency_and_its_break_evens(lab):
    """s → m costs 4 + 2 = 6 a problem; one path of l costs 4, its vote 16: a synthesis may then cost 12 instead of
    2."""
    table = cost.efficiency(outcomes(lambda e, s: 0.8), lab, PRICES).set_index(["explorer", "synthesizer", "against"])
    vote = table.loc["s", "m", "l Cons@4"]
    assert vote["cost ratio"].estimate == pytest.approx(6 / 16) and vote["break-even price"] == pytest.approx(12 / 2)
    assert vote["break-even tokens"] == pytest.approx(100 + (12 - 2) * 1e6 / 20)
    single = table.loc["s", "m", "l Pass@1"]
    assert single["cost ratio"].estimate == pytest.approx(6 / 4) and single["break-even price"] == "never"
    assert single.difference.estimate == pytest.approx(0.1, abs=0.06)
    assert ("s", "m", "s Pass@1") not in table.index, "only models at least as large as the synthesizer"


def test_the_grid_s_reference_line_is_each_synthesizer_without_references(tmp_path, use):
    engine = use()
    tiny = load_profile(str(write_profile(tmp_path)))
    problems = load_problems(tiny)
    pools, syntheses, alone = grid.run(tiny, problems, ["a", "b"], ["a", "b"])
    assert not any(
        "Reference 1" in r.messages[0]["content"] for r in engine.requests if r.key in set(alone["a"].prompt_sha)
    )
    table = grid.outcomes(tiny, problems, pools, syntheses, alone, read_prices(tiny.prices))
    line = table[table.method == "Alone@1"]
    assert set(line.synthesizer) == {"a", "b"} and set(line.explorer) == {""} and (line.explorer_completion == 0).all()
    own = alone["b"].groupby("problem_id").correct.mean()
    assert line[line.synthesizer == "b"].groupby("problem_id").correct.mean().to_dict() == own.to_dict()
    assert len(table[table.method == "A2R@4"]) == 3 * 2 * 4 and table.flops.isna().sum() == len(table), (
        "no size, no FLOPs"
    )


def test_pairs_turned_round_at_the_cost_of_small_to_large(tmp_path, use):
    """b costs ten times a: four paths of a and a synthesis by b pay for one path of b and one synthesis by a."""
    use()
    models = [
        {"name": "a", "path": "made/up-a", "parameters": 10},
        {"name": "b", "path": "made/up-b", "parameters": 100},
    ]
    tiny = load_profile(str(write_profile(tmp_path, models=models)))
    (tmp_path / "prices.csv").write_text(
        "model,input,cached_input,output,currency,source,date\na,0,0,1,USD,x,2026\nb,0,0,10,USD,x,2026\n"
    )
    problems, prices = load_problems(tiny), read_prices(tiny.prices)
    pools, syntheses, _ = grid.run(tiny, problems, ["a", "b"], ["a", "b"])
    table = collect(problems, pools, syntheses, prices, tiny)
    turned = cost.turned(tiny, problems, pools, table, prices)
    kinds = turned.groupby(["explorer", "synthesizer", "method"]).cost.mean()
    assert list(kinds.index) == [("b", "", "Cons@1"), ("b", "a", "A2R@1")]
    (paid,) = {
        round(c, 9) for c in table[(table.explorer == "a") & (table.synthesizer == "b")].groupby("method").cost.mean()
    }
    assert (kinds - paid).abs().max() < 0.4 * paid and set(turned.columns) == set(table.columns)
    sides = cost.sides(pd.concat([table, turned]), tiny).query("pair == 'a → b'").set_index("against")
    assert set(sides.index) == {"b Pass@1", "b Cons@4", "b → a A2R@4", "b Cons@1", "b → a A2R@1"}
    assert sides.loc["b → a A2R@1", "cost ratio"].estimate == pytest.approx(paid / kinds["b", "a", "A2R@1"])
