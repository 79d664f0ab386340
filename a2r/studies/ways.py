"""Ways to spend the same paths: votes, confidence, choosing, synthesis, rounds and depth, at what each of them costs.

One explorer's pool serves all. Sets of N paths are what A2R, gates, scores and small schedules read; the first
`population` paths are what the larger schedules start from; the whole pool is what stopping rules may draw and what
votes of the same cost are made of."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from a2r import scores
from a2r.errors import UserError
from a2r.methods import METHODS, Method, agreement, gate, majority, named
from a2r.outcomes import Score, grade, played
from a2r.pipeline import Context, cut_sets, explore, synthesize_all
from a2r.prices import price
from a2r.problems import dial_of, with_tests
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import DARK, bars, captioned, counted, label_ends, log_ticks, narrow, panels, said
from a2r.results.tables import front
from a2r.schedules import SCHEDULES, Round, play

KEYS = ["benchmark", "problem_id"]
FAMILIES = {
    "vote": "#0173b2",
    "confidence": "#56b4e9",
    "choosing": "#029e73",
    "synthesis": "#d55e00",
    "rounds": "#cc78bc",
    "depth": "#ca9161",
    "ceiling": "#8c8c8c",
}
SMALL, LARGE = ("A2R", "ParaGator", "Layers", "Mixture-of-Agents", "Debate", "GenSynthesis"), ("RSA", "PaCoRe")
SELECTING = ("chosen", "verified", "wins")
VOTES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SIZES = {"n_pool": 32, "n_population": 8, "n_references": 4, "n_rounds": 3}
DIALS = (1, 2, 8)  # candidates that a path may test, beside the problems' own number
MARGIN = 0.02  # what is no loss


class Roles(NamedTuple):
    """Who does what: paths, syntheses and judging, and the model for the hard cases, which also scores paths."""

    explorer: str
    synthesizer: str
    large: str


def roles(lab: Profile, explorer: str | None = None, synthesizer: str | None = None, large: str | None = None) -> Roles:
    """Those named ("none": no synthesizer, and nobody for the hard cases), else the profile's A2R-Efficient before
    RL."""
    named = (explorer, synthesizer, "" if synthesizer == "none" else large)
    found = [name or lab.base_of(model) for name, model in zip(named, lab.efficient, strict=True)]
    return Roles(found[0], "", "") if synthesizer == "none" else Roles(*found)


class Played(NamedTuple):
    """What `run` gives: outcomes with the column `family`, the outputs of schedules, the pool, and what judges said."""

    outcomes: pd.DataFrame
    rounds: dict[str, pd.DataFrame]
    pool: pd.DataFrame
    judged: dict[tuple[str, str], Score]
    syntheses: dict[str, pd.DataFrame]


def run(
    lab: Profile,
    problems: pd.DataFrame,
    who: Roles,
    prices: pd.DataFrame,
    n_pool: int | None = None,
    n_population: int | None = None,
    n_references: int | None = None,
    n_rounds: int | None = None,
) -> Played:
    """Every way of this profile: those whose prompts its models know (`forms`). Reads or samples what they need.

    Sizes not given are those of SIZES (of imported paths, all that there are for the sets). Without a synthesizer only
    what needs no further sample. UserError for a pool that is too small for the profile's sets or the population.
    """
    n, sets = lab.n_paths, lab.n_sets
    imported = lab.model(who.explorer).imported
    sizes = {**SIZES, **({"n_pool": n * sets, "n_population": n} if imported else {})}
    given = {"n_pool": n_pool, "n_population": n_population, "n_references": n_references, "n_rounds": n_rounds}
    sizes |= {name: size for name, size in given.items() if size}
    n_pool, population = sizes["n_pool"], sizes["n_population"]
    if max(population, n * sets) > n_pool:
        needed = f"{sets} sets of {n} and a population of {population}"
        raise UserError(f"a pool of {n_pool} paths is too small for {needed}; raise n_pool.")
    pool = grade(explore(lab, who.explorer, problems, n_pool), problems)
    frames = [votes(problems, pool, prices, n, sets)]
    if not who.synthesizer:
        frames += free(problems, pool, prices, lab, who, {}, {})
        return Played(pd.concat(frames, ignore_index=True), {}, pool, {}, {})
    texts = {
        role: grade(synthesize_all(lab, model, problems, [Context(pool)])[0], problems)
        for role, model in (("synthesizer", who.synthesizer), ("large", who.large))
    }
    told = {("likelihood", who.large): scores.likelihood(lab, who.large, problems, pool, n, sets)}
    for judge in dict.fromkeys([who.synthesizer, who.large]):
        for kind in SELECTING:
            if {"verified": "verifier"}.get(kind, "chooser") in lab.forms:
                told[kind, judge] = getattr(scores, kind)(lab, judge, problems, pool, n, sets)
    large = texts["large"].assign(round=1)
    frames += [
        *free(problems, pool, prices, lab, who, told, texts),
        schedule_rows(problems, pool, prices, "A2R", large, n, sets, f"A2R@{n} by {who.large}"),
        *([] if imported else depth(lab, who.explorer, problems, prices)),
    ]
    made = {}
    for label, (name, steps, size, few) in schedules(lab, sizes).items():
        made[label] = grade(play(lab, who.synthesizer, problems, pool, steps, size, few, name), problems)
        frames.append(schedule_rows(problems, pool, prices, name, made[label], size, few))
    return Played(pd.concat(frames, ignore_index=True), made, pool, told, texts)


def schedules(lab: Profile, sizes: dict[str, int]) -> dict[str, tuple[str, list[Round], int, int]]:
    """Those whose prompts the models know: label -> name, rounds, paths and sets that it starts from."""
    n, large = lab.n_paths, sizes["n_population"]
    all_of_them = [
        *((name, n, lab.n_sets) for name in SMALL),
        *((name, large, 1) for name in LARGE),
        ("Refinement", 1, lab.n_sets),
    ]
    found = {}
    for name, size, sets in all_of_them:
        steps = SCHEDULES[name](size, sizes["n_references"], sizes["n_rounds"])
        if {step.form for step in steps} <= {*lab.forms, "synthesizer"} and (steps[0].k or 1) <= size:
            found[f"{name}@{size}"] = name, steps, size, sets
    return found


def votes(problems: pd.DataFrame, pool: pd.DataFrame, prices: pd.DataFrame, n: int, sets: int) -> pd.DataFrame:
    """The vote of 1, 2, 3, ... paths of the pool in disjoint sets, stopping rules over all of it, and the oracle of
    N."""
    size = int(pool.groupby("problem_id").size().min())
    frames = [
        played(problems, pool, prices, count, max(1, min(4, size // count)), methods=named("Cons"))
        for count in VOTES
        if count <= size
    ]
    frames.append(played(problems, pool, prices, size, 1, methods=named("Adaptive", "Early stop")))
    ceiling = played(problems, pool, prices, n, sets, methods=named("Oracle")).assign(family="ceiling")
    return pd.concat([*(frame.assign(family="vote") for frame in frames), ceiling], ignore_index=True)


def free(
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    prices: pd.DataFrame,
    lab: Profile,
    who: Roles,
    told: dict[tuple[str, str], Score],
    texts: dict[str, pd.DataFrame],
) -> Iterator[pd.DataFrame]:
    """The registered methods on the sets of N; a score told by another than the synthesizer is in the method's name."""
    rest = {name: m for name, m in METHODS.items() if name not in ("Cons", "Oracle", "Adaptive", "Early stop")}
    own = {name: m for name, m in rest.items() if not {*m.needs} & {kind for kind, _ in told}}
    yield played(problems, pool, prices, lab.n_paths, lab.n_sets, syntheses=texts, methods=own).assign(
        family=lambda t: t.method.map(lambda name: "confidence" if own[name.split("@")[0]].needs else "synthesis")
    )
    for (kind, judge), score in told.items():
        needing = {name: m for name, m in rest.items() if kind in m.needs}
        table = played(problems, pool, prices, lab.n_paths, lab.n_sets, {kind: score}, methods=needing)
        by = "" if judge == who.synthesizer else f" by {judge}"
        yield table.assign(method=table.method + by, family="choosing" if kind in SELECTING else "confidence")


def schedule_rows(
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    prices: pd.DataFrame,
    name: str,
    samples: pd.DataFrame,
    size: int,
    sets: int,
    label: str | None = None,
) -> pd.DataFrame:
    """The outcomes of a schedule after each round, as `outcomes.played`: the vote of what the round wrote.

    The last round goes by the schedule's name, the ones before with their number. Costs are those of the paths and of
    all rounds so far; of a round the slowest output counts for the seconds.
    """
    gold = problems.set_index("problem_id").answer
    base = played(problems, pool, prices, size, sets, methods=named("Cons")).set_index(["problem_id", "set"])
    last, label, frames = samples["round"].max(), label or f"{name}@{size}", []
    samples = samples.assign(cost=price(samples, prices))
    for number in range(1, last + 1):
        so_far = samples[samples["round"] <= number].groupby(["problem_id", "set"], sort=False)
        slowest = samples[samples["round"] <= number].groupby(["problem_id", "set", "round"]).seconds.max()
        latest = samples[samples["round"] == number].groupby(["problem_id", "set"], sort=False)
        sums = so_far[["cost", "seconds", "prompt_tokens", "cached_tokens", "completion_tokens"]].sum()
        right = [majority(a, gold[key[0]]) for key, a in latest.answer.agg(list).items()]
        frames.append(
            base.assign(
                method=label if number == last else f"{label}, round {number}",
                synthesizer=samples.model.iloc[-1],
                correct=pd.Series(right, index=latest.size().index),
                cost=base.cost + sums.cost,
                seconds=base.seconds + slowest.groupby(["problem_id", "set"]).sum(),
                engine_seconds=base.engine_seconds + sums.seconds,
                **{f"synthesizer_{kind}": sums[f"{kind}_tokens"] for kind in ("prompt", "cached", "completion")},
            )
        )
    family = "synthesis" if last == 1 and name != "Debate" else "depth" if name == "Refinement" else "rounds"
    return pd.concat(frames).reset_index().assign(family=family)


def depth(lab: Profile, explorer: str, problems: pd.DataFrame, prices: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """One path, and the vote of four, that may test fewer or more candidates, where every question has that dial."""
    if all(dial_of(question) for question in problems.question):
        for tests in DIALS:
            turned = problems.assign(question=[with_tests(question, tests) for question in problems.question])
            pool = grade(explore(lab, explorer, turned, lab.n_paths), turned)
            for count in (1, lab.n_paths):
                table = played(turned, pool, prices, count, lab.n_paths // count, methods=named("Cons"))
                yield table.assign(method=f"{tests} test{'s' * (tests > 1)}, Cons@{count}", family="depth")


def points(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a method: family, accuracy, cost of 1,000 problems and critical path in seconds as Intervals over
    problems, and whether it is on the front of accuracy against cost, and against seconds; the ceiling is on none."""
    rows = []
    for (family, method), part in outcomes.groupby(["family", "method"], sort=False):
        means = part.groupby(KEYS)[["correct", "cost", "seconds"]].mean()
        rows.append(
            {
                "method": method,
                "family": family,
                "correct": stats.interval(means.correct),
                "cost": known(1000 * means.cost),
                "seconds": known(means.seconds),
                "n": len(means),
            }
        )
    table = pd.DataFrame(rows)
    real = table[(table.family != "ceiling") & ~table.method.str.contains(", round ")]
    for against in ("cost", "seconds"):
        estimates = pd.DataFrame({c: [v.estimate for v in real[c]] for c in ("correct", against)}, index=real.index)
        best = front(estimates.dropna(), against)
        table[f"front by {against}"] = best.reindex(table.index, fill_value=False)
    return table


def known(values: pd.Series) -> stats.Interval:
    """The mean over problems; no number where one lacks: imported paths may say neither tokens nor seconds."""
    if values.isna().any():
        return stats.Interval(float("nan"), float("nan"), float("nan"), len(values))
    return stats.interval(values, None)


def matched(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Every method beside the vote that costs the same: difference as an Interval, p, and p after Holm.

    The vote of the same cost is one of k paths in some share of the problems' draws and of the next k in the rest, so
    that the mean cost is met; where the pool has no more, the vote of all of it, and `cost ratio` says what it costs.
    """
    wide, cost = stats.per_problem(outcomes), outcomes.groupby("method").cost.mean().dropna()
    plain = outcomes[outcomes.family == "vote"].method
    curve = sorted({m for m in plain if m.startswith("Cons@")}, key=lambda m: int(m.split("@")[1]))
    rows = []
    for method, family in outcomes[["method", "family"]].drop_duplicates().itertuples(index=False):
        if method in curve or family == "ceiling" or ", round " in method or method not in cost:
            continue
        above = next((m for m in curve if cost[m] >= cost[method]), curve[-1])
        below = curve[max(0, curve.index(above) - 1)] if cost[above] > cost[method] else above
        gap = cost[above] - cost[below]
        share = (cost[method] - cost[below]) / gap if gap > 0 and cost[method] > cost[below] else float(above == below)
        vote = share * wide[above] + (1 - share) * wide[below]
        paths = share * int(above.split("@")[1]) + (1 - share) * int(below.split("@")[1])
        rows.append(
            {
                "method": method,
                "family": family,
                "accuracy": stats.interval(wide[method]),
                "paths of the vote": paths,
                "vote": stats.interval(vote),
                "difference": stats.difference(wide[method], vote),
                "cost ratio": (share * cost[above] + (1 - share) * cost[below]) / cost[method],
                "p": stats.paired_test(wide[method], vote),
                "n": len(wide),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:  # nothing is known of the costs
        return table
    return table.assign(p_holm=stats.holm(table.p)).sort_values("accuracy", ignore_index=True, ascending=False)


def by_round(problems: pd.DataFrame, ways: Played) -> pd.DataFrame:
    """What became of each population: one row a schedule and round (0: the paths), as Intervals over problems.

    Columns: outputs m, accuracy of one of them, of their vote, Pass@m, and the number of different answers among them;
    `one − ceiling` and `vote − ceiling`: accuracy of one output, and of their vote, minus Pass@N of round 0, which no
    choosing among the paths can pass.
    """
    gold, rows = problems.set_index("problem_id").answer, []
    for label, samples in ways.rounds.items():
        if samples["round"].max() == 1:
            continue
        size, sets = int(label.split("@")[1]), int(samples["set"].max()) + 1
        start = cut_sets(ways.pool, size, sets).assign(round=0)
        before = None
        for number, part in pd.concat([start, samples]).groupby("round"):
            groups = part.groupby([*KEYS, "set"], sort=False)
            table = groups.agg(
                one=("correct", "mean"), answers=("answer", list), any=("correct", "max"), m=("id", "size")
            )
            ids = table.index.get_level_values("problem_id")
            table["vote"] = [majority(a, gold[i]) for a, i in zip(table.answers, ids, strict=True)]
            table["kinds"] = [len({x for x in a if isinstance(x, str)}) for a in table.answers]
            means = table.drop(columns="answers").astype(float).groupby(KEYS, sort=False).mean()
            before = means["any"] if before is None else before
            rows.append(
                {
                    **{"schedule": label, "round": number, "outputs": int(table.m.iloc[0])},
                    **{"one output": stats.interval(means.one), "vote": stats.interval(means.vote)},
                    **{"Pass@m": stats.interval(means["any"]), "answers": stats.interval(means.kinds, None)},
                    "one − ceiling": stats.difference(means.one, before),
                    "vote − ceiling": stats.difference(means.vote, before),
                    "n": len(means),
                }
            )
    return pd.DataFrame(rows)


def gates(problems: pd.DataFrame, ways: Played, prices: pd.DataFrame, lab: Profile) -> pd.DataFrame:
    """What asking only where the paths disagree saves: one row a size g of the agreeing group.

    `saved` is the share of syntheses that were not asked for, `right there` the accuracy of the vote where it stands;
    `loss` is A2R minus the gate with its 90% interval, and `no loss` whether that lies within 2 points of 0
    (equivalence, by two one-sided tests). Without a synthesizer the first two alone."""
    n, rows = lab.n_paths, []
    voted = played(problems, ways.pool, prices, n, lab.n_sets, methods=named("Cons"))
    grouped = cut_sets(ways.pool, n, lab.n_sets).groupby(["problem_id", "set"], sort=False).answer.agg(list)
    share = grouped.map(agreement).loc[pd.MultiIndex.from_frame(voted[["problem_id", "set"]])].to_numpy()
    bounds = range(2, n + 1)
    sure = {g: voted.assign(agrees=share >= g / n).set_index(KEYS) for g in bounds}
    base = {
        g: {"vote where at least": g, "saved": mean(t.agrees), "right there": mean(t.correct[t.agrees])}
        for g, t in sure.items()
    }
    if not ways.syntheses:
        return pd.DataFrame(base.values())
    rules = {f"g = {g}": Method(partial(gate, agree=g / n), (), ("synthesizer",)) for g in range(2, n + 2)}
    texts = {"synthesizer": ways.syntheses["synthesizer"]}
    table = played(problems, ways.pool, prices, n, lab.n_sets, syntheses=texts, methods=rules)
    wide, cost = stats.per_problem(table), table.groupby("method").cost.mean()
    always = f"g = {n + 1}@{n}"  # more than there are never agree
    for g in bounds:
        name = f"g = {g}@{n}"
        loss = stats.difference(wide[always], wide[name], confidence=0.9)
        rows.append(
            {
                **base[g],
                "accuracy": stats.interval(wide[name]),
                "A2R": stats.interval(wide[always]),
                "loss": loss,
                "no loss": loss.low > -MARGIN and loss.high < MARGIN,
                "cost ratio": cost[name] / cost[always],
                "n": len(wide),
            }
        )
    return pd.DataFrame(rows)


def judges(ways: Played, lab: Profile) -> pd.DataFrame:
    """How well models judge paths, as Intervals over problems: one row a judge.

    `right rejected` (e−) and `wrong accepted` (e+) of single paths; `right chosen` where a path is right, and `wrong
    chosen` where none is; `right wins` of the comparisons of a right with a wrong path (none named: half a win)."""
    pool, rows = ways.pool, []
    sets = cut_sets(pool, lab.n_paths, lab.n_sets)
    for judge in dict.fromkeys(judge for kind, judge in ways.judged if kind in SELECTING):
        row: dict = {"judge": judge}
        if score := ways.judged.get(("verified", judge)):
            said, right = score.values[sets.index], sets.correct
            row |= {"right rejected": over(1 - said[right], pool), "wrong accepted": over(said[~right], pool)}
        if score := ways.judged.get(("chosen", judge)):
            picked = sets.assign(right=score.values * sets.correct, wrong=score.values * ~sets.correct)
            each = picked.groupby([*KEYS, "set"]).agg(
                any=("correct", "any"), right=("right", "sum"), wrong=("wrong", "sum")
            )
            solvable = each["any"].to_numpy()
            row |= {"right chosen": mean(each.right[solvable]), "wrong chosen": mean(each.wrong[~solvable])}
        if score := ways.judged.get(("wins", judge)):
            games = score.spent
            one, two = pool.correct[games.one].to_numpy(), pool.correct[games.two].to_numpy()
            won = pool.correct.reindex(games.won.astype(float)).to_numpy()
            mixed = games.assign(point=[0.5 if w != w else float(w) for w in won])[one != two]
            row["right wins"] = mean(mixed.set_index(KEYS).point)
        rows.append(row)
    return pd.DataFrame(rows)


def over(values: pd.Series, pool: pd.DataFrame) -> stats.Interval:
    """The mean of values by path, over problems."""
    return mean(pd.Series(values.to_numpy(float), index=pd.MultiIndex.from_frame(pool.loc[values.index, KEYS])))


def mean(values: pd.Series) -> stats.Interval:
    """The mean over problems of values by problem; no number where there is no value."""
    if not len(values):
        return stats.Interval(float("nan"), float("nan"), float("nan"), 0)
    return stats.interval(values.groupby(KEYS).mean())


def draw_ways(table: pd.DataFrame, currency: str, against: str = "cost") -> Figure:
    """Accuracy against the cost of 1,000 problems, or against the `seconds` of the critical path, of every method.

    Families by colour; the vote's sizes are a line, the front is dotted and its methods are filled; dashed is the
    oracle of N. What costs nobody knows what is not drawn.
    """
    figure, (axes,) = panels(5.2, 1)
    words = {"cost": f"cost of 1,000 problems ({currency}, log scale)", "seconds": "critical path (seconds, log scale)"}
    methods = table[(table.family != "ceiling") & ~table.method.str.contains(", round ")]
    methods = methods[[v.estimate == v.estimate for v in methods[against]]]
    methods = methods.assign(x=[v.estimate for v in methods[against]], y=[v.estimate for v in methods.correct])
    for family, part in methods.groupby("family", sort=False):
        error = {"xerr": bars(list(part[against])), "yerr": bars(list(part.correct)), "elinewidth": 0.5, "capsize": 0}
        axes.errorbar(part.x, part.y, **error, fmt="o", mfc="white", color=FAMILIES[family], label=family)
    votes = methods[methods.method.str.startswith("Cons@")].sort_values("x")
    axes.plot(votes.x, votes.y, color=FAMILIES["vote"], linewidth=0.9, zorder=1)
    best = methods[methods[f"front by {against}"]].sort_values("x")
    axes.scatter(best.x, best.y, c=[FAMILIES[f] for f in best.family], s=22, zorder=3)
    for line in table[table.family == "ceiling"].itertuples():
        axes.axhline(line.correct.estimate, color=FAMILIES["ceiling"], linestyle="--", linewidth=0.9, zorder=0)
    axes.set(xlabel=words[against] if len(methods) else f"no {against} is known", ylabel="accuracy", ylim=(-0.02, 1.02))
    if len(methods):
        axes.step(best.x, best.y, where="post", color=DARK, linewidth=0.9, linestyle=":", zorder=1)
        log_ticks(axes)
        # all names would cross each other: those of the front, the best of each family, A2R and the largest vote
        tops = [*methods.groupby("family").y.idxmax(), *best.index, *votes.index[-1:]]
        named = methods[methods.index.isin(tops) | methods.method.str.startswith("A2R@")]
        ends = [(row.x, row.y, row.method, FAMILIES[row.family]) for row in named.itertuples()]
        label_ends(axes, [*ends, *ceilings(axes, table)])
        top = methods.loc[methods.y.idxmax()]
        says = f"{len(best)} of {len(methods)} ways are on the front of accuracy against {against}"
        says += f"; the best is {top.method} with {said(top.correct)}"
        figure.legend(loc="outside upper center", ncols=3 if narrow() else 6)
    return captioned(
        figure, says if len(methods) else f"The {against} of these paths is not known", counted(table.correct)
    )


def ceilings(axes: plt.Axes, table: pd.DataFrame) -> list[tuple[float, float, str, str]]:
    """Where and how `label_ends` names the oracle of N."""
    lines = table[table.family == "ceiling"].itertuples()
    right = axes.get_xlim()[1]
    return [(right, r.correct.estimate, r.method.replace("Oracle", "Pass"), FAMILIES["ceiling"]) for r in lines]


def draw_rounds(table: pd.DataFrame) -> Figure:
    """By round: accuracy of one output (filled) and of the vote (open), Pass@m (dotted), and the ceiling of round 0."""
    schedules = list(table.schedule.unique())
    figure, grid = panels(1.9, len(schedules), sharey=True)
    lines = {
        "one output": {"color": FAMILIES["rounds"], "marker": "o"},
        "the vote": {"color": FAMILIES["vote"], "marker": "D", "markerfacecolor": "white"},
        "Pass@m": {"color": FAMILIES["ceiling"], "linestyle": ":", "marker": "^"},
    }
    for axes, schedule in zip(grid, schedules, strict=True):
        part = table[table.schedule == schedule].sort_values("round")
        for k, (name, look) in enumerate(lines.items()):
            values = list(part[name.removeprefix("the ")])
            at = part["round"] + 0.06 * (k - 1)
            axes.errorbar(at, [v.estimate for v in values], yerr=bars(values), label=name, elinewidth=0.6, **look)
        ceiling = part["Pass@m"].iloc[0].estimate
        axes.axhline(ceiling, color=FAMILIES["ceiling"], linestyle="--", linewidth=0.8, zorder=0)
        axes.set(title=schedule, xticks=list(part["round"]), ylim=(-0.02, 1.02))
        axes.set_xlabel("round (0: the paths)")
    grid[0].set_ylabel("accuracy")
    figure.legend(*grid[0].get_legend_handles_labels(), ncols=3, loc="outside upper center")
    last = table.groupby("schedule", sort=False).tail(1)
    above = sum(v.low > 0 for v in last["one − ceiling"])
    says = f"In {above} of {len(last)} schedules one output of the last round passes the oracle of the first paths"
    return captioned(figure, says, counted(table.vote))
