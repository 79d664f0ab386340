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
        more = [synthesized(problems, table, prices, alone, lab.n_paths, lab.n_sets, "Alone@1", alone=True)]
        temperature = lab.sampling_of(m).temperature
        if temperature != lab.sampling_of(m, "synthesizer").temperature:
            same = grade(synthesize(lab.with_(temperature=temperature), m, problems, pools[m]), problems)
            more.append(
                synthesized(
                    problems, table, prices, same, lab.n_paths, lab.n_sets, f"A2R@{lab.n_paths}, one temperature"
                )
            )
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
    wide = outcomes.pivot_table(
        index=["explorer", *stats.KEYS], columns=["method", "set"], values="correct", sort=False
    )
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
        errors = {"as run": (n, k), "twice the problems": (2 * n, k), "twice the sets": (n, 2 * k)}
        errors = {f"error in points, {name}": 100 * found.of_mean(*size) ** 0.5 for name, size in errors.items()}
        rows.append(
            {
                "model": model,
                "between problems": found.between,
                "within a problem": found.within,
                **errors,
                "sets": k,
                "n": n,
            }
        )
    return pd.DataFrame(rows)


def power(
    outcomes: pd.DataFrame, n_paths: int, gains: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.1), most: int = 5000
) -> pd.DataFrame:
    """Problems needed for 80% power at p <= .05, one row a gain in points, one column a number of sets; pilot: all of
    these outcomes.

    The last column is the power that 30 problems (AIME) with 16 sets have. ValueError for outcomes of one set.
    """
    gathered = pd.concat(pilot(outcomes, n_paths).values())
    rows = []
    for gain in gains if len(gathered) > 1 else ():
        needed = {
            f"{k} set{'s' * (k > 1)}": stats.problems_needed(gathered, gain, k, most=most, simulations=200)
            or f"more than {most}"
            for k in (1, 4, 16)
        }
        rows.append(
            {"gain in points": 100 * gain, **needed, "power at 30 problems": stats.power(gathered, gain, 30, 16)}
        )
    return pd.DataFrame(rows)


def accuracy_bars(outcomes: pd.DataFrame, n_paths: int, methods: tuple[str, ...] = ()) -> Figure:
    """Accuracy of each method, one group of bars a (explorer, synthesizer); below, the paired gain of A2R@N over the
    vote and, where it is there, over the synthesizer alone, in points.

    Bars of one group share their sets, so that their intervals may overlap where the paired gain is sure. `methods`:
    which are drawn; default Pass@1, Cons@N, Alone@1, A2R@N and Pass@N, as far as the outcomes have them.
    """
    a2r, cons, upper = f"A2R@{n_paths}", f"Cons@{n_paths}", f"Pass@{n_paths}"
    pairs = outcomes.loc[outcomes.synthesizer != "", ["explorer", "synthesizer"]].drop_duplicates()
    pairs = pairs if len(pairs) else outcomes[["explorer", "synthesizer"]].drop_duplicates()
    per = {}
    for e, s in pairs.itertuples(index=False, name=None):
        per[e, s] = stats.per_problem(outcomes[(outcomes.explorer == e) & outcomes.synthesizer.isin(["", s])])
    found = [m for m in methods or ("Pass@1", cons, "Alone@1", a2r, upper) if all(m in wide for wide in per.values())]
    figure, (top, below) = panels(1.75, 2, wide=1, sharex=True, height_ratios=[1.7, 1])
    width, x = 0.8 / len(found), np.arange(len(per))
    for k, method in enumerate(found):
        estimates = [stats.interval(wide[method]) for wide in per.values()]
        open_bar = {"edgecolor": "#555555", "linewidth": 0.8, "hatch": "////"}
        look = {"label": method, "color": colour(method), "error_kw": {"elinewidth": 0.9}}
        look |= open_bar if colour(method) == PALETTE["Pass@N"] else {"linewidth": 0}
        at, y = x + (k - (len(found) - 1) / 2) * width, [e.estimate for e in estimates]
        top.bar(at, y, width * 0.92, yerr=bars(estimates), **look)
    gains = {other: [] for other in (cons, "Alone@1") if other in found and a2r in found}
    for k, other in enumerate(gains):
        gains[other] = [stats.difference(wide[a2r], wide[other]) for wide in per.values()]
        at, shown = x + 0.3 * (k - (len(gains) - 1) / 2), points(gains[other])
        look = {"fmt": "os"[k], "color": colour(other), "label": f"{a2r} − {other}"}
        below.errorbar(at, [g.estimate for g in shown], yerr=bars(shown), **look)
        for place, gain in zip(at, shown, strict=True):
            beside = {"xytext": (5, 0), "textcoords": "offset points", "fontsize": small(), "va": "center"}
            below.annotate(f"{gain.estimate:+.1f}", (place, gain.estimate), **beside)
    below.axhline(0, color=DARK, linewidth=0.8)
    below.set_xticks(x, [paired(*pair, "\n→ ") for pair in per])
    below.set(
        ylabel="A2R above …\n(points, paired)", xlabel="explorer = synthesizer" if all(e == s for e, s in per) else ""
    )
    top.set(ylabel="accuracy", ylim=(0, 1))
    top.legend(ncols=len(found), loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2, handlelength=1.4)
    if gains:
        below.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    n = counted(stats.interval(wide.iloc[:, 0]) for wide in per.values())
    if not gains:
        return captioned(figure, f"Accuracy of {', '.join(found)}", n)
    counts = [
        f"{other} for {sum(g.low > 0 for g in values)} (below: {sum(g.high < 0 for g in values)})"
        for other, values in gains.items()
    ]
    return captioned(
        figure, f"Of {len(per)} pairs of models {a2r} is above, with its interval, {' and '.join(counts)}", n
    )


def gain_by(outcomes: pd.DataFrame, groups: pd.Series, label: str, n_paths: int) -> Figure:
    """A2R@N − Cons@N in points by a problem attribute (`groups`: problem_id -> group): the mean of all pairs with its
    interval, and each pair as a thin line."""
    figure, (axes,) = panels(2.3, 1)
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    pairs = list(
        outcomes.loc[outcomes.method == a2r, ["explorer", "synthesizer"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    )
    levels, look = list(groups.astype("category").cat.categories), looks([paired(*p) for p in pairs])
    ends, scores = [], []
    for pair in pairs:
        wide = stats.per_problem(outcomes[(outcomes.explorer == pair[0]) & outcomes.synthesizer.isin(["", pair[1]])])
        scores.append(wide[[a2r, cons]])
        gain = wide[a2r] - wide[cons]
        members = groups.loc[wide.index.get_level_values("problem_id")].to_numpy()
        means = 100 * gain.groupby(members).mean().loc[levels]
        axes.plot(range(len(levels)), means, linewidth=0.8, markersize=3, **look[paired(*pair)])
        ends.append((len(levels) - 1, means.iloc[-1], paired(*pair), look[paired(*pair)]["color"]))
    mean = sum(scores) / len(scores)
    members = groups.loc[mean.index.get_level_values("problem_id")].to_numpy()
    parts = [mean[members == level] for level in levels]
    estimates = [stats.difference(part[a2r], part[cons]) for part in parts]
    shown = points(estimates)
    axes.errorbar(
        range(len(levels)),
        [e.estimate for e in shown],
        yerr=bars(shown),
        color=DARK,
        linewidth=2,
        marker="o",
        markersize=6,
    )
    ends.append((len(levels) - 1, shown[-1].estimate, "mean", DARK))
    axes.axhline(0, color=DARK, linewidth=0.8)
    axes.set_xticks(range(len(levels)), levels)
    axes.set(xlabel=label, ylabel=f"{a2r} − {cons}\n(points)")
    label_ends(axes, ends)
    best = int(np.argmax([e.estimate for e in estimates]))
    says = (
        f"The mean gain over the vote is largest at {label} {levels[best]}: {said(estimates[best], '+.1f', 100)} points"
    )
    return captioned(
        figure,
        says,
        counted(estimates, "problems a group"),
        "bars: 95% intervals of the mean over problems; thin: models",
    )
