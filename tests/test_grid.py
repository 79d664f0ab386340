"""The grid's decomposition, the cost of pairs, and the claims' verdicts, on outcomes whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from a2r import load_profile
from a2r.results.stats import Interval
from a2r.studies import claims, cost, grid

NAMES = ("s", "m", "l")
SIZE = dict(zip(NAMES, (1.0, 2.0, 4.0), strict=True))
PRICES = pd.DataFrame({"input": 0.0, "output": [10.0, 20.0, 80.0]}, index=list(NAMES))


def outcomes(accuracy, n: int = 400, seed: int = 0, costs=lambda e, s: 4 * SIZE[e] + SIZE.get(s, 0.0)) -> pd.DataFrame:
    """A grid of 0/1 outcomes with `accuracy(explorer, synthesizer)`; Pass@1 of s, m, l is .3, .5, .7, and Cons@4 .05
    more."""
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
                    **{"set": 0, "method": method, "correct": (rng.random(n) < p).astype(float), "cost": price},
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


def scored(rows: pd.DataFrame, lab, **others) -> pd.DataFrame:
    table = claims.scorecard({"symmetric": rows, "grid": rows, "cost": rows, **others}, lab)
    return table.assign(verdict=table.verdict.str.replace(r" \(.*", "", regex=True))


def test_every_verdict_flips_with_the_outcomes(lab):
    """C1 and C2: a synthesizer that gains, one that changes nothing, one that loses."""
    cheap = {"costs": lambda e, s: SIZE[e] * (0.9 if not s else 0.1)}
    gains = scored(outcomes(lambda e, s: min(0.95, 0.5 + 0.2 * s), n=600), lab)
    nothing = scored(outcomes(lambda e, s: 0.35 + 0.2 * e, n=100), lab)
    loses = scored(outcomes(lambda e, s: 0.05 + 0.1 * e, n=600), lab)
    verdict = {name: t.groupby("id").verdict.first() for name, t in (("+", gains), ("0", nothing), ("-", loses))}
    assert [verdict[k]["C1"] for k in "+0-"] == ["supported", "not resolved", "contradicted"]
    assert verdict["+"]["C2"] == "supported" and verdict["-"]["C2"] == "contradicted"
    assert verdict["+"]["C3"] == "not resolved" or verdict["+"]["C3"] == "supported"
    dear, low = scored(outcomes(lambda e, s: 0.95), lab), scored(outcomes(lambda e, s: 0.95, **cheap), lab)
    assert [t[t.id == "C3"].verdict.tolist() for t in (dear, low)] == [
        ["supported", "contradicted"],
        ["supported", "supported"],
    ]


def controls(rescued: float, alone: float, synthesizer: str = "m") -> pd.DataFrame:
    """Controls of s's paths, read by `synthesizer`."""
    n = 300
    rng = np.random.default_rng(1)
    frames = [
        pd.DataFrame(
            {
                **{
                    "benchmark": "b",
                    "problem_id": [f"p{i}" for i in range(n)],
                    "explorer": "s",
                    "synthesizer": synthesizer,
                },
                **{"method": m, "correct": (rng.random(n) < p) * 1.0},
            }
        )
        for m, p in (("A2R@4", 0.6), ("Selection@4", 0.6 - rescued), ("Alone@1", alone))
    ]
    return pd.concat(frames)


def test_c6_asks_more_than_choosing_and_more_than_answering_alone(lab):
    rows = outcomes(lambda e, s: 0.5, n=50)
    own, another = controls(0.3, 0.3, "s"), controls(-0.3, 0.95)
    apart = scored(rows, lab, controls=pd.concat([own, another]))
    assert apart[apart.id == "C6"].verdict.tolist() == ["supported", "contradicted", "supported", "contradicted"]
    swapped = scored(rows, lab, controls=pd.concat([controls(0.3, 0.3), controls(-0.3, 0.95, "s")]))
    assert swapped[swapped.id == "C6"].verdict.tolist() == ["contradicted", "supported", "contradicted", "supported"]


def test_what_was_not_run_says_so_and_has_no_number(lab):
    table = claims.scorecard({}, lab)
    assert (table.verdict.str.startswith("not run (")).all() and (table.n == 0).all()
    assert table.id.tolist() == sorted(table.id) and set(table.id) == {f"C{k}" for k in range(1, 8)}
    pairs_only = outcomes(lambda e, s: 0.5, n=20).query("explorer != synthesizer")
    assert (
        claims.scorecard({"symmetric": pairs_only}, lab).verdict[0]
        == "not run (no model in both roles for A2R@4 in symmetric)"
    )
    lacking = claims.scorecard({"controls": controls(0, 0).query("method != 'Alone@1'")}, lab)
    assert lacking[lacking.id == "C6"].verdict.tolist()[3] == "not run (no Alone@1 in controls)"


def test_the_paper_s_numbers_are_those_that_are_known():
    known = {"C1": "1.75 (one reading of its 75%)", "C3": "0.71", "C4": "+0.9 points (reported)"}
    assert {c.id: c.paper for c in claims.CLAIMS if c.paper} == known


@pytest.mark.parametrize("profile", ["nano", "paper", "paper-rl"])
def test_c3_finds_its_pair_and_its_large_model_in_what_the_cost_study_samples(profile):
    """The large model need not be an explorer of the grid: notebook 03 samples its paths all the same."""
    lab = load_profile(profile)
    explored = dict.fromkeys([*lab.explorers, *lab.efficient[2:]])
    rows = [("Pass@1", e, "") for e in explored] + [
        (f"A2R@{lab.n_paths}", e, s) for e in lab.explorers for s in lab.synthesizers
    ]
    table = pd.DataFrame(rows, columns=["method", "explorer", "synthesizer"]).merge(
        pd.DataFrame({"problem_id": ["p", "q"]}), how="cross"
    )
    table = table.assign(benchmark="b", correct=0.5, cost=1.0)
    verdicts = claims.scorecard({"cost": table}, lab).query("id == 'C3'").verdict
    assert not verdicts.str.startswith("not run").any()
