"""RL of the synthesizer: how it was trained, and what it does on the same sets before and after (claim C4)."""

import re

import pandas as pd
from matplotlib.figure import Figure

from a2r.problems import made_tests
from a2r.results import stats
from a2r.results.figures import DARK, bars, captioned, colour, counted, panels, points, said, sideways, small

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


def tests_and_tokens(syntheses: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """What a synthesis spends, one row an explorer and synthesizer, as Intervals over problems: completion tokens, the
    lines of its thinking (`tests`, on the embedded problems one a candidate) and the different candidates among them.

    The reward is for being right alone: where the problems set a number of tests, nothing keeps RL from exceeding it.
    """
    rows = []
    for (explorer, synthesizer), frame in syntheses.items():
        texts = list(frame.text)
        spent = {
            "tokens": frame.completion_tokens.to_numpy(),
            "tests": [made_tests(text) for text in texts],
            "different": [len(set(CANDIDATE.findall(text.partition("</think>")[0]))) for text in texts],
        }
        per = pd.DataFrame(spent).groupby(frame.problem_id.to_numpy()).mean()
        intervals = {name: stats.interval(per[name], bounds=None) for name in spent}
        rows.append({"explorer": explorer, "synthesizer": synthesizer, **intervals, "n": len(per)})
    return pd.DataFrame(rows)


def before_after(outcomes: pd.DataFrame, before: str, after: str, n_paths: int = 4) -> pd.DataFrame:
    """A2R@N of two synthesizers on the same sets, one row an explorer and one for their mean, with the paired
    difference and p."""
    rows = outcomes[outcomes.method == f"A2R@{n_paths}"]
    wide = rows.pivot_table(index=["benchmark", "problem_id"], columns=["synthesizer", "explorer"], values="correct")
    pairs = {e: (wide[before, e], wide[after, e]) for e in rows.explorer.unique()}
    pairs["mean of all"] = (wide[before].mean(axis=1), wide[after].mean(axis=1))
    table = pd.DataFrame(
        [
            {
                **{
                    "explorer": e,
                    f"{before}": stats.interval(a),
                    f"{after}": stats.interval(b),
                    "difference": stats.difference(b, a),
                },
                **{"n": len(a), "p": stats.paired_test(b, a)},
            }
            for e, (a, b) in pairs.items()
        ]
    )
    return table.assign(p_holm=stats.holm(table.p))


def draw_before_after(table: pd.DataFrame) -> Figure:
    """The paired difference between two synthesizers (columns 1 and 2 of `before_after`) in points, one row an
    explorer.

    The accuracies themselves are written at the right.
    """
    before, after = table.columns[1:3]
    figure, (axes,) = panels(0.7 + 0.22 * len(table), 1)
    shown = points(list(table.difference))
    shades = [DARK if e == "mean of all" else colour("A2R") for e in table.explorer]
    sideways(axes, list(table.explorer))
    for i, (v, shade) in enumerate(zip(shown, shades, strict=True)):
        axes.errorbar([v.estimate], [i], xerr=bars([v]), fmt="o", color=shade)
        text = f"{table[before][i].estimate:.2f} → {table[after][i].estimate:.2f}"
        axes.annotate(text, (1.02, i), xycoords=("axes fraction", "data"), fontsize=small(), va="center")
    axes.annotate(
        "accuracy",
        (1.02, -0.75),
        xycoords=("axes fraction", "data"),
        fontsize=small(),
        va="center",
        annotation_clip=False,
    )
    axes.set(xlabel=f"A2R with {after} − with {before} (points)", ylabel="explorer")
    mean = said(table.difference.iloc[-1], "+.1f", 100)
    says = f"{after} against {before} on the same sets, the mean over explorers: {mean} points"
    return captioned(figure, says, counted(table.difference))
