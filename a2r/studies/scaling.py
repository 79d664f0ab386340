"""N from one pool: the same paths cut into sets of every size."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from a2r.outcomes import collect, grade
from a2r.pipeline import Context, explore, synthesize_all
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import bars, colour, log_ticks

MOST_SETS = 2  # of each N: more of the small ones would cost most of the study and say little


def run(
    lab: Profile, problems: pd.DataFrame, pairs: list[tuple[str, str]], sizes: list[int], prices: pd.DataFrame
) -> pd.DataFrame:
    """Outcomes of every pair and N, with the column `N`; methods are named Cons@N, Pass@N, A2R@N without the number."""
    frames = []
    pools = {e: grade(explore(lab, e, problems, max(sizes)), problems) for e in dict.fromkeys(e for e, _ in pairs)}
    sets = {n: min(MOST_SETS, max(sizes) // n) for n in sizes}
    for pair in pairs:  # pair by pair, so that a server has to load each model once
        pool = pools[pair[0]]
        made = synthesize_all(lab, pair[1], problems, [Context(pool, n_paths=n, n_sets=sets[n]) for n in sizes])
        for n, frame in zip(sizes, made, strict=True):
            at = lab.with_(n_paths=n, n_sets=sets[n])
            table = collect(problems, {pair[0]: pool}, {pair: grade(frame, problems)}, prices, at)
            frames.append(
                table[table.method != "Pass@1"].assign(N=n, pair_synthesizer=pair[1]) if n > 1 else one(table, pair)
            )
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(method=joined.method.str.replace(r"@\d+$", "@N", regex=True))


def one(table: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """At N = 1 the name Pass@1 stands for a set's own path and for Pass@N of the whole pool, which comes last and is
    kept."""
    return table.drop_duplicates(["benchmark", "problem_id", "set", "method"], keep="last").assign(
        N=1, pair_synthesizer=pair[1]
    )


def table(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, N and method: accuracy and cost of 1,000 problems as Intervals over problems."""
    rows = []
    for (explorer, synthesizer, n, method), part in outcomes.groupby(
        ["explorer", "pair_synthesizer", "N", "method"], sort=False
    ):
        means = part.groupby(["benchmark", "problem_id"])[["correct", "cost"]].mean()
        rows.append(
            {
                **{"explorer": explorer, "synthesizer": synthesizer, "N": n, "method": method},
                **{
                    "accuracy": stats.interval(means.correct),
                    "cost": stats.interval(1000 * means.cost, None),
                    "n": len(means),
                },
            }
        )
    return pd.DataFrame(rows)


def cost_curves(table: pd.DataFrame) -> Figure:
    """Accuracy against cost per 1,000 problems as N grows, one line a pair and method that can be bought."""
    figure, axes = plt.subplots(figsize=(5.2, 3.3))
    bought = table[~table.method.str.startswith("Pass@N")]
    styles = dict(zip(bought.explorer.unique(), ("-", "--", ":", "-."), strict=False))
    for (explorer, synthesizer, method), part in bought.groupby(["explorer", "synthesizer", "method"], sort=False):
        part = part.sort_values("N")
        name = f"{method}: {explorer}" if method.startswith("Cons") else f"{method}: {explorer} → {synthesizer}"
        if name in [t.get_label() for t in axes.containers]:
            continue
        x, y = [v.estimate for v in part.cost], [v.estimate for v in part.accuracy]
        axes.errorbar(
            x,
            y,
            yerr=bars(list(part.accuracy)),
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.9,
            capsize=2,
            color=colour(method),
            linestyle=styles[explorer],
            label=name,
        )
        axes.annotate(f"N={part.N.iloc[-1]}", (x[-1], y[-1]), (4, 3), textcoords="offset points", fontsize="x-small")
    log_ticks(axes)
    axes.set(xlabel="cost of 1,000 problems (log scale)", ylabel="accuracy")
    axes.legend(fontsize="x-small", loc="best")
    return figure
