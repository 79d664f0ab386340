"""The symmetric baseline: one model in both roles. Its power, its reliability, and what the gain depends on."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from a2r.outcomes import collect, grade, rates, synthesized
from a2r.pipeline import Context, explore, synthesize, synthesize_all
from a2r.prices import flops
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import (
    DARK,
    PALETTE,
    bars,
    captioned,
    colour,
    counted,
    label_ends,
    looks,
    narrow,
    paired,
    panels,
    points,
    said,
    small,
)


def run(
    lab: Profile, problems: pd.DataFrame, models: list[str], prices: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[tuple[str, str], pd.DataFrame]]:
    """Outcomes, graded pools by model, and graded syntheses by (model, model), read from the store or sampled.

    Beside A2R@N and the baselines each set has "Alone@1", the same prompt without references; and where the profile
    gives syntheses a temperature of their own, "A2R@N, one temperature": at that of the paths.
    """
    pools, syntheses, frames = {}, {}, []
    for m in models:  # model by model, so that a server has to load each once
        pools[m] = grade(explore(lab, m, problems, lab.n_paths * lab.n_sets), problems)
        contexts = [Context(pools[m]), Context(pools[m], "none", lambda paths: [])]
        read, alone = (grade(frame, problems) for frame in synthesize_all(lab, m, problems, contexts))
        syntheses[m, m] = read
        table = collect(problems, {m: pools[m]}, {(m, m): read}, prices, lab)
        more = [synthesized(table, prices, alone, lab.n_paths, lab.n_sets, "Alone@1", alone=True)]
        temperature = lab.sampling_of(m).temperature
        if temperature != lab.sampling_of(m, "synthesizer").temperature:
            same = grade(synthesize(lab.with_(temperature=temperature), m, problems, pools[m]), problems)
            name = f"A2R@{lab.n_paths}, one temperature"
            more.append(synthesized(table, prices, same, lab.n_paths, lab.n_sets, name))
        frames += [table, *(rows.assign(flops=flops(rows, lab)) for rows in more)]
    return pd.concat(frames, ignore_index=True), pools, syntheses


def reliability(pools: dict[str, pd.DataFrame], syntheses: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Shares of truncated, failed and answerless samples by role and model, and how many samples that is of."""
    rows = [{"role": "explorer", "model": m, "references": "", **rates(p), "samples": len(p)} for m, p in pools.items()]
    rows += [
        {"role": "synthesizer", "model": s, "references": e, **rates(f), "samples": len(f)}
        for (e, s), f in syntheses.items()
    ]
    return pd.DataFrame(rows)


def two_sets(lab: Profile, n_problems: int) -> Profile:
    """The profile with two sets a problem, on at most `n_problems` a benchmark; itself where it has two or more."""
    return lab if lab.n_sets > 1 else lab.with_(n_sets=2, n_problems=min(n_problems, lab.n_problems or n_problems))


def pilot(outcomes: pd.DataFrame, n_paths: int) -> dict[str, pd.DataFrame]:
    """A2R@N - Cons@N of every set, by model: problems as rows, sets as columns."""
    index = ["explorer", *stats.KEYS]
    wide = outcomes.pivot_table(index=index, columns=["method", "set"], values="correct", sort=False)
    gains = wide[f"A2R@{n_paths}"] - wide[f"Cons@{n_paths}"]
    return {model: part.droplevel(0) for model, part in gains.groupby(level=0, sort=False)}


def components(outcomes: pd.DataFrame, n_paths: int) -> pd.DataFrame:
    """Variance of A2R@N - Cons@N between problems and within one, by model, and what follows for the standard error of
    a gain.

    The standard error that was reached, and what it would be with twice the problems and with twice the sets: whichever
    is the smaller is what to buy. ValueError for outcomes of one set.
    """
    rows = []
    for model, gains in pilot(outcomes, n_paths).items():
        if len(gains) < 2:
            continue  # a first try on one problem
        found, (n, k) = stats.components(gains), gains.shape
        row = {"model": model, "between problems": found.between, "within a problem": found.within}
        for name, size in {"as run": (n, k), "twice the problems": (2 * n, k), "twice the sets": (n, 2 * k)}.items():
            row[f"error in points, {name}"] = 100 * found.of_mean(*size) ** 0.5
        rows.append({**row, "sets": k, "n": n})
    return pd.DataFrame(rows)


def power(
    outcomes: pd.DataFrame, n_paths: int, gains: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.1)
) -> pd.DataFrame:
    """Problems needed for 80% power at p <= .05, one row a gain in points, one column a number of sets; the variance is
    that of these outcomes, all models together.

    The last column is the power that 30 problems (AIME) with 16 sets have. ValueError for outcomes of one set.
    """
    gathered, rows = pd.concat(pilot(outcomes, n_paths).values()), []
    found = stats.components(gathered) if len(gathered) > 1 else None
    for gain in gains if found else ():
        needed = {f"{k} set{'s' * (k > 1)}": found.problems_needed(gain, k) for k in (1, 4, 16)}
        rows.append({"gain in points": 100 * gain, **needed, "power at 30 problems": found.power(gain, 30, 16)})
    return pd.DataFrame(rows)


def accuracy_bars(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """Accuracy of each method, one group of bars a (explorer, synthesizer); below, the paired gain of A2R@N over the
    vote and, where it is there, over the synthesizer alone, in points.

    Bars of one group share their sets, so that their intervals may overlap where the paired gain is sure.
    """
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    per = stats.per_pair(outcomes, a2r)
    methods = ("Pass@1", cons, "Alone@1", a2r, f"Pass@{n_paths}")
    found = [m for m in methods if all(m in wide for wide in per.values())]
    figure, (top, below) = panels(1.75, 2, wide=1, sharex=True, height_ratios=[1.7, 1])
    width, x = 0.8 / len(found), np.arange(len(per))
    for k, method in enumerate(found):
        estimates = [stats.interval(wide[method]) for wide in per.values()]
        look = {"label": method, "color": colour(method), "error_kw": {"elinewidth": 0.9}, "linewidth": 0}
        if colour(method) == PALETTE["Pass@N"]:
            look |= {"edgecolor": "#555555", "linewidth": 0.8, "hatch": "////"}
        at = x + (k - (len(found) - 1) / 2) * width
        top.bar(at, [e.estimate for e in estimates], width * 0.92, yerr=bars(estimates), **look)
    others, counts = [other for other in (cons, "Alone@1") if other in found], []
    for k, other in enumerate(others):
        gains = [stats.difference(wide[a2r], wide[other]) for wide in per.values()]
        at, shown = x + 0.3 * (k - (len(others) - 1) / 2), points(gains)
        look = {"linestyle": "", "marker": "Ds"[k], "color": colour(other), "label": f"{a2r} − {other}"}
        below.errorbar(at, [g.estimate for g in shown], yerr=bars(shown), **look)
        side = {"xytext": (5 if k else -5, 0), "textcoords": "offset points", "ha": "left" if k else "right"}
        side |= {"fontsize": small(), "va": "center", "bbox": {"color": "white", "pad": 0.5}, "zorder": 0.5}
        for place, gain in zip(at, shown, strict=True) if not narrow() else ():
            below.annotate(f"{gain.estimate:+.1f}".replace("-", "−"), (place, gain.estimate), **side)
        above, under = sum(g.low > 0 for g in gains), sum(g.high < 0 for g in gains)
        counts.append(f"better than {other} for {above} (worse for {under or 'none'})")
    below.axhline(0, color=DARK, linewidth=0.8, zorder=0)
    below.set_xticks(x, [paired(*pair, "\n→ ") for pair in per], rotation=30 * narrow())
    own = all(e == s for e, s in per)
    below.set(ylabel=f"{a2r} − …\n(points, paired)", xlabel="explorer = synthesizer" * own)
    top.set(ylabel="accuracy", ylim=(0, 1))
    for panel, columns in ((top, 3 if narrow() else len(found)), (below, 2)):
        panel.legend(ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2, handlelength=1.4)
    says = f"Of {len(per)} {'models' if own else 'pairs'}, {a2r} is {' and '.join(counts)}"
    note = "bars: 95% intervals over problems; better or worse: that of the difference excludes 0"
    return captioned(figure, says, counted(stats.interval(wide.iloc[:, 0]) for wide in per.values()), note)


def gain_by(outcomes: pd.DataFrame, groups: pd.Series, label: str, n_paths: int) -> Figure:
    """A2R@N − Cons@N in points by a problem attribute (`groups`: problem_id -> group): the mean of all pairs with its
    interval, and each pair as a thin line."""
    figure, (axes,) = panels(2.3, 1)
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    levels = list(groups.astype("category").cat.remove_unused_categories().cat.categories)  # of few problems not all
    per = {paired(*pair): wide[[a2r, cons]] for pair, wide in stats.per_pair(outcomes, a2r).items()}
    mean, look, ends = sum(per.values()) / len(per), looks(list(per)), []

    def parts(wide: pd.DataFrame) -> list[pd.DataFrame]:
        members = groups.loc[wide.index.get_level_values("problem_id")].to_numpy()
        return [wide[members == level] for level in levels]

    for name, wide in per.items():
        means = [100 * (part[a2r] - part[cons]).mean() for part in parts(wide)]
        axes.plot(range(len(levels)), means, linewidth=0.8, markersize=3, **look[name])
        ends.append((len(levels) - 1, means[-1], name, look[name]["color"]))
    estimates = [stats.difference(part[a2r], part[cons]) for part in parts(mean)]
    shown = points(estimates)
    thick = {"color": DARK, "linewidth": 2, "marker": "o", "markersize": 6}
    axes.errorbar(range(len(levels)), [e.estimate for e in shown], yerr=bars(shown), **thick)
    axes.axhline(0, color=DARK, linewidth=0.8)
    axes.set_xticks(range(len(levels)), levels)
    axes.set(xlabel=label, ylabel=f"{a2r} − {cons}\n(points)")
    label_ends(axes, [*ends, (len(levels) - 1, shown[-1].estimate, "mean", DARK)])
    best = max(range(len(levels)), key=lambda i: estimates[i].estimate)
    value = said(estimates[best], "+.1f", 100)
    says = f"The mean gain over the vote is largest for {label} {levels[best]}: {value} points"
    note = "bars: 95% intervals of the mean over problems; thin: models"
    return captioned(figure, says, counted(estimates, "problems a group"), note)
