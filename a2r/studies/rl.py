"""RL of the synthesizer: how it was trained, and what it does on the same sets before and after (claim C4)."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.pipeline import synthesizer_asks
from a2r.problems import allowed_tests, made_tests
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import DARK, bars, captioned, colour, counted, panels, points, said, sideways, small
from a2r.training.nano.puzzles import LETTERS, parcels_candidate

KEPT = " within the dial"  # ends the name of a method whose outputs are wrong where they test more than allowed
CANDIDATE = re.compile(r"^([a-l+]+)=", re.M)  # what a line of the embedded family's thinking tests
PARCEL, TOTAL = re.compile(r"\([a-l]\) (\d+)"), re.compile(r"weigh (\d+) together")  # of the problems of numbers
ALL = "mean of all"


def settings(record: dict) -> pd.DataFrame:
    """How a training was done, one row a setting."""
    recipe = {k: v for k, v in record["recipe"].items() if v and k != "trainer"}
    recipe["problems"] = recipe["problems"]["name"]
    sets = {f"sets, {k}": v for k, v in record["sets"].items()}
    return pd.DataFrame(
        {"": map(str, {**recipe, **sets, "minutes": round(record["seconds"] / 60, 1)}.values())},
        [*recipe, *sets, "minutes"],
    )


def may_test(lab: Profile, problems: pd.DataFrame, pool: pd.DataFrame, syntheses: pd.DataFrame) -> pd.Series:
    """`allowed_tests` of each synthesis of the explorer's pool, blank where its problem has no dial."""
    asks = {(ask.problem_id, ask.set): ask.messages for ask in synthesizer_asks(lab, problems, pool)}
    sets = zip(syntheses.problem_id, syntheses.set, strict=True)
    prompts = ["\n".join(message["content"] for message in asks[key]) for key in sets]
    return pd.Series(map(allowed_tests, prompts), syntheses.index, dtype=float)


def within_dial(
    lab: Profile, problems: pd.DataFrame, pools: dict[str, pd.DataFrame], syntheses: dict[tuple[str, str], pd.DataFrame]
) -> dict[tuple[str, str], pd.DataFrame]:
    """The graded syntheses, wrong those that test more than their problem allows: two models at the same budget."""
    strict = {}
    for (explorer, synthesizer), frame in syntheses.items():
        over = frame.text.map(made_tests) > may_test(lab, problems, pools[explorer], frame)
        strict[explorer, synthesizer] = frame.assign(correct=frame.correct & ~over)
    return strict


def with_kept(outcomes: pd.DataFrame, strict: pd.DataFrame) -> pd.DataFrame:
    """Outcomes with the A2R of others of the same syntheses beside theirs, as a method of its own (`KEPT`)."""
    kept = strict[strict.method.str.startswith("A2R@")]
    return pd.concat([outcomes, kept.assign(method=kept.method + KEPT)], ignore_index=True)


def checked(question: str, answer: str, text: str) -> tuple[float, float]:
    """Of an output on a problem of numbers: how many of its tests are wrong (a sum, the verdict, or a candidate that
    there is not), and whether the right candidate is among them (0 or 1). nan for problems of another kind."""
    if not (total := TOTAL.search(question)):
        return np.nan, np.nan
    weights, thinking = list(map(int, PARCEL.findall(question))), text.partition("</think>")[0]
    chosen = combinations(range(len(weights)), len(answer))
    known = {parcels_candidate(weights, taken, int(total[1])).line for taken in chosen}
    tests = [line.strip() for line in thinking.replace("<think>", "").splitlines() if line.strip()]
    right = "+".join(LETTERS[int(digit) - 1] for digit in answer)
    return sum(line not in known for line in tests), float(right in CANDIDATE.findall(thinking))


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """One by the other; nan where there is no whole."""
    return part / np.where(whole > 0, whole, np.nan)


def tests_and_tokens(
    lab: Profile, problems: pd.DataFrame, pools: dict[str, pd.DataFrame], syntheses: dict[tuple[str, str], pd.DataFrame]
) -> pd.DataFrame:
    """What a synthesis spends and where it fails, one row an explorer and synthesizer and one for all explorers, as
    Intervals over problems.

    Completion tokens; the lines of its thinking (`tests`, on the embedded problems one a candidate); the different
    candidates among them; `slips`, the share of tests that are wrong, and `found`, of syntheses that test the right
    candidate (`checked`); `told`, the share of those that are right; and `within`, the share of syntheses that test no
    more than allowed. Blank for problems without candidates, or without a dial.
    """
    asked, parts = problems.set_index("problem_id"), {}
    for (explorer, synthesizer), frame in syntheses.items():
        allowed, tests = may_test(lab, problems, pools[explorer], frame), frame.text.map(made_tests)
        of = asked.loc[frame.problem_id]
        wrong, found = zip(*map(checked, of.question, of.answer, frame.text), strict=True)
        spent = {
            "problem_id": frame.problem_id,
            "tokens": frame.completion_tokens,
            "tests": tests,
            "different": [len(set(CANDIDATE.findall(text.partition("</think>")[0]))) for text in frame.text],
            "wrong": wrong,
            "found": found,
            "told": frame.correct * pd.Series(found, frame.index),
            "within": (tests <= allowed).astype(float).where(allowed.notna()),
        }
        parts[explorer, synthesizer] = pd.DataFrame(spent, frame.index)
    if len(pools) > 1:
        names = dict.fromkeys(synthesizer for _, synthesizer in parts)
        parts |= {(ALL, name): pd.concat([p for (_, s), p in parts.items() if s == name]) for name in names}
    rows = []
    for (explorer, synthesizer), part in parts.items():
        per = part.groupby("problem_id").mean()
        made = {name: stats.interval(per[name], bounds=None) for name in ("tokens", "tests", "different")}
        made |= dict.fromkeys(("slips", "found", "told"))
        if per.found.notna().all():
            slips, told = (stats.bootstrap([per[a], per[b]], share) for a, b in (("wrong", "tests"), ("told", "found")))
            made |= {"slips": slips, "found": stats.interval(per.found), "told": told}
        made["within"] = stats.interval(per.within) if per.within.notna().all() else None
        rows.append({"explorer": explorer, "synthesizer": synthesizer, **made, "n": len(per)})
    return pd.DataFrame(rows)


def before_after(outcomes: pd.DataFrame, before: str, after: str, n_paths: int = 4) -> pd.DataFrame:
    """A2R@N of two synthesizers on the same sets, one row an explorer and one for their mean, with the paired
    difference and p; then the same within the dial, where `outcomes` have it (`KEPT`)."""
    tables = []
    for method in (f"A2R@{n_paths}", f"A2R@{n_paths}{KEPT}"):
        rows = outcomes[outcomes.method == method]
        if rows.empty:
            continue
        wide = rows.pivot_table(
            index=["benchmark", "problem_id"], columns=["synthesizer", "explorer"], values="correct"
        )
        pairs = {e: (wide[before, e], wide[after, e]) for e in rows.explorer.unique()}
        pairs[ALL] = (wide[before].mean(axis=1), wide[after].mean(axis=1))
        table = pd.DataFrame(
            {
                "method": method,
                "explorer": e,
                before: stats.interval(a),
                after: stats.interval(b),
                "difference": stats.difference(b, a),
                "n": len(a),
                "p": stats.paired_test(b, a),
            }
            for e, (a, b) in pairs.items()
        )
        tables.append(table.assign(p_holm=stats.holm(table.p)))
    return pd.concat(tables, ignore_index=True)


def draw_before_after(table: pd.DataFrame) -> Figure:
    """The paired difference between two synthesizers (columns 2 and 3 of `before_after`) in points, one row an
    explorer, the accuracies themselves at the right; a panel of what is right, and one of what is right within the
    dial."""
    before, after = table.columns[2:4]
    methods = list(table.method.unique())
    figure, panes = panels(0.9 + 0.22 * table.explorer.nunique(), len(methods), sharex=True, sharey=True)
    for axes, method in zip(panes, methods, strict=True):
        part = table[table.method == method]
        sideways(axes, list(part.explorer))
        for i, (v, explorer) in enumerate(zip(points(list(part.difference)), part.explorer, strict=True)):
            shade = DARK if explorer == ALL else colour("A2R")
            axes.errorbar([v.estimate], [i], xerr=bars([v]), fmt="o", color=shade)
            text = f"{part[before].iloc[i].estimate:.2f} → {part[after].iloc[i].estimate:.2f}"
            axes.annotate(text, (1.02, i), xycoords=("axes fraction", "data"), fontsize=small(), va="center")
        axes.set(xlabel=f"{after} − {before} (points)", title=method)
    panes[0].set_ylabel("explorer")
    means = [said(table.difference[table.method == m].iloc[-1], "+.1f", 100) for m in methods]
    says = f"{after} against {before} on the same sets, the mean over explorers: {means[0]} points"
    return captioned(figure, says + (f"; {means[1]} within the dial" if means[1:] else ""), counted(table.difference))
