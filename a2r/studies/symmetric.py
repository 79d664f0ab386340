"""The symmetric baseline: one model in both roles. Its power, its reliability, and what the gain depends on."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from a2r.outcomes import STATES, collect, grade, rates, synthesized
from a2r.pipeline import Context, explore, synthesize, synthesize_all
from a2r.prices import flops
from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.figures import bars, colour


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


def accuracy_bars(outcomes: pd.DataFrame, n_paths: int) -> Figure:
    """Grouped bars: accuracy of each method, one group a (explorer, synthesizer), 95% intervals over problems."""
    methods = ["Pass@1", f"Cons@{n_paths}", f"A2R@{n_paths}", f"Pass@{n_paths}"]
    pairs = list(
        outcomes.loc[outcomes.method == f"A2R@{n_paths}", ["explorer", "synthesizer"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    )
    figure, axes = plt.subplots(figsize=(1.5 + 1.15 * len(pairs), 3.0))
    width = 0.8 / len(methods)
    for k, method in enumerate(methods):
        estimates = []
        for explorer, synthesizer in pairs:
            mine = outcomes[
                (outcomes.method == method)
                & (outcomes.explorer == explorer)
                & outcomes.synthesizer.isin(["", synthesizer])
            ]
            estimates.append(stats.interval(mine.groupby("problem_id").correct.mean()))
        x = np.arange(len(pairs)) + (k - 1.5) * width
        y = np.array([e.estimate for e in estimates])
        error = bars(estimates)
        outline = (
            {"edgecolor": "#555555", "linewidth": 0.8, "hatch": "////"} if method == methods[-1] else {"linewidth": 0}
        )
        axes.bar(
            x,
            y,
            width * 0.92,
            yerr=error,
            label=method,
            color=colour(method),
            error_kw={"elinewidth": 0.9, "capsize": 1.8},
            **outline,
        )
    axes.set_xticks(range(len(pairs)), [e if e == s else f"{e}\n→ {s}" for e, s in pairs])
    axes.set(
        ylabel="accuracy",
        ylim=(0, 1),
        xlabel="explorer = synthesizer" if all(e == s for e, s in pairs) else "explorer → synthesizer",
    )
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2, handlelength=1.4)
    return figure


def gain_by(outcomes: pd.DataFrame, groups: pd.Series, label: str, n_paths: int) -> Figure:
    """A2R@N − Cons@N in points by a problem attribute (`groups`: problem_id -> group), one line a model, with
    intervals."""
    figure, axes = plt.subplots(figsize=(5.8, 3.0))
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    pairs = list(
        outcomes.loc[outcomes.method == a2r, ["explorer", "synthesizer"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    )
    colours, levels = sns.color_palette("flare", len(pairs)), groups.astype("category").cat.categories
    for k, (explorer, synthesizer) in enumerate(pairs):
        wide = stats.per_problem(
            outcomes[(outcomes.explorer == explorer) & outcomes.synthesizer.isin(["", synthesizer])]
        )
        members = groups.loc[wide.index.get_level_values("problem_id")].to_numpy()
        gains = [stats.difference(part[a2r], part[cons]) for part in (wide[members == level] for level in levels)]
        estimates = [stats.Interval(*(100 * x for x in e[:3]), e.n) for e in gains]
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
    """A2R@N and Cons@N by explorer state, one panel a model; intervals over problems, number of sets below each
    state."""
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    pairs = list(
        outcomes.loc[outcomes.method == a2r, ["explorer", "synthesizer"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    )
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
