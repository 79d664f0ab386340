"""The scorecard: verdicts that follow the outcomes, and refusals in words, on outcomes whose truth is known."""

import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_grid import NAMES, SIZE, outcomes

from a2r import load_profile
from a2r.profiles import ROOT
from a2r.references import ALONE
from a2r.results.stats import Interval
from a2r.studies import claims
from a2r.studies.claims import CONTRADICTED, EQUIVALENT, SUPPORTED, UNRESOLVED, Claim, Evidence


@pytest.fixture
def lab():
    profile = load_profile("nano")
    models = tuple(replace(profile.models[0], name=name, parameters=SIZE[name]) for name in NAMES)
    roles = dict.fromkeys(("explorers", "synthesizers", "symmetric", "efficient"), NAMES)
    return replace(profile, models=models, n_paths=4, synthesis={}, **roles)


def verdicts(lab, study: str, rows: pd.DataFrame, id_: str) -> list[str]:
    card = claims.scorecard({study: rows}, lab)
    return card.verdict[card.id == id_].tolist()


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 100)


@pytest.mark.parametrize(
    ("wide", "narrow", "p", "verdict"),
    [
        ((0.01, 0.05), (0.015, 0.045), 0.001, SUPPORTED),
        ((-0.05, -0.01), (-0.045, -0.015), 0.001, CONTRADICTED),
        ((1.7e-18, 0.05), (0.004, 0.046), 0.05, UNRESOLVED),  # 0 but for rounding
        ((0.01, 0.05), (0.015, 0.045), 0.25, UNRESOLVED),  # the exact test does not see it
        ((1.0, 1.0), (1.0, 1.0), 0.01, UNRESOLVED),  # no width: no interval
        ((-0.015, 0.021), (-0.012, 0.018), 0.7, EQUIVALENT),
        ((-0.015, 0.025), (-0.012, 0.0201), 0.7, UNRESOLVED),
        ((np.nan, np.nan), (np.nan, np.nan), np.nan, UNRESOLVED),
    ],
)
def test_the_verdict_on_an_interval(wide, narrow, p, verdict):
    claim = next(c for c in claims.CLAIMS if c.id == "C1" and c.margin)
    assert claim.verdict(Evidence(interval(*wide), interval(*narrow), p)) == verdict
    turned = replace(claim, above=False)
    swapped = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}.get(verdict, verdict)
    assert turned.verdict(Evidence(interval(*wide), interval(*narrow), p)) == swapped
    if verdict == EQUIVALENT:
        assert replace(claim, margin=None).verdict(Evidence(interval(*wide), interval(*narrow), p)) == UNRESOLVED


def problems(**columns) -> list[pd.Series]:
    index = pd.MultiIndex.from_product(
        [["b"], range(len(next(iter(columns.values()))))], names=["benchmark", "problem_id"]
    )
    return [pd.Series(np.array(values, float), index) for values in columns.values()]


def test_three_of_three_supports_nothing_and_a_null_result_is_no_equality():
    claim: Claim = next(c for c in claims.CLAIMS if c.id == "C4")
    assert claim.verdict(claims.paired(*problems(a=[1, 1, 1], b=[0, 0, 0]))) == UNRESOLVED
    assert claim.verdict(claims.paired(*problems(a=[0.5, 0.5], b=[0, 0]))) == UNRESOLVED
    few, many = (
        claims.paired(*problems(a=[1, 0] * 20, b=[1, 0] * 20)),
        claims.paired(*problems(a=[1, 0] * 300, b=[1, 0] * 300)),
    )
    assert claim.verdict(few) == UNRESOLVED and claim.verdict(many) == EQUIVALENT and few.p == many.p == 1


def test_c1_follows_the_outcomes(lab):
    def c1(accuracy, n=600):
        return verdicts(lab, "symmetric", outcomes(accuracy, n=n), "C1")[:2]

    assert c1(lambda e, s: min(0.95, 0.5 + 0.2 * s)) == [SUPPORTED] * 2
    assert c1(lambda e, s: 0.05 + 0.1 * e)[0] == CONTRADICTED
    assert c1(lambda e, s: 0.35 + 0.2 * e, n=100) == [UNRESOLVED] * 2


def test_c1_takes_one_temperature_where_syntheses_have_their_own(lab):
    cooler = replace(lab, synthesis={"temperature": lab.sampling.temperature / 2})
    rows = outcomes(lambda e, s: min(0.95, 0.5 + 0.2 * s), n=600)
    assert verdicts(cooler, "symmetric", rows, "C1")[0].startswith("not run (no A2R@4, one temperature of")
    same = outcomes(lambda e, s: 0.05, n=600).query("method == 'A2R@4'").assign(method="A2R@4, one temperature")
    assert verdicts(cooler, "symmetric", pd.concat([rows, same]), "C1")[0] == CONTRADICTED


def test_c2_is_not_supported_by_a_synthesizer_that_ignores_its_references(lab):
    alone = [0.2, 0.5, 0.8]
    by_itself = outcomes(lambda e, s: alone[s], alone=lambda s: alone[s])
    assert set(verdicts(lab, "grid", by_itself, "C2")) <= {UNRESOLVED, EQUIVALENT}
    reads = outcomes(lambda e, s: 0.3 + 0.3 * s, alone=lambda s: alone[s] - 0.1)
    assert verdicts(lab, "grid", reads, "C2") == [SUPPORTED] * 2
    explores = outcomes(lambda e, s: 0.3 + 0.3 * e, alone=lambda s: 0.1)
    assert verdicts(lab, "grid", explores, "C2") == [CONTRADICTED] * 2
    lacking = by_itself[by_itself.method != "Alone@1"]
    assert verdicts(lab, "grid", lacking, "C2") == ["not run (no Alone@1 of l in grid)"] * 2
    floor = outcomes(lambda e, s: 0.9 if s else 0.1, alone=lambda s: 0.1)
    assert verdicts(lab, "grid", floor, "C2") == [SUPPORTED, UNRESOLVED], "only the smallest does not read"


def test_c3_asks_for_accuracy_and_for_cost(lab):
    def cheap(e, s):
        return SIZE[e] * (0.9 if not s else 0.1)

    dear, low = (outcomes(lambda e, s: 0.95, noise=0.1, **k) for k in ({}, {"costs": cheap}))
    assert [verdicts(lab, "cost", rows, "C3") for rows in (dear, low)] == [
        [SUPPORTED, CONTRADICTED],
        [SUPPORTED, SUPPORTED],
    ]


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
    found = verdicts(lab, "cost", table.assign(benchmark="b", correct=0.5, cost=1.0), "C3")
    assert not any(v.startswith("not run") for v in found)


def controls(sets: int = 1, n: int = 300, **accuracy: float) -> pd.DataFrame:
    """Controls of s and m, each on its own paths; a third of the problems have no right reference, where all are .2
    less."""
    rng = np.random.default_rng(1)
    names = {"a2r": "A2R@4", "alone": "Alone@1", "foreign": "Foreign@4", "tests": ALONE["tests"], "votes": "Cons@5"}
    frames = []
    for model in ("s", "m"):
        right = np.where(np.arange(n) % 3, 2, 0)
        for method, p in accuracy.items():
            correct = rng.random(n) < np.where(right == 0, p - 0.2, p)
            table = pd.DataFrame({"problem_id": [f"p{i}" for i in range(n)], "right": right, "correct": correct * 1.0})
            frames.append(table.assign(benchmark="b", set=0, explorer=model, synthesizer=model, method=names[method]))
    return pd.concat(frames, ignore_index=True)


def test_c6_has_three_rows_over_all_symmetric_models(lab):
    assert verdicts(lab, "controls", controls(a2r=0.8, alone=0.4, foreign=0.4), "C6") == [SUPPORTED] * 3
    ignores = verdicts(lab, "controls", controls(a2r=0.6, alone=0.6, foreign=0.6), "C6")
    assert SUPPORTED not in ignores and CONTRADICTED not in ignores
    assert verdicts(lab, "controls", controls(a2r=0.6, alone=0.4, foreign=0.9), "C6") == [
        SUPPORTED,
        CONTRADICTED,
        SUPPORTED,
    ]


@pytest.mark.parametrize(("tests", "verdict", "stronger"), [(0.9, CONTRADICTED, "tests"), (0.2, SUPPORTED, "none")])
def test_c6_is_against_the_stronger_control_without_references(lab, tests, verdict, stronger):
    card = claims.scorecard({"controls": controls(a2r=0.6, alone=0.4, foreign=0.4, tests=tests)}, lab)
    c6 = card[card.id == "C6"]
    assert c6.verdict.tolist() == [verdict, SUPPORTED, verdict]
    assert [f"against {ALONE[stronger]}" in note for note in c6.note] == [True, False, True]


def test_c6_where_no_reference_is_right_is_against_the_control_that_is_stronger_there(lab):
    rows = controls(a2r=0.7, alone=0.5, foreign=0.4, tests=0.0)
    rows.loc[(rows.method == ALONE["tests"]) & (rows.right == 0), "correct"] = 1.0
    card = claims.scorecard({"controls": rows}, lab).query("id == 'C6'")
    assert card.verdict.tolist() == [SUPPORTED, SUPPORTED, CONTRADICTED]
    assert "against Alone@1" in card.note.iloc[0] and f"against {ALONE['tests']}" in card.note.iloc[2]


def test_c1_at_equal_cost_is_against_the_votes_of_the_controls(lab):
    for votes, verdict in ((0.5, SUPPORTED), (0.95, CONTRADICTED)):
        rows = controls(a2r=0.8, alone=0.4, foreign=0.4, votes=votes)
        rows["cost"] = np.where(rows.method == "Cons@5", 0.9, 1.0)
        rows.loc[(rows.method == "Cons@5") & (rows.explorer == "m"), "method"] = "Cons@6"  # as its cost asks
        row = claims.scorecard({"controls": rows}, lab).iloc[2]
        assert row.verdict == verdict and "against votes at 90% of A2R's cost" in row.note
    (lacking,) = verdicts(lab, "controls", rows[rows.method != "Cons@6"], "C1")[2:]
    assert lacking == "not run (no Cons, same cost of m in controls)"
    rows["cost"] = np.where(rows.method.str.startswith("Cons"), 0.5, 1.0)
    (dear,) = verdicts(lab, "controls", rows, "C1")[2:]
    assert dear == "not run (no vote at a cost near A2R's, but at 50% of it in controls)"


def test_every_model_counts_alike_where_no_reference_is_right(lab):
    """s has 90 such problems and gains nothing, m has 30 and gains .5 on each."""
    rows = controls(n=120, a2r=0.0, alone=0.0)
    rows = rows.assign(right=np.where(rows.index % 120 < np.where(rows.explorer == "s", 90, 30), 0, 2), correct=0.0)
    rows.loc[(rows.explorer == "m") & (rows.method == "A2R@4"), "correct"] = (np.arange(120) % 2).astype(float)
    value, narrow, p, _ = claims.rescue(rows, lab)
    assert value.estimate == pytest.approx(0.25) and value.n == 90 and p < 0.001
    assert value.low < narrow.low < 0.25 < narrow.high < value.high
    assert (value.high - value.low) / 2 == pytest.approx(2 * np.sqrt(0.25 / 30) / 2, rel=0.2), "m's error, halved"
    rows.loc[(rows.explorer == "s") & (rows.method == ALONE["none"]) & (rows.index % 120 >= 75), "correct"] = 1.0
    even = claims.rescue(rows, lab)
    assert even.value.estimate == pytest.approx((0.5 - 15 / 90) / 2)
    assert even.p < 0.03, "15 problems up and 15 down, but those of m weigh three times as much"


def test_c6_rescue_looks_at_sets_without_a_right_reference_alone(lab):
    rows = controls(a2r=0.9, alone=0.4, foreign=0.4)
    rows.loc[(rows.right == 0) & (rows.method == "A2R@4"), "correct"] = 0.0
    assert verdicts(lab, "controls", rows, "C6") == [SUPPORTED, SUPPORTED, CONTRADICTED]
    card = claims.scorecard({"controls": rows}, lab)
    assert card.n[card.id == "C6"].tolist() == [300, 300, 100]
    untold = verdicts(lab, "controls", rows.drop(columns="right"), "C6")
    assert untold[:2] == [SUPPORTED] * 2 and untold[2] == "not run (no number of right references in controls)"


def stability(seeds: int, bad: set[str]) -> pd.DataFrame:
    arms = ("on-policy, T = 0.7", "on-policy, T = 1", "off-policy, T = 0.7", "off-policy, T = 1")
    rows = [(f"seed {s}", arm, float(arm not in bad)) for s in range(seeds) for arm in arms]
    return pd.DataFrame(rows, columns=["problem_id", "method", "correct"]).assign(benchmark="stability")


@pytest.mark.parametrize(("seeds", "verdict"), [(1, UNRESOLVED), (2, UNRESOLVED), (3, SUPPORTED)])
def test_c5_is_exact_over_the_arms_of_a_seed(lab, seeds, verdict):
    """The one stable arm of four: a chance of 1/4 in each seed, doubled for two sides."""
    others = {"on-policy, T = 1", "off-policy, T = 0.7", "off-policy, T = 1"}
    card = claims.scorecard({"stability": stability(seeds, others)}, lab).set_index("id").loc["C5"]
    assert (
        card.verdict == verdict and card.p == pytest.approx(2 * 0.25**seeds) and card.n == seeds and card.value.low < 1
    )


def test_c5_the_other_way_round_and_without_failures(lab):
    (found,) = verdicts(lab, "stability", stability(3, {"on-policy, T = 0.7"}), "C5")
    assert found == CONTRADICTED
    card = claims.scorecard({"stability": stability(3, set())}, lab).set_index("id").loc["C5"]
    assert card.verdict == UNRESOLVED and card.p == 1 and card.value.estimate == 0
    (alone,) = verdicts(lab, "stability", stability(3, set()).query("method == 'on-policy, T = 0.7'"), "C5")
    assert alone == "not run (no other settings in stability)"


def trap(early: float, late: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(f"p{i}", m, float(rng.random() < p)) for i in range(200) for m, p in (("early", early), ("late", late))]
    return pd.DataFrame(rows, columns=["problem_id", "method", "correct"]).assign(
        benchmark="b", explorer="s", synthesizer=""
    )


def test_c7_follows_the_pairs(lab):
    assert verdicts(lab, "diversity", trap(0.6, 0.2), "C7") == [SUPPORTED]
    assert verdicts(lab, "diversity", trap(0.2, 0.6), "C7") == [CONTRADICTED]
    assert verdicts(lab, "diversity", trap(0.4, 0.4), "C7") == [UNRESOLVED]


def test_c8_compares_at_the_nearest_cost(lab):
    """s → l costs 8; l → s with 4, 2 and 1 paths costs 17, 9 and 5, and the vote of l with 2 paths 8."""
    rows = outcomes(lambda e, s: 0.9 if (e, s) == (0, 2) else 0.95)
    dear = rows[(rows.explorer == "l") & (rows.synthesizer == "s") & (rows.method == "A2R@4")]
    vote = rows[(rows.explorer == "l") & (rows.method == "Cons@4")]
    rng = np.random.default_rng(3)

    def with_(two: float, cons: float) -> pd.DataFrame:
        cheaper = [(f"A2R@{k}", dear, 4 * k + 1.0, p) for k, p in ((2, two), (1, 0.95))] + [("Cons@2", vote, 8.0, cons)]
        more = [f.assign(method=m, cost=c, correct=(rng.random(len(f)) < p) * 1.0) for m, f, c, p in cheaper]
        return pd.concat([rows, *more], ignore_index=True)

    assert verdicts(lab, "cost", with_(0.3, 0.3), "C8")[::2] == [SUPPORTED] * 2, "not the dear pair, which has .95"
    assert verdicts(lab, "cost", with_(1.0, 0.3), "C8")[::2] == [CONTRADICTED, SUPPORTED]
    assert verdicts(lab, "cost", with_(0.3, 1.0), "C8")[::2] == [SUPPORTED, CONTRADICTED]
    notes = claims.scorecard({"cost": with_(0.3, 0.3)}, lab).query("id == 'C8'").note.tolist()
    assert notes[0].endswith("against A2R@2 of l → s") and "against Cons@2 of l, which scores as Pass@1" in notes[2]
    assert verdicts(lab, "cost", rows[rows.explorer != "l"], "C8")[2] == "not run (no Cons of l in cost)"
    assert verdicts(lab, "cost", rows, "C8")[0] == "not run (no A2R of l → s at a cost near that in cost)"


def test_c8_without_the_smallest_model(lab):
    """m → l costs 10, l → m 14, which is near enough."""
    costs = {"costs": lambda e, s: 3 * SIZE[e] + SIZE.get(s, 0.0)}
    rows = outcomes(lambda e, s: 0.9 if (e, s) == (1, 2) else 0.5, **costs)
    assert verdicts(lab, "cost", rows, "C8")[1] == SUPPORTED
    other = outcomes(lambda e, s: 0.9 if (e, s) == (2, 1) else 0.5, **costs)
    assert verdicts(lab, "cost", other, "C8")[1] == CONTRADICTED


def test_a_model_that_lacks_a_problem_costs_its_own_claims_and_no_others(lab):
    rows = outcomes(lambda e, s: 0.9, n=100)
    without = rows[~((rows.explorer == "m") & (rows.problem_id == "p7"))]
    card = claims.scorecard({"symmetric": without, "diversity": trap(0.6, 0.2)}, lab)
    said = "not run (no problem p7 of m → m under A2R@4, which other models have in symmetric)"
    assert card.verdict[card.id == "C1"].tolist()[:2] == [said] * 2
    assert card.verdict[card.id == "C7"].tolist() == [SUPPORTED]


def test_unequal_pairs_are_refused_in_words(lab):
    rows = controls(a2r=0.8, alone=0.4, foreign=0.4)
    foreign_lacks = rows[~((rows.method == "Foreign@4") & (rows.problem_id == "p5"))]
    assert (
        verdicts(lab, "controls", foreign_lacks, "C6")[1]
        == "not run (no problem p5 on both sides of the comparison in controls)"
    )
    no_foreign = rows[~((rows.method == "Foreign@4") & (rows.explorer == "m"))]
    assert verdicts(lab, "controls", no_foreign, "C6")[1] == "not run (no Foreign@4 of m in controls)"


def test_holm_goes_over_what_was_run(lab):
    card = claims.scorecard({"diversity": trap(0.6, 0.2), "controls": controls(a2r=0.55, alone=0.45, foreign=0.5)}, lab)
    run = card[card.p.notna()]
    assert len(run) == 4 and run.p_holm.max() <= 1 and card.p_holm[card.p.isna()].isna().all()
    assert run.p_holm.min() == pytest.approx(4 * run.p.min())


def test_what_was_not_run_says_so_and_has_no_number(lab):
    table = claims.scorecard({}, lab)
    assert (table.verdict.str.startswith("not run (")).all() and (table.n == 0).all()
    assert table.id.tolist() == sorted(table.id) and set(table.id) == {f"C{k}" for k in range(1, 9)}
    pairs_only = outcomes(lambda e, s: 0.5, n=20).query("explorer != synthesizer")
    assert verdicts(lab, "symmetric", pairs_only, "C1")[0] == "not run (no model in both roles for A2R@4 in symmetric)"


def test_departures_from_the_protocol_are_told(lab):
    rows = outcomes(lambda e, s: 0.9, n=400).assign(benchmark="nano-numbers")
    asked = replace(lab, sampling=replace(lab.sampling, temperature=1.0))
    assert not claims.scorecard({"symmetric": rows}, asked).note[1].startswith("not by protocol")
    short = rows[rows.problem_id.isin([f"p{i}" for i in range(40)])]
    told = claims.scorecard({"symmetric": short}, replace(asked, synthesis={"temperature": 0.3})).note[1]
    assert told.startswith("not by protocol: problems 40 instead of 400, synthesizer_temperature 0.3 instead of 1.0")
    both = replace(lab, sampling=replace(lab.sampling, temperature=0.7))
    told = claims.scorecard({"symmetric": rows}, both).note[1]
    assert "temperature 0.7 instead of 1.0, synthesizer_temperature 0.7 instead of 1.0" in told
    rows.attrs["failed"] = "3 of 60 samples"
    told = claims.scorecard({"symmetric": rows}, asked).note[1]
    assert told.startswith("not by protocol: 3 of 60 samples failed and count as wrong")


def test_the_paper_s_numbers_are_those_that_are_known():
    known = {"C1": "1.75 (one reading of its 75%)", "C3": "0.71", "C4": "+0.9 points (reported)"}
    assert {c.id: c.paper for c in claims.CLAIMS if c.paper and c.id != "C8"} == known


def test_every_rule_is_the_one_of_the_commit_that_fixed_it():
    for claim in claims.CLAIMS:
        _, commit = claim.fixed.split()
        shown = subprocess.run(
            ["git", "grep", "-h", "", commit, "--", "a2r/studies/claims.py", "data/claims.yaml"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if shown.returncode:
            pytest.skip(f"commit {commit} is not in this checkout")
        for words in (claim.statistic, claim.protocol.models):
            assert words in shown.stdout, (
                f"{claim.id} was changed after {commit}: give it the new commit, and say so in its history"
            )


def test_a_ratio_has_the_p_of_its_being_1():
    """The test is of the two being equal, not of one of them being 0."""
    base = np.random.default_rng(0).random(300)
    equal, more = base + np.tile([0.2, -0.2], 150), base + np.tile([0.5, 0.1], 150)
    assert claims.quotient(*problems(a=equal, b=base)).p > 0.05
    assert claims.quotient(*problems(a=more, b=base)).p < 1e-6
    (alike,) = problems(a=base)
    assert claims.quotient(alike, alike).p == 1


def test_c2_needs_a_synthesizer_that_is_seen_to_read(lab):
    """On four problems no exact test can see anything: the evidence is A2R - Alone, and not the difference of rises."""
    rows = outcomes(lambda e, s: 1.0, alone=lambda s: 0.0, n=4)
    found = claims.bottleneck(rows, lab)
    assert found.value.low > 0 and found.p == 0.125 and found.value.estimate == 1, "the rises differ by 0"


def test_of_two_losses_the_larger_is_no_larger_gain():
    claim = next(c for c in claims.CLAIMS if c.id == "C1" and c.threshold == 1)
    large, small = np.tile([1, 1, 0, 0], 100), np.tile([1, 0, 0, 0], 100)
    assert claim.verdict(claims.quotient(*problems(a=large, b=small))) == SUPPORTED
    assert claim.verdict(claims.quotient(*problems(a=-large, b=-small))) == UNRESOLVED


def test_seeds_side_by_side(lab):
    cards = {
        name: claims.scorecard({"diversity": trap(e, 0.2)}, lab)
        for name, e in (("nano", 0.4), ("seed-1", 0.6), ("seed-2", 0.8))
    }
    row = claims.over_seeds(cards).set_index("id").loc["C7"]
    found = [row[name].estimate for name in cards]
    half = 4.302653 * np.std(found, ddof=1) / np.sqrt(3)  # Student's t with 2 degrees of freedom
    assert row["over seeds"] == pytest.approx(
        (np.mean(found), np.mean(found) - half, np.mean(found) + half, 3), rel=1e-6
    )
    single = claims.over_seeds({"nano": cards["nano"]}).set_index("id").loc["C7"]
    assert np.isnan(single["over seeds"].low) and single.seeds == 1
