"""The controls: other reference contexts on the same sets, and baselines that have A2R's choices."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from fakes import FakeEngine, write_profile

from a2r import UserError, load_profile, read_prices, references
from a2r.answers import answer_component
from a2r.outcomes import matched_votes
from a2r.pipeline import cut_sets
from a2r.prices import price
from a2r.problems import made_tests
from a2r.studies import controls


@pytest.fixture
def lab(tmp_path):
    return load_profile(str(write_profile(tmp_path, sampling={"temperature": 1.0}, synthesis={"temperature": 0.3})))


def test_the_controls_of_a_pair_are_outcomes(lab, problems, use):
    use()
    pool = controls.pool(lab, "a", problems)
    kinds = references.read(lab, "b", problems, pool)
    moves = controls.transitions(pool, kinds["references"], problems, lab.n_paths, lab.n_sets)
    table = controls.outcomes(lab, problems, pool, kinds, moves, read_prices(lab.prices))
    assert (table.synthesizer == "b").all() and (table.explorer == "a").all()
    sizes = table.groupby("method").size()
    assert sizes["A2R@4"] == sizes["Alone@1"] == sizes["Selection@4"] == sizes["Traces@4"] == 6
    read = table[table.method == "A2R@4"]
    assert read.correct.mean() == kinds["references"].correct.mean() and read.right.tolist() == moves.right.tolist()


def test_every_context_is_what_its_name_says(lab, problems, use):
    use()
    pool = controls.pool(lab, "a", problems)
    paths = next(s for _, s in cut_sets(pool, 4, 2).groupby(["problem_id", "set"]))
    components = [answer_component(text) for text in paths.text]
    assert references.none(paths) == []
    assert references.repeated(paths) == components[:1] * 4
    assert sorted(references.shuffled(paths)) == sorted(components) and references.shuffled(paths) != components
    assert references.finals(paths) == [f"\\boxed{{{a}}}" for a in paths.answer]
    assert all("sample" in trace and "think>" not in trace for trace in references.traces(paths))
    shown = references.foreign(pool, 4, 2)
    assert len(shown(paths)) == 4 and not set(shown(paths)) & set(components)
    of = {key: s for key, s in cut_sets(pool, 4, 2).groupby(["problem_id", "set"], sort=False)}
    order = list(dict.fromkeys(pool.problem_id))
    for k, problem in enumerate(order):
        for number in range(2):
            other = of[order[(k + 1) % len(order)], number]
            assert shown(of[problem, number]) == [answer_component(text) for text in other.text], "of its own number"


def test_the_matched_vote_costs_what_a2r_costs(lab, problems, use):
    use()
    pool = controls.pool(lab.with_(n_sets=4), "a", problems)
    prices = read_prices(lab.prices)
    each = price(pool, prices).mean()
    votes = matched_votes(problems, pool, prices, 5.2 * each)
    assert set(votes.method) == {"Cons@5"} and votes.cost.mean() == pytest.approx(5 * each, rel=0.2)
    assert set(matched_votes(problems, pool, prices, 999 * each).method) == {"Cons@16"}, "at most the pool"


class Allowed(FakeEngine):
    """Tests as many candidates as the question says, one less where it has references, and says so in lines."""

    def sample(self, request, index, seed):
        made = super().sample(request, index, seed)
        text = request.messages[0]["content"]
        allowed = int(re.search(r"You may test (\d+)", text)[1]) - ("Reference 1" in text)
        return replace(
            made, text="<think>\n" + "a=1 no\n\n" * allowed + made.text.removeprefix("<think>\n").partition("\n")[2]
        )


def test_alone_gets_as_many_tests_as_a2r_made(lab, problems, use):
    dialled = problems.assign(question=problems.question + " You may test 4.")
    use(Allowed())
    pool = controls.pool(lab, "a", dialled)
    engine = use(Allowed())
    kinds = references.read(lab, "b", dialled, pool)
    assert made_tests(kinds["references"].text[0]) == 3 and "tests" in kinds
    mine = {r.key: r.messages[0]["content"] for r in engine.requests}
    assert all("You may test 3." in mine[sha] and "Reference 1" not in mine[sha] for sha in kinds["tests"].prompt_sha)
    assert kinds["tests"].id.nunique() == len(kinds["references"]) == 6, "two sets that ask alike have a sample each"
    moves = controls.transitions(pool, kinds["references"], dialled, lab.n_paths, lab.n_sets)
    table = controls.outcomes(lab, dialled, pool, kinds, moves, read_prices(lab.prices))
    paid = table.groupby("method").cost.mean()
    assert paid["Alone, as many tests"] < paid["A2R@4"] / 3, "no path is paid for"
    use()
    assert "tests" not in references.read(lab, "b", problems, controls.pool(lab, "a", problems))


def test_errors_of_checking_by_hand(lab):
    """Four problems of one set: a right claim kept and one dropped, a wrong one kept; the fourth has no claim."""

    def frame(answers: list, correct: list[bool]) -> pd.DataFrame:
        ids = [f"p{i}" for i in range(4)]
        return pd.DataFrame({"benchmark": "b", "problem_id": ids, "model": "m", "answer": answers, "correct": correct})

    claims = frame(["1", "1", "2", None], [True, True, False, False])
    pool = pd.concat([claims, frame(["9"] * 4, [False] * 4)]).sort_values("problem_id", kind="stable")
    read = frame(["01", "3", "2", "2"], [True, False, False, False]).assign(set=0)
    at = lab.with_(n_paths=2, n_sets=1)
    table = controls.checking({"m": pool}, {("m", "m"): {"repeated": read}, ("m", "rl"): {"repeated": read[:2]}}, at)
    assert (
        table["e−"][0].estimate == 0.5
        and table["e−"][0].n == 2
        and table["e+"][0].estimate == 1
        and table["e+"][0].n == 1
    )
    assert table["e+"][1].n == 0 and table["e+"][0].low < 1, "one claim is not certainty"
    rows, shown = table[:1], controls.draw_checking(table[:1])
    assert [axes.lines[0].get_xdata()[0] for axes in shown.axes] == [100 * rows[e][0].estimate for e in ("e−", "e+")]
    assert "with e− + e+ below 1, for 0 of 1 pairs" in shown.caption


def test_which_contexts_a_pair_gets(lab):
    small, middle, large = efficient = ("a", "b", "c")
    lab = replace(lab, efficient=efficient)
    assert references.kinds(lab, small, middle) == tuple(references.CONTEXTS)
    for pair in ((middle, middle), (large, middle), (small, large), (large, large)):
        assert references.kinds(lab, *pair) == references.CLAIMED
    assert references.kinds(lab, "a", "b", ["traces", "none"]) == ("references", "none", "traces")
    with pytest.raises(UserError, match=r"no reference context 'trace' \(did you mean 'traces'\?\); choose references"):
        references.kinds(lab, "a", "a", ["trace"])


def test_pairs_have_what_rl_made_on_its_base_s_paths(lab):
    trained = replace(
        lab, models=(*lab.models, replace(lab.models[1], name="b-rl", base="b")), efficient=("a", "b-rl", "b")
    )
    assert controls.pairs(trained) == [("a", "a"), ("b", "b"), ("b", "b-rl"), ("a", "b-rl")]
