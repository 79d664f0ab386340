"""Voting against enumeration, by hand, and its properties."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scorio.aggregate import majority_vote
from scorio.eval import maj_at_k

from a2r.answers import equivalent
from a2r.methods import ballot, explorer_state, majority, vote

SETS = st.lists(
    st.one_of(
        st.none(), st.sampled_from(["1", "01", "$1$", "2", "2.0", "3", "yes", r"\text{Yes}", "", "\\frac12", "0.5"])
    ),
    max_size=9,
)


@pytest.mark.parametrize("size", range(1, 5))
def test_majority_by_enumeration(size):
    for answers in product([None, "7", "8", "9"], repeat=size):
        votes = Counter(a for a in answers if a is not None)
        winners = [a for a in votes if votes[a] == max(votes.values())]
        assert majority(answers, "7") == (winners.count("7") / len(winners) if winners else 0.0)


@pytest.mark.parametrize("size", range(1, 6))
def test_the_vote_is_scorio_s_where_one_answer_wins(size):
    """Where several do, scorio takes the one that came first; here the score is their mean, whatever the order."""
    for answers in product([None, "7", "8", "9"], repeat=size):
        first = majority_vote(list(answers))
        assert vote(answers) == [first] if len(vote(answers)) == 1 else first in (vote(answers) or [None])


def test_scorio_s_majority_is_more_than_half_which_the_vote_does_not_need():
    answers = ["7", "7", "8", "9"]
    assert majority(answers, "7") == 1 and maj_at_k(np.array([[a == "7" for a in answers]], int), 4) == 0


@pytest.mark.parametrize(
    ("answers", "winners", "score"),
    [
        (["5", "5", "6", "7"], ["5"], 1.0),
        (["5", "6", "6", "7"], ["6"], 0.0),
        (["5", "5", "6", "6"], ["5", "6"], 0.5),
        (["5", "6", "7", None], ["5", "6", "7"], 1 / 3),
        (["005", "$5$", "6", "6", r"5\text{ cm}"], ["5"], 1.0),
        ([None, None, None, "5"], ["5"], 1.0),
        ([None, None], [], 0.0),
        (["", r"\text{}"], [], 0.0),
        ([], [], 0.0),
        ([float("nan"), "5"], ["5"], 1.0),
    ],
)
def test_vote_by_hand(answers, winners, score):
    assert vote(answers) == winners
    assert majority(answers, "5") == pytest.approx(score)


def test_equivalent_formulas_vote_together():
    answers = [r"\frac{1}{2}", "0.5", "1/2", "2", "2", r"\frac{2}{4}"]
    assert ballot(answers)["2"] == [3, 4] and len(ballot(answers)) == 2
    assert majority(answers, "0.5") == 1.0 and majority(answers, "2") == 0.0


@settings(deadline=None)
@given(SETS, st.randoms())
def test_order_does_not_matter(answers, random):
    shuffled = random.sample(answers, len(answers))
    assert vote(answers) == vote(shuffled)
    assert majority(answers, "1") == majority(shuffled, "1")


@settings(deadline=None)
@given(SETS)
def test_bounds_and_none(answers):
    score = majority(answers, "1")
    assert 0 <= score <= 1
    assert majority([*answers, None], "1") == score
    assert sorted(i for voters in ballot(answers).values() for i in voters) == [i for i, a in enumerate(answers) if a]
    assert score == 0 or any(equivalent("1", a) for a in answers)
    assert majority([*answers, "1"], "1") >= score
    assert majority(["1"] * (len(answers) + 1) + answers, "1") == 1.0


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        (["6", "6", "7", None], "none"),
        ([None, None, None, None], "none"),
        (["5", "6", "6", None], "minority"),
        (["5", "6", "7", "8"], "tie"),
        (["5", "05", "6", "6"], "tie"),
        (["5", "05", "6", "7"], "majority"),
        (["5", None, None, None], "majority"),
        (["5", "05", "$5$", "5."], "all"),
    ],
)
def test_explorer_state(answers, state):
    assert explorer_state([equivalent("5", a) for a in answers], answers) == state


@settings(deadline=None)
@given(SETS.filter(len))
def test_state_agrees_with_the_vote(answers):
    correct = [equivalent("1", a) for a in answers]
    score, state = majority(answers, "1"), explorer_state(correct, answers)
    assert state in {0.0: {"none", "minority"}, 1.0: {"majority", "all"}}.get(score, {"tie"})


def test_explorer_state_refuses():
    with pytest.raises(ValueError, match="one of each"):
        explorer_state([True], ["1", "2"])
    with pytest.raises(ValueError, match="marked correct"):
        explorer_state([True, False], [None, "2"])
