"""What a pair costs: accuracy against cost, its front, pairs against single models (claim C3), and pairs turned round
(C8)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.outcomes import collect, grade, matched_votes
from a2r.pipeline import synthesize
from a2r.prices import flops, price
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import DARK, bars, beside, captioned, colour, counted, log_ticks, narrow, panels, said
from a2r.results.tables import front


def turned(
    lab: Profile, problems: pd.DataFrame, pools: dict[str, pd.DataFrame], outcomes: pd.DataFrame, prices: pd.DataFrame
) -> pd.DataFrame:
    """What the cost of smallest explorer -> largest synthesizer buys the other way round, as outcomes: the largest
    model explores.

    "A2R@k" of largest -> smallest and "Cons@k" of the largest, each with the k that comes nearest to that cost (at most
    the pool's paths); the synthesis by the smallest is taken to cost what it does at N. What `outcomes` has already is
    left out, and all of it where a price is not known.
    """
    a2r = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    small, large = lab.by_size(a2r.explorer)[0], lab.by_size(a2r.synthesizer)[-1]
    pair = a2r[(a2r.explorer == small) & (a2r.synthesizer == large)].cost.mean()
    path = price(pools[large], prices).mean()
    size = int(pools[large].groupby("problem_id").size().min())
    back = a2r[(a2r.explorer == large) & (a2r.synthesizer == small)].cost.mean() - lab.n_paths * path
    if np.isnan((pair - back) / path):
        return outcomes.iloc[:0]
    k = min(size, max(1, round((pair - back) / path)))
    frames = [matched_votes(problems, pools[large], prices, pair)]
    at = lab.with_(n_paths=k, n_sets=max(1, min(lab.n_sets, size // k)))
    read = grade(synthesize(at, small, problems, pools[large]), problems)
    frames.append(
        collect(problems, {large: pools[large]}, {(large, small): read}, prices, at).query(f"method == 'A2R@{k}'")
    )
    rows = pd.concat([frame.assign(flops=flops(frame, lab)) for frame in frames], ignore_index=True)
    keys = ["explorer", "synthesizer", "method"]
    known = pd.MultiIndex.from_frame(outcomes[keys].drop_duplicates())
    return rows[~pd.MultiIndex.from_frame(rows[keys]).isin(known)]


def sides(outcomes: pd.DataFrame, lab: Profile) -> pd.DataFrame:
    """Which side should be large (claim C8): A2R@N of the smallest explorer with the largest synthesizer against what
    the largest model does as explorer, one row each.

    Columns: accuracy of the latter, the difference in accuracy and the ratio of costs (small → large over the latter)
    as Intervals over problems, p of the difference. C8 takes the rows whose ratio is nearest to 1.
    """
    a2r = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    small, large = lab.by_size(a2r.explorer)[0], lab.by_size(a2r.synthesizer)[-1]
    ours = a2r[(a2r.explorer == small) & (a2r.synthesizer == large)].groupby(stats.KEYS)[["correct", "cost"]].mean()
    others = outcomes[(outcomes.explorer == large) & outcomes.synthesizer.isin(["", small])]
    rows = []
    for (synthesizer, method), part in others.groupby(["synthesizer", "method"], sort=False):
        if method == f"Pass@{lab.n_paths}" != "Pass@1":
            continue  # an oracle
        theirs = part.groupby(stats.KEYS)[["correct", "cost"]].mean().loc[ours.index]
        rows.append(
            {
                f"{small} → {large} against": f"{large} → {synthesizer} {method}"
                if synthesizer
                else f"{large} {method}",
                "accuracy": stats.interval(theirs.correct),
                "difference": stats.difference(ours.correct, theirs.correct),
                "p": stats.paired_test(ours.correct, theirs.correct),
                "cost ratio": stats.ratio_interval(ours.cost, theirs.cost)[0],
                "n": len(ours),
            }
        )
    return pd.DataFrame(rows)


def efficiency(outcomes: pd.DataFrame, lab: Profile, prices: pd.DataFrame) -> pd.DataFrame:
    """A2R pairs against single models (claim C3): one row a pair and a model at least as large as its synthesizer, and
    method.

    Columns: accuracy difference (A2R@N - the model's Pass@1 or Cons@N) and cost ratio as Intervals over problems,
    paired; p of the difference; and the break-evens at which the pair costs as much as the model: `tokens` written per
    synthesis, and `price` of the synthesizer as a multiple of its own ("never" where the explorer alone costs more).
    """
    size = {m.name: m.parameters or 0.0 for m in lab.models}
    a2r = f"A2R@{lab.n_paths}"
    keys = ["benchmark", "problem_id"]
    rows = []
    for (explorer, synthesizer), pair in outcomes[outcomes.method == a2r].groupby(
        ["explorer", "synthesizer"], sort=False
    ):
        ours = pair.groupby(keys)[["correct", "cost", "synthesizer_completion"]].mean()
        mine = outcomes[(outcomes.explorer == explorer) & (outcomes.method == f"Cons@{lab.n_paths}")]
        explored = (
            mine.groupby(keys).cost.mean().mean()
        )  # what the paths cost; the rest of the pair's cost is the synthesis
        for (model, method), single in outcomes[outcomes.synthesizer == ""].groupby(["explorer", "method"], sort=False):
            if method == f"Pass@{lab.n_paths}" or size.get(model, 0) < size.get(synthesizer, 0):
                continue
            theirs = single.groupby(keys)[["correct", "cost"]].mean().loc[ours.index]
            spare = theirs.cost.mean() - explored
            synthesis = ours.cost.mean() - explored
            each = prices.output.get(synthesizer, np.nan) / 1e6
            tokens = ours.synthesizer_completion.mean() + (spare - synthesis) / each
            rows.append(
                {
                    **{"explorer": explorer, "synthesizer": synthesizer, "against": f"{model} {method}"},
                    "difference": stats.difference(ours.correct, theirs.correct),
                    "p": stats.paired_test(ours.correct, theirs.correct),
                    "cost ratio": stats.ratio_interval(ours.cost, theirs.cost)[0],
                    "tokens per synthesis": ours.synthesizer_completion.mean(),
                    "break-even tokens": "never" if tokens <= 0 else tokens,  # nan where a price is not known
                    "break-even price": "never" if spare <= 0 else spare / synthesis,
                    "n": len(ours),
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


def points(outcomes: pd.DataFrame, lab: Profile) -> pd.DataFrame:
    """One row a method and pair whose price is known, for `cost_front`: label, family, correct and cost (of 1,000
    problems) as Intervals, n, front."""
    rows = []
    kept = outcomes[(outcomes.method != f"Pass@{lab.n_paths}") & outcomes.cost.notna()]  # an oracle cannot be bought
    for (explorer, synthesizer, method), part in kept.groupby(["explorer", "synthesizer", "method"], sort=False):
        means = part.groupby(["benchmark", "problem_id"])[["correct", "cost"]].mean()
        single = f"{explorer} {method}"
        rows.append(
            {
                "label": f"{explorer} → {synthesizer}" if synthesizer else single,
                "family": method if method == "Pass@1" else method.split("@")[0],
                "correct": stats.interval(means.correct),
                "cost": stats.interval(1000 * means.cost, None),
                "n": len(means),
            }
        )
    table = pd.DataFrame(rows, columns=["label", "family", "correct", "cost", "n"])
    estimates = pd.DataFrame({c: [v.estimate for v in table[c]] for c in ("correct", "cost")})
    return table.assign(front=front(estimates))


def cost_front(points: pd.DataFrame, currency: str, efficient: tuple[str, str, str] | None = None) -> Figure:
    """Accuracy against cost per 1,000 problems with intervals in both directions; the non-dominated front is joined and
    named.

    `points`: label, family (a method as in `colour`), correct and cost as Intervals, front (bool). `efficient`: the
    pair that the profile names as A2R-Efficient and the large model it is compared with, both ringed and named.
    """
    figure, (axes,) = panels(3.3, 1)
    for family, part in points.groupby("family", sort=False):
        x, y = ([v.estimate for v in part[c]] for c in ("cost", "correct"))
        error = {"xerr": bars(list(part.cost)), "yerr": bars(list(part.correct)), "elinewidth": 0.6}
        marker, name = {"Pass@1": ("s", "one path"), "Cons": ("D", "the vote")}.get(
            family, ("o", "explorer → synthesizer")
        )
        axes.errorbar(x, y, **error, fmt=marker, color=colour(family), label=f"{family}: {name}", alpha=0.85, capsize=0)
    log_ticks(axes)
    named = points[points.front].assign(weight="normal")
    best = named.assign(x=lambda p: [v.estimate for v in p.cost]).sort_values("x")
    axes.step(
        best.x,
        [v.estimate for v in best.correct],
        where="post",
        color=DARK,
        linewidth=0.9,
        linestyle=":",
        label="front",
        zorder=1,
    )
    says = f"{len(best)} of {len(points)} ways of answering are on the front: no other is as good for less"
    pair, large = (f"{efficient[0]} → {efficient[1]}", f"{efficient[2]} Pass@1") if efficient else ("", "")
    ringed = points[points.label.isin([pair, large])].drop_duplicates("label").assign(weight="bold")
    if len(ringed) == 2:
        x, y = ([v.estimate for v in ringed[c]] for c in ("cost", "correct"))
        axes.scatter(
            x,
            y,
            s=110,
            facecolors="none",
            edgecolors=DARK,
            linewidths=1.2,
            zorder=3,
            label="A2R-Efficient and its large model",
        )
        named = pd.concat([named[~named.label.isin(ringed.label)], ringed])
        value = ringed.set_index("label").correct
        says += f"; A2R-Efficient ({pair}) scores {said(value[pair])} and {large} {said(value[large])}"
    axes.set(xlabel=f"cost of 1,000 problems ({currency}, log scale)", ylabel="accuracy", ylim=(-0.02, 1.02))
    beside(axes, [(r.cost.estimate, r.correct.estimate, r.label, r.weight) for r in named.itertuples()])
    figure.legend(loc="outside upper center", ncols=1 if narrow() else 3)
    return captioned(figure, says, counted(points.correct))
