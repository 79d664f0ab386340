"""What a synthesis did with its set, against cases worked out by hand."""

import pandas as pd
import pytest

from a2r import grade
from a2r.studies import controls
from a2r.studies.controls import MOVES, examples, gallery, move, moves

PROBLEMS = pd.DataFrame(
    {"benchmark": "b", "problem_id": list("pqr"), "question": ["?p", "?q", "?r"], "answer": ["5", "7", "9"]}
)
POOL = {"p": "5566", "q": "1234", "r": "9991"}  # a tie, none right, a majority
SYNTHESES = {"p": ["5", "6"], "q": ["7", "1"], "r": ["9", "8"]}


def samples(answers: dict, model: str, numbered: bool) -> pd.DataFrame:
    rows = [
        {
            **{
                "model": model,
                "benchmark": "b",
                "problem_id": p,
                "set": 0 if numbered else -1,
                "index": i,
                "explorer": "small",
            },
            **{"text": f"<think>\nhm\n</think>\n\nwork of {a}: \\boxed{{{a}}}", "error": "", "finish_reason": "stop"},
        }
        for p, given in answers.items()
        for i, a in enumerate(given)
    ]
    return grade(pd.DataFrame(rows), PROBLEMS)


@pytest.fixture
def pool() -> pd.DataFrame:
    return samples(POOL, "small", numbered=False)


@pytest.fixture
def table(pool) -> pd.DataFrame:
    return controls.transitions(pool, samples(SYNTHESES, "large", numbered=True), PROBLEMS, 4, 1)


def test_one_row_a_synthesis(table):
    columns = ["problem_id", "index", "state", "right", "move", "copies", "in references", "selection"]
    assert table[columns].to_numpy().tolist() == [
        ["p", 0, "tie", 2, "selects", True, True, 1.0],
        ["p", 1, "tie", 2, "loses", True, True, 0.0],
        ["q", 0, "none", 0, "rescues", False, False, 0.0],  # may only choose: a vote over four wrong answers
        ["q", 1, "none", 0, "misses", True, True, 0.0],
        ["r", 0, "majority", 3, "keeps", True, True, 1.0],
        ["r", 1, "majority", 3, "loses", False, False, 1.0],  # choosing would have kept the vote
    ]


def test_a_state_and_a_verdict_make_a_move():
    assert {(s, c): move(s, c) for s in ("none", "minority", "tie", "majority", "all") for c in (True, False)} == {
        **{("none", True): "rescues", ("none", False): "misses"},
        **{(s, True): "selects" for s in ("minority", "tie")},
        **{(s, True): "keeps" for s in ("majority", "all")},
        **{(s, False): "loses" for s in ("minority", "tie", "majority", "all")},
    }


def test_saying_nothing_is_no_copy(pool):
    silent = samples(SYNTHESES, "large", numbered=True).assign(text="<think>\ncut off", answer=None, correct=False)
    assert not controls.transitions(pool, silent, PROBLEMS, 4, 1).copies.any()


def test_shares_of_moves_sum_to_one(table):
    (row,) = moves(table).to_dict("records")
    assert sum(row[m].estimate for m in MOVES) == pytest.approx(1)
    assert (
        row["rescues"].estimate == pytest.approx(1 / 6)
        and row["loses"].estimate == pytest.approx(2 / 6)
        and row["n"] == 3
    )
    assert row["answer of a wrong reference"].estimate == pytest.approx(2 / 6), "of p and of q"
    assert row["answer among the references"].estimate == pytest.approx(4 / 6)


def test_the_gallery_shows_one_of_each_and_the_seed_chooses(table, pool):
    shown = gallery(examples(table, pool, PROBLEMS, 4, 1, seed=0))
    assert [line.split()[1].rstrip(":") for line in shown.splitlines() if line.startswith("===")] == list(MOVES)
    assert (
        "?q" in shown
        and "[1] wrong: work of 1:" in shown
        and shown == gallery(examples(table, pool, PROBLEMS, 4, 1, seed=0))
    )
    assert any(gallery(examples(table, pool, PROBLEMS, 4, 1, seed=s)) != shown for s in range(1, 9))
