"""N from one pool: the same paths cut into sets of every size."""

import pandas as pd
from matplotlib.figure import Figure

from a2r.outcomes import collect, grade
from a2r.pipeline import Context, explore, synthesize_all
from a2r.profiles import Profile
from a2r.results import stats, tables
from a2r.results.figures import captioned, counted, lines, paired, panels, said
from a2r.results.stats import KEYS, SHARE

MOST_SETS = 2  # of each N: more of the small ones would cost most of the study and say little


def run(
    lab: Profile, problems: pd.DataFrame, pairs: list[tuple[str, str]], sizes: list[int], prices: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[tuple[str, str, int], pd.DataFrame]]:
    """Outcomes of every pair and N, graded pools by explorer, and graded syntheses by explorer, synthesizer and N.

    Outcomes have the column `N`; methods are named Cons@N, Pass@N, A2R@N without the number.
    """
    frames, syntheses = [], {}
    pools = {e: grade(explore(lab, e, problems, max(sizes)), problems) for e in dict.fromkeys(e for e, _ in pairs)}
    sets = {n: min(MOST_SETS, max(sizes) // n) for n in sizes}
    for pair in pairs:  # pair by pair, so that a server has to load each model once
        pool = pools[pair[0]]
        made = synthesize_all(lab, pair[1], problems, [Context(pool, n_paths=n, n_sets=sets[n]) for n in sizes])
        for n, frame in zip(sizes, made, strict=True):
            at, syntheses[*pair, n] = lab.with_(n_paths=n, n_sets=sets[n]), grade(frame, problems)
            table = collect(problems, {pair[0]: pool}, {pair: syntheses[*pair, n]}, prices, at)
            table = table[table.method != "Pass@1"] if n > 1 else one(table)
            frames.append(table.assign(N=n, pair_synthesizer=pair[1]))
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(method=joined.method.str.replace(r"@\d+$", "@N", regex=True)), pools, syntheses


def one(table: pd.DataFrame) -> pd.DataFrame:
    """At N = 1 the name Pass@1 stands for a set's own path and for Pass@N of the whole pool, which comes last and is
    kept."""
    return table.drop_duplicates([*KEYS, "set", "method"], keep="last")


def table(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, N and method: accuracy and cost of 1,000 problems as Intervals over problems."""
    rows = outcomes.assign(synthesizer=outcomes.pair_synthesizer, accuracy=outcomes.correct, cost=1000 * outcomes.cost)
    return tables.means(rows, ["explorer", "synthesizer", "N", "method"], {"accuracy": SHARE, "cost": None})


def gains(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a pair and N: A2R@N less the vote of the same paths, as Intervals over problems."""
    rows = []
    for (explorer, synthesizer, n), part in outcomes.groupby(["explorer", "pair_synthesizer", "N"], sort=False):
        each = part.pivot_table(index=KEYS, columns="method", values="correct")
        gain = stats.difference(each["A2R@N"], each["Cons@N"])
        rows.append({"explorer": explorer, "synthesizer": synthesizer, "N": n, "gain": gain, "n": len(each)})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, seen: int | None = None) -> Figure:
    """Accuracy against N, one panel a pair and one line a method; `seen`: the most references that synthesizers were
    trained on, beyond which the ground is grey."""
    pairs = list(table[["explorer", "synthesizer"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = panels(2.6, len(pairs), wide=2, sharey=True)
    found = []
    for panel, (explorer, synthesizer) in zip(axes, pairs, strict=True):
        part = table[(table.explorer == explorer) & (table.synthesizer == synthesizer)]
        panel.set(ylim=(-0.02, 1.02), title=paired(explorer, synthesizer), xlabel="N, paths in a set")
        lines(panel, part, "N", "accuracy", "method", log=True)
        if seen and part.N.max() > seen:
            panel.set_xlim(*panel.get_xlim())
            panel.axvspan(seen * 1.2, panel.get_xlim()[1], color="#eeeeee", zorder=0, linewidth=0)
        a2r, cons = (part[part.method == m].set_index("N").accuracy for m in ("A2R@N", "Cons@N"))
        best, last = a2r.map(lambda v: v.estimate).idxmax(), a2r.index.max()
        ends = f"at N = {last} it has {said(a2r[last])} and the vote {said(cons[last])}"
        found.append(f"A2R of {paired(explorer, synthesizer)} is best at N = {best}, {said(a2r[best])}; {ends}")
    axes[0].set_ylabel("accuracy")
    beyond = seen and table.N.max() > seen
    grey = f"; grey: more references than the synthesizers were trained on ({seen})" if beyond else ""
    return captioned(figure, ". ".join(found), counted(table.accuracy), f"bars: 95% intervals over problems{grey}")
