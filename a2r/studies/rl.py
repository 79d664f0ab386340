"""RL of the synthesizer: how it was trained, and what it does on the same sets before and after (claim C4)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.results import stats
from a2r.results.figures import bars


def settings(record: dict) -> pd.DataFrame:
    """How a training was done, one row a setting."""
    recipe = {k: v for k, v in record["recipe"].items() if v and k != "trainer"}
    recipe["problems"] = recipe["problems"]["name"]
    sets = {f"sets, {k}": v for k, v in record["sets"].items()}
    return pd.DataFrame(
        {"": map(str, {**recipe, **sets, "minutes": round(record["seconds"] / 60, 1)}.values())},
        [*recipe, *sets, "minutes"],
    )


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
    """Accuracy of two synthesizers (columns 1, 2 of `before_after`) by explorer; right their difference in points."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.6, 0.9 + 0.36 * len(table)), sharey=True, width_ratios=[1.4, 1]
    )
    for k, (name, shade) in enumerate(zip(table.columns[1:3], ("#8c8c8c", "#d55e00"), strict=True)):
        values = list(table[name])
        at = np.arange(len(table)) + 0.16 * (2 * k - 1)
        look = {"fmt": "o", "markersize": 4.5, "elinewidth": 1.2, "capsize": 2}
        left.errorbar([v.estimate for v in values], at, xerr=bars(values), color=shade, label=name, **look)
    points = [stats.Interval(*(100 * x for x in v[:3]), v.n) for v in table.difference]
    right.errorbar([v.estimate for v in points], range(len(table)), xerr=bars(points), color="#333333", **look)
    right.axvline(0, color="#333333", linewidth=0.8)
    left.set_yticks(range(len(table)), table.explorer, fontsize="small")
    left.set(xlabel="A2R (accuracy)", ylabel="explorer", ylim=(len(table) - 0.5, -0.5))
    right.set(xlabel="difference (points)")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.35)
        axes.grid(axis="y", visible=False)
    left.legend(fontsize="small", ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure
