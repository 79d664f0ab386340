"""The controls: other reference contexts on the same sets, and baselines that have A2R's choices."""

import pytest
from fakes import write_profile

from a2r import load_profile, read_prices
from a2r.answers import answer_component
from a2r.methods import majority
from a2r.pipeline import cut_sets
from a2r.studies import controls


@pytest.fixture
def lab(tmp_path):
    return load_profile(str(write_profile(tmp_path, sampling={"temperature": 1.0}, synthesis={"temperature": 0.3})))


def test_the_baselines_have_the_temperature_of_the_syntheses_too(lab, problems, use):
    engine = use()
    pool = controls.pool(lab, "a", problems)
    assert {r.sampling.temperature for r in engine.requests} == {1.0}
    engine = use()
    cooler = controls.at_synthesis_temperature(lab, "a", problems)
    assert {r.sampling.temperature for r in engine.requests} == {0.3} and len(cooler) == 24
    assert controls.at_synthesis_temperature(lab.with_(temperature=1.0), "a", problems) is None
    kinds = controls.contexts(lab, "b", problems, pool)
    moves = controls.transitions(pool, kinds["references"], problems, lab.n_paths, lab.n_sets)
    table = controls.outcomes(lab, problems, pool, kinds, moves, read_prices(lab.prices), cooler).set_index("method")
    assert table.loc["Pass@1 at T=0.3"].correct.mean() == pytest.approx(cooler.correct.mean())
    gold = problems.set_index("problem_id").answer
    votes = [
        majority(s.answer.tolist(), gold[p]) for (p, _), s in cut_sets(cooler, 4, 2).groupby(["problem_id", "set"])
    ]
    assert table.loc["Cons@4 at T=0.3"].correct.mean() == pytest.approx(sum(votes) / 6)
    assert (table.synthesizer == "b").all() and (table.explorer == "a").all()


def test_every_context_is_what_its_name_says(lab, problems, use):
    use()
    pool = controls.pool(lab, "a", problems)
    paths = next(s for _, s in cut_sets(pool, 4, 2).groupby(["problem_id", "set"]))
    components = [answer_component(text) for text in paths.text]
    assert controls.none(paths) == []
    assert controls.repeated(paths) == components[:1] * 4
    assert sorted(controls.shuffled(paths)) == sorted(components) and controls.shuffled(paths) != components
    assert controls.finals(paths) == [f"\\boxed{{{a}}}" for a in paths.answer]
    assert all("sample" in trace and "think>" not in trace for trace in controls.traces(paths))
    foreign = controls.foreign(pool, 4, 2)(paths)
    assert len(foreign) == 4 and not set(foreign) & set(components)


def test_the_matched_vote_costs_what_a2r_costs(lab, problems, use):
    use()
    pool = controls.pool(lab.with_(n_sets=4), "a", problems)
    prices = read_prices(lab.prices)
    each = controls.price(pool, prices).mean()
    votes = controls.matched_votes(lab, problems, pool, 5.2 * each, prices)
    assert set(votes.method) == {"Cons@5"} and votes.cost.mean() == pytest.approx(5 * each, rel=0.2)
    assert set(controls.matched_votes(lab, problems, pool, 999 * each, prices).method) == {"Cons@16"}, (
        "at most the pool"
    )
