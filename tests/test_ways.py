"""The study of ways over a scripted model: what is sampled, what it costs, and what its tables say."""

import textwrap
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fakes import Scripted, knowing

from a2r import UserError, explore, figures, methods, read_prices, stats
from a2r.methods import METHODS, majority
from a2r.prices import price
from a2r.studies import ways

SMALL = {"n_pool": 32, "n_population": 8, "n_references": 3, "n_rounds": 2}


@pytest.fixture
def played(lab, problems, use):
    """The study with all forms; models a (explorer, synthesizer) and b (large); judges know the answer."""
    use(Scripted(knowing))
    lab = lab.with_(n_sets=1)
    return ways.run(lab, problems, ways.roles(lab), read_prices(lab.prices), **SMALL)


def cost(played, method: str) -> float:
    return played.outcomes[played.outcomes.method == method].groupby("problem_id").cost.mean().mean()


def whole(paths: pd.DataFrame) -> pd.DataFrame:
    """Paths of one set, the first of which pays for all of its prompt."""
    return paths.assign(cached_tokens=paths.cached_tokens.where(paths["index"] > 0, 0))


def test_every_family_is_there_and_a_second_run_samples_nothing(lab, problems, played, use):
    names = set(played.outcomes.method)
    assert set(played.outcomes.family) == set(ways.FAMILIES)
    assert {"Cons@1", "Cons@32", "Adaptive@32", "Early stop@32", "Gate@4", "Route@4", "A2R@4", "A2R@4 by b"} <= names
    assert {f"A2R@4, {m} {what}" for m in (4, 8) for what in ("syntheses", "sets")} <= names
    assert {"RSA@8", "RSA@8, 1 round", "PaCoRe@8", "Debate@4", "Mixture-of-Agents@4", "Refinement@1"} <= names
    assert {"GenSelect@4", "GenSelect@4 by b", "USC@4", "Swiss@4 by b"} <= names
    assert {"Vote by likelihood@4 by b", "Knockout@4"} <= names
    assert played.outcomes.groupby("method").problem_id.nunique().eq(3).all()
    assert ways.left_out(played.outcomes) == []
    engine = use(Scripted(knowing))
    again = ways.run(lab.with_(n_sets=1), problems, ways.roles(lab), read_prices(lab.prices), **SMALL)
    assert engine.opened == 0 and again.outcomes.equals(played.outcomes)


def test_what_is_not_played_is_named(lab, problems, use):
    use(Scripted(knowing))
    lab, prices = lab.with_(n_sets=1), read_prices(lab.prices)
    taught = replace(lab, forms=("chooser",))
    out = ways.left_out(ways.run(taught, problems, ways.roles(lab), prices, **SMALL).outcomes)
    assert {"USC", "Best by verified", "Debate", "Mixture-of-Agents"} <= set(out)
    assert not {"Cons", "GenSelect", "Knockout", "RSA", "Gate", "Route", "Best by likelihood"} & set(out)
    alone = ways.left_out(ways.run(lab, problems, ways.roles(lab, synthesizer="none"), prices, **SMALL).outcomes)
    assert {"Gate", "Route", "GenSelect", "Vote by likelihood", "RSA"} <= set(alone) and "Vote by mean" not in alone


def test_a_schedule_costs_its_paths_and_all_its_rounds(lab, played):
    prices, samples = read_prices(lab.prices), played.rounds["RSA@8"]
    paths = played.pool[played.pool["index"] < 8]
    for number, name in ((1, "RSA@8, 1 round"), (2, "RSA@8")):
        spent = price(whole(paths), prices).sum() + price(samples[samples["round"] <= number], prices).sum()
        assert cost(played, name) == pytest.approx(spent / 3)
    row = played.outcomes[played.outcomes.method == "RSA@8"].iloc[0]
    mine = samples[samples.problem_id == row.problem_id].groupby("round").seconds.max().sum()
    assert row.seconds == pytest.approx(paths[paths.problem_id == row.problem_id].seconds.max() + mine)


def test_several_outputs_of_a2r_are_voted_on(lab, played):
    """Of one set, or each of a set of its own; the latter's first is A2R's. What is the same way has one name."""
    prices = read_prices(lab.prices)
    for m, n in ((4, 4), (8, 4)):
        read, apart = played.rounds[f"A2R@4, {m} syntheses"], played.rounds[f"A2R@4, {m} sets"]
        for name, samples, paths in ((f"A2R@4, {m} syntheses", read, n), (f"A2R@4, {m} sets", apart, m * n)):
            spent = price(whole(played.pool[played.pool["index"] < paths]), prices).sum() + price(samples, prices).sum()
            assert len(samples) == 3 * m and cost(played, name) == pytest.approx(spent / 3)
            rows = played.outcomes[played.outcomes.method == name].set_index("problem_id").correct
            gold = {"sum-1": "8", "sum-2": "16", "sum-3": "24"}
            votes = {i: majority(list(part.answer), gold[i]) for i, part in samples.groupby("problem_id")}
            assert rows.to_dict() == pytest.approx(votes)
        assert set(played.rounds["A2R@4"].id) <= set(read.id) & set(apart.id)
    names = set(played.outcomes.method)
    assert set(played.rounds["ParaGator@4"].query("round == 1").id) == set(played.rounds["A2R@4, 4 syntheses"].id)
    assert "ParaGator@4" in names and not names & {"ParaGator@4, 1 round", "Layers@4, 1 round"}


def test_the_vote_beside_a_method_costs_the_same(played):
    table = ways.matched(played.outcomes).set_index("method")
    assert {"RSA@8", "RSA@8, 1 round", "A2R@4, 8 sets"} <= set(table.index)
    most = cost(played, "Cons@32")
    for method, row in table.iterrows():
        assert row["cost ratio"] == pytest.approx(min(1, most / cost(played, method))), method
    wide = stats.per_problem(played.outcomes)
    chosen = table.loc["GenSelect@4"]
    low, high = cost(played, "Cons@6"), cost(played, "Cons@8")
    share = (cost(played, "GenSelect@4") - low) / (high - low)
    assert 0 < share < 1 and chosen["paths of the vote"] == pytest.approx(6 + 2 * share)
    vote = (1 - share) * wide["Cons@6"] + share * wide["Cons@8"]
    assert chosen.difference.estimate == pytest.approx((wide["GenSelect@4"] - vote).mean())
    assert (table.p_holm >= table.p).all() and not table.index.str.startswith("Oracle").any()


def test_rounds_start_from_the_paths_and_are_held_against_their_ceiling(problems, played):
    table = ways.by_round(problems, played).set_index(["schedule", "round"])
    first = played.pool[played.pool["index"] < 8]
    start = table.loc[("RSA@8", 0)]
    assert start["one output"].estimate == pytest.approx(first.correct.mean()) and start.outputs == 8
    assert start["Pass@m"].estimate == pytest.approx(first.groupby("problem_id").correct.any().mean())
    kinds = first.groupby("problem_id").answer.nunique().mean()
    assert start.answers.estimate == pytest.approx(kinds)
    for (schedule, _), row in table.iterrows():
        for column, of in (("one − ceiling", "one output"), ("vote − ceiling", "vote")):
            gap = row[of].estimate - table.loc[(schedule, 0)]["Pass@m"].estimate
            assert row[column].estimate == pytest.approx(gap)
    assert table.loc[("Layers@4", 2)]["Pass@m"].estimate < start["Pass@m"].estimate, "one output is no four"
    assert "A2R@4" not in table.index.get_level_values(0), "one round is no schedule of rounds"


def test_a_gate_that_nobody_passes_is_a2r(lab, played):
    table = ways.gates(played, lab.with_(n_sets=1))
    votes = played.pool[played.pool["index"] < 4].groupby("problem_id").answer.agg(lambda a: a.value_counts().max())
    assert table["vote where at least"].tolist() == [2, 3, 4]
    for row in table.to_dict("records"):
        assert row["saved"].estimate == pytest.approx((votes >= row["vote where at least"]).mean())
        assert row["A2R"].estimate == pytest.approx(cost_free(played, "A2R@4"))
        assert row["no loss"] == (abs(row["loss"].low) < 0.02 and abs(row["loss"].high) < 0.02)
        assert row["loss"] == stats.difference(*gated(played, row["vote where at least"]), confidence=0.9)
        assert row["cost ratio"] <= 1
    at_three, gate = table.set_index("vote where at least").loc[3], "Gate@4"
    assert at_three.accuracy.estimate == pytest.approx(cost_free(played, gate)), "the gate at 0.75 of 4"
    assert at_three["cost ratio"] == pytest.approx(cost(played, gate) / cost(played, "A2R@4"))


def gated(played, g: int) -> tuple[pd.Series, pd.Series]:
    """A2R by problem, and the vote in its place where g of the four paths agree."""
    wide = stats.per_problem(played.outcomes[played.outcomes["set"] == 0])  # votes alone have more sets
    first = played.pool[played.pool["index"] < 4]
    agree = first.groupby(["benchmark", "problem_id"]).answer.agg(lambda a: a.value_counts().max())
    return wide["A2R@4"], wide["Cons@4"].where(agree.reindex(wide.index) >= g, wide["A2R@4"])


def cost_free(played, method: str) -> float:
    return stats.per_problem(played.outcomes)[method].mean()


def test_judges_that_know_make_no_error(lab, played):
    table = ways.judges(played, lab.with_(n_sets=1)).set_index("judge")
    assert list(table.index) == ["a", "b"]
    for column, value in {"right rejected": 0, "wrong accepted": 0, "right chosen": 1, "right wins": 1}.items():
        assert all(v.estimate == value for v in table[column]), column


def test_the_front_and_the_figures(played, problems):
    points = ways.points(played.outcomes)
    real = points[points.family != "ceiling"]
    assert "RSA@8, 1 round" in set(real.method), "who stops early goes a way of its own"
    c, a = (np.array([v.estimate for v in real[x]]) for x in ("cost", "correct"))
    for row, best in zip(real.itertuples(), real["front by cost"], strict=True):
        x, y = row.cost.estimate, row.correct.estimate
        assert best == (not ((a >= y) & (c <= x) & ((a > y) | (c < x))).any())
    assert not points.drop(real.index)["front by cost"].any()
    figure = ways.draw_ways(points, "USD")
    said = {text.get_text() for text in figure.axes[0].texts}
    assert {"A2R@4", "Pass@4", *real.method[real["front by cost"]]} <= said
    tops = real.assign(y=a).groupby("family").y.transform("max") == a
    assert set(real.family) == set(real.family[tops & real.method.isin(said)]), "the best of each family has its name"


@pytest.mark.parametrize("size", figures.SIZES)
def test_the_figures_fit_their_paper(played, problems, size):
    figures.style(size)
    points, rounds = ways.points(played.outcomes), ways.by_round(problems, played)
    for figure in (ways.draw_ways(points, "USD"), ways.draw_ways(points, "USD", "seconds"), ways.draw_rounds(rounds)):
        figure.draw_without_rendering()
        (width, height), drawn = figure.get_size_inches(), figure.get_tightbbox()
        assert drawn.x0 > -0.02 and drawn.x1 < width + 0.02 and drawn.y0 > -0.02 and drawn.y1 < height + 0.02, "cut off"
        assert "n = 3 problems" in figure.texts[0].get_text()
    plt.close("all")


def test_paths_whose_cost_nobody_knows(lab, problems, use):
    """As imported ones: votes and stopping without a synthesizer, no cost made up, and a figure all the same."""
    use(Scripted())
    lab = lab.with_(n_sets=1)
    known = ways.run(lab, problems, ways.roles(lab, synthesizer="none"), read_prices(lab.prices), **SMALL)
    assert set(known.outcomes.family) == {"vote", "confidence", "ceiling"} and not known.rounds
    unknown = known._replace(outcomes=known.outcomes.assign(cost=np.nan, seconds=np.nan))
    assert len(ways.matched(known.outcomes)) > 3 and ways.matched(unknown.outcomes).empty
    points = ways.points(unknown.outcomes)
    assert all(np.isnan(v.estimate) for v in points.cost) and not points["front by cost"].any()
    assert ways.draw_ways(points, "USD").axes[0].get_xlabel() == "no cost is known"
    gates = ways.gates(unknown, lab)
    assert list(gates) == ["vote where at least", "saved", "right there"] and ways.by_round(problems, unknown).empty
    plt.close("all")


def test_of_imported_paths_no_more_are_wanted_than_there_are(lab, problems, use, monkeypatch):
    use(Scripted(knowing))
    explore(lab, "a", problems, 8)
    monkeypatch.setattr("a2r.profiles.Model.imported", property(lambda model: model.name == "a"))
    played = ways.run(lab, problems, ways.roles(lab, synthesizer="b"), read_prices(lab.prices))
    names = set(played.outcomes.method)
    assert len(played.pool) == 3 * 8 and {"Cons@8", "A2R@4, 8 syntheses", "ParaGator@4"} <= names
    assert not {"Cons@12", "A2R@4, 4 sets", "A2R@4 by b"} & names and set(ways.matched(played.outcomes).n) == {3}


def test_the_vote_has_as_many_paths_as_the_dearest_way_costs(lab, problems, use, monkeypatch):
    monkeypatch.setattr(ways, "LEAST", 8)
    use(Scripted(knowing))
    sizes = {"n_population": 8, "n_references": 3, "n_rounds": 1}
    played = ways.run(lab.with_(n_sets=1), problems, ways.roles(lab), read_prices(lab.prices), **sizes)
    votes = played.outcomes[played.outcomes.method.str.match(r"Cons@\d+$")]
    most = votes.method.str.split("@").str[1].astype(int).max()
    dearest = played.outcomes[played.outcomes.family != "vote"].groupby("method").cost.mean().max()
    path = cost(played, "Cons@2") - cost(played, "Cons@1")
    assert most % ways.STEP == 0 and (most - ways.STEP) * path < dearest * 1.02 and dearest * 0.98 < most * path
    assert ways.matched(played.outcomes)["cost ratio"].min() > 0.98
    monkeypatch.setattr(ways, "MOST", 32)
    capped = ways.run(lab.with_(n_sets=1), problems, ways.roles(lab), read_prices(lab.prices), **sizes)
    assert "Cons@32" in set(capped.outcomes.method) and ways.matched(capped.outcomes)["cost ratio"].min() < 0.9


def test_a_score_says_of_how_many_sets_it_is_the_mean(lab, played):
    points = ways.points(played.outcomes).set_index("method")
    assert points.sets[["Cons@1", "Cons@4", "Cons@6", "Cons@32", "A2R@4"]].tolist() == [16, 8, 5, 1, 1]
    firsts = played.outcomes[(played.outcomes.method == "Cons@4") & (played.outcomes["set"] == 0)]
    own = played.pool[played.pool["index"] < 4].groupby("problem_id").answer.agg(list)
    gold = {"sum-1": "8", "sum-2": "16", "sum-3": "24"}
    assert firsts.set_index("problem_id").correct.to_dict() == {i: majority(a, gold[i]) for i, a in own.items()}


def test_a_method_of_ones_own_is_a_file(lab, problems, use, tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "METHODS", mine := dict(METHODS))
    monkeypatch.setattr("a2r.methods.METHODS", mine)
    use(Scripted(knowing))
    own = tmp_path / "mine.py"
    example = methods.__doc__.split("One's own takes eight lines:")[1].split("What it needs")[0]
    own.write_text(textwrap.dedent(example))
    lab = lab.with_(n_sets=1)
    played = ways.run(lab, problems, ways.roles(lab, synthesizer="none"), read_prices(lab.prices), str(own))
    rows = played.outcomes[played.outcomes.method == "Last two@4"]
    assert len(rows) == 3 and set(rows.family) == {"vote"} and "Last two@4" in set(ways.matched(played.outcomes).method)
    with pytest.raises(UserError, match=r"there is no file .*nobody\.py to take methods from"):
        ways.run(lab, problems, ways.roles(lab), read_prices(lab.prices), "nobody.py")


OWN = "from a2r.methods import Choice, method\n"


@pytest.mark.parametrize(
    "lines, said",
    [
        ("def mine(answers, scores):\n    return Choice()", r"mine\.py registers no method; put @method"),
        ("@method\ndef mine(answers, scores):\n    return Choice()", "registers no method"),
        ("@method('Cons')\ndef mine(answers, scores):\n    return Choice()", "has a method 'Cons', the vote that all"),
        (
            "@method('Mine', needs=('mena',))\ndef mine(answers, scores):\n    return Choice()",
            r"method 'Mine' of .*mine\.py needs 'mena' \(did you mean 'mean'\?\); there are mean, tail",
        ),
        (
            "@method('Mine', asks=('big',))\ndef mine(answers, scores):\n    return Choice()",
            "asks 'big'; there are synthesizer, large",
        ),
        ("@method('Mine')\ndef mine(answers):\n    return Choice()", "method 'Mine' failed .TypeError: mine.. takes 1"),
        (
            "@method('Mine')\ndef mine(answers, scores):\n    return 1 / 0",
            "'Mine' failed .ZeroDivisionError: division by",
        ),
        (
            "@method('Mine')\ndef mine(answers, scores):\n    return '8'",
            "'Mine' failed .* it returned '8' and no Choice",
        ),
        (
            "@method('Mine')\ndef mine(answers, scores):\n    return Choice('8')",
            r"'Mine' failed .* a Choice has a list of answers, as Choice\(\['8'\]\)",
        ),
        (
            "@method('Mine')\ndef mine(answers, scores):\n    return Choice(['8'], waves=(3, 9))",
            r"'Mine' failed .* its waves \(3, 9\) are of other than 1 to 4 paths",
        ),
    ],
)
def test_a_method_that_is_none_is_named(lab, problems, use, tmp_path, monkeypatch, lines, said):
    monkeypatch.setattr(ways, "METHODS", mine := dict(METHODS))
    monkeypatch.setattr("a2r.methods.METHODS", mine)
    use(Scripted(knowing))
    (tmp_path / "mine.py").write_text(OWN + lines)
    who = ways.roles(lab, synthesizer="none")
    with pytest.raises(UserError, match=said):
        ways.run(lab.with_(n_sets=1), problems, who, read_prices(lab.prices), str(tmp_path / "mine.py"))
    assert mine["Cons"] is METHODS["Cons"]


def test_depth_is_the_same_question_with_its_dial_turned(lab, problems, use):
    engine = use(Scripted())
    dialled = problems.assign(question=problems.question + " You may test 4.")
    frames = list(ways.depth(lab, "a", dialled, read_prices(lab.prices)))
    assert not list(ways.depth(lab, "a", problems, read_prices(lab.prices)))
    table = pd.concat(frames)
    assert set(table.method) == {f"{t}, Cons@{n}" for t in ("1 test", "8 tests") for n in (1, 4)}
    asked = {r.messages[0]["content"].split("You may test ")[1][0] for r in engine.requests}
    assert asked == {str(t) for t in ways.DIALS}


def test_votes_draw_what_other_ways_draw_at_least(lab, problems, use):
    use(Scripted())
    lab = lab.with_(n_sets=3)
    played = ways.run(lab, problems, ways.roles(lab, synthesizer="none"), read_prices(lab.prices), n_pool=4)
    assert "Cons@12" in set(played.outcomes.method) and "Cons@16" not in set(played.outcomes.method)
