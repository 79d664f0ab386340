"""RL of the synthesizer: how it was trained, and what it does on the same sets before and after (claim C4)."""

import re

import pandas as pd
from matplotlib.figure import Figure

from a2r.pipeline import synthesizer_asks
from a2r.problems import allowed_tests, made_tests
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import DARK, bars, captioned, colour, counted, panels, points, said, sideways, small

KEPT = " within the dial"  # ends the name of a method whose outputs are wrong where they test more than allowed
CANDIDATE = re.compile(r"^([a-l+]+)=", re.M)  # what a line of the embedded family's thinking tests


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


def tests_and_tokens(
    lab: Profile, problems: pd.DataFrame, pools: dict[str, pd.DataFrame], syntheses: dict[tuple[str, str], pd.DataFrame]
) -> pd.DataFrame:
    """What a synthesis spends, one row an explorer and synthesizer, as Intervals over problems: completion tokens, the
    lines of its thinking (`tests`, on the embedded problems one a candidate), the different candidates among them, and
    `within`, the share of syntheses that test no more than allowed (blank for problems without a dial)."""
    rows = []
    for (explorer, synthesizer), frame in syntheses.items():
        allowed, tests = may_test(lab, problems, pools[explorer], frame), frame.text.map(made_tests)
        spent = {
            "tokens": frame.completion_tokens,
            "tests": tests,
            "different": [len(set(CANDIDATE.findall(text.partition("</think>")[0]))) for text in frame.text],
            "within": (tests <= allowed).astype(float).where(allowed.notna()),
        }
        per = pd.DataFrame(spent, frame.index).groupby(frame.problem_id).mean()
        made = {name: stats.interval(per[name], bounds=None) for name in spent if name != "within"}
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
        pairs["mean of all"] = (wide[before].mean(axis=1), wide[after].mean(axis=1))
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
            shade = DARK if explorer == "mean of all" else colour("A2R")
            axes.errorbar([v.estimate], [i], xerr=bars([v]), fmt="o", color=shade)
            text = f"{part[before].iloc[i].estimate:.2f} → {part[after].iloc[i].estimate:.2f}"
            axes.annotate(text, (1.02, i), xycoords=("axes fraction", "data"), fontsize=small(), va="center")
        axes.set(xlabel=f"{after} − {before} (points)", title=method)
    panes[0].set_ylabel("explorer")
    means = [said(table.difference[table.method == m].iloc[-1], "+.1f", 100) for m in methods]
    says = f"{after} against {before} on the same sets, the mean over explorers: {means[0]} points"
    return captioned(figure, says + (f"; {means[1]} within the dial" if means[1:] else ""), counted(table.difference))
