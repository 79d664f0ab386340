"""What a pair costs: accuracy against cost, its front, pairs against single models (claim C3), and pairs turned round
(C8)."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.outcomes import collect, grade, matched_votes
from a2r.pipeline import synthesize
from a2r.prices import flops, price
from a2r.profiles import Profile
from a2r.results import stats, tables
from a2r.results.figures import (
    DARK,
    METHOD_MARKERS,
    bars,
    captioned,
    colour,
    counted,
    log_ticks,
    narrow,
    panels,
    said,
    small,
)
from a2r.results.stats import KEYS, SHARE
from a2r.results.tables import front

LABELS = ["explorer", "synthesizer", "method"]


def ends(lab: Profile, a2r: pd.DataFrame) -> tuple[list[str], str]:
    """The smallest explorer and, since that may not know how to synthesize, the next; and the largest synthesizer."""
    explorers, large = lab.by_size(a2r.explorer)[:2], lab.by_size(a2r.synthesizer)[-1]
    return [model for model in explorers if model != large] or explorers, large


def turned(
    lab: Profile, problems: pd.DataFrame, pools: dict[str, pd.DataFrame], outcomes: pd.DataFrame, prices: pd.DataFrame
) -> pd.DataFrame:
    """What the cost of a small explorer -> largest synthesizer (`ends`) buys the other way round, as outcomes: the
    largest model explores.

    "A2R@k" of largest -> small and "Cons@k" of the largest, each with the k that comes nearest to that cost (at most
    the pool's paths); the synthesis by the small one is taken to cost what it does at N. What `outcomes` has already is
    left out, and all of it where a price is not known.
    """
    a2r = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    (small, large), frames = ends(lab, a2r), [outcomes.iloc[:0]]
    path = price(pools[large], prices).mean()
    size = int(pools[large].groupby("problem_id").size().min())
    for model in small:
        pair = a2r[(a2r.explorer == model) & (a2r.synthesizer == large)].cost.mean()
        back = a2r[(a2r.explorer == large) & (a2r.synthesizer == model)].cost.mean() - lab.n_paths * path
        if np.isnan((pair - back) / path):
            continue
        k = min(size, max(1, round((pair - back) / path)))
        at = lab.with_(n_paths=k, n_sets=max(1, min(lab.n_sets, size // k)))
        read = grade(synthesize(at, model, problems, pools[large]), problems)
        back = collect(problems, {large: pools[large]}, {(large, model): read}, prices, at)
        frames += [matched_votes(problems, pools[large], prices, pair), back.query(f"method == 'A2R@{k}'")]
    rows = pd.concat(frames, ignore_index=True).drop_duplicates([*KEYS, *LABELS, "set"])
    known = pd.MultiIndex.from_frame(outcomes[LABELS].drop_duplicates())
    return rows[~pd.MultiIndex.from_frame(rows[LABELS]).isin(known)].assign(flops=lambda new: flops(new, lab))


def against(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict:
    """Difference in accuracy with its p, and ratio of costs, of two ways of answering: correct and cost a problem."""
    theirs = theirs.loc[ours.index]
    difference = stats.difference(ours.correct, theirs.correct)
    ratio = stats.ratio_interval(ours.cost, theirs.cost)
    return {"difference": difference, "p": stats.paired_test(ours.correct, theirs.correct), "cost ratio": ratio}


def sides(outcomes: pd.DataFrame, lab: Profile) -> pd.DataFrame:
    """Which side should be large (claim C8): A2R@N of a small explorer with the largest synthesizer (`ends`) against
    what the largest model does as explorer, one row each.

    Columns: accuracy of the latter, the difference in accuracy and the ratio of costs (small → large over the latter)
    as Intervals over problems, p of the difference. C8 takes the rows whose ratio is nearest to 1.
    """
    a2r = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    (small, large), rows = ends(lab, a2r), []
    for model in small:
        ours = a2r[(a2r.explorer == model) & (a2r.synthesizer == large)].groupby(KEYS)[["correct", "cost"]].mean()
        others = outcomes[(outcomes.explorer == large) & outcomes.synthesizer.isin(["", model])]
        for (synthesizer, method), part in others.groupby(["synthesizer", "method"], sort=False):
            if method == f"Pass@{lab.n_paths}" != "Pass@1":
                continue  # an oracle
            theirs = part.groupby(KEYS)[["correct", "cost"]].mean()
            name = f"{large} → {synthesizer} {method}" if synthesizer else f"{large} {method}"
            row = {"pair": f"{model} → {large}", "against": name, "accuracy": stats.interval(theirs.correct)}
            rows.append({**row, **against(ours, theirs), "n": len(ours)})
    return pd.DataFrame(rows)


def efficiency(outcomes: pd.DataFrame, lab: Profile, prices: pd.DataFrame) -> pd.DataFrame:
    """A2R pairs against single models (claim C3): one row a pair and a model at least as large as its synthesizer, and
    method.

    Columns: accuracy difference (A2R@N - the model's Pass@1 or Cons@N) and cost ratio as Intervals over problems,
    paired; p of the difference; and the break-evens at which the pair costs as much as the model: `tokens` written per
    synthesis, and `price` of the synthesizer as a multiple of its own ("never" where the explorer alone costs more).
    """
    size, rows = {m.name: m.parameters or 0.0 for m in lab.models}, []
    pairs = outcomes[outcomes.method == f"A2R@{lab.n_paths}"].groupby(["explorer", "synthesizer"], sort=False)
    for (explorer, synthesizer), pair in pairs:
        ours = pair.groupby(KEYS)[["correct", "cost", "synthesizer_completion"]].mean()
        mine = outcomes[(outcomes.explorer == explorer) & (outcomes.method == f"Cons@{lab.n_paths}")]
        explored = mine.groupby(KEYS).cost.mean().mean()  # the paths; the rest of the pair's cost is the synthesis
        for (model, method), single in outcomes[outcomes.synthesizer == ""].groupby(["explorer", "method"], sort=False):
            if method == f"Pass@{lab.n_paths}" or size.get(model, 0) < size.get(synthesizer, 0):
                continue
            theirs = single.groupby(KEYS)[["correct", "cost"]].mean()
            spare, synthesis = theirs.cost.loc[ours.index].mean() - explored, ours.cost.mean() - explored
            written, each = ours.synthesizer_completion.mean(), prices.output.get(synthesizer, np.nan) / 1e6
            tokens = written + (spare - synthesis) / each  # nan where a price is not known
            row = {"explorer": explorer, "synthesizer": synthesizer, "against": f"{model} {method}"}
            row |= {**against(ours, theirs), "tokens per synthesis": written}
            row["break-even tokens"] = "never" if tokens <= 0 else tokens
            row["break-even price"] = "never" if spare <= 0 else spare / synthesis
            rows.append({**row, "n": len(ours)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


def points(outcomes: pd.DataFrame, lab: Profile) -> pd.DataFrame:
    """One row a method and pair whose price is known, for `cost_front`: label, family, correct and cost (of 1,000
    problems) as Intervals, n, front."""
    kept = outcomes[(outcomes.method != f"Pass@{lab.n_paths}") & outcomes.cost.notna()]  # an oracle cannot be bought
    means = tables.means(kept.assign(cost=1000 * kept.cost), LABELS, {"correct": SHARE, "cost": None})
    label = [f"{e} → {s}" if s else f"{e} {m}" for e, s, m in means[LABELS].itertuples(index=False)]
    family = [m if m == "Pass@1" else m.split("@")[0] for m in means.method]
    table = means.drop(columns=[*LABELS, "sets"]).assign(label=label, family=family)
    estimates = pd.DataFrame({c: [v.estimate for v in table[c]] for c in ("correct", "cost")}, dtype=float)
    return table[["label", "family", "correct", "cost", "n"]].assign(front=front(estimates))


def cost_front(points: pd.DataFrame, currency: str, efficient: tuple[str, str, str] | None = None) -> Figure:
    """Accuracy against cost per 1,000 problems with intervals in both directions; the non-dominated front is joined and
    named.

    `points`: label, family (a method as in `colour`), correct and cost as Intervals, front (bool). `efficient`: the
    pair that the profile names as A2R-Efficient and the large model it is compared with, both ringed and named.
    """
    points = points.assign(x=[v.estimate for v in points.cost], y=[v.estimate for v in points.correct])
    figure, (axes,) = panels(3.3, 1)
    names = {"Pass@1": "one path", "Cons": "the vote", "A2R": "explorer → synthesizer"}
    for family, part in points.groupby("family", sort=False):
        look = {"fmt": METHOD_MARKERS.get(family, "o"), "color": colour(family), "elinewidth": 0.6, "capsize": 0}
        look |= {"xerr": bars(list(part.cost)), "yerr": bars(list(part.correct)), "alpha": 0.85}
        axes.errorbar(part.x, part.y, label=f"{family}: {names.get(family, family)}", **look)
    log_ticks(axes)
    best = points[points.front].sort_values("x")
    dotted = {"color": DARK, "linewidth": 0.9, "linestyle": ":", "label": "front", "zorder": 1}
    axes.step(best.x, best.y, where="post", **dotted)
    says = f"By their estimates {len(best)} of {len(points)} ways are on the front: no other is as good for less"
    pair, large = (f"{efficient[0]} → {efficient[1]}", f"{efficient[2]} Pass@1") if efficient else ("", "")
    ringed = points[points.label.isin([pair, large])].drop_duplicates("label")
    if len(ringed) == 2:
        ring = {"facecolors": "none", "edgecolors": DARK, "linewidths": 1.2, "zorder": 3}
        axes.scatter(ringed.x, ringed.y, s=110, label="A2R-Efficient and its large model", **ring)
        value, on = ringed.set_index("label").correct, "on" if pair in set(best.label) else "not on"
        says += f"; A2R-Efficient ({pair}) is {on} it and scores {said(value[pair])}, {large} {said(value[large])}"
    axes.set(xlabel=f"cost of 1,000 problems ({currency}, log scale)", ylabel="accuracy", ylim=(-0.02, 1.02))
    axes.set_xlim(axes.get_xlim()[0] / 2.5, None)  # room for the names of the first points
    shown = pd.concat([ringed, best.iloc[:0] if narrow() else best]).drop_duplicates("label")
    name_points(axes, shown, points, bold=set(ringed.label))
    figure.legend(loc="outside upper center", ncols=1 if narrow() else 3)
    note = "bars: 95% intervals over problems" + "; the front's names are in the table" * narrow()
    return captioned(figure, says, counted(points.correct), note)


def name_points(axes: plt.Axes, named: pd.DataFrame, points: pd.DataFrame, bold: set[str]) -> None:
    """Name some points (label, x, y), each at the nearest place where no point, no error bar and no other name lies, at
    the upper left if it can be."""
    axes.figure.draw_without_rendering()
    inch = axes.figure.dpi / 72  # pixels a point of paper

    def on_paper(x: list[float], y: list[float]) -> np.ndarray:
        return axes.transData.transform(np.column_stack([x, y])) / inch

    # corners of boxes in which something lies: bars with their markers first, then names
    ends = (on_paper(points.x, [getattr(v, end) for v in points.correct]) for end in ("low", "high"))
    lows, highs = (corners + room for corners, room in zip(ends, (-3, 3), strict=True))
    (left, bottom), (right, top) = axes.get_window_extent().get_points() / inch
    sides = np.array([(-1, 1), (1, -1), (-1, 0), (1, 0), (0, -1), (1, 1), (-1, -1)])  # of a point
    for row, at in zip(named.itertuples(), on_paper(named.x, named.y), strict=True):
        size = np.array([(0.6 if row.label in bold else 0.54) * len(row.label), 1.1]) * small()
        for reach, side in itertools.product(range(6, 240, 2), sides):
            low = at + reach * side - size * [(1 - side[0]) / 2, 0.5]
            free = not ((lows < low + size + 1) & (highs > low - 1)).all(axis=1).any()
            if free and left < low[0] < right - size[0] and bottom < low[1] < top - size[1]:
                break
        lows, highs = np.vstack([lows, low]), np.vstack([highs, low + size])
        look = {"fontsize": small(), "weight": "bold" if row.label in bold else "normal", "va": "center"}
        look |= {"ha": {-1: "right", 0: "center", 1: "left"}[side[0]], "textcoords": "offset points"}
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": DARK, "shrinkA": 0, "shrinkB": 4}
        line["relpos"] = (1 - side) / 2  # from the corner that is next to the point
        axes.annotate(row.label, (row.x, row.y), reach * side, arrowprops=line if reach > 8 else None, **look)
