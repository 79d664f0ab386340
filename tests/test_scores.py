"""What models are asked about paths, against a model that answers by a script."""

from dataclasses import replace

import pytest
from fakes import Scripted, knowing, write_profile

from a2r import explore, grade, load_problems, load_profile, read_prices
from a2r.methods import named
from a2r.outcomes import played
from a2r.scores import ASKED, chosen, judged, likelihood, sets_of, verified, wins


@pytest.fixture
def pool(lab, problems, use):
    """Two sets of 4 a problem, some paths right and some not."""
    use(Scripted())
    graded = grade(explore(lab, "a", problems, 8), problems)
    shares = graded.groupby([graded.problem_id, graded["index"] // 4]).correct.mean()
    assert 0 < shares.min() < 1 and shares.between(0, 1, inclusive="neither").sum() >= 3
    return graded


@pytest.fixture
def sets(problems, pool):
    return sets_of(problems, pool, 4, 2)


def test_a_chooser_is_read_by_the_order_it_was_shown(lab, problems, pool, sets, use):
    engine = use(Scripted(knowing))
    score = chosen(lab, "b", sets)
    assert len(engine.requests) == 6 and all(
        "Which reference is right?" in r.messages[0]["content"] for r in engine.requests
    )
    picked = pool.loc[score.values.index[score.values == 1.0]]
    assert (
        picked.correct.all() and len(picked) == pool.groupby([pool.problem_id, pool["index"] // 4]).correct.any().sum()
    )
    table = played(
        problems,
        pool,
        read_prices(lab.prices),
        4,
        2,
        {"chosen": score},
        methods=named("GenSelect", "Oracle", "Cons"),
    )
    wide = table.pivot_table(index=["problem_id", "set"], columns="method", values="correct")
    assert (wide["GenSelect@4"] == wide["Oracle@4"]).all() and (wide["Cons@4"] < wide["Oracle@4"]).any()


@pytest.mark.parametrize("said", ["0", "5", "two", "-1"])
def test_a_choice_of_nothing_is_none(lab, sets, use, said):
    use(Scripted(lambda *_: said))
    assert (chosen(lab, "b", sets).values == 0).all()


@pytest.mark.parametrize(("form", "words"), [("genselect", "Group the solutions"), ("consistent", "agrees best")])
def test_the_forms_of_others_choose_too(lab, sets, use, form, words):
    engine = use(Scripted(knowing))
    chosen(lab, "b", sets, form)
    assert len(engine.requests) == 6 and all(words in request.messages[0]["content"] for request in engine.requests)


def test_every_path_is_verified_by_itself(lab, problems, pool, sets, use):
    engine = use(Scripted(knowing))
    score = verified(lab, "b", sets)
    assert (score.values == pool.correct).all() and len(engine.asked) <= len(pool) == len(score.spent)
    assert score.spent.groupby(["problem_id", "set"])["id"].nunique().eq(4).all(), (
        "those who say the same are asked about apart"
    )


@pytest.mark.parametrize("swiss", [False, True])
def test_a_tournament_finds_the_right_path(lab, problems, pool, sets, use, swiss):
    engine = use(Scripted(knowing))
    score = wins(lab, "b", sets, swiss=swiss)
    both = {(one, two) for one, two in zip(score.spent.one, score.spent.two, strict=True)}
    assert both == {(two, one) for one, two in both}, "every pair in both orders"
    assert all(pool.answer[one] != pool.answer[two] for one, two in both) and set(score.spent.stage) <= {0, 1}
    assert len(score.spent) <= 6 * (8 if swiss else 6) and len(engine.asked) <= len(score.spent)
    table = played(
        problems, pool, read_prices(lab.prices), 4, 2, {"knockout": score}, methods=named("Knockout", "Oracle")
    )
    wide = table.pivot_table(index=["problem_id", "set"], columns="method", values="correct")
    assert (wide["Knockout@4"] == wide["Oracle@4"]).all() or swiss


def test_a_judge_who_looks_at_the_place_alone_decides_nothing(lab, sets, use):
    use(Scripted(lambda *_: "1"))
    score = wins(lab, "b", sets, swiss=True)
    assert (score.values == 1.0).all(), "half a point a round for everyone"


def test_a_judge_is_asked_in_the_forms_that_it_knows(lab, sets, use):
    engine = use(Scripted(knowing))
    assert set(judged(lab, "b", sets)) == set(ASKED)
    whole = [request.messages[0]["content"] for request in engine.requests]
    assert sum("Group the solutions" in text for text in whole) == 6, "GenSelect in its own wording"
    nano = judged(replace(lab, forms=("explorer", "synthesizer", "chooser")), "b", sets)
    assert set(nano) == {"chosen", "knockout", "swiss"} and nano["swiss"].spent.stage.max() == 1, "log2(4) rounds"
    one = judged(lab, "b", [s._replace(paths=s.paths[:1]) for s in sets])
    assert one["knockout"].spent is None and one["swiss"].spent is None, "nobody to play against"


def test_likelihood_is_one_prefill_a_path(lab, problems, pool, sets, use):
    engine = use(Scripted())
    score = likelihood(lab, "b", sets)
    assert score.values.tolist() == [-float(len(text)) for text in pool.text]
    assert (
        len(engine.requests) == len(pool)
        and set(score.spent.role) == {"scorer"}
        and set(score.spent.completion_tokens) == {0}
    )
    assert all(
        r.messages[0]["content"].startswith("What is") and "Reference" not in r.messages[0]["content"]
        for r in engine.requests
    )
    again = use(Scripted())
    assert likelihood(lab, "b", sets).values.equals(score.values) and again.opened == 0
    table = played(problems, pool, read_prices(lab.prices), 4, 2, {"likelihood": score})
    extra = (
        table[table.method == "Vote by likelihood@4"].cost.to_numpy() - table[table.method == "Cons@4"].cost.to_numpy()
    )
    assert extra == pytest.approx([4 * 100 * 1e-6] * 6), "its prompts are paid"


def test_a_model_whose_prompt_opens_the_thinking_is_not_asked_for_the_mark_again(lab, pool, sets, use):
    """The mark then stands in the prompt already, and is no token of the path."""
    texts = pool.text.tolist()
    marked = [s._replace(paths=s.paths.assign(text=["<think>\n" + text for text in s.paths.text])) for s in sets]
    told = {}
    for opened in (False, True):
        engine = use(Scripted())
        models = tuple(replace(model, opened=opened) for model in lab.models)
        likelihood(replace(lab, models=models, store=f"{lab.store}-{opened}"), "b", marked)
        told[opened] = sorted(request.scored for request in engine.requests)
    assert told[True] == sorted(texts) and told[False] == sorted("<think>\n" + text for text in texts)


def test_a_failed_path_has_no_likelihood(lab, problems, pool, use):
    use(Scripted())
    broken = pool.assign(
        text=["" if i == 2 else t for i, t in zip(pool["index"], pool.text, strict=True)],
        answer=pool.answer.where(pool["index"] != 2),
    )
    score = likelihood(lab, "b", sets_of(problems, broken, 4, 2))
    assert score.values.isna().tolist() == (pool["index"] == 2).tolist()


def test_a_profile_may_word_the_prompts_itself(tmp_path, use):
    own = {
        "explorer": "Q: {question} A:",
        "chooser": "{question}\n{references}\nNumber?",
        "verifier": "{references} {question} ok?",
    }
    lab = load_profile(str(write_profile(tmp_path, prompts=own)))
    problems, engine = load_problems(lab), use(Scripted())
    pool = grade(explore(lab, "a", problems, 4), problems)
    assert engine.requests[0].messages[0]["content"] == "Q: What is 1 + 7? A:"
    theirs = explore(replace(lab, prompts={}), "a", problems, 4)
    assert not set(pool.id) & set(theirs.id), "another prompt is another sample"
    chosen(lab, "b", sets_of(problems, pool, 4, 1))
    assert engine.requests[-1].messages[0]["content"].endswith("Number?")
