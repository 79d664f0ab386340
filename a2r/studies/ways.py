"""Ways to spend the same paths: votes, confidence, choosing, synthesis, rounds and depth, at what each of them costs.

One explorer's pool serves all, its first paths first: sets of N for A2R, gates, judges and small schedules, the first
`n_population` for larger ones, and for votes and stopping rules as many as the dearest way costs, so that every way is
held against a vote of its own cost. `score` is `outcomes.played` of a pool."""

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r import scores
from a2r.methods import JUDGED, METHODS, Method, agreement, load, majority, named
from a2r.outcomes import BILL, Score, bills, grade, played
from a2r.pipeline import cut_sets, explore
from a2r.prices import price
from a2r.problems import dial_of, with_tests
from a2r.profiles import Profile
from a2r.results import stats, tables
from a2r.results.figures import DARK, bars, captioned, counted, label_ends, log_ticks, narrow, panels, said
from a2r.results.stats import DIFFERENCE, KEYS, SHARE
from a2r.schedules import SCHEDULES, Round, play

NAMES = "vote", "confidence", "choosing", "synthesis", "rounds", "depth", "ceiling"
COLOURS = "#0173b2", "#56b4e9", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#8c8c8c"
FAMILIES = dict(zip(NAMES, COLOURS, strict=True))
SMALL, LARGE = ("ParaGator", "Layers", "Mixture-of-Agents", "Debate", "GenSynthesis"), ("RSA", "PaCoRe")
WHOLE = ("Cons", "Oracle", "Adaptive", "Early stop")  # methods that `votes` plays
VOTES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
LEAST, MOST, STEP = 32, 128, 8  # paths of a problem that the vote has where nobody says how many
MOST_SETS = 16  # of one size that the vote is scored on
SIZES = {"n_population": 8, "n_references": 4, "n_rounds": 2}
SEVERAL = (4, 8)  # outputs of A2R, where there is more than one
DIALS = (1, 8)  # candidates that a path may test, beside the problems' own number
MARGIN = 0.02  # what is no loss
SET = [*KEYS, "set"]


class Roles(NamedTuple):
    """Who does what: paths, syntheses and judging, and the model for the hard cases, which also scores paths."""

    explorer: str
    synthesizer: str
    large: str


def roles(lab: Profile, explorer: str | None = None, synthesizer: str | None = None, large: str | None = None) -> Roles:
    """Those named, else the profile's A2R-Efficient before RL; with the synthesizer "none" nobody but the explorer."""
    given = zip((explorer, synthesizer, large), lab.efficient, strict=True)
    found = Roles(*(name or lab.base_of(model) for name, model in given))
    return Roles(found.explorer, "", "") if synthesizer == "none" else found


class Schedule(NamedTuple):
    """A schedule as it is played: its family, its rounds and who writes them, and the sets of paths it starts from."""

    family: str
    rounds: list[Round]
    model: str
    size: int
    sets: int


class Played(NamedTuple):
    """What `run` gives: outcomes with the column `family`, the pool that sets are cut from, the outputs of schedules by
    label, and the scores that each judge told."""

    outcomes: pd.DataFrame
    pool: pd.DataFrame
    rounds: dict[str, pd.DataFrame]
    judged: dict[str, dict[str, Score]]


def run(
    lab: Profile, problems: pd.DataFrame, who: Roles, prices: pd.DataFrame, methods: str | None = None, **given
) -> Played:
    """Every way of this profile: those whose prompts its models know (`forms`). Reads or samples what they need.

    `methods` is a file of one's own (`methods.load`). `given` are sizes in place of those of SIZES, and `n_pool`, the
    paths of a problem that votes may draw, if the other ways draw no more: else as many as the dearest of them costs,
    LEAST to MOST, and of imported paths those of the sets. Without a synthesizer only what needs no further sample.
    """
    if methods:
        load(methods)
    n, sets, imported = lab.n_paths, lab.n_sets, lab.model(who.explorer).imported
    sizes = SIZES | ({"n_population": n} if imported else {}) | {name: size for name, size in given.items() if size}
    plans = schedules(lab, who, sizes) if who.synthesizer else {}
    first = max([n * sets, *(plan.size * plan.sets for plan in plans.values())])
    pool = grade(explore(lab, who.explorer, problems, first), problems)
    score, made, told, texts, stops = partial(played, problems, pool, prices), {}, {}, {}, {}
    for label, plan in plans.items():
        at = lab.with_(n_paths=plan.size, n_sets=plan.sets)
        made[label] = grade(play(at, plan.model, problems, pool, plan.rounds, label), problems)
        for number in range(1, len(plan.rounds) + 1):
            name = label if number == len(plan.rounds) else f"{label}, {number} round{'s' * (number > 1)}"
            so_far = made[label][made[label]["round"] <= number]
            stops.setdefault(frozenset(so_far.id), (name, plan, so_far))  # what is another way already has its name
    frames = [stopped(score, problems, prices, *stop) for stop in stops.values()]
    if who.synthesizer:
        texts = {"synthesizer": made[f"A2R@{n}"], "large": made[f"A2R@{n} by {who.large}"]}
        shown = scores.sets_of(problems, pool, n, sets)
        told = {judge: scores.judged(lab, judge, shown) for judge in dict.fromkeys([who.synthesizer, who.large])}
        if lab.engine != "openai":  # whose servers tell nothing of a text that is given
            told[who.large]["likelihood"] = scores.likelihood(lab, who.large, shown)
        frames += depth(lab, who.explorer, problems, prices) if not imported else []
    frames += free(score, lab, who, texts, told)
    dearest = pd.concat(frames).groupby("method").cost.mean().max() / price(pool, prices).mean()  # in paths
    wanted = STEP * ceil(np.nan_to_num(dearest, posinf=0) / STEP)
    n_pool = max(first, sizes.get("n_pool") or (0 if imported else min(MOST, max(LEAST, wanted))))
    whole = grade(explore(lab, who.explorer, problems, n_pool), problems) if n_pool > first else pool
    voted = votes(partial(played, problems, whole, prices), n_pool, n, sets)
    return Played(pd.concat([*voted, *frames], ignore_index=True), pool, made, told)


def schedules(lab: Profile, who: Roles, sizes: dict[str, int]) -> dict[str, Schedule]:
    """Those whose prompts the models know, by label: first the syntheses that gates and routes ask for, then several
    of a set and, where there may be more paths, several sets with one each."""
    n, sets, many = lab.n_paths, lab.n_sets, sizes["n_population"]
    found = {f"A2R@{n}": Schedule("synthesis", [Round(1)], who.synthesizer, n, sets)}
    found[f"A2R@{n} by {who.large}"] = found[f"A2R@{n}"]._replace(model=who.large)
    for m in SEVERAL:
        found[f"A2R@{n}, {m} syntheses"] = Schedule("synthesis", [Round(m)], who.synthesizer, n, sets)
    for m in SEVERAL if not lab.model(who.explorer).imported else ():
        found[f"A2R@{n}, {m} sets"] = Schedule("synthesis", [Round(m, n, apart=True)], who.synthesizer, m * n, 1)
    starts = {**dict.fromkeys(SMALL, (n, sets)), **dict.fromkeys(LARGE, (many, 1)), "Refinement": (1, sets)}
    for name, (size, few) in starts.items():
        steps = SCHEDULES[name](size, sizes["n_references"], sizes["n_rounds"])
        if {step.form for step in steps} <= {*lab.forms, "synthesizer"} and (steps[0].k or 1) <= size:
            family = {"GenSynthesis": "synthesis", "Refinement": "depth"}.get(name, "rounds")
            found[f"{name}@{size}"] = Schedule(family, steps, who.synthesizer, size, few)
    return found


def left_out(outcomes: pd.DataFrame) -> list[str]:
    """The methods and schedules that were not played, for want of a prompt that the models know, a score or a
    synthesizer."""
    there = {method.split("@")[0] for method in outcomes.method}
    return [name for name in (*METHODS, *SCHEDULES) if name not in there]


def stopped(
    score: Callable, problems: pd.DataFrame, prices: pd.DataFrame, name: str, plan: Schedule, samples: pd.DataFrame
) -> pd.DataFrame:
    """The outcomes of a schedule that ends with the last round of `samples`, as `outcomes.played`: the vote of what
    that round wrote, at the cost of the paths and of all rounds; of a round the slowest output counts for the seconds.
    """
    gold, sets = problems.set_index("problem_id").answer, ["problem_id", "set"]
    base = score(plan.size, plan.sets, methods=named("Cons")).set_index(sets)
    spent = bills(samples.assign(stage=samples["round"]), prices)
    written = samples[samples["round"] == samples["round"].max()].groupby(sets).answer.agg(list)
    right = pd.Series([majority(answers, gold[i]) for (i, _), answers in written.items()], written.index)
    paid = {column: base[column] + spent[column] for column in BILL}
    base = base.assign(method=name, synthesizer=plan.model, correct=right, family=plan.family, **paid)
    return base.reset_index()


def votes(score: Callable, size: int, n: int, sets: int) -> Iterator[pd.DataFrame]:
    """The vote of 1, 2, 3, ... of `size` paths in disjoint sets, stopping rules over all of them, the oracle of N."""
    for count in sorted({count for count in (*VOTES, n, size) if count <= size}):
        few = min(max(MOST_SETS, sets), size // count)
        yield score(count, few, methods=named("Cons")).assign(family="vote")
    yield score(size, 1, methods=named("Adaptive", "Early stop")).assign(family="vote")
    yield score(n, sets, methods=named("Oracle")).assign(family="ceiling")


def free(score: Callable, lab: Profile, who: Roles, texts: dict, told: dict) -> Iterator[pd.DataFrame]:
    """The registered methods on the sets of N; who told the scores is in the name, unless it is the synthesizer."""
    rest = {name: method for name, method in METHODS.items() if name not in WHOLE}
    asking = {name for name, method in rest.items() if {*method.needs} & {*JUDGED, "likelihood"}}
    for judge, known in {"": {}, **told}.items():
        mine = {name: method for name, method in rest.items() if (name in asking) == bool(judge)}
        table = score(lab.n_paths, lab.n_sets, known, texts, mine)
        by = f" by {judge}" if judge not in ("", who.synthesizer) else ""
        family = [family_of(rest[name.rsplit("@", 1)[0]]) for name in table.method]
        yield table.assign(method=table.method + by, family=family)


def family_of(method: Method) -> str:
    """The family of a free method, by what it needs."""
    if {*method.needs} & {*JUDGED}:
        return "choosing"
    return "confidence" if method.needs else "synthesis" if method.asks else "vote"


def depth(lab: Profile, explorer: str, problems: pd.DataFrame, prices: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """One path, and the vote of N, that may test fewer or more candidates, where every question has that dial."""
    for tests in DIALS if problems.question.map(dial_of).notna().all() else ():
        turned = problems.assign(question=[with_tests(question, tests) for question in problems.question])
        pool = grade(explore(lab, explorer, turned, lab.n_paths), turned)
        for count in (1, lab.n_paths):
            table = played(turned, pool, prices, count, lab.n_paths // count, methods=named("Cons"))
            yield table.assign(method=f"{tests} test{'s' * (tests > 1)}, Cons@{count}", family="depth")


def points(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a method: family, accuracy, cost of 1,000 problems and seconds as Intervals (no number where one lacks),
    the sets of a problem that these are means of, problems, and whether it is on the front of accuracy against cost, by
    estimates; the ceiling is not.

    There is no front of seconds: what a sample takes depends on what else its machine did, by a factor of two."""
    spent = outcomes[["cost", "seconds"]] * [1000, 1]
    spent = spent.mask(spent.isna().groupby(outcomes.method).transform("any"))
    bounds = {"correct": SHARE, "cost": None, "seconds": None}
    table = tables.means(outcomes.assign(**spent), ["method", "family"], bounds)
    estimates = table[list(bounds)].map(lambda value: value.estimate)
    real = estimates[(table.family != "ceiling") & estimates.cost.notna()]
    front = tables.front(real).reindex(table.index, fill_value=False)
    return table.assign(sets=table.sets // table.n, **{"front by cost": front})


def matched(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Every method beside the vote that costs the same: difference as an Interval, p, and p after Holm.

    The vote of the same cost is one of k paths in some share of the problems' draws and of the next k in the rest, so
    that the mean cost is met; where the pool has no more, the vote of all of it, and `cost ratio` says what it costs.
    """
    wide, cost = stats.per_problem(outcomes), outcomes.groupby("method").cost.mean().dropna()
    votes = outcomes[(outcomes.family == "vote") & outcomes.method.str.match(r"Cons@\d+$")].method.unique()
    sizes = pd.Series({name: int(name.split("@")[1]) for name in votes if name in cost}).sort_values()
    rows = []
    for method, family in outcomes[["method", "family"]].drop_duplicates().itertuples(index=False):
        if method in sizes or family == "ceiling" or method not in cost:
            continue
        place = np.interp(cost[method], cost[sizes.index], range(len(sizes)))  # on the curve of votes, or at its end
        low, high, share = sizes.index[int(place)], sizes.index[ceil(place)], place % 1
        vote, paths, paid = ((1 - share) * of[low] + share * of[high] for of in (wide, sizes, cost))
        numbers = {"accuracy": stats.interval(wide[method]), "paths of the vote": paths, "vote": stats.interval(vote)}
        numbers |= {"difference": stats.difference(wide[method], vote), "cost ratio": paid / cost[method]}
        p = stats.paired_test(wide[method], vote)
        rows.append({"method": method, "family": family, **numbers, "p": p, "n": len(wide)})
    if not rows:  # nothing is known of the costs
        return pd.DataFrame()
    table = pd.DataFrame(rows).sort_values("accuracy", ignore_index=True, ascending=False)
    return table.assign(p_holm=stats.holm(table.p))


def by_round(problems: pd.DataFrame, ways: Played) -> pd.DataFrame:
    """What became of each population: one row a schedule and round (0: the paths), as Intervals over problems.

    Columns: outputs m, accuracy of one of them, of their vote, Pass@m, and the number of different answers among them;
    `one − ceiling` and `vote − ceiling`: accuracy of one output, and of their vote, minus Pass@N of round 0, which no
    choosing among the paths can pass.
    """
    gold, frames = problems.set_index("problem_id").answer, []
    for label, samples in ways.rounds.items():
        if samples["round"].max() == 1:
            continue
        start = cut_sets(ways.pool, int(label.split("@")[1]), int(samples["set"].max()) + 1).assign(round=0)
        sets = pd.concat([start, samples]).groupby([*SET, "round"])
        columns = {"outputs": ("id", "size"), "one output": ("correct", "mean"), "Pass@m": ("correct", "max")}
        table, answers = sets.agg(**columns), sets.answer.agg(list)
        table["vote"] = [majority(some, gold[i]) for (_, i, *_), some in answers.items()]
        table["answers"] = [len({x for x in some if isinstance(x, str)}) for some in answers]
        ceiling = table["Pass@m"].xs(0, level="round").reindex(table.index.droplevel("round")).to_numpy(float)
        minus = {"one − ceiling": table["one output"] - ceiling, "vote − ceiling": table.vote - ceiling}
        frames.append(table.assign(schedule=label, **minus).reset_index())
    bounds = dict.fromkeys(["one output", "vote", "Pass@m"], SHARE) | {"answers": None}
    bounds |= dict.fromkeys(["one − ceiling", "vote − ceiling"], DIFFERENCE)
    return tables.means(pd.concat(frames), ["schedule", "round", "outputs"], bounds) if frames else pd.DataFrame()


def gates(ways: Played, lab: Profile) -> pd.DataFrame:
    """What asking only where the paths disagree saves: one row a size g of the agreeing group.

    `saved` is the share of syntheses that were not asked for, `right there` the accuracy of the vote where it stands;
    `loss` is A2R minus the gate with its 90% interval, and `no loss` whether that lies within 2 points of 0
    (equivalence, by two one-sided tests). Without a synthesizer the first two alone."""
    n, rows = lab.n_paths, []
    share = cut_sets(ways.pool, n, lab.n_sets).groupby(SET).answer.agg(list).map(agreement)
    of = {name: part.set_index(SET) for name, part in ways.outcomes.groupby("method")}
    vote, read = of[f"Cons@{n}"].loc[share.index], of.get(f"A2R@{n}")
    for g in range(2, n + 1):
        sure = share >= g / n
        row = {"vote where at least": g, "saved": mean(sure), "right there": mean(vote.correct[sure])}
        if read is not None:
            gated, always = (c.groupby(KEYS).mean() for c in (vote.correct.where(sure, read.correct), read.correct))
            loss = stats.difference(always, gated, confidence=0.9)
            row |= {"accuracy": stats.interval(gated), "A2R": stats.interval(always), "loss": loss}
            row |= {"no loss": loss.low > -MARGIN and loss.high < MARGIN}
            row |= {"cost ratio": vote.cost.where(sure, read.cost).mean() / read.cost.mean(), "n": len(always)}
        rows.append(row)
    return pd.DataFrame(rows)


def judges(ways: Played, lab: Profile) -> pd.DataFrame:
    """How well models judge paths, as Intervals over problems: one row a judge.

    `right rejected` (e−) and `wrong accepted` (e+) of single paths; `right chosen` where a path is right, `wrong
    chosen` where none is, and `none chosen`, so that the vote stands; `right wins` of the comparisons of a right with a
    wrong path (none named: half a win)."""
    pool, rows, sets = ways.pool, [], cut_sets(ways.pool, lab.n_paths, lab.n_sets)
    for judge, told in ways.judged.items():
        row: dict = {"judge": judge}
        if score := told.get("verified"):
            table = sets.assign(said=score.values).set_index(KEYS)
            row |= {"right rejected": mean(1 - table.said[table.correct])}
            row |= {"wrong accepted": mean(table.said[~table.correct])}
        if score := told.get("chosen"):
            table = sets.assign(right=score.values * sets.correct, wrong=score.values * ~sets.correct)
            each = table.groupby(SET)[["correct", "right", "wrong"]].max()
            row |= {"right chosen": mean(each.right[each.correct]), "wrong chosen": mean(each.wrong[~each.correct])}
            row |= {"none chosen": mean(1 - each[["right", "wrong"]].max(axis=1))}
        if (score := told.get("knockout")) and score.spent is not None:
            right = {c: pool.correct.reindex(score.spent[c].astype(float)).to_numpy() for c in ("one", "two", "won")}
            games = score.spent.assign(point=pd.Series(right["won"], dtype=float).fillna(0.5)).set_index(KEYS)
            row["right wins"] = mean(games.point[right["one"] != right["two"]])
        rows.append(row)
    return pd.DataFrame(rows)


def mean(shares: pd.Series) -> stats.Interval:
    """The mean over problems of shares by problem; no number where there is none."""
    if shares.empty:
        return stats.Interval(float("nan"), float("nan"), float("nan"), 0)
    return stats.interval(shares.astype(float).groupby(KEYS).mean())


def draw_ways(table: pd.DataFrame, currency: str, against: str = "cost") -> Figure:
    """Accuracy against the cost of 1,000 problems, or against the `seconds` of the critical path, of every method.

    Families by colour; the vote's sizes are a line, the front of cost is dotted and its ways are filled; dashed is the
    oracle of N. What costs nobody knows what is not drawn.
    """
    figure, (axes,) = panels(5.2, 1)
    words = {"cost": f"cost of 1,000 problems ({currency}, log scale)", "seconds": "critical path (seconds, log scale)"}
    methods = table[table.family != "ceiling"]
    methods = methods.assign(x=[v.estimate for v in methods[against]], y=[v.estimate for v in methods.correct])
    methods = methods.dropna(subset="x")
    for family, part in methods.groupby("family", sort=False):
        error = {"xerr": bars(list(part[against])), "yerr": bars(list(part.correct)), "elinewidth": 0.5, "capsize": 0}
        axes.errorbar(part.x, part.y, **error, fmt="o", mfc="white", color=FAMILIES[family], label=family)
    votes = methods[methods.method.str.startswith("Cons@")].sort_values("x")
    axes.plot(votes.x, votes.y, color=FAMILIES["vote"], linewidth=0.9, zorder=1)
    best = methods[methods["front by cost"] & (against == "cost")].sort_values("x")
    axes.scatter(best.x, best.y, c=[FAMILIES[f] for f in best.family], s=22, zorder=3)
    (ceiling,) = table[table.family == "ceiling"].itertuples()
    axes.axhline(ceiling.correct.estimate, color=FAMILIES["ceiling"], linestyle="--", linewidth=0.9, zorder=0)
    axes.set(xlabel=words[against] if len(methods) else f"no {against} is known", ylabel="accuracy", ylim=(-0.02, 1.02))
    if methods.empty:
        return captioned(figure, f"The {against} of these paths is not known", counted(table.correct))
    if len(best):
        axes.step(best.x, best.y, where="post", color=DARK, linewidth=0.9, linestyle=":", zorder=1)
    log_ticks(axes)
    axes.set_ylim(min(v.low for v in methods.correct) - 0.02, None)  # nothing lies below, and the names need the room
    # all names would cross each other: those of the front and A2R, and in a wide figure each family's best
    tops = [*best.index, *votes.index[-1:], *([] if narrow() else methods.groupby("family").y.idxmax())]
    shown = methods[methods.index.isin(tops) | methods.method.str.fullmatch(r"A2R@\d+( by .+)?|Adaptive@\d+")]
    ends = [(row.x, row.y, row.method, FAMILIES[row.family]) for row in shown.itertuples()]
    oracle = ceiling.method.replace("Oracle", "Pass")
    label_ends(axes, [*ends, (axes.get_xlim()[1], ceiling.correct.estimate, oracle, FAMILIES["ceiling"])])
    figure.legend(loc="outside upper center", ncols=3 if narrow() else 6)
    top = methods.loc[methods.y.idxmax()]
    says = f"By estimates {len(best)} of {len(methods)} ways are on the front of accuracy against cost"
    if against == "seconds":
        says = (
            "Seconds of this run: what else the machine did is in them and not in the intervals, so there is no front"
        )
    n = f"{counted(table.correct)}, {methods.sets.min()} to {methods.sets.max()} disjoint sets of each"
    key = f"{'filled: the front; ' * (len(best) > 0)}line: the vote; dashed: {oracle}, a perfect selector"
    says = f"{says}; the most accurate is {top.method} with {said(top.correct)}"
    return captioned(figure, says, n, f"bars: 95% intervals over problems; {key}")


def draw_rounds(table: pd.DataFrame) -> Figure:
    """By round: accuracy of one output (filled) and of the vote (open), Pass@m (dotted), and the ceiling of round 0."""
    schedules = list(table.schedule.unique())
    figure, grid = panels(1.9, len(schedules), wide=4 if narrow() else 3, sharey=True)
    lines = {
        "one output": {"color": FAMILIES["rounds"], "marker": "o"},
        "the vote": {"color": FAMILIES["vote"], "marker": "D", "markerfacecolor": "white"},
        "Pass@m": {"color": FAMILIES["ceiling"], "linestyle": ":", "marker": "^"},
    }
    for axes, schedule in zip(grid, schedules, strict=True):
        part = table[table.schedule == schedule].sort_values("round")
        for k, (name, look) in enumerate(lines.items()):
            values, at = list(part[name.removeprefix("the ")]), part["round"] + 0.06 * (k - 1)
            axes.errorbar(at, [v.estimate for v in values], yerr=bars(values), label=name, elinewidth=0.6, **look)
        ceiling = part["Pass@m"].iloc[0].estimate
        axes.axhline(ceiling, color=FAMILIES["ceiling"], linestyle="--", linewidth=0.8, zorder=0)
        axes.set(title=schedule, xticks=list(part["round"]), ylim=(-0.03, 1.05), xlabel="round (0: the paths)")
    grid[0].set_ylabel("accuracy")
    figure.legend(*grid[0].get_legend_handles_labels(), ncols=3, loc="outside upper center")
    several = table[table.schedule.isin(table.schedule[(table["round"] == 0) & (table.outputs > 1)])]
    last = several.groupby("schedule").tail(1)
    vote, one = (sum(value.low > 0 for value in last[f"{what} − ceiling"]) for what in ("vote", "one"))
    says = f"The last round's vote is above, with its interval, the oracle of the first paths in {vote} of {len(last)}"
    key = "bars: 95% intervals over problems; dashed: the oracle of the first paths"
    says += f" schedules over several paths, one of its outputs in {one}"
    return captioned(figure, says, counted(table.vote), key)
