"""Free methods over stored sets: against scorio, by hand, and each billed for what it used."""

import math
import random

import pandas as pd
import pytest
from fakes import outcomes
from scorio import aggregate

from a2r import explore, grade, read_prices, synthesize
from a2r.methods import METHODS, Choice, best, method, named, weighted
from a2r.outcomes import Score, played
from a2r.prices import price

DRAWN = random.Random(0)
SETS = [[DRAWN.choice([None, "1", "1", "2", "3", "4"]) for _ in range(DRAWN.randint(1, 12))] for _ in range(400)]
WEIGHTS = [[round(DRAWN.random(), 2) for _ in answers] for answers in SETS]


def choose(name: str, answers: list, **scores) -> Choice:
    return METHODS[name].choose(answers, scores)


def stopped(answers: list, stop) -> int:
    """How many paths are drawn before `stop` says so."""
    return next((k for k in range(1, len(answers) + 1) if stop(answers[:k])), len(answers))


def test_votes_are_those_of_scorio():
    """It breaks ties by order; here tied answers are all returned, and its choice is one of them."""
    for answers, weights in zip(SETS, WEIGHTS, strict=True):
        theirs = (
            aggregate.majority_vote(answers),
            aggregate.weighted_majority_vote(answers, weights),
            aggregate.best_of_n(answers, weights),
        )
        ours = choose("Cons", answers).answers, weighted(answers, weights), best(answers, weights)
        for one, several in zip(theirs, ours, strict=True):
            assert one in several if several else one is None


def test_stopping_is_that_of_scorio():
    for answers in SETS:
        drawn = stopped(answers, aggregate.adaptive_consistency_stop)
        assert choose("Adaptive", answers) == Choice(choose("Cons", answers[:drawn]).answers, waves=(1,) * drawn)
        drawn = stopped(answers, lambda some: len(some) % 4 == 0 and aggregate.esc_stop(some[-4:]))
        choice = choose("Early stop", answers)
        assert sum(choice.waves) == drawn and choice.answers == choose("Cons", answers[:drawn]).answers
        assert set(choice.waves[:-1]) <= {4}


def test_mean_log_probability_weighs_as_in_scorio():
    for answers, weights in zip(SETS, WEIGHTS, strict=True):
        logs = [math.log(w + 0.01) for w in weights]
        theirs = aggregate.weighted_majority_vote(answers, [w + 0.01 for w in weights])
        ours = choose("Vote by mean", answers, mean=logs).answers
        assert theirs in ours if ours else theirs is None


@pytest.mark.parametrize(
    ("name", "answers", "choice"),
    [
        ("Gate", ["5", "5", "5", "6"], Choice(["5"])),
        ("Gate", ["5", "5", "6", None], Choice(ask="synthesizer")),
        ("Route", ["5", "5", "5", None], Choice(["5"])),
        ("Route", ["5", "5", "6", "7"], Choice(ask="synthesizer")),
        ("Route", ["5", "6", "7", "8"], Choice(ask="large")),
        ("Route", [None] * 4, Choice(ask="large")),
        ("Oracle", ["5", "6", None], Choice(["5", "6"], best=True)),
    ],
)
def test_by_hand(name, answers, choice):
    assert choose(name, answers) == choice


def test_what_is_chosen_scores_and_a_fallback_is_the_vote():
    assert (
        Choice(["5", "6"]).score("6") == 0.5
        and Choice().score("6") == 0
        and Choice(["5", "6"], best=True).score("6") == 1
    )
    answers = ["5", "6", "6", "7"]
    assert choose("GenSelect", answers, chosen=[0, 0, 0, 1]).answers == ["7"]
    assert choose("GenSelect", answers, chosen=[0, 0, 0, 0]).answers == ["6"], "no choice: the vote"
    assert choose("Best by verified", answers, verified=[1, 0, 1, 1]).answers == ["5", "6", "7"], (
        "the vote of the accepted ones"
    )
    assert choose("Vote by mean", answers, mean=[-1e6] * 4).answers == ["6"], "no weight: the vote"
    assert best([None, "5"], [9.0, 1.0]) == ["5"], "a path without an answer cannot be chosen"


@pytest.fixture
def road(lab, problems, use):
    """A graded pool of two sets of 4, its syntheses, prices."""
    use()
    pool = grade(explore(lab, "a", problems, 8), problems)
    return pool, grade(synthesize(lab, "b", problems, pool), problems), read_prices(lab.prices)


def of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table.method == name].set_index(["problem_id", "set"])


def test_a_method_pays_for_what_it_used(lab, problems, road):
    pool, syntheses, prices = road
    table = played(problems, pool, prices, 4, 2, syntheses={"synthesizer": syntheses})
    theirs = outcomes(problems, pool, prices, syntheses, 4, 2)
    columns = [
        "correct",
        "cost",
        "seconds",
        "engine_seconds",
        "explorer_prompt",
        "synthesizer_completion",
        "state",
        "right",
    ]
    pd.testing.assert_frame_equal(of(table, "Cons@4")[columns], of(theirs, "Cons@4")[columns], check_dtype=False)
    gated, a2r, vote = of(table, "Gate@4"), of(theirs, "A2R@4"), of(theirs, "Cons@4")
    asked = gated.synthesizer == "b"
    assert 0 < asked.sum() < len(asked), "some sets agree, some do not"
    for column in columns[:6]:
        expected = a2r[column].where(asked, vote[column])
        pd.testing.assert_series_equal(gated[column], expected, check_names=False, check_dtype=False)
    assert "Route@4" not in set(table.method) and not table.method.str.contains("likelihood|GenSelect").any(), (
        "what lacks is left out"
    )
    assert {"Best by mean@4", "Vote by tail@4"} <= set(table.method)


def test_paths_that_were_not_drawn_are_not_paid(problems, road):
    pool, _, prices = road
    table = of(played(problems, pool, prices, 8, 1, methods=named("Adaptive")), "Adaptive@8")
    for (problem_id, _), row in table.iterrows():
        mine = pool[pool.problem_id == problem_id]
        drawn = stopped(mine.answer.tolist(), aggregate.adaptive_consistency_stop)
        used = mine.iloc[:drawn]
        used = used.assign(cached_tokens=[0, *used.cached_tokens[1:]])  # nobody before the first
        assert row.cost == pytest.approx(price(used, prices).sum()) and row.seconds == pytest.approx(used.seconds.sum())
        assert row.explorer_completion == used.completion_tokens.sum()
    assert table.cost.sum() < price(pool, prices).sum()


def test_a_score_is_paid_and_stages_follow_one_another(problems, road):
    pool, _, prices = road
    spent = pool.assign(set=pool["index"] // 4, stage=pool["index"] % 2, model="b", seconds=pool["index"] + 1.0)
    values = pool["index"].astype(float)
    table = of(
        played(problems, pool, prices, 4, 2, {"knockout": Score(values, spent)}, methods=named("Knockout", "Cons")),
        "Knockout@4",
    )
    cons = of(played(problems, pool, prices, 4, 2, methods=named("Cons")), "Cons@4")
    last = pool[pool["index"] % 4 == 3].assign(set=lambda p: p["index"] // 4).set_index(["problem_id", "set"])
    assert table.correct.tolist() == last.correct.astype(float).reindex(table.index).tolist()
    extra = price(spent, prices).groupby([spent.problem_id, spent["set"]]).sum()
    assert (table.cost - cons.cost).to_numpy() == pytest.approx(extra.reindex(table.index).to_numpy())
    slowest = {0: 3.0 + 4.0, 1: 7.0 + 8.0}  # of the stages with even and with odd indices
    assert (table.seconds - cons.seconds).tolist() == pytest.approx([slowest[number] for _, number in table.index])
    assert set(table.synthesizer) == {"b"}


def test_ones_own_method_is_eight_lines(problems, road, monkeypatch):
    pool, _, prices = road
    monkeypatch.setattr("a2r.methods.METHODS", METHODS)
    monkeypatch.setitem(METHODS, "Last", None)

    @method("Last")
    def last(answers, scores):
        return Choice([answers[-1]] if answers[-1] else [])

    table = of(played(problems, pool, prices, 4, 2), "Last@4")
    own = pool[pool["index"] % 4 == 3].correct.astype(float)
    assert table.correct.tolist() == own.tolist()


def test_without_log_probabilities_nothing_is_made_up(problems, road):
    pool, _, prices = road
    old = pool.assign(logprob_mean=pool.logprob_mean.where(pool["index"] > 0))
    assert not played(problems, old, prices, 4, 2).method.str.contains("mean").any()
