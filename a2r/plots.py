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

from a2r import stats
from a2r.outcomes import STATES
from a2r.transitions import MOVES

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
    figure, axes = plt.subplots(figsize=(5.8, 3.0))
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
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
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
    """Accuracy of syntheses (`tables.by_right_references`) by number of right references, one line a model; dashed: its vote."""
    figure, axes = plt.subplots(figsize=(5.6, 3.0))
    models, (a2r, cons) = table.model.unique(), table.columns[2:4]
    for k, (model, shade) in enumerate(zip(models, sns.color_palette("flare", len(models)), strict=True)):
        part = table[table.model == model]
        x = part["right references"] + (k - (len(models) - 1) / 2) * 0.07
        look = {"marker": "o", "markersize": 4, "linewidth": 1.2, "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(x, [v.estimate for v in part[a2r]], yerr=bars(list(part[a2r])), color=shade, label=model, **look)
        axes.plot(x, [v.estimate for v in part[cons]], color=shade, linestyle="--", linewidth=0.9, zorder=1)
    axes.plot([], [], color="#8c8c8c", linestyle="--", linewidth=0.9, label="the vote (Cons)")
    axes.set(xlabel="right references in the set", ylabel="accuracy", ylim=(-0.02, 1.02), xticks=sorted(table["right references"].unique()))
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def cells(outcomes: pd.DataFrame, method: str) -> dict[tuple[str, str], stats.Interval]:
    """Accuracy of `method` by (explorer, synthesizer), as Intervals over problems, in the order of the outcomes."""
    rows = outcomes[outcomes.method == method]
    return {
        pair: stats.interval(part.groupby(["benchmark", "problem_id"]).correct.mean())
        for pair, part in rows.groupby(["explorer", "synthesizer"], sort=False)
    }


def grid_heatmap(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """A2R@N of every explorer (rows) and synthesizer (columns) with intervals, beside each explorer's Pass@1 and Cons@N."""
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
            values, annot=text, fmt="", vmin=0, vmax=100, cmap="crest", cbar=False, ax=axes, linewidths=1.5, annot_kws={"fontsize": 7}
        )
        axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=0, fontsize="small")
        axes.set_yticks(np.arange(len(explorers)) + 0.5, explorers if axes is panels[0] else [], rotation=0, fontsize="small")
        axes.tick_params(length=0)
    panels[0].set(ylabel="explorer", title="the explorer's own")
    panels[1].set(xlabel="synthesizer", title=f"A2R@{n_paths} (percent, 95% interval)")
    return figure


def grid_lines(outcomes: pd.DataFrame, sizes: dict[str, float], n_paths: int, trained: dict[str, str] | None = None) -> Figure:
    """A2R@N against the size of one role, a line for each model in the other; left synthesizer size, right explorer size.

    `trained` synthesizers (RL model -> its base) are open diamonds beside their base on the left, dashed lines on the right.
    """
    a2r, trained = cells(outcomes, f"A2R@{n_paths}"), trained or {}
    explorers, synthesizers = list(dict.fromkeys(e for e, _ in a2r)), list(dict.fromkeys(s for _, s in a2r))
    plain = [s for s in synthesizers if s not in trained]
    shades = dict(zip(plain, sns.color_palette("flare", len(plain)), strict=True))
    shades |= {s: shades.get(base, "#333333") for s, base in trained.items()}
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)

    def draw(axes: plt.Axes, names: list[str], values: list[stats.Interval], shift: float, **look) -> None:
        x, y = [sizes[name] * shift for name in names], [v.estimate for v in values]
        axes.errorbar(x, y, yerr=bars(values), linewidth=1.2, elinewidth=0.9, capsize=2, **{"marker": "o", "markersize": 4, **look})

    for k, (e, shade) in enumerate(zip(explorers, sns.color_palette("flare", len(explorers)), strict=True)):
        shift = 1 + 0.025 * (k - (len(explorers) - 1) / 2)
        draw(panels[0], plain, [a2r[e, s] for s in plain], shift, color=shade, label=e)
        for s in trained.keys() & set(synthesizers):
            draw(panels[0], [s], [a2r[e, s]], 1.12 * shift, color=shade, linestyle="", marker="D", markerfacecolor="white")
    for k, s in enumerate(synthesizers):
        shift = 1 + 0.025 * (k - (len(synthesizers) - 1) / 2)
        look = {"linestyle": "--", "marker": "D", "markerfacecolor": "white"} if s in trained else {}
        draw(panels[1], explorers, [a2r[e, s] for e in explorers], shift, color=shades[s], label=s, **look)
    for axes, names in zip(panels, (plain, explorers), strict=True):
        axes.set_xscale("log")
        axes.set_xticks([sizes[name] for name in names], names, fontsize="small", rotation=30, ha="right", rotation_mode="anchor")
        axes.minorticks_off()
    panels[0].set(xlabel="synthesizer (by parameters)", ylabel=f"A2R@{n_paths}", ylim=(-0.02, 1.02))
    panels[1].set(xlabel="explorer (by parameters)")
    for axes, title in zip(panels, ("one line per explorer", "one line per synthesizer"), strict=True):
        axes.legend(title=title, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def before_after(table: pd.DataFrame) -> Figure:
    """Accuracy of two synthesizers (columns 1 and 2 of `tables.before_after`) by explorer; right, their difference in points."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 0.9 + 0.36 * len(table)), sharey=True, width_ratios=[1.4, 1])
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


CURVE_LABELS = {
    "reward": "reward (mean)",
    "held-out A2R": "A2R on held-out sets",
    "entropy": "entropy (nats a token)",
    "gradient norm": "gradient norm",
    "length": "output length (tokens)",
    "clipped": "clipped tokens (share)",
}


def training_curves(curves: pd.DataFrame, smooth: int = 5) -> Figure:
    """Curves of RL trainings, one panel a quantity (`CURVE_LABELS`), one line an arm: mean over seeds, band from least to most.

    `curves`: run, seed, step and the quantities, one row a step. All but the held-out score are means over `smooth` steps.
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
            table, x="step", y=name, hue="run", palette=palette, errorbar=("pi", 100), ax=axes, linewidth=1.2, legend=False, **marks
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


def cost_front(points: pd.DataFrame, currency: str) -> Figure:
    """Accuracy against cost per 1,000 problems with intervals in both directions; the non-dominated front is joined and named.

    `points`: label, family (a method as in `colour`), correct and cost as Intervals, front (bool).
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.9))
    for family, part in points.groupby("family", sort=False):
        x, y = ([v.estimate for v in part[c]] for c in ("cost", "correct"))
        axes.errorbar(
            x,
            y,
            xerr=bars(list(part.cost)),
            yerr=bars(list(part.correct)),
            fmt={"Pass@1": "s", "Cons": "D"}.get(family, "o"),
            markersize=4.5,
            elinewidth=0.8,
            color=colour(family),
            label=family,
            alpha=0.9,
        )
    best = points[points.front].assign(x=lambda p: [v.estimate for v in p.cost]).sort_values("x")
    heights = [v.estimate for v in best.correct]
    axes.step(best.x, heights, where="post", color="#333333", linewidth=0.9, linestyle=":", label="front", zorder=1)
    lift, before = 0, -1.0
    for row in best.itertuples():
        at = (row.cost.estimate, row.correct.high)
        lift = lift + 1 if at[1] - before < 0.08 else 0  # neighbours of one height would write over each other
        before = at[1]
        axes.annotate(row.label, at, (-3, 3 + 8 * lift), textcoords="offset points", fontsize=6.5, ha="right", va="bottom")
    log_ticks(axes)
    axes.set(xlabel=f"cost of 1,000 problems ({currency}, log scale)", ylabel="accuracy", ylim=(-0.02, 1.22), yticks=np.linspace(0, 1, 6))
    axes.legend(fontsize="small", loc="lower right")  # above 1 is room for labels
    return figure


def log_ticks(axes: plt.Axes) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5, and room on its left for labels."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 2, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def lines(table: pd.DataFrame, x: str, y: str, hue: str, ylabel: str, xlabel: str, log: bool = False, zero: bool = False) -> Figure:
    """Intervals in column `y` against numbers in column `x`, one line a value of `hue`."""
    figure, axes = plt.subplots(figsize=(5.8, 3.1))
    names = list(table[hue].unique())
    known = {name: colour(name) for name in names if name.split("@")[0] in (*PALETTE, "Pass")}
    shades = dict(zip(names, sns.color_palette("flare", len(names)), strict=True)) | (known if len(known) == len(names) else {})
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
    """A forest plot: one row a line of the table, its Interval as a point with a bar; rows without an interval say so."""
    figure, axes = plt.subplots(figsize=(6.2, 0.7 + 0.3 * len(table)))
    for i, v in enumerate(table[value]):
        if not isinstance(v, tuple) or np.isnan(v.estimate):
            axes.annotate("no interval", (0.02, i), xycoords=("axes fraction", "data"), fontsize="x-small", va="center", color="#666666")
            continue
        axes.errorbar([v.estimate], [i], xerr=bars([v]), fmt="o", markersize=4.5, elinewidth=1.2, capsize=2.5, color="#0173b2")
    if reference is not None:
        axes.axvline(reference, color="#333333", linewidth=0.8)
    axes.set_yticks(range(len(table)), table[label], fontsize="small")
    axes.set(xlabel=xlabel, ylim=(len(table) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.35)
    axes.grid(axis="y", visible=False)
    return figure


VERDICTS = {"supported": "#029e73", "contradicted": "#d55e00", "not resolved": "#8c8c8c"}


def scorecard(table: pd.DataFrame) -> Figure:
    """The claims' scorecard: statistic less its threshold in half widths of its interval, so that all share one axis.

    Beyond `edge` half widths there is an arrow.
    """
    edge = 6
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.32 * len(table)))
    for i, row in enumerate(table.to_dict("records")):
        v, verdict = row["value"], row["verdict"]
        side, threshold = row["rule"].split()[-2:]
        if np.isnan(v.low):
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.annotate(verdict.replace("_", " "), (0, i), fontsize="x-small", va="center", ha="center", color="#666666", bbox=box)
            continue
        half = max((v.high - v.low) / 2, 1e-12)
        e, low, high = ((x - float(threshold)) / half * (1 if side == "above" else -1) for x in v[:3])
        if abs(e) > edge:
            axes.plot([np.sign(e) * edge], [i], marker=">" if e > 0 else "<", color=VERDICTS[verdict], markersize=7)
            continue
        axes.plot([low, high], [i, i], color=VERDICTS[verdict], linewidth=2.2, solid_capstyle="butt")
        axes.plot([e], [i], "o", color=VERDICTS[verdict], markersize=5)
    axes.axvline(0, color="#333333", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(table)), [f"{r.id}  {r.claim}" for r in table.itertuples()], fontsize="small")
    axes.set(ylim=(len(table) - 0.5, -0.5), xlim=(-edge - 0.6, edge + 0.6))
    axes.set_xlabel(
        "distance from the rule's threshold, in half widths\nof the 95% interval (right: as the paper claims)", fontsize="small"
    )
    axes.grid(axis="x", alpha=0.35)
    axes.grid(axis="y", visible=False)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=c, label=v) for v, c in VERDICTS.items()]
    axes.legend(handles=handles, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    return figure


def moves(table: pd.DataFrame) -> Figure:
    """Stacked bars: the share of every move, one bar a pair; numbers in the table, so the figure shows shares alone."""
    shades = dict(zip(MOVES, ("#029e73", "#78c8a8", "#c8c8c8", "#d55e00", "#f0b48c"), strict=True))
    figure, axes = plt.subplots(figsize=(1.6 + 0.85 * len(table), 3.0))
    bottom = np.zeros(len(table))
    for m in MOVES:
        share = np.array([v.estimate for v in table[m]])
        axes.bar(range(len(table)), share, 0.7, bottom=bottom, color=shades[m], label=m, linewidth=0)
        bottom += share
    names = [r.explorer if r.explorer == r.synthesizer else f"{r.explorer}\n→ {r.synthesizer}" for r in table.itertuples()]
    axes.set_xticks(range(len(table)), names, fontsize="small")
    axes.set(ylabel="share of syntheses", ylim=(0, 1))
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
    return figure


def differences(table: pd.DataFrame) -> Figure:
    """A2R minus each control in points, one panel a pair, controls as rows; columns as in `tables.against` and `pair`."""
    pairs, controls = list(table.pair.unique()), list(dict.fromkeys(table.control.replace(r"^Cons@\d+$", "Cons, same cost", regex=True)))
    figure, panels = plt.subplots(
        1, len(pairs), figsize=(1.6 + 1.75 * len(pairs), 0.9 + 0.27 * len(controls)), sharey=True, sharex=True, squeeze=False
    )
    for axes, pair in zip(panels[0], pairs, strict=True):
        part = table[table.pair == pair]
        for control, v in zip(part.control.replace(r"^Cons@\d+$", "Cons, same cost", regex=True), part["A2R − control"], strict=True):
            shade = "#0173b2" if control.startswith("Cons") else "#8c8c8c" if control.startswith("Pass@") else "#d55e00"
            e = stats.Interval(*(100 * x for x in v[:3]), v.n)
            axes.errorbar(
                [e.estimate], [controls.index(control)], xerr=bars([e]), fmt="o", markersize=4, elinewidth=1.1, capsize=2, color=shade
            )
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set_title(pair.replace(" → ", "\n→ ") if len(set(pair.split(" → "))) > 1 else pair.split(" → ")[0], fontsize="small")
        axes.grid(axis="x", alpha=0.35)
        axes.grid(axis="y", visible=False)
    panels[0][0].set_yticks(range(len(controls)), controls, fontsize="small")
    panels[0][0].set_ylim(len(controls) - 0.5, -0.5)
    figure.supxlabel("A2R − control (points)", fontsize="medium")
    return figure


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
