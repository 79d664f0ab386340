"""Figures in one style. Nothing here samples or grades: every function draws a frame it is given.

A figure is as wide on paper as its size says (`SIZES`) and no text in it is smaller than 7 pt there. The same method
has the same colour everywhere (a colour-blind-safe palette), models differ in lightness and marker, so that they can be
told apart in grey; lines are named at their ends. `captioned` gives a figure its n, its interval and the sentence that
says what it shows; a saved figure carries its provenance in its metadata.
"""

import os
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.optimize import isotonic_regression

from a2r.errors import UserError
from a2r.results import stats
from a2r.results.tables import text as said

PALETTE = {"Pass@1": "#8c8c8c", "Cons": "#0173b2", "A2R": "#d55e00", "Pass@N": "#ffffff", "Alone": "#029e73"}
METHOD_MARKERS = {"Pass@1": "s", "Cons": "D", "A2R": "o", "Pass@N": "v", "Alone": "^"}
SIZES = {"column": (3.3, 7.0), "text": (6.75, 8.0), "slides": (10.0, 13.0)}  # width in inches, font size in points
DEFAULT = "text"
SMALLEST = 7.0  # points
MARKERS = "osD^vPX<>*"
DARK, MUTED = "#333333", "#8c8c8c"


def size() -> str:
    """The size that is asked for: A2R_FIGURES in the environment (`a2r run --figures`), else the default.

    UserError for one that is not in `SIZES`.
    """
    asked = os.environ.get("A2R_FIGURES", DEFAULT)
    if asked not in SIZES:
        raise UserError(f"there is no figure size '{asked}'; choose {', '.join(SIZES)}.")
    return asked


def style(size: str = DEFAULT) -> None:
    """Set the house style at a size of `SIZES`."""
    width, points = SIZES[size]
    rc = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "figure.labelsize"), points)
    notes = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize")
    rc |= dict.fromkeys(notes, max(SMALLEST, 0.9 * points))
    rc |= {"figure.figsize": (width, 3.0), "figure.dpi": 110, "savefig.dpi": 200, "savefig.bbox": None}
    rc |= {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
    rc |= {"axes.grid": True, "axes.grid.axis": "y", "grid.alpha": 0.35, "legend.frameon": False}
    rc |= {"lines.linewidth": 1.2, "lines.markersize": 4, "errorbar.capsize": 1.8}
    rc |= {"pdf.fonttype": 42, "svg.hashsalt": "a2r", "figure.constrained_layout.use": True}
    sns.set_theme(context="paper", style="ticks", rc=rc)


def small() -> float:
    """The size in points of notes and labels in the current style."""
    return max(SMALLEST, 0.9 * plt.rcParams["font.size"])


def narrow() -> bool:
    """Whether the current width is a column's."""
    return plt.rcParams["figure.figsize"][0] <= SIZES["column"][0]


def panels(height: float, n: int = 1, wide: int = 3, **options) -> tuple[Figure, list[plt.Axes]]:
    """A figure of the style's width with `n` panels, at most `wide` side by side (half as many in a column's width).

    `height` is that of one row of panels in inches at text width; it grows with the fonts. `options` as of
    plt.subplots.
    """
    width, points = plt.rcParams["figure.figsize"][0], plt.rcParams["font.size"]
    across = min(n, max(1, wide // 2) if narrow() else wide)
    rows = -(-n // across)
    sized = (width, rows * height * points / SIZES["text"][1])
    figure, grid = plt.subplots(rows, across, figsize=sized, squeeze=False, layout="constrained", **options)
    for place in range(n, grid.size):
        grid.flat[place].remove()
        grid.flat[place - across].xaxis.set_tick_params(labelbottom=True)  # which shared axes leave to the panel below
    return figure, list(grid.flat[:n])


def captioned(figure: Figure, says: str, n: str, interval: str = "bars: 95% intervals over problems") -> Figure:
    """The figure with its n and the kind of its intervals written below it.

    Its attributes are `says`, the heading in notebooks, and `caption`, all three: the alternative text in reports, and
    the text of the .tex beside the file.
    """
    figure.says, figure.caption = says, f"{says.rstrip('.')}. {n}; {interval}."
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(f"{n}; {interval}", int(width * 72 / (0.58 * small())))
    share = (1.25 * len(lines) * small() + 2) / 72 / height
    figure.text(0.5, share / 2, "\n".join(lines), ha="center", va="center", fontsize=small(), color="#555555")
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    return figure


def family(method: str) -> str:
    """What a method has its colour and marker by: Cons@4 and Cons@8 share theirs, and so does Pass@k beyond 1."""
    name = "Pass@1" if method == "Pass@1" else method.split("@")[0]
    return name if name in PALETTE else "Pass@N"


def colour(method: str) -> str:
    return PALETTE[family(method)]


def looks(names: list[str]) -> dict[str, dict]:
    """Colour and marker of each of several models, in their order from light to dark."""
    shades = sns.color_palette("rocket_r", as_cmap=True)(np.linspace(0.15, 0.9, len(names)))[:, :3]
    return {
        name: {"color": shade, "marker": MARKERS[k % len(MARKERS)]}
        for k, (name, shade) in enumerate(zip(names, shades, strict=True))
    }


def paired(explorer: str, synthesizer: str, between: str = " → ") -> str:
    """What a pair is called: one name where both roles are one model's."""
    return explorer if synthesizer in ("", explorer) else f"{explorer}{between}{synthesizer}"


def bars(estimates: list[stats.Interval]) -> np.ndarray:
    """Error bars (2, estimates) of intervals; none where there is no interval, and never below 0 by rounding."""
    below_above = [[e.estimate - e.low for e in estimates], [e.high - e.estimate for e in estimates]]
    return np.clip(np.nan_to_num(below_above), 0, None)


def points(values: list[stats.Interval], scale: float = 100) -> list[stats.Interval]:
    """Differences of accuracies in percentage points."""
    return [stats.Interval(*(scale * x for x in v[:3]), v.n) for v in values]


def counted(values, unit: str = "problems") -> str:
    """How many problems stand behind intervals, as a note: "n = 400 problems", or the least and the most."""
    found = sorted({v.n for v in values if not np.isnan(v.estimate)}) or [0]
    return f"n = {found[0]:,} {unit}" if len(found) == 1 else f"n = {found[0]:,} to {found[-1]:,} {unit}"


def label_ends(axes: plt.Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Name lines at their right ends, (x, y, name, colour) each: beside the panel, as near to their heights as they can
    stand without overlapping."""
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    gap = 1.15 * small() * (high - low) / (axes.get_window_extent().height * 72 / axes.figure.dpi)
    ends, steps = sorted(ends, key=lambda end: end[1]), gap * np.arange(len(ends))
    at = isotonic_regression([y for _, y, _, _ in ends] - steps).x + steps  # least squares, in order and `gap` apart
    at = np.minimum(at, high - steps[::-1])
    for (x, y, name, shade), place in zip(ends, at, strict=True):
        ink = [0.6 * part for part in to_rgb(shade)]  # light colours are no ink
        look = {"color": ink, "fontsize": small(), "va": "center", "annotation_clip": False}
        look["arrowprops"] = {"arrowstyle": "-", "linewidth": 0.5, "color": shade, "shrinkA": 0, "shrinkB": 2}
        look["arrowprops"]["relpos"] = (0, 0.5)
        axes.annotate(name, (x, y), (1.05, place), axes.transData, ("axes fraction", "data"), **look)


def log_ticks(axes: plt.Axes) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5 (in a column's width 1 and 3)."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if narrow() else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def sideways(axes: plt.Axes, names: list[str], reference: float | None = 0) -> None:
    """A panel whose rows are `names`, the first on top, with a vertical line at `reference`."""
    if reference is not None:
        axes.axvline(reference, color=DARK, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.35)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def lines(axes: plt.Axes, table: pd.DataFrame, x: str, y: str, hue: str, log: bool = False) -> None:
    """Intervals in column `y` against numbers in column `x`, one line a value of `hue`, named at its end.

    Methods have their colours (Pass@N is dashed), anything else those of `looks`. The points of one x stand side by
    side.
    """
    names = list(table[hue].unique())
    look = looks(names)
    if all(family(name) != "Pass@N" or name.startswith("Pass@") for name in names):
        shade = {name: MUTED if name.startswith("Pass@") else colour(name) for name in names}
        dash = {name: "--" if name.startswith("Pass@N") else "-" for name in names}
        marker = {name: METHOD_MARKERS[family(name)] for name in names}
        look = {n: {"color": shade[n], "marker": marker[n], "linestyle": dash[n]} for n in names}
    xs, ends = sorted(table[x].unique()), []
    step = 0.03 if log else 0.012 * (xs[-1] - xs[0] or 1)
    for k, name in enumerate(names):
        part = table[table[hue] == name].sort_values(x)
        shift = step * (k - (len(names) - 1) / 2)
        at = part[x] * (1 + shift) if log else part[x] + shift
        values = list(part[y])
        axes.errorbar(at, [v.estimate for v in values], yerr=bars(values), elinewidth=0.9, **look[name])
        ends.append((at.iloc[-1], values[-1].estimate, name, look[name]["color"]))
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(xs, [f"{v:g}" for v in xs])
    axes.minorticks_off()
    label_ends(axes, ends)


LEAST_SETS = 10  # fewer say nothing and hide the rest


def by_right_references(table: pd.DataFrame) -> Figure:
    """What reading a set was worth by its number of right references (`tables.by_right_references`), one panel a model.

    In points above the vote on the same sets and, where it was sampled, above the synthesizer without references.
    """
    others = {f"A2R − {method}": method for method in ("Cons", "Alone") if f"A2R − {method}" in table}
    drawn = table[table.sets >= min(LEAST_SETS, table.sets.max())]
    models, rights = list(drawn.model.unique()), sorted(table["right references"].unique())
    figure, axes = panels(1.9, len(models), wide=max(3, min(5, len(models))), sharey=True, sharex=True)
    for panel, model in zip(axes, models, strict=True):
        part = drawn[drawn.model == model]
        for k, (column, method) in enumerate(others.items()):
            values = points(list(part[column]))
            at = part["right references"] + 0.2 * (k - (len(others) - 1) / 2)
            look = {"color": PALETTE[method], "marker": METHOD_MARKERS[method], "elinewidth": 0.9, "label": column}
            panel.errorbar(at, [v.estimate for v in values], yerr=bars(values), **look)
        panel.axhline(0, color=DARK, linewidth=0.8, zorder=1)
        panel.set(title=model, xticks=rights, xlim=(rights[0] - 0.4, rights[-1] + 0.4), xlabel="right references")
        panel.tick_params(labelbottom=True)
    axes[0].set_ylabel("difference (points)")
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=2, loc="outside upper center")
    says = "What a synthesis of each set was worth, by how many of its references are right"
    one = table[table["right references"] == 1]
    if len(one):
        most = max(one.to_dict("records"), key=lambda row: row["A2R − Cons"].estimate)
        value = said(most["A2R − Cons"], "+.0f", 100)
        says += f"; with one right the largest difference to the vote is {most['model']}'s, {value} points"
    sets = f"{drawn.sets.min():,} to {drawn.sets.max():,} sets a point (fewer than {LEAST_SETS}: not drawn)"
    return captioned(figure, says, sets)


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
    steps. A quantity that is 0 throughout has no panel.
    """
    shown = [name for name in CURVE_LABELS if name in curves and curves[name].notna().any() and curves[name].any()]
    runs = list(curves.run.unique())
    palette = dict(zip(runs, sns.color_palette("colorblind", len(runs)), strict=True))
    dashes = dict(zip(runs, ("", (4, 1.5), (1, 1), (4, 1, 1, 1), (6, 2), (2, 2)), strict=False))
    figure, axes = panels(1.75, len(shown), wide=3, sharex=True)
    for panel, name in zip(axes, shown, strict=True):
        table = curves[["run", "seed", "step", name]].dropna().reset_index(drop=True)
        look = {"hue": "run", "style": "run", "palette": palette, "dashes": dashes, "markers": False, "linewidth": 1.2}
        if name == "held-out A2R":
            look |= {"marker": "o", "markersize": 3.5, "markeredgewidth": 0}
        else:
            means = table.groupby(["run", "seed"])[name].transform(lambda v: v.rolling(smooth, min_periods=1).mean())
            table = table.assign(**{name: means})
        sns.lineplot(table, x="step", y=name, errorbar=("pi", 100), ax=panel, legend=False, **look)
        panel.set(title=CURVE_LABELS[name], ylabel="", xlabel="step (batch of rollouts)")
    if len(runs) > 1:
        lines = [plt.Line2D([], [], color=palette[run], dashes=dashes[run] or (None, None), label=run) for run in runs]
        figure.legend(handles=lines, ncols=2 if narrow() else 4, loc="outside upper center")
    ends = []
    for run in runs:
        reward = curves[curves.run == run].groupby("step").reward.mean()
        ends.append(f"{run} {reward.iloc[:smooth].mean():.2f} → {reward.iloc[-smooth:].mean():.2f}")
    says = f"Reward of the first and of the last {smooth} steps: {', '.join(ends)}"
    means = f"lines: means over {smooth} steps except the held-out score, which is drawn at each training's temperature"
    if (most := curves.groupby("run").seed.nunique().max()) == 1:
        return captioned(figure, says, "one training", means)
    n = f"{len(runs)} settings, {most} seeds"
    return captioned(figure, says, n, f"{means}; bands: from the lowest to the highest seed")
