"""The asymmetric grid: every explorer x every synthesizer on the same sets, and what each side's size explains.

    pools, syntheses, alone = run(lab, problems, explorers, synthesizers)

An E x S grid costs E pools and E*S syntheses of every set, never E*S pools.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import logit

from a2r.outcomes import collect, grade, synthesized
from a2r.pipeline import Context, explore, synthesize_all
from a2r.prices import flops
from a2r.profiles import Profile
from a2r.results import stats, tables
from a2r.results.figures import DARK, PALETTE, bars, captioned, counted, label_ends, looks, paired, panels, said, small
from a2r.results.stats import KEYS, SHARE

Pools = dict[str, pd.DataFrame]
Syntheses = dict[tuple[str, str], pd.DataFrame]


def run(
    lab: Profile, problems: pd.DataFrame, explorers: list[str], synthesizers: list[str], alone: tuple[str, ...] = ()
) -> tuple[Pools, Syntheses, dict[str, pd.DataFrame]]:
    """Graded pools by explorer, syntheses by (explorer, synthesizer), and outputs without references by synthesizer.

    Read from the store or sampled. Models named in `alone` have a pool too, which nobody reads: single models that
    pairs are compared with.
    """
    paths, everyone = lab.n_paths * lab.n_sets, dict.fromkeys([*explorers, *alone])
    pools = {e: grade(explore(lab, e, problems, paths), problems) for e in everyone}
    # synthesizer by synthesizer and the last explorer first, so that a server loads a model for each role at most once
    in_turn = sorted(synthesizers, key=lambda s: s != list(pools)[-1])
    pairs, without = {}, {}
    for s in in_turn:
        nothing = Context(pools[explorers[0]], "none", lambda paths: [])
        *made, last = synthesize_all(lab, s, problems, [*(Context(pools[e]) for e in explorers), nothing])
        pairs |= {(e, s): grade(frame, problems) for e, frame in zip(explorers, made, strict=True)}
        without[s] = grade(last, problems)
    return pools, {(e, s): pairs[e, s] for e in explorers for s in synthesizers}, {s: without[s] for s in synthesizers}


def outcomes(
    lab: Profile,
    problems: pd.DataFrame,
    pools: Pools,
    syntheses: Syntheses,
    alone: dict[str, pd.DataFrame],
    prices: pd.DataFrame,
) -> pd.DataFrame:
    """`a2r.collect` of the grid, and each synthesizer without references: method "Alone@1", no explorer."""
    table = collect(problems, pools, syntheses, prices, lab)
    base = table[table.explorer == table.explorer.iloc[0]]  # which sets there are
    rows = [synthesized(base, prices, f, lab.n_paths, lab.n_sets, "Alone@1", alone=True) for f in alone.values()]
    single = pd.concat(rows, ignore_index=True).assign(explorer="", state="", right=np.nan)
    return pd.concat([table, single.assign(flops=flops(single, lab))], ignore_index=True)


def decomposition(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """How much of A2R@N's variation over the grid each side explains (claim C2), as Intervals over problems.

    A two-way decomposition of the cells' accuracies on the logit scale, logit(y_es) = m + a_e + b_s + r_es with effects
    that sum to zero: the share of the sum of squares of each part, the difference of the two shares, and the mean rise
    in points from the smallest to the largest model of either role. Cells are shrunk by half a problem, so that 0 and 1
    have a logit. The rows and columns are in the order of the outcomes, which is that of the profile: smallest first.
    """
    cells = outcomes[outcomes.method == f"A2R@{n_paths}"]
    wide = cells.pivot_table(index=KEYS, columns=["explorer", "synthesizer"], values="correct", sort=False)
    explorers, synthesizers = cells.explorer.unique(), cells.synthesizer.unique()
    wide = wide.reindex(columns=pd.MultiIndex.from_product([explorers, synthesizers]))
    if wide.isna().any(axis=None):
        raise ValueError("the grid has empty cells; run every explorer with every synthesizer on the same problems.")
    n, shape = len(wide), (len(explorers), len(synthesizers))

    def parts(*means: np.ndarray) -> dict[str, np.ndarray]:
        y = np.stack(np.broadcast_arrays(*means), axis=-1)
        y = y.reshape(*y.shape[:-1], *shape)
        z = logit((y * n + 0.5) / (n + 1))
        z = z - z.mean(axis=(-2, -1), keepdims=True)
        a, b = z.mean(axis=-1, keepdims=True), z.mean(axis=-2, keepdims=True)
        sides = {"explorer": a + 0 * z, "synthesizer": b + 0 * z, "interaction": z - a - b}
        square = {name: (part**2).sum(axis=(-2, -1)) for name, part in sides.items()}
        total = sum(square.values())
        made = {f"share of {name}": value / np.where(total > 0, total, np.nan) for name, value in square.items()}
        made["share of synthesizer - explorer"] = made["share of synthesizer"] - made["share of explorer"]
        made["rise with explorer"] = (y[..., -1, :] - y[..., 0, :]).mean(axis=-1)
        made["rise with synthesizer"] = (y[..., :, -1] - y[..., :, 0]).mean(axis=-1)
        made["rise with synthesizer - explorer"] = made["rise with synthesizer"] - made["rise with explorer"]
        return made

    columns = [wide[c] for c in wide]
    names = parts(*[np.zeros(1)] * len(columns))
    values = [stats.bootstrap(columns, lambda *m, name=name: parts(*m)[name]) for name in names]
    return pd.DataFrame({"quantity": list(names), "value": values, "n": n})


def cells(outcomes: pd.DataFrame, method: str) -> dict[tuple[str, str], stats.Interval]:
    """Accuracy of `method` by (explorer, synthesizer), as Intervals over problems, in the order of the outcomes."""
    found = tables.means(outcomes[outcomes.method == method], ["explorer", "synthesizer"], {"correct": SHARE})
    return {(r.explorer, r.synthesizer): r.correct for r in found.itertuples()}


def roles(a2r: dict[tuple[str, str], stats.Interval]) -> tuple[list[str], list[str]]:
    """Explorers and synthesizers of `cells`."""
    return list(dict.fromkeys(e for e, _ in a2r)), list(dict.fromkeys(s for _, s in a2r))


def grid_heatmap(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """A2R@N of every explorer (rows) and synthesizer (columns) with intervals, beside each explorer's Pass@1 and
    Cons@N.

    A frame marks one model in both roles.
    """
    a2r = cells(outcomes, f"A2R@{n_paths}")
    explorers, synthesizers = roles(a2r)
    own = {m: cells(outcomes, m) for m in ("Pass@1", f"Cons@{n_paths}")}
    left = [[own[m][e, ""] for m in own] for e in explorers]
    right = [[a2r[e, s] for s in synthesizers] for e in explorers]
    widths = [len(own), len(synthesizers)]
    figure, axes = panels(0.7 + 0.42 * len(explorers), 2, wide=4, width_ratios=widths)
    brackets = plt.rcParams["figure.figsize"][0] / sum(widths) > 0.55  # else an interval does not fit in its cell
    for panel, block, names in zip(axes, (left, right), (list(own), synthesizers), strict=True):
        values = np.array([[100 * e.estimate for e in row] for row in block])
        panel.imshow(values, vmin=0, vmax=100, cmap="cividis", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            low, high = 100 * block[i][j].low, 100 * block[i][j].high
            text = f"{value:.1f}\n[{low:.0f}, {high:.0f}]" if brackets else f"{value:.0f}"
            ink = "white" if value < 47 else "black"  # contrast of 4.5 and more on every colour of the map
            panel.text(j, i, text, ha="center", va="center", fontsize=small(), color=ink)
        panel.set_xticks(range(len(names)), [n.replace("-rl", "\n-rl") for n in names], rotation=0 if brackets else 60)
        panel.set_yticks(range(len(explorers)), explorers if panel is axes[0] else [])
        panel.tick_params(length=0)
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    for i, j in ((explorers.index(m), synthesizers.index(m)) for m in explorers if m in synthesizers):
        axes[1].add_patch(plt.Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, fill=False, edgecolor="white", linewidth=2))
    axes[0].set(ylabel="explorer", title="explorer's own")
    axes[1].set(xlabel="synthesizer", title=f"A2R@{n_paths} (percent)")
    low, high = (f(a2r, key=lambda pair: a2r[pair].estimate) for f in (min, max))
    says = f"A2R@{n_paths} goes from {said(a2r[low])} ({paired(*low)}) to {said(a2r[high])} ({paired(*high)})"
    note = f"{'brackets: 95% intervals over problems; ' * brackets}framed: one model in both roles"
    return captioned(figure, says, counted(a2r.values()), note if brackets else f"{note}; intervals in the table")


def grid_lines(
    outcomes: pd.DataFrame, sizes: dict[str, float], n_paths: int, trained: dict[str, str] | None = None
) -> Figure:
    """A2R@N against the size of one role, a line for each model in the other; left synthesizer size, right explorer
    size.

    `trained` synthesizers (RL model -> its base) are dashed lines on the right, and left out on the left, where size is
    the axis. Dotted on the left where it was sampled: the synthesizer without references ("Alone@1").
    """
    a2r, trained = cells(outcomes, f"A2R@{n_paths}"), trained or {}
    explorers, synthesizers = roles(a2r)
    plain = [s for s in synthesizers if s not in trained]
    alone = {s: value for (_, s), value in cells(outcomes, "Alone@1").items() if s in plain}
    look = looks(list(dict.fromkeys([*explorers, *plain])))
    look["alone"] = {"color": PALETTE["Alone"], "linestyle": ":", "marker": ""}
    hollow = {"linestyle": "--", "marker": "D", "markerfacecolor": "white"}
    look |= {s: {**look.get(base, {"color": DARK}), **hollow} for s, base in trained.items()}
    series = {e: {s: a2r[e, s] for s in plain} for e in explorers} | ({"alone": alone} if alone else {})
    turned = {s: {e: a2r[e, s] for e in explorers} for s in synthesizers}
    span = np.ptp(np.log([sizes[m] for m in explorers + plain]))
    figure, (left, right) = panels(2.7, 2, wide=2, sharey=True)
    for axes, drawn in ((left, series), (right, turned)):
        ends = []
        for k, (name, values) in enumerate(drawn.items()):
            shift = np.exp(0.012 * span * (k - (len(drawn) - 1) / 2))
            x, y = [sizes[m] * shift for m in values], [v.estimate for v in values.values()]
            axes.errorbar(x, y, yerr=bars(list(values.values())), elinewidth=0.8, **look[name])
            ends.append((x[-1], y[-1], name, look[name]["color"]))
        names = list(next(iter(drawn.values())))
        axes.set_xscale("log")
        axes.set_xticks([sizes[m] for m in names], names, rotation=35, ha="right", rotation_mode="anchor")
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.02)
        label_ends(axes, ends)
    left.set(xlabel="synthesizer (by parameters)", ylabel=f"accuracy (A2R@{n_paths})", title="a line for each explorer")
    right.set(xlabel="explorer (by parameters)", title="a line for each synthesizer")
    rows = outcomes[(outcomes.method == f"A2R@{n_paths}") & outcomes.synthesizer.isin(plain)]
    rises = {}
    for role, names in (("synthesizer", plain), ("explorer", explorers)):
        mean = rows.pivot_table(index=KEYS, columns=role, values="correct")
        rises[role] = said(stats.difference(mean[names[-1]], mean[names[0]]), "+.0f", 100)
    says = (
        f"From the smallest to the largest synthesizer A2R@{n_paths} changes by {rises['synthesizer']} points "
        f"(mean over explorers), from the smallest to the largest explorer by {rises['explorer']} "
        "(mean over synthesizers)"
    )
    return captioned(figure, says, counted(a2r.values()))
