"""What A2R is compared with besides the vote, and what a synthesizer did with a set.

Other reference contexts for the same sets, choosing only, more votes for the money. A reference context is a
`components` argument of `a2r.synthesize`: it takes the paths of one set (samples rows) and returns the texts that are
shown as references.

From references to synthesis, a move is one of

rescues    right although no reference is
selects    right where the right answer does not win the vote alone (a minority, or a tie)
keeps      right where it does
loses      wrong although at least one reference is right
misses     wrong, as all references are
"""

import random
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.answers import answer_component, equivalent, extract
from a2r.errors import UserError
from a2r.methods import ballot, explorer_state, majority
from a2r.metrics import pass_at_k
from a2r.outcomes import STATES, baselines, grade, matched_votes
from a2r.pipeline import Ask, Context, ask, cut_sets, derive_seed, explore, synthesize_all
from a2r.prices import price
from a2r.problems import dial_of, made_tests, with_tests
from a2r.profiles import Profile
from a2r.prompts import synthesizer_messages
from a2r.results import stats
from a2r.results.figures import (
    DARK,
    MUTED,
    bars,
    beside,
    captioned,
    counted,
    looks,
    narrow,
    paired,
    panels,
    points,
    said,
    sideways,
    small,
)

Components = Callable[[pd.DataFrame], list[str]]


def none(paths: pd.DataFrame) -> list[str]:
    """No references: the synthesizer's own accuracy in its own prompt."""
    return []


def repeated(paths: pd.DataFrame) -> list[str]:
    """The first path N times: N references that agree without knowing more than one."""
    return [answer_component(paths.text.iloc[0])] * len(paths)


def finals(paths: pd.DataFrame) -> list[str]:
    """Final answers without their work."""
    return [f"\\boxed{{{answer}}}" if (answer := extract(text)) is not None else "" for text in paths.text]


def traces(paths: pd.DataFrame) -> list[str]:
    """Whole outputs, thinking included, instead of answer components."""
    return [text.replace("<think>", "").replace("</think>", "").strip() for text in paths.text]


def shuffled(paths: pd.DataFrame) -> list[str]:
    """The same references rotated by a place that the problem decides: another order than A2R's."""
    texts = [answer_component(text) for text in paths.text]
    turn = 1 + derive_seed(paths.problem_id.iloc[0], "shuffled") % max(1, len(texts) - 1)
    return texts[turn:] + texts[:turn]


def foreign(pool: pd.DataFrame, n_paths: int, n_sets: int) -> Components:
    """References of the next problem of the same benchmark: what misleading references cost."""
    sets = {key: paths for key, paths in cut_sets(pool, n_paths, n_sets).groupby(["problem_id", "set"], sort=False)}
    other = {}
    for _, ids in pool.groupby("benchmark", sort=False).problem_id:
        order = ids.drop_duplicates().tolist()
        other.update(zip(order, order[1:] + order[:1], strict=True))

    def components(paths: pd.DataFrame) -> list[str]:
        first = paths.iloc[0]
        return [answer_component(text) for text in sets[other[first.problem_id], first["set"]].text]

    return components


MOST_TESTS = 8  # what models have been trained on


def same_tests(lab: Profile, model: str, problems: pd.DataFrame, read: pd.DataFrame) -> pd.DataFrame | None:
    """Graded outputs of `model` without references, one a synthesis in `read`, each allowed as many tests as that one
    made.

    None where not every question has the dial. Reading references costs tests and saves tests; this is what they are
    worth beyond their number.
    """
    questions = problems.set_index("problem_id").question
    if questions.map(dial_of).isna().any():
        return None
    asks = []
    for s in read.to_dict("records"):
        question = with_tests(questions[s["problem_id"]], min(MOST_TESTS, max(1, made_tests(s["text"]))))
        at = s["set"] * lab.n_syntheses + s["index"]  # two sets may ask the same: each gets a sample of its own
        messages = tuple(synthesizer_messages(question, [], None, lab.prompt("synthesizer")))
        asks.append(Ask(s["benchmark"], s["problem_id"], messages, range(at, at + 1), s["set"], s["explorer"], "tests"))
    return grade(ask(lab, model, "synthesizer", asks), problems)


# Method names of the contexts in outcomes.
CONTEXTS = {
    "references": "A2R",
    "none": "Alone",
    "shuffled": "Shuffled",
    "repeated": "Repeated",
    "foreign": "Foreign",
    "finals": "Finals",
    "traces": "Traces",
}
CLAIMED = ("references", "none", "repeated", "foreign")  # what claims and checking errors need
ALONE = {"none": "Alone@1", "tests": "Alone, as many tests"}  # without references: nothing is paid for paths


def contexts(
    lab: Profile, model: str, problems: pd.DataFrame, pool: pd.DataFrame, kinds: tuple[str, ...] = tuple(CONTEXTS)
) -> dict[str, pd.DataFrame]:
    """Graded syntheses of `model` on the sets of `pool`, by reference context: as A2R has it ("references"), and under
    each control.

    "tests" comes with "references", where the problems have the dial (`same_tests`).
    """
    make = {"none": none, "shuffled": shuffled, "repeated": repeated, "finals": finals, "traces": traces}
    make["foreign"] = foreign(pool, lab.n_paths, lab.n_sets)
    made = synthesize_all(
        lab, model, problems, [Context(pool, kind * (kind != "references"), make.get(kind)) for kind in kinds]
    )
    graded = {kind: grade(frame, problems) for kind, frame in zip(kinds, made, strict=True)}
    tests = same_tests(lab, model, problems, graded["references"]) if "references" in graded else None
    return graded if tests is None else {**graded, "tests": tests}


def kinds(explorer: str, synthesizer: str, wanted: list[str] | None = None) -> tuple[str, ...]:
    """The contexts of a pair: those `wanted`, else all for a model's own paths and CLAIMED for another's.

    UserError for a context that there is not; "references" is always among them.
    """
    if strange := set(wanted or ()) - set(CONTEXTS):
        raise UserError(f"there is no reference context '{min(strange)}'; choose {', '.join(CONTEXTS)}.")
    chosen = wanted or (CONTEXTS if explorer == synthesizer else CLAIMED)
    return tuple(kind for kind in CONTEXTS if kind in chosen or kind == "references")


def pairs(lab: Profile) -> list[tuple[str, str]]:
    """The pairs that are studied unless others are named: every symmetric model, what RL made of one on its base's
    paths, and the profile's A2R-Efficient."""
    trained = [(base, name) for name, base in lab.trained.items() if base in lab.symmetric]
    return list(dict.fromkeys([*((m, m) for m in lab.symmetric), *trained, lab.efficient[:2]]))


def pool(lab: Profile, explorer: str, problems: pd.DataFrame) -> pd.DataFrame:
    """The explorer's graded pool: at least twice N paths a problem, so that there are enough for the votes that A2R's
    cost buys."""
    return grade(explore(lab, explorer, problems, lab.n_paths * max(2, lab.n_sets)), problems)


def at_synthesis_temperature(lab: Profile, explorer: str, problems: pd.DataFrame) -> pd.DataFrame | None:
    """The explorer's graded pool at the temperature of the syntheses (None where it is its own): A2R's baselines have
    the same choice."""
    temperature = lab.sampling_of(explorer, "synthesizer").temperature
    if temperature == lab.sampling_of(explorer).temperature:
        return None
    return grade(explore(lab.with_(temperature=temperature), explorer, problems, lab.n_paths * lab.n_sets), problems)


def outcomes(
    lab: Profile,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    kinds: dict[str, pd.DataFrame],
    moves: pd.DataFrame,
    prices: pd.DataFrame,
    cooler: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The controls of one pair as outcomes (benchmark, problem_id, explorer, synthesizer, set, method, correct, cost,
    right).

    `right` is the number of right references in the set. Methods: one a context ("A2R@4", "Alone@1", "Foreign@4", ...),
    "Selection@N" (`selection` of `transitions`: the same syntheses held to their references' answers. One way of
    choosing, weak where the synthesizer is strong; the bound of all is Pass@N), "Cons@k" with the k whose cost is
    nearest to A2R's, and, given the pool `at_synthesis_temperature`, "Pass@1 at T=..." and "Cons@N at T=..." of it.
    """
    n, explorer = lab.n_paths, "+".join(dict.fromkeys(pool.model))
    paid = cut_sets(pool.assign(cost=price(pool, prices)), n, lab.n_sets).groupby(["problem_id", "set"])
    paid = paid.cost.sum(skipna=False)
    frames = []
    for kind, graded in kinds.items():
        at = pd.MultiIndex.from_frame(graded[["problem_id", "set"]])
        cost = price(graded, prices).to_numpy() + (0 if kind in ALONE else paid.loc[at].to_numpy())
        name = ALONE.get(kind) or f"{CONTEXTS[kind]}@{n}"
        frames.append(graded.assign(method=name, cost=cost, synthesizer=graded.model))
        if kind == "references":
            chosen = moves.assign(method=f"Selection@{n}", cost=cost, correct=moves.selection, synthesizer=moves.model)
    table = pd.concat([*frames, chosen], ignore_index=True).assign(explorer=explorer)
    known = moves.groupby(["problem_id", "set"]).right.first()
    table["right"] = known.loc[pd.MultiIndex.from_frame(table[["problem_id", "set"]])].to_numpy()
    columns = [*stats.KEYS, "explorer", "synthesizer", "set", "method", "correct", "cost", "right"]
    table = table.astype({"correct": float})[columns]
    votes = matched_votes(problems, pool, prices, table[table.method == f"A2R@{n}"].cost.mean())
    if cooler is not None:
        suffix = f" at T={lab.sampling_of(explorer, 'synthesizer').temperature:g}"
        base = baselines(problems, cooler, prices, n_paths=n, n_sets=lab.n_sets)
        votes = pd.concat(
            [votes, base[base.method.isin(["Pass@1", f"Cons@{n}"])].assign(method=lambda b: b.method + suffix)]
        )
    votes = votes.assign(synthesizer=table.synthesizer.iloc[0], right=np.nan)  # sets of other paths
    return pd.concat([table, votes], ignore_index=True)[columns]


UNSEEN = stats.Interval(np.nan, np.nan, np.nan, 0)


def checking(
    pools: dict[str, pd.DataFrame], conditions: dict[tuple[str, str], dict[str, pd.DataFrame]], lab: Profile
) -> pd.DataFrame:
    """Errors of checking, from one claim shown N times ("repeated"), one row a pair, as Intervals over problems.

    e−: the share of right claims that the synthesis drops; e+: the share of wrong ones that it ends with. Reading
    claims beats not reading them only if e− + e+ < 1 (Yu et al. 2025, arXiv 2510.12157, theorem 1).
    """
    rows = []
    for (explorer, synthesizer), made in conditions.items():
        if "repeated" not in made:
            continue
        first = cut_sets(pools[explorer], lab.n_paths, lab.n_sets).drop_duplicates(["problem_id", "set"])
        both = made["repeated"].merge(
            first[["problem_id", "set", "answer", "correct"]], on=["problem_id", "set"], suffixes=("", "_claim")
        )
        both = both[both.answer_claim.notna()]
        kept = [equivalent(claim, answer) for claim, answer in zip(both.answer_claim, both.answer, strict=True)]
        right, wrong = (
            both.assign(error=[k != good for k in kept])[both.correct_claim == good].groupby(stats.KEYS).error.mean()
            for good in (True, False)
        )
        errors = {name: stats.interval(e) if len(e) else UNSEEN for name, e in (("e−", right), ("e+", wrong))}
        rows.append({"explorer": explorer, "synthesizer": synthesizer, **errors})
    return pd.DataFrame(rows)


def against(outcomes: pd.DataFrame, method: str, pools: dict[str, pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """One row a pair and control: accuracy of the control and of `method`, their paired difference and p, cost of 1,000
    problems.

    Pass@1 and Pass@N of the explorer's pool are added to the controls in `outcomes` (of `controls.outcomes`).
    """
    rows = []
    for (explorer, synthesizer), part in outcomes.groupby(["explorer", "synthesizer"], sort=False):
        per = part.groupby(["method", "benchmark", "problem_id"], sort=False)[["correct", "cost"]].mean()
        ours = per.loc[method].correct
        right = pools[explorer].groupby(["benchmark", "problem_id"], sort=False).correct.agg(["size", "sum"])
        own = {
            "Pass@1": right["sum"] / right["size"],
            f"Pass@{lab.n_paths}": pd.Series(pass_at_k(right["size"], right["sum"], lab.n_paths), index=right.index),
        }
        for control in [*own, *(m for m in part.method.unique() if m != method)]:
            theirs = own[control] if control in own else per.loc[control].correct
            rows.append(
                {
                    **{
                        "explorer": explorer,
                        "synthesizer": synthesizer,
                        "control": control,
                        "accuracy": stats.interval(theirs.loc[ours.index]),
                    },
                    **{"A2R": stats.interval(ours), "A2R − control": stats.difference(ours, theirs.loc[ours.index])},
                    "cost per 1,000": float("nan") if control in own else 1000 * per.loc[control].cost.mean(),
                    **{"n": len(ours), "p": stats.paired_test(ours, theirs.loc[ours.index])},
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


GROUPS = {  # of controls, for their colours: what each asks
    "one path, a vote or a perfect selector": ("Pass@", "Cons", "Selection"),
    "other references, or none": ("Alone", "Foreign", "Repeated"),
    "the same references in another form": ("Shuffled", "Finals", "Traces"),
}


def differences(table: pd.DataFrame) -> Figure:
    """A2R minus each control in points, one panel a pair, controls as rows; columns as in `against` and `pair`."""
    table = table.assign(control=table.control.replace(r"^Cons@\d+$", "Cons, same cost", regex=True))
    rank = {start: i for i, start in enumerate(start for starts in GROUPS.values() for start in starts)}
    controls = sorted(
        table.control.unique(), key=lambda c: next((i for start, i in rank.items() if c.startswith(start)), 99)
    )
    shades = dict(zip(GROUPS, ("#0173b2", "#029e73", "#d55e00"), strict=True))

    def shade(control: str) -> str:
        return next((shades[g] for g, starts in GROUPS.items() if control.startswith(starts)), MUTED)

    pairs = list(table.pair.unique())
    figure, axes = panels(0.45 + 0.155 * len(controls), len(pairs), wide=4, sharex=True, sharey=True)
    for panel, pair in zip(axes, pairs, strict=True):
        sideways(panel, controls)
        for control, v in table.loc[table.pair == pair, ["control", "A2R − control"]].itertuples(index=False):
            (e,) = points([v])
            panel.errorbar(
                [e.estimate], [controls.index(control)], xerr=bars([e]), fmt="o", markersize=3, color=shade(control)
            )
        panel.set_title(paired(*pair.split(" → "), "\n→ "))
        panel.set_xlabel("A2R − control (points)")
        panel.tick_params(labelbottom=True)
    handles = [plt.Line2D([], [], color=c, marker="o", linestyle="", label=name) for name, c in shades.items()]
    figure.legend(
        handles=handles, ncols=1 if narrow() else 3, columnspacing=1, handlelength=1, loc="outside upper center"
    )
    alone = table[table.control.str.startswith("Alone@")]
    worth = sum(v.low > 0 for v in alone["A2R − control"])
    says = f"A2R is above the synthesizer alone with its interval for {worth} of {len(alone)} pairs"
    return captioned(figure, says, counted(table["A2R − control"]))


def draw_checking(table: pd.DataFrame, trained: dict[str, str] | None = None) -> Figure:
    """`checking` of each pair in the plane of its two errors, with the line below which reading claims pays; RL as
    arrows.

    `trained` (RL model -> its base): an arrow goes from the base to the model on the base's own paths.
    """
    at = {(r.explorer, r.synthesizer): (r["e+"], r["e−"]) for _, r in table.iterrows()}
    shown = [pair for pair in at if pair[0] == (trained or {}).get(pair[1], pair[1])]
    look = looks([synthesizer for _, synthesizer in shown])
    figure, (axes,) = panels(3.4)
    named = []
    for explorer, synthesizer in shown:
        x, y = at[explorer, synthesizer]
        style = look[synthesizer]
        axes.errorbar([x.estimate], [y.estimate], xerr=bars([x]), yerr=bars([y]), elinewidth=0.9, **style)
        named.append((x.estimate, y.estimate, synthesizer, "normal"))
        if explorer != synthesizer and (base := at.get((explorer, explorer))):
            arrow = {"arrowstyle": "->", "color": DARK, "shrinkA": 4, "shrinkB": 4}
            axes.annotate("", (x.estimate, y.estimate), (base[0].estimate, base[1].estimate), arrowprops=arrow)
    axes.plot([0, 1], [1, 0], color=DARK, linewidth=0.8, linestyle=":")
    axes.annotate(
        "above: references mislead", (0.5, 0.5), (4, 4), textcoords="offset points", fontsize=small(), rotation=-45
    )
    axes.set(xlabel="e+: a wrong claim is kept", ylabel="e−: a right claim is dropped", aspect="equal")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(axis="x", alpha=0.35)
    beside(axes, named)
    pays = sum(x.estimate + y.estimate < 1 for x, y in (at[pair] for pair in shown))
    says = (
        f"Errors of checking one claim: for {pays} of {len(shown)} pairs e+ + e− is below 1, where reading claims pays"
    )
    return captioned(figure, says, counted(value for pair in shown for value in at[pair]))


MOVES = ("rescues", "selects", "keeps", "loses", "misses")


def transitions(
    pool: pd.DataFrame, syntheses: pd.DataFrame, problems: pd.DataFrame, n_paths: int, n_sets: int
) -> pd.DataFrame:
    """One row a graded synthesis over the sets of a graded pool.

    Columns beside the sample's own: `state` of the set, `right` references, `move`, `copies` (its answer component is a
    reference's), `in references` (its answer is one of theirs), `selection` (0..1, correct if it may only choose: its
    own answer where a reference has it too, else the vote).
    """
    gold = problems.set_index("problem_id").answer
    sets = {
        key: (
            explorer_state(s.correct.tolist(), s.answer.tolist()),
            int(s.correct.sum()),
            s.answer.tolist(),
            {answer_component(t) for t in s.text},
        )
        for key, s in cut_sets(pool, n_paths, n_sets).groupby(["problem_id", "set"], sort=False)
    }
    rows = []
    for s in syntheses.itertuples():
        state, right, answers, components = sets[s.problem_id, s.set]
        said = answer_component(s.text)
        joined = ballot([*answers, s.answer])
        own = next((voters for voters in joined.values() if len(answers) in voters), [])
        known = len(own) > 1
        rows.append(
            {
                **{
                    "state": state,
                    "right": right,
                    "move": move(state, bool(s.correct)),
                    "copies": said != "" and said in components,
                },
                **{
                    "in references": known,
                    "selection": float(s.correct) if known else majority(answers, gold[s.problem_id]),
                },
            }
        )
    return syntheses.reset_index(drop=True).join(pd.DataFrame(rows))


def move(state: str, correct: bool) -> str:
    """What a synthesis did, from its set's explorer state and whether it is right."""
    if correct:
        return {"none": "rescues", "minority": "selects", "tie": "selects"}.get(state, "keeps")
    return "misses" if state == "none" else "loses"


def by_state(table: pd.DataFrame) -> pd.DataFrame:
    """One row a (explorer, synthesizer, state): accuracy, copy rate and the rate of copied wrong answers, as Intervals
    over problems."""
    rows = []
    for (explorer, model), pair in table.groupby(["explorer", "model"], sort=False):
        for state in STATES:
            if len(part := pair[pair.state == state]):
                per = part.assign(wrong_copy=part.copies & ~part.correct).groupby(["benchmark", "problem_id"])
                means = per[["correct", "copies", "wrong_copy", "in references"]].mean()
                rows.append(
                    {
                        **{
                            "explorer": explorer,
                            "synthesizer": model,
                            "state": state,
                            "sets": len(part),
                            "n": len(means),
                        },
                        **{
                            "right": stats.interval(means.correct),
                            "copies a reference": stats.interval(means["copies"]),
                        },
                        "copies a wrong one": stats.interval(means.wrong_copy),
                        "answer among the references": stats.interval(means["in references"]),
                    }
                )
    return pd.DataFrame(rows)


def moves(table: pd.DataFrame) -> pd.DataFrame:
    """Share of every move among all syntheses of a pair, as Intervals over problems; one row a (explorer,
    synthesizer)."""
    rows = []
    for (explorer, model), pair in table.groupby(["explorer", "model"], sort=False):
        dummies = pd.get_dummies(pd.Categorical(pair.move, categories=MOVES)).astype(float).set_index(pair.index)
        means = dummies.groupby([pair.benchmark, pair.problem_id]).mean()
        rows.append(
            {
                "explorer": explorer,
                "synthesizer": model,
                **{m: stats.interval(means[m]) for m in MOVES},
                "n": len(means),
            }
        )
    return pd.DataFrame(rows)


def examples(
    table: pd.DataFrame, pool: pd.DataFrame, problems: pd.DataFrame, n_paths: int, n_sets: int, seed: int = 0
) -> pd.DataFrame:
    """One real synthesis of every move that occurs, drawn by `seed`: move, models, state, question, answer, the set's
    references (each marked right or wrong), and the synthesis."""
    sets, rows = cut_sets(pool, n_paths, n_sets), []
    for m in MOVES:
        found = table[table.move == m]
        if found.empty:
            continue
        s = found.iloc[random.Random(f"gallery/{seed}/{m}").randrange(len(found))]
        problem = problems[problems.problem_id == s.problem_id].iloc[0]
        paths = sets[(sets.problem_id == s.problem_id) & (sets["set"] == s["set"])]
        references = "\n".join(
            f"[{k}] {'right' if right else 'wrong'}: {' '.join(answer_component(text).split())}"
            for k, (text, right) in enumerate(zip(paths.text, paths.correct, strict=True), 1)
        )
        rows.append(
            {
                **{
                    "move": m,
                    "explorer": s.explorer,
                    "synthesizer": s.model,
                    "state": s.state,
                    "copies": bool(s.copies),
                },
                **{"question": problem.question, "answer": problem.answer, "references": references},
                "synthesis": s.text.strip(),
            }
        )
    return pd.DataFrame(rows)


def gallery(examples: pd.DataFrame) -> str:
    """`examples` as text to read."""
    return "\n".join(
        f"=== {r.move}: {r.explorer} -> {r.synthesizer}, state '{r.state}'"
        f"{', copies a reference' if r.copies else ''}\n"
        f"{r.question}\nanswer {r.answer}\n--- references\n{r.references}\n--- synthesis\n{r.synthesis}\n"
        for r in examples.itertuples()
    )


def draw_moves(table: pd.DataFrame) -> Figure:
    """Stacked bars, one a pair: the share of every move, written where it fits; intervals are in the table."""
    shades = dict(zip(MOVES, ("#01634a", "#029e73", "#c8c8c8", "#d55e00", "#f0b48c"), strict=True))
    names = [paired(r.explorer, r.synthesizer) for r in table.itertuples()]
    figure, (axes,) = panels(0.75 + 0.24 * len(table), 1)
    sideways(axes, names, reference=None)
    left = np.zeros(len(table))
    for m in MOVES:
        share = np.array([100 * v.estimate for v in table[m]])
        axes.barh(range(len(table)), share, 0.75, left=left, color=shades[m], label=m, linewidth=0)
        for i in np.flatnonzero(share >= 4):
            ink = "white" if m in ("rescues", "selects") else "black"
            axes.text(
                left[i] + share[i] / 2, i, f"{share[i]:.0f}", ha="center", va="center", fontsize=small(), color=ink
            )
        left += share
    axes.set(xlabel="share of syntheses (percent)", xlim=(0, 100))
    figure.legend(ncols=3 if narrow() else len(MOVES), loc="outside upper center", columnspacing=1, handlelength=1)
    most = max(table.to_dict("records"), key=lambda r: r["rescues"].estimate)
    name = paired(most["explorer"], most["synthesizer"])
    says = f"What syntheses did with their sets; {name} rescues most, {said(most['rescues'], '.1f', 100)} percent"

    terms = (
        "rescues: right, no reference is; selects: right, the vote is not; keeps: right as the vote; "
        "loses: wrong, a reference is right; misses: wrong as all; intervals in the table"
    )
    return captioned(figure, says, counted(table[MOVES[0]]), terms)
