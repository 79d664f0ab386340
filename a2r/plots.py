"""Figures in one style. Nothing here samples or grades: every function draws a frame it is given.

The same method has the same colour everywhere (a colour-blind-safe palette), every estimate has its
interval, and a saved figure carries its provenance in its metadata.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from a2r import stats
from a2r.outcomes import STATES

PALETTE = {"Pass@1": "#8c8c8c", "Cons": "#0173b2", "A2R": "#d55e00", "Pass@N": "#ffffff", "alone": "#029e73"}


def style() -> None:
    """Set the house style; called by every notebook's first cell."""
    sns.set_theme(
        context="paper",
        style="ticks",
        font_scale=1.05,
        rc={
            **{"figure.dpi": 110, "savefig.dpi": 200, "savefig.bbox": "tight", "figure.constrained_layout.use": True},
            **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.alpha": 0.35},
            **{"legend.frameon": False, "pdf.fonttype": 42, "axes.axisbelow": True, "svg.hashsalt": "a2r"},
        },
    )


def colour(method: str) -> str:
    """The colour of a method: Cons@4 and Cons@8 share theirs; Pass@k beyond 1 is drawn as an outline."""
    if method == "Pass@1":
        return PALETTE["Pass@1"]
    return PALETTE.get(method.split("@")[0], PALETTE["Pass@N"])


def bars(estimates: list[stats.Interval]) -> np.ndarray:
    """Error bars (2, estimates) of intervals; none where there is no interval, and never below 0 by rounding."""
    below_above = [[e.estimate - e.low for e in estimates], [e.high - e.estimate for e in estimates]]
    return np.clip(np.nan_to_num(below_above), 0, None)


def accuracy_bars(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """Grouped bars: accuracy of each method, one group a (explorer, synthesizer), 95% intervals over problems."""
    methods = ["Pass@1", f"Cons@{n_paths}", f"A2R@{n_paths}", f"Pass@{n_paths}"]
    pairs = list(
        outcomes.loc[outcomes.method == f"A2R@{n_paths}", ["explorer", "synthesizer"]].drop_duplicates().itertuples(index=False, name=None)
    )
    figure, axes = plt.subplots(figsize=(1.5 + 1.15 * len(pairs), 3.0))
    width = 0.8 / len(methods)
    for k, method in enumerate(methods):
        estimates = []
        for explorer, synthesizer in pairs:
            mine = outcomes[(outcomes.method == method) & (outcomes.explorer == explorer) & outcomes.synthesizer.isin(["", synthesizer])]
            estimates.append(stats.interval(mine.groupby("problem_id").correct.mean()))
        x = np.arange(len(pairs)) + (k - 1.5) * width
        y = np.array([e.estimate for e in estimates])
        error = bars(estimates)
        outline = {"edgecolor": "#555555", "linewidth": 0.8, "hatch": "////"} if method == methods[-1] else {"linewidth": 0}
        axes.bar(
            x, y, width * 0.92, yerr=error, label=method, color=colour(method), error_kw={"elinewidth": 0.9, "capsize": 1.8}, **outline
        )
    axes.set_xticks(range(len(pairs)), [e if e == s else f"{e}\n→ {s}" for e, s in pairs])
    axes.set(ylabel="accuracy", ylim=(0, 1), xlabel="explorer = synthesizer" if all(e == s for e, s in pairs) else "explorer → synthesizer")
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2, handlelength=1.4)
    return figure


def gain_by(outcomes: pd.DataFrame, groups: pd.Series, label: str, n_paths: int) -> Figure:
    """A2R@N − Cons@N in points by a problem attribute (`groups`: problem_id -> group), one line a model, with intervals."""
    figure, axes = plt.subplots(figsize=(4.6, 3.0))
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    pairs = list(outcomes.loc[outcomes.method == a2r, ["explorer", "synthesizer"]].drop_duplicates().itertuples(index=False, name=None))
    colours, levels = sns.color_palette("flare", len(pairs)), sorted(groups.unique())
    for k, (explorer, synthesizer) in enumerate(pairs):
        wide = stats.per_problem(outcomes[(outcomes.explorer == explorer) & outcomes.synthesizer.isin(["", synthesizer])])
        gain = 100 * (wide[a2r] - wide[cons])
        members = groups.loc[wide.index.get_level_values("problem_id")].to_numpy()
        estimates = [stats.interval(gain[members == level]) for level in levels]
        x = np.arange(len(levels)) + (k - (len(pairs) - 1) / 2) * 0.12
        y = [e.estimate for e in estimates]
        error = bars(estimates)
        axes.errorbar(
            x,
            y,
            yerr=error,
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.9,
            capsize=2,
            color=colours[k],
            label=explorer if explorer == synthesizer else f"{explorer} → {synthesizer}",
        )
    axes.axhline(0, color="#333333", linewidth=0.8)
    axes.set_xticks(range(len(levels)), [f"{level}\n(n={int((groups == level).sum())})" for level in levels])
    axes.set(xlabel=label, ylabel=f"gain: {a2r} − {cons} (points)")
    axes.legend(fontsize="small", loc="best")
    return figure


def accuracy_by_state(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """A2R@N and Cons@N by explorer state, one panel a model; intervals over problems, number of sets below each state."""
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    pairs = list(outcomes.loc[outcomes.method == a2r, ["explorer", "synthesizer"]].drop_duplicates().itertuples(index=False, name=None))
    figure, panels = plt.subplots(1, len(pairs), figsize=(2.5 * len(pairs) + 0.4, 2.9), sharey=True, squeeze=False)
    for axes, (explorer, synthesizer) in zip(panels[0], pairs, strict=True):
        mine = outcomes[(outcomes.explorer == explorer) & outcomes.synthesizer.isin(["", synthesizer])]
        counts = mine[mine.method == a2r].state.value_counts()
        for k, method in enumerate((cons, a2r)):
            for i, state in enumerate(STATES):
                here = mine[(mine.method == method) & (mine.state == state)]
                if here.empty:
                    continue
                e = stats.interval(here.groupby("problem_id").correct.mean())
                error = bars([e])
                axes.bar(
                    i + (k - 0.5) * 0.38,
                    e.estimate,
                    0.36,
                    yerr=error,
                    color=colour(method),
                    label=method if i == 0 else None,
                    error_kw={"elinewidth": 0.9, "capsize": 1.8},
                    linewidth=0,
                )
        axes.set_xticks(range(len(STATES)), [f"{s}\n({counts.get(s, 0)})" for s in STATES], fontsize="x-small")
        axes.set_title(explorer if explorer == synthesizer else f"{explorer} → {synthesizer}", fontsize="medium")
        axes.set(xlim=(-0.6, len(STATES) - 0.4), ylim=(0, 1.02))
    panels[0][0].set_ylabel("accuracy")
    figure.supxlabel("right answers among the references (number of sets)", fontsize="medium")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour(m)) for m in (cons, a2r)]
    figure.legend(handles, [cons, a2r], ncols=2, loc="outside upper center")
    return figure


def loss_curves(records: list[dict]) -> Figure:
    """Training loss (nats per taught token) against tokens seen, one panel a stage, one line a width."""
    stages = list(records[0]["stages"])
    figure, panels = plt.subplots(1, len(stages), figsize=(2.7 * len(stages), 2.7))
    colours = sns.color_palette("flare", len(records))
    for axes, stage in zip(panels, stages, strict=True):
        for record, line in zip(records, colours, strict=True):
            curve = pd.DataFrame(record["stages"][stage]["curve"])
            axes.plot(curve.tokens / 1e6, curve.loss.rolling(3, min_periods=1).mean(), color=line, linewidth=1.2, label=record["name"])
        axes.set(title=stage, xlabel="tokens seen (millions)", yscale="log")
    panels[0].set_ylabel("loss (nats per taught token)")
    panels[0].legend(fontsize="small")
    return figure


def by_right_references(table: pd.DataFrame) -> Figure:
    """Accuracy of syntheses by number of right references, one line a model; grey: a vote if wrong answers all differ."""
    figure, axes = plt.subplots(figsize=(4.2, 3.0))
    models = table.model.unique()
    for k, (model, colour_) in enumerate(zip(models, sns.color_palette("flare", len(models)), strict=True)):
        part = table[table.model == model]
        y = np.array([a.estimate for a in part.accuracy])
        error = bars(list(part.accuracy))
        x = part["right references"] + (k - (len(models) - 1) / 2) * 0.07
        axes.errorbar(x, y, yerr=error, marker="o", markersize=4, linewidth=1.2, elinewidth=0.9, capsize=2, color=colour_, label=model)
    axes.plot(
        [0, 1, 2, 3, 4],
        [0, 0.25, 1, 1, 1],
        color="#8c8c8c",
        linestyle="--",
        linewidth=1,
        label="vote, wrong answers all different",
        zorder=1,
    )
    axes.set(xlabel="right references among the four", ylabel="accuracy of the synthesis", ylim=(-0.02, 1.02), xticks=range(5))
    axes.legend(fontsize="x-small", loc="lower right")
    return figure
