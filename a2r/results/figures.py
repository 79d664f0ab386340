"""Figures in one style. Nothing here samples or grades: every function draws a frame it is given.

The same method has the same colour everywhere (a colour-blind-safe palette), every estimate has its
interval, and a saved figure carries its provenance in its metadata.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from a2r.results import stats

PALETTE = {"Pass@1": "#8c8c8c", "Cons": "#0173b2", "A2R": "#d55e00", "Pass@N": "#ffffff", "alone": "#029e73"}


def style() -> None:
    """Set the house style; called by every notebook's first cell."""
    sns.set_theme(
        context="paper",
        style="ticks",
        font_scale=1.05,
        rc={
            **{"figure.dpi": 110, "savefig.dpi": 200, "savefig.bbox": "tight", "figure.constrained_layout.use": True},
            **{
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.grid.axis": "y",
                "grid.alpha": 0.35,
            },
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


def log_ticks(axes: plt.Axes) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5, and room on its left for labels."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 2, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def lines(
    table: pd.DataFrame, x: str, y: str, hue: str, ylabel: str, xlabel: str, log: bool = False, zero: bool = False
) -> Figure:
    """Intervals in column `y` against numbers in column `x`, one line a value of `hue`."""
    figure, axes = plt.subplots(figsize=(5.8, 3.1))
    names = list(table[hue].unique())
    known = {name: colour(name) for name in names if name.split("@")[0] in (*PALETTE, "Pass")}
    shades = dict(zip(names, sns.color_palette("flare", len(names)), strict=True)) | (
        known if len(known) == len(names) else {}
    )
    xs = sorted(table[x].unique())
    step = 0.03 if log else 0.012 * (xs[-1] - xs[0] or 1)
    for k, name in enumerate(names):
        part = table[table[hue] == name].sort_values(x)
        shift = step * (k - (len(names) - 1) / 2)
        at = part[x] * (1 + shift) if log else part[x] + shift
        dashed = name.startswith("Pass@N")
        axes.errorbar(
            at,
            [v.estimate for v in part[y]],
            yerr=bars(list(part[y])),
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.9,
            capsize=2,
            color="#8c8c8c" if dashed else shades[name],
            linestyle="--" if dashed else "-",
            label=name,
        )
    if zero:
        axes.axhline(0, color="#333333", linewidth=0.8)
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(xs, [f"{v:g}" for v in xs])
    axes.minorticks_off()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def intervals(table: pd.DataFrame, label: str, value: str, xlabel: str, reference: float | None = None) -> Figure:
    """A forest plot: one row a line of the table, its Interval as a point with a bar; rows without an interval say
    so."""
    figure, axes = plt.subplots(figsize=(6.2, 0.7 + 0.3 * len(table)))
    for i, v in enumerate(table[value]):
        if not isinstance(v, tuple) or np.isnan(v.estimate):
            axes.annotate(
                "no interval",
                (0.02, i),
                xycoords=("axes fraction", "data"),
                fontsize="x-small",
                va="center",
                color="#666666",
            )
            continue
        axes.errorbar(
            [v.estimate], [i], xerr=bars([v]), fmt="o", markersize=4.5, elinewidth=1.2, capsize=2.5, color="#0173b2"
        )
    if reference is not None:
        axes.axvline(reference, color="#333333", linewidth=0.8)
    axes.set_yticks(range(len(table)), table[label], fontsize="small")
    axes.set(xlabel=xlabel, ylim=(len(table) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.35)
    axes.grid(axis="y", visible=False)
    return figure


def by_right_references(table: pd.DataFrame) -> Figure:
    """`tables.by_right_references` as lines, one a model: accuracy of syntheses, dashed the vote, dotted alone."""
    figure, axes = plt.subplots(figsize=(5.6, 3.0))
    models, (a2r, cons) = table.model.unique(), table.columns[2:4]
    beside = {cons: ("--", "the vote (Cons)")} | (
        {"Alone@1": (":", "no references (Alone)")} if "Alone@1" in table else {}
    )
    for k, (model, shade) in enumerate(zip(models, sns.color_palette("flare", len(models)), strict=True)):
        part = table[table.model == model]
        x = part["right references"] + (k - (len(models) - 1) / 2) * 0.07
        look = {"marker": "o", "markersize": 4, "linewidth": 1.2, "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(x, [v.estimate for v in part[a2r]], yerr=bars(list(part[a2r])), color=shade, label=model, **look)
        for method, (line, _) in beside.items():
            axes.plot(x, [v.estimate for v in part[method]], color=shade, linestyle=line, linewidth=0.9, zorder=1)
    for line, label in beside.values():
        axes.plot([], [], color="#8c8c8c", linestyle=line, linewidth=0.9, label=label)
    axes.set(
        xlabel="right references in the set",
        ylabel="accuracy",
        ylim=(-0.02, 1.02),
        xticks=sorted(table["right references"].unique()),
    )
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


CURVE_LABELS = {
    "reward": "reward (mean)",
    "held-out A2R": "A2R on held-out sets",
    "entropy": "entropy (nats a token)",
    "gradient norm": "gradient norm",
    "length": "output length (tokens)",
    "clipped": "clipped tokens (share)",
}


def training_curves(curves: pd.DataFrame, smooth: int = 5) -> Figure:
    """Curves of RL trainings, one panel a quantity (`CURVE_LABELS`), one line an arm: mean over seeds, band from least
    to most.

    `curves`: run, seed, step and the quantities, one row a step. All but the held-out score are means over `smooth`
    steps.
    """
    shown = [name for name in CURVE_LABELS if name in curves and curves[name].notna().any()]
    runs = list(curves.run.unique())
    palette = dict(zip(runs, sns.color_palette("colorblind", len(runs)), strict=True))
    figure, panels = plt.subplots(2, 3, figsize=(8.4, 4.6), sharex=True)
    for axes, name in zip(panels.flat, shown, strict=False):
        table = curves[["run", "seed", "step", name]].dropna().reset_index(drop=True)
        if name != "held-out A2R":
            means = table.groupby(["run", "seed"])[name].transform(lambda v: v.rolling(smooth, min_periods=1).mean())
            table = table.assign(**{name: means})
        marks = {"marker": "o", "markersize": 3.5} if name == "held-out A2R" else {}
        sns.lineplot(
            table,
            x="step",
            y=name,
            hue="run",
            palette=palette,
            errorbar=("pi", 100),
            ax=axes,
            linewidth=1.2,
            legend=False,
            **marks,
        )
        axes.set(ylabel=CURVE_LABELS[name], xlabel="step (batch of rollouts)")
        if name == "clipped" and not table[name].any():
            axes.set_ylim(0, 0.01)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    if len(runs) > 1:
        handles = [plt.Line2D([], [], color=palette[run], label=run) for run in runs]
        figure.legend(handles=handles, ncols=len(runs), loc="outside upper center")
    return figure
