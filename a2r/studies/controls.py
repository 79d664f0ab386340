"""What A2R is compared with besides the vote, and what a synthesizer did with a set.

Other references for the same sets (`a2r.references`), choosing only, more votes for the money.

From references to synthesis, a move is one of

rescues    right although no reference is
selects    right where the right answer does not win the vote alone (a minority, or a tie)
keeps      right where it does
loses      wrong although at least one reference is right
misses     wrong, as all references are
"""

import random

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.answers import answer_component, equivalent
from a2r.methods import ballot, explorer_state, majority
from a2r.metrics import pass_at_k
from a2r.outcomes import billed_sets, grade, matched_votes
from a2r.pipeline import cut_sets, explore, in_memory
from a2r.prices import price
from a2r.profiles import Profile
from a2r.references import ALONE, CONTEXTS
from a2r.results import stats, tables
from a2r.results.figures import DARK, bars, captioned, counted, narrow, paired, panels, points, said, sideways, small
from a2r.results.stats import KEYS, SHARE


def pairs(lab: Profile) -> list[tuple[str, str]]:
    """The pairs that are studied unless others are named: every symmetric model, what RL made of one on its base's
    paths, and the profile's A2R-Efficient."""
    trained = [(base, name) for name, base in lab.trained.items() if base in lab.symmetric]
    return list(dict.fromkeys([*((m, m) for m in lab.symmetric), *trained, lab.efficient[:2]]))


def pool(lab: Profile, explorer: str, problems: pd.DataFrame) -> pd.DataFrame:
    """The explorer's graded pool, of at least twice N paths a problem: the votes that A2R's cost buys need them."""
    return grade(explore(lab, explorer, problems, lab.n_paths * max(2, lab.n_sets)), problems)


def outcomes(
    lab: Profile,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    kinds: dict[str, pd.DataFrame],
    moves: pd.DataFrame,
    prices: pd.DataFrame,
) -> pd.DataFrame:
    """The controls of one pair as outcomes (benchmark, problem_id, explorer, synthesizer, set, method, correct, cost,
    right).

    `right` is the number of right references in the set. Methods: one a context ("A2R@4", "Alone@1", "Foreign@4", ...),
    "Selection@N" (`selection` of `transitions`: the same syntheses held to their references' answers. One way of
    choosing, weak where the synthesizer is strong; the bound of all is Pass@N), and "Cons@k" with the k whose cost is
    nearest to A2R's.
    """
    n, explorer, at = lab.n_paths, "+".join(dict.fromkeys(pool.model)), ["problem_id", "set"]
    paths = billed_sets(pool, prices, n, lab.n_sets).groupby(at).cost.sum(skipna=False)
    frames = {ALONE.get(kind) or f"{CONTEXTS[kind]}@{n}": graded for kind, graded in kinds.items()}
    frames[f"Selection@{n}"] = moves.assign(correct=moves.selection)

    def of_sets(values: pd.Series, rows: pd.DataFrame) -> np.ndarray:
        return values.loc[pd.MultiIndex.from_frame(rows[at])].to_numpy()

    for name, rows in frames.items():
        paid = 0 if name in ALONE.values() else of_sets(paths, rows)
        frames[name] = rows.assign(method=name, cost=price(rows, prices).to_numpy() + paid, synthesizer=rows.model)
    table = pd.concat(frames.values(), ignore_index=True).astype({"correct": float})
    table = table.assign(explorer=explorer, right=of_sets(moves.groupby(at).right.first(), table))
    votes = matched_votes(problems, pool, prices, table[table.method == f"A2R@{n}"].cost.mean())
    votes = votes.assign(synthesizer=table.synthesizer.iloc[0], right=np.nan)  # sets of other paths
    columns = [*KEYS, "explorer", "synthesizer", "set", "method", "correct", "cost", "right"]
    return pd.concat([table[columns], votes[columns]], ignore_index=True)


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
        first = first[["problem_id", "set", "answer", "correct"]].dropna(subset="answer")
        both = made["repeated"].merge(first, on=["problem_id", "set"], suffixes=("", "_claim"))
        kept = np.array([equivalent(*c) for c in zip(both.answer_claim, both.answer, strict=True)], dtype=bool)
        row = {"explorer": explorer, "synthesizer": synthesizer}
        for error, good in (("e−", True), ("e+", False)):
            of = both.assign(error=kept != good)[both.correct_claim == good].groupby(KEYS).error.mean()
            row[error] = stats.interval(of) if len(of) else stats.Interval(np.nan, np.nan, np.nan, 0)
        rows.append({**row, "n right": row["e−"].n, "n wrong": row["e+"].n})
    return pd.DataFrame(rows)


def against(outcomes: pd.DataFrame, method: str, pools: dict[str, pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """One row a pair and control: accuracy of the control and of `method`, their paired difference and p, cost of 1,000
    problems.

    Pass@1 and Pass@N of the explorer's pool are added to the controls in `outcomes` (of `controls.outcomes`).
    """
    rows = []
    for (explorer, synthesizer), part in outcomes.groupby(["explorer", "synthesizer"], sort=False):
        per = part.groupby(["method", *KEYS], sort=False)[["correct", "cost"]].mean()
        right = pools[explorer].groupby(KEYS, sort=False).correct.agg(["size", "sum"])
        bound = pd.Series(pass_at_k(right["size"], right["sum"], lab.n_paths), index=right.index)
        scores = {"Pass@1": right["sum"] / right["size"], f"Pass@{lab.n_paths}": bound}
        costs = 1000 * per.groupby("method").cost.mean()
        scores |= {name: per.loc[name].correct for name in part.method.unique()}
        ours = scores.pop(method)
        for control, theirs in scores.items():
            theirs = theirs.loc[ours.index]
            row = {"explorer": explorer, "synthesizer": synthesizer, "control": control}
            row |= {"accuracy": stats.interval(theirs), "A2R": stats.interval(ours)}
            row |= {"A2R − control": stats.difference(ours, theirs), "cost per 1,000": costs.get(control, np.nan)}
            rows.append({**row, "n": len(ours), "p": stats.paired_test(ours, theirs)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


GROUPS = {  # of controls, for their colours and markers: what each asks
    "one path, a vote or a choice": ("Pass@", "Cons", "Selection"),
    "other references, or none": ("Alone", "Foreign", "Repeated"),
    "the same references in another form": ("Shuffled", "Finals", "Traces"),
}
LOOKS = dict(zip(GROUPS, (("#0173b2", "s"), ("#029e73", "o"), ("#d55e00", "^")), strict=True))


def differences(table: pd.DataFrame) -> Figure:
    """A2R minus each control in points, one panel a pair, controls as rows; columns as in `against`."""
    table = table.assign(control=table.control.replace(r"^Cons@\d+$", "Cons, same cost", regex=True))
    groups = {start: group for group, starts in GROUPS.items() for start in starts}
    order = [c for start in groups for c in table.control.unique() if c.startswith(start)]
    pairs = list(table[["explorer", "synthesizer"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = panels(0.45 + 0.155 * len(order), len(pairs), wide=4, sharex=True, sharey=True)
    for panel, pair in zip(axes, pairs, strict=True):
        sideways(panel, order)
        part = table[(table.explorer == pair[0]) & (table.synthesizer == pair[1])]
        for control, v in zip(part.control, points(list(part["A2R − control"])), strict=True):
            shade, marker = next(LOOKS[group] for start, group in groups.items() if control.startswith(start))
            look = {"fmt": marker, "markersize": 3, "color": shade}
            panel.errorbar([v.estimate], [order.index(control)], xerr=bars([v]), **look)
        panel.set(title=paired(*pair, "\n→ "), xlabel="A2R − control (points)")
        panel.tick_params(labelbottom=True)
    handles = [plt.Line2D([], [], color=c, marker=m, linestyle="", label=name) for name, (c, m) in LOOKS.items()]
    columns = {"ncols": 1 if narrow() else 3, "columnspacing": 1, "handlelength": 1}
    figure.legend(handles=handles, loc="outside upper center", **columns)
    alone = [v for c, v in zip(table.control, table["A2R − control"], strict=True) if c.startswith("Alone@")]
    above = sum(v.low > 0 for v in alone)
    says = f"A2R is better than its synthesizer without references for {above} of {len(alone)} pairs"
    note = "bars: 95% intervals over problems (better: above 0); no point: not sampled for that pair"
    return captioned(figure, says, counted(table["A2R − control"]), note)


def draw_checking(table: pd.DataFrame) -> Figure:
    """Both errors of `checking` in percent, one row a pair."""
    names = [paired(r.explorer, r.synthesizer) for r in table.itertuples()]
    figure, axes = panels(0.7 + 0.2 * len(names), 2, wide=2, sharey=True, sharex=True)
    errors = {"e−": "right claim is dropped", "e+": "wrong claim is kept"}
    for panel, (error, meaning) in zip(axes, errors.items(), strict=True):
        sideways(panel, names, reference=None)
        shown = points(list(table[error]))
        panel.errorbar([v.estimate for v in shown], range(len(names)), xerr=bars(shown), fmt="o", color=DARK)
        panel.set(xlabel=f"{error}: a {meaning} (percent)")
        panel.tick_params(labelbottom=True)
        panel.set_xlim(-3, 103)
    pays = sum(r["e−"].estimate + r["e+"].estimate < 1 for _, r in table.iterrows())
    says = f"Reading claims pays, with e− + e+ below 1, for {pays} of {len(names)} pairs"
    return captioned(figure, says, counted([*table["e−"], *table["e+"]]))


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
        key: (s.correct.tolist(), s.answer.tolist(), {answer_component(text) for text in s.text})
        for key, s in cut_sets(in_memory(pool), n_paths, n_sets).groupby(["problem_id", "set"], sort=False)
    }
    rows = []
    for s in syntheses.itertuples():
        verdicts, answers, components = sets[s.problem_id, s.set]
        state, said = explorer_state(verdicts, answers), answer_component(s.text)
        groups = ballot([*answers, s.answer]).values()
        known = any(len(answers) in voters and len(voters) > 1 for voters in groups)
        row = {"state": state, "right": sum(verdicts), "move": move(state, bool(s.correct))}
        row |= {"copies": said != "" and said in components, "in references": known}
        rows.append({**row, "selection": float(s.correct) if known else majority(answers, gold[s.problem_id])})
    return syntheses.reset_index(drop=True).join(pd.DataFrame(rows))


def move(state: str, correct: bool) -> str:
    """What a synthesis did, from its set's explorer state and whether it is right."""
    if correct:
        return {"none": "rescues", "minority": "selects", "tie": "selects"}.get(state, "keeps")
    return "misses" if state == "none" else "loses"


def moves(table: pd.DataFrame) -> pd.DataFrame:
    """One row a (explorer, synthesizer): the share of every move among all syntheses, and of those that copy a
    reference word by word, end with an answer of a reference, and with that of a wrong one, as Intervals over
    problems."""
    shown = {m: table.move == m for m in MOVES} | {"copies a reference": table.copies}
    shown["answer among the references"] = table["in references"]
    shown["answer of a wrong reference"] = table["in references"] & ~table.correct
    table = table[[*KEYS, "explorer"]].assign(synthesizer=table.model, **shown)
    return tables.means(table, ["explorer", "synthesizer"], dict.fromkeys(shown, SHARE))


def examples(
    table: pd.DataFrame, pool: pd.DataFrame, problems: pd.DataFrame, n_paths: int, n_sets: int, seed: int = 0
) -> pd.DataFrame:
    """One real synthesis of every move that occurs, drawn by `seed`: move, models, state, question, answer, the set's
    references (each marked right or wrong), and the synthesis."""
    sets, rows = cut_sets(pool, n_paths, n_sets), []
    for m, found in ((m, table[table.move == m]) for m in MOVES):
        if found.empty:
            continue
        s = found.iloc[random.Random(f"gallery/{seed}/{m}").randrange(len(found))]
        problem = problems[problems.problem_id == s.problem_id].iloc[0]
        paths = sets[(sets.problem_id == s.problem_id) & (sets["set"] == s["set"])]
        references = [
            f"[{k}] {'right' if right else 'wrong'}: {' '.join(answer_component(text).split())}"
            for k, (text, right) in enumerate(zip(paths.text, paths.correct, strict=True), 1)
        ]
        row = {"move": m, "explorer": s.explorer, "synthesizer": s.model, "state": s.state, "copies": bool(s.copies)}
        row |= {"question": problem.question, "answer": problem.answer, "references": "\n".join(references)}
        rows.append({**row, "synthesis": s.text.strip()})
    return pd.DataFrame(rows)


def gallery(examples: pd.DataFrame) -> str:
    """`examples` as text to read."""
    return "\n".join(
        f"=== {r.move}: {r.explorer} -> {r.synthesizer}, state '{r.state}'{', copies a reference' * r.copies}\n"
        f"{r.question}\nanswer {r.answer}\n--- references\n{r.references}\n--- synthesis\n{r.synthesis}\n"
        for r in examples.itertuples()
    )


def draw_moves(table: pd.DataFrame) -> Figure:
    """Stacked bars, one a pair: the share of every move, written where it fits; intervals are in the table."""
    shades = dict(zip(MOVES, ("#01634a", "#029e73", "#c8c8c8", "#d55e00", "#f0b48c"), strict=True))
    figure, (axes,) = panels(0.75 + 0.24 * len(table), 1)
    sideways(axes, [paired(r.explorer, r.synthesizer) for r in table.itertuples()], reference=None)
    left = np.zeros(len(table))
    for m in MOVES:
        share = np.array([100 * v.estimate for v in table[m]])
        axes.barh(range(len(table)), share, 0.75, left=left, color=shades[m], label=m, linewidth=0)
        look = {"ha": "center", "va": "center", "fontsize": small()}
        for i in np.flatnonzero(share >= 4):
            ink = "white" if m == "rescues" else "black"
            axes.text(left[i] + share[i] / 2, i, f"{share[i]:.0f}", color=ink, **look)
        left += share
    axes.set(xlabel="share of syntheses (percent)", xlim=(0, 100))
    columns = {"ncols": 3 if narrow() else len(MOVES), "columnspacing": 1, "handlelength": 1}
    figure.legend(loc="outside upper center", **columns)
    most = max(table.to_dict("records"), key=lambda r: r["rescues"].estimate)
    name = paired(most["explorer"], most["synthesizer"])
    says = f"What syntheses did with their sets; {name} rescues most, {said(most['rescues'], '.1f', 100)} percent"
    terms = (
        "rescues: right, no reference is; selects: right, the vote is not; keeps: right as the vote; "
        "loses: wrong, a reference is right; misses: wrong as all; intervals in the table"
    )
    return captioned(figure, says, counted(table[MOVES[0]]), terms)
