"""The asymmetric grid: every explorer x every synthesizer on the same sets, and what each side's size explains.

    pools, syntheses, alone = run(lab, problems, explorers, synthesizers)

An E x S grid costs E pools and E*S syntheses of every set, never E*S pools (`generations`).
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from a2r.outcomes import collect, grade, synthesized
from a2r.pipeline import Context, explore, synthesize_all
from a2r.prices import flops
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import bars

Pools = dict[str, pd.DataFrame]
Syntheses = dict[tuple[str, str], pd.DataFrame]


def run(
    lab: Profile, problems: pd.DataFrame, explorers: list[str], synthesizers: list[str], alone: tuple[str, ...] = ()
) -> tuple[Pools, Syntheses, dict[str, pd.DataFrame]]:
    """Graded pools by explorer, syntheses by (explorer, synthesizer), and outputs without references by synthesizer.

    Read from the store or sampled. Models named in `alone` have a pool too, which nobody reads: single models that
    pairs are compared with.
    """
    pools = {
        e: grade(explore(lab, e, problems, lab.n_paths * lab.n_sets), problems)
        for e in dict.fromkeys([*explorers, *alone])
    }
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
    rows = [
        synthesized(problems, base, prices, f, lab.n_paths, lab.n_sets, "Alone@1", alone=True) for f in alone.values()
    ]
    single = pd.concat(rows, ignore_index=True).assign(explorer="", state="", right=np.nan)
    return pd.concat([table, single.assign(flops=flops(single, lab))], ignore_index=True)


def generations(pools: Pools, syntheses: Syntheses, lab: Profile, n_problems: int) -> pd.DataFrame:
    """Samples that the grid used (distinct ids) beside the least that it can: E pools and E*S*sets*syntheses."""
    each_set = lab.n_sets * lab.n_syntheses
    return pd.DataFrame(
        {
            "role": ["explorer", "synthesizer"],
            "used": [pd.concat(list(frames.values())).id.nunique() for frames in (pools, syntheses)],
            "minimum": [len(pools) * n_problems * lab.n_paths * lab.n_sets, len(syntheses) * n_problems * each_set],
        }
    )


def decomposition(outcomes: pd.DataFrame, n_paths: int = 4, method: str = "A2R") -> pd.DataFrame:
    """How much of A2R@N's variation over the grid each side explains (claim C2), as Intervals over problems.

    A two-way decomposition of the cells' accuracies on the logit scale, logit(y_es) = m + a_e + b_s + r_es with effects
    that sum to zero: the share of the sum of squares of each part, the difference of the two shares, and the mean rise
    in points from the smallest to the largest model of either role. Cells are shrunk by half a problem, so that 0 and 1
    have a logit. The rows and columns are in the order of the outcomes, which is that of the profile: smallest first.
    """
    cells = outcomes[outcomes.method == f"{method}@{n_paths}"]
    wide = cells.pivot_table(
        index=["benchmark", "problem_id"], columns=["explorer", "synthesizer"], values="correct", sort=False
    )
    explorers, synthesizers = cells.explorer.unique(), cells.synthesizer.unique()
    wide = wide.reindex(columns=pd.MultiIndex.from_product([explorers, synthesizers]))
    if wide.isna().any(axis=None):
        raise ValueError(
            "decomposition: the grid has empty cells; run every explorer with every synthesizer on the same problems."
        )
    n, shape = len(wide), (len(explorers), len(synthesizers))

    def parts(*means: np.ndarray) -> dict[str, np.ndarray]:
        y = np.stack(np.broadcast_arrays(*means), axis=-1)
        y = y.reshape(*y.shape[:-1], *shape)
        shrunk = (y * n + 0.5) / (n + 1)
        z = np.log(shrunk / (1 - shrunk))
        z = z - z.mean(axis=(-2, -1), keepdims=True)
        a, b = z.mean(axis=-1, keepdims=True), z.mean(axis=-2, keepdims=True)
        square = {
            "explorer": shape[1] * (a**2).sum(axis=(-2, -1)),
            "synthesizer": shape[0] * (b**2).sum(axis=(-2, -1)),
            "interaction": ((z - a - b) ** 2).sum(axis=(-2, -1)),
        }
        total = sum(square.values())
        share = {f"share of {name}": value / np.where(total > 0, total, np.nan) for name, value in square.items()}
        rise = {
            "rise with explorer": (y[..., -1, :] - y[..., 0, :]).mean(axis=-1),
            "rise with synthesizer": (y[..., :, -1] - y[..., :, 0]).mean(axis=-1),
        }
        return {
            **share,
            "share of synthesizer - explorer": share["share of synthesizer"] - share["share of explorer"],
            **rise,
            "rise with synthesizer - explorer": rise["rise with synthesizer"] - rise["rise with explorer"],
        }

    columns = [wide[c] for c in wide]
    names = parts(*[np.zeros(1)] * len(columns))
    rows = [
        {"quantity": name, "value": stats.bootstrap(columns, lambda *m, name=name: parts(*m)[name]), "n": n}
        for name in names
    ]
    return pd.DataFrame(rows)


def cells(outcomes: pd.DataFrame, method: str) -> dict[tuple[str, str], stats.Interval]:
    """Accuracy of `method` by (explorer, synthesizer), as Intervals over problems, in the order of the outcomes."""
    rows = outcomes[outcomes.method == method]
    return {
        pair: stats.interval(part.groupby(["benchmark", "problem_id"]).correct.mean())
        for pair, part in rows.groupby(["explorer", "synthesizer"], sort=False)
    }


def grid_heatmap(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """A2R@N of every explorer (rows) and synthesizer (columns) with intervals, beside each explorer's Pass@1 and
    Cons@N."""
    a2r = cells(outcomes, f"A2R@{n_paths}")
    explorers, synthesizers = list(dict.fromkeys(e for e, _ in a2r)), list(dict.fromkeys(s for _, s in a2r))
    own = {m: cells(outcomes, m) for m in ("Pass@1", f"Cons@{n_paths}")}
    left = [[own[m][e, ""] for m in own] for e in explorers]
    right = [[a2r[e, s] for s in synthesizers] for e in explorers]
    figure, panels = plt.subplots(
        1, 2, figsize=(2.6 + 1.05 * len(synthesizers), 1.3 + 0.55 * len(explorers)), width_ratios=[2, len(synthesizers)]
    )
    for axes, block, names in zip(panels, (left, right), (list(own), synthesizers), strict=True):
        text = [[f"{100 * e.estimate:.0f}\n[{100 * e.low:.0f}, {100 * e.high:.0f}]" for e in row] for row in block]
        values = [[100 * e.estimate for e in row] for row in block]
        sns.heatmap(
            values,
            annot=text,
            fmt="",
            vmin=0,
            vmax=100,
            cmap="crest",
            cbar=False,
            ax=axes,
            linewidths=1.5,
            annot_kws={"fontsize": 7},
        )
        axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=0, fontsize="small")
        axes.set_yticks(
            np.arange(len(explorers)) + 0.5, explorers if axes is panels[0] else [], rotation=0, fontsize="small"
        )
        axes.tick_params(length=0)
    panels[0].set(ylabel="explorer", title="the explorer's own")
    panels[1].set(xlabel="synthesizer", title=f"A2R@{n_paths} (percent, 95% interval)")
    return figure


def grid_lines(
    outcomes: pd.DataFrame, sizes: dict[str, float], n_paths: int, trained: dict[str, str] | None = None
) -> Figure:
    """A2R@N against the size of one role, a line for each model in the other; left synthesizer size, right explorer
    size.

    `trained` synthesizers (RL model -> its base) are open diamonds beside their base on the left, dashed lines on the
    right. Dotted on the left: the synthesizer alone, which is where the lines lie if it ignores its references.
    """
    a2r, trained = cells(outcomes, f"A2R@{n_paths}"), trained or {}
    explorers, synthesizers = list(dict.fromkeys(e for e, _ in a2r)), list(dict.fromkeys(s for _, s in a2r))
    plain = [s for s in synthesizers if s not in trained]
    shades = dict(zip(plain, sns.color_palette("flare", len(plain)), strict=True))
    shades |= {s: shades.get(base, "#333333") for s, base in trained.items()}
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)

    def draw(axes: plt.Axes, names: list[str], values: list[stats.Interval], shift: float, **look) -> None:
        x, y = [sizes[name] * shift for name in names], [v.estimate for v in values]
        axes.errorbar(
            x,
            y,
            yerr=bars(values),
            linewidth=1.2,
            elinewidth=0.9,
            capsize=2,
            **{"marker": "o", "markersize": 4, **look},
        )

    for k, (e, shade) in enumerate(zip(explorers, sns.color_palette("flare", len(explorers)), strict=True)):
        shift = 1 + 0.025 * (k - (len(explorers) - 1) / 2)
        draw(panels[0], plain, [a2r[e, s] for s in plain], shift, color=shade, label=e)
        for s in trained.keys() & set(synthesizers):
            draw(
                panels[0],
                [s],
                [a2r[e, s]],
                1.12 * shift,
                color=shade,
                linestyle="",
                marker="D",
                markerfacecolor="white",
            )
    if line := {s: value for (_, s), value in cells(outcomes, "Alone@1").items() if s in plain}:
        draw(panels[0], list(line), list(line.values()), 1, color="#333333", linestyle=":", marker="", label="alone")
    for k, s in enumerate(synthesizers):
        shift = 1 + 0.025 * (k - (len(synthesizers) - 1) / 2)
        look = {"linestyle": "--", "marker": "D", "markerfacecolor": "white"} if s in trained else {}
        draw(panels[1], explorers, [a2r[e, s] for e in explorers], shift, color=shades[s], label=s, **look)
    for axes, names in zip(panels, (plain, explorers), strict=True):
        axes.set_xscale("log")
        axes.set_xticks(
            [sizes[name] for name in names], names, fontsize="small", rotation=30, ha="right", rotation_mode="anchor"
        )
        axes.minorticks_off()
    panels[0].set(xlabel="synthesizer (by parameters)", ylabel=f"A2R@{n_paths}", ylim=(-0.02, 1.02))
    panels[1].set(xlabel="explorer (by parameters)")
    for axes, title in zip(panels, ("one line per explorer", "one line per synthesizer"), strict=True):
        axes.legend(title=title, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
