"""Rounds counted call by call against their definitions; no sample is shared that has to be drawn anew."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from fakes import FakeEngine

from a2r import UserError, explore, synthesize
from a2r.answers import answer_component
from a2r.schedules import SCHEDULES, Round, play
from a2r.store import Store


class Talker(FakeEngine):
    """Every output says something of its own, so that it is seen who read whom; `same` says one thing always."""

    def __init__(self, same: bool = False):
        super().__init__()
        self.same = same

    def sample(self, request, index, seed):
        made = super().sample(request, index, seed)
        said = "the same" if self.same else f"note {seed % 10**9}"
        return replace(made, text=f"<think>\nhidden\n</think>\n\n{said}\n\\boxed{{8}}")


def read_by(request) -> list[str]:
    """The references that a prompt shows, wherever they are."""
    whole = "\n".join(m["content"] for m in request.messages)
    return re.findall(r"Reference \d+:\n((?:note \d+|the same)\n\\boxed\{8\})", whole)


@pytest.fixture
def pool(lab, problems, use):
    use(Talker())
    return explore(lab, "a", problems, 32)


def said(samples) -> dict:
    return {key: [answer_component(t) for t in part.text] for key, part in samples.groupby(["problem_id", "set"])}


def test_a2r_is_one_round_of_one(lab, problems, pool, use):
    made = synthesize(lab, "b", problems, pool)
    engine = use()
    assert (
        play(lab, "b", problems, pool, SCHEDULES["A2R"](4, 4, 3)).id.tolist() == made.id.tolist() and engine.opened == 0
    )


def test_apart_is_a2r_set_by_set(lab, problems, pool, use):
    """One output each of several sets, which are those of `synthesize`; and what comes after reads them all."""
    by_set = synthesize(lab.with_(n_paths=4, n_sets=8), "b", problems, pool)
    engine = use(Talker())
    apart = play(lab.with_(n_paths=16, n_sets=2), "b", problems, pool, [Round(4, 4, apart=True), Round(1)])
    first, last = (part for _, part in apart.groupby("round"))
    assert sorted(first.id) == sorted(by_set.id) and first.groupby(["problem_id", "set"]).size().eq(4).all()
    assert len(engine.asked) == len(last) == 6 and {len(set(read_by(request))) for request in engine.requests} == {4}


@pytest.mark.parametrize(("n", "k", "t"), [(16, 4, 3), (4, 2, 2)])
def test_rsa(lab, problems, pool, use, n, k, t):
    """n·t calls, each of k different outputs of the round before; who is read is drawn, and everyone about as often."""
    engine = use(Talker())
    made = play(lab.with_(n_paths=n, n_sets=2), "b", problems, pool, SCHEDULES["RSA"](n, k, t), "RSA")
    assert (
        len(engine.asked) == len(made) == 3 * 2 * n * t
        and made.groupby(["problem_id", "set", "round"]).size().eq(n).all()
    )
    before = said(pool.assign(set=pool["index"] // n)[pool["index"] < 2 * n])
    for number, part in made.groupby("round"):
        shas = part.groupby(["problem_id", "set"]).prompt_sha.agg(set).to_dict()
        for key, some in shas.items():
            prompts = [request for request in engine.requests if request.key in some]
            read = Counter(text for request in prompts for text in read_by(request) * len(request.indices))
            assert (
                all(len(set(read_by(r))) == k for r in prompts)
                and set(read) <= set(before[key])
                and sum(read.values()) == n * k
            )
            assert number == 1 or not set(read) & set(said(pool)[key[0], -1]), "only the round before is read"
        before = said(part)
    assert set(made.condition) == {f"RSA {number}" for number in range(1, t + 1)} and set(made.explorer) == {"a"}


def test_pacore(lab, problems, pool, use):
    """[32, 4] and a final call: four calls that read all 32, one that reads the four."""
    engine = use(Talker())
    made = play(lab.with_(n_paths=32, n_sets=1), "b", problems, pool, SCHEDULES["PaCoRe"](32, 4, 3))
    assert made.groupby(["problem_id", "round"]).size().tolist() == [4, 1] * 3
    assert sorted((len(set(read_by(r))), len(r.indices)) for r in engine.requests) == [(4, 1)] * 3 + [(32, 4)] * 3


@pytest.mark.parametrize(
    ("name", "widths", "reads"),
    [
        ("ParaGator", [4, 4, 4], 4),
        ("Refinement", [4, 4, 4], 1),
        ("Layers", [4, 4, 1], 4),
        ("Mixture-of-Agents", [4, 4, 1], 4),
        ("Debate", [4], 3),
    ],
)
def test_those_of_others(lab, problems, pool, use, name, widths, reads):
    engine = use(Talker())
    made = play(lab.with_(n_paths=4, n_sets=1), "b", problems, pool, SCHEDULES[name](4, 4, 3), name)
    assert made.groupby(["problem_id", "round"]).size().tolist() == widths * 3
    assert {len(set(read_by(request))) for request in engine.requests} == {reads}
    roles = {tuple(m["role"] for m in request.messages) for request in engine.requests}
    assert roles == {
        {"Mixture-of-Agents": ("system", "user"), "Debate": ("user", "assistant", "user")}.get(name, ("user",))
    }


def test_a_debater_reads_the_others_and_not_itself(lab, problems, pool, use):
    engine = use(Talker())
    play(lab.with_(n_paths=4, n_sets=1), "b", problems, pool, SCHEDULES["Debate"](4, 4, 3))
    for request in engine.requests:
        own = request.messages[1]["content"]
        mine = [answer_component(t) for t in pool[pool["index"] < 4].text]
        assert own in mine and own not in read_by(request) and set(read_by(request)) < set(mine)


def test_equal_subsets_share_no_sample(lab, problems, use):
    """Where everyone says the same all prompts are one; its samples are counted up over outputs and rounds."""
    use(Talker(same=True))
    pool = explore(lab, "a", problems, 4)
    engine = use(Talker(same=True))
    made = play(lab.with_(n_paths=4, n_sets=1), "b", problems, pool, SCHEDULES["RSA"](4, 2, 3))
    assert made.id.is_unique and len(engine.asked) == 36
    assert made.groupby("problem_id")["index"].agg(list).tolist() == [list(range(12))] * 3
    assert len(engine.requests) == 9, "a prompt's samples of a round are one request"


def test_a_second_run_samples_nothing(lab, problems, pool, use):
    use(Talker())
    first = play(lab.with_(n_paths=8, n_sets=2), "b", problems, pool, SCHEDULES["RSA"](8, 4, 2))
    engine = use(Talker())
    again = play(lab.with_(n_paths=8, n_sets=2), "b", problems, pool, SCHEDULES["RSA"](8, 4, 2))
    assert engine.opened == 0 and again.equals(first)
    play(lab.with_(n_paths=8, n_sets=2), "b", problems, pool, SCHEDULES["RSA"](8, 4, 3))
    assert len(engine.asked) == 3 * 2 * 8, "one round more asks for that round alone"
    assert Store(lab.store_path).read().id.is_unique


def test_rounds_may_have_models_of_their_own(lab, problems, pool, use):
    use(Talker())
    made = play(lab.with_(n_paths=4, n_sets=1), "b", problems, pool, [Round(2, model="a"), Round(1)])
    assert made.groupby("round").model.agg(set).tolist() == [{"a"}, {"b"}]


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ([Round(2), Round(1, 3)], "round 2 of a schedule is to read 3 of 2 texts"),
        ([Round(0)], "round 1 of a schedule is to read 4 of 4 texts and to write 0"),
        ([Round(2, 3, apart=True)], "round 1 of a schedule is to read 3 of 4 texts apart and to write 2"),
        ([Round(2, form="debate")], "round 1 is a debate of 2 where there are 4 agents"),
    ],
)
def test_a_round_that_cannot_be_played_is_refused(lab, problems, pool, use, rounds, said):
    use(Talker())
    with pytest.raises(UserError, match=said):
        play(lab.with_(n_paths=4, n_sets=1), "b", problems, pool, rounds)
