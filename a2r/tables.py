"""Tables of a study: every number with its interval and the number of problems behind it."""

from math import isnan
from pathlib import Path

import pandas as pd

from a2r import stats
from a2r.metrics import pass_at_k
from a2r.outcomes import rates
from a2r.profiles import Profile
from a2r.stats import Interval

UNDEFINED = "undefined"


def summary(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """One row a (explorer, synthesizer): Pass@1, Cons@N, Pass@N, A2R@N, gain, relative gain, gap closed as Intervals.

    Undefined ratios are the word "undefined" (their denominator's interval contains 0). `p` is the paired
    sign-flip test of A2R@N against Cons@N, `p_holm` the same corrected over the rows.
    """
    a2r, cons, upper = f"A2R@{n_paths}", f"Cons@{n_paths}", f"Pass@{n_paths}"
    rows = []
    for synthesizer, explorer in outcomes[outcomes.method == a2r][["synthesizer", "explorer"]].drop_duplicates().itertuples(index=False):
        mine = outcomes[(outcomes.explorer == explorer) & outcomes.synthesizer.isin(["", synthesizer])]
        wide = stats.per_problem(mine)
        relative = ratio(wide[a2r] - wide["Pass@1"], wide[cons] - wide["Pass@1"])
        closed = ratio(wide[a2r] - wide[cons], wide[upper] - wide[cons])
        rows.append(
            {
                **{"explorer": explorer, "synthesizer": synthesizer},
                **{m: stats.interval(wide[m]) for m in ("Pass@1", cons, upper, a2r)},
                **{"gain": stats.interval(wide[a2r] - wide[cons]), "relative gain": relative, "gap closed": closed},
                **{"n": len(wide), "p": stats.paired_test(wide[a2r], wide[cons])},
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


def ratio(numerator: pd.Series, denominator: pd.Series) -> Interval | str:
    """A ratio of mean gains with its interval, or "undefined" where the denominator could be 0."""
    value, reason = stats.ratio_interval(numerator, denominator)
    return UNDEFINED if reason else value


def by_benchmark(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """`summary` of each benchmark by itself."""
    parts = [summary(part, n_paths).assign(benchmark=name) for name, part in outcomes.groupby("benchmark", sort=False)]
    table = pd.concat(parts, ignore_index=True)
    return table[["benchmark", *[c for c in table if c != "benchmark"]]]


def reliability(pools: dict[str, pd.DataFrame], syntheses: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Shares of truncated, failed and answerless samples by role and model, and how many samples that is of."""
    rows = [{"role": "explorer", "model": m, "references": "", **rates(p), "samples": len(p)} for m, p in pools.items()]
    rows += [{"role": "synthesizer", "model": s, "references": e, **rates(f), "samples": len(f)} for (e, s), f in syntheses.items()]
    return pd.DataFrame(rows)


def contexts(pools: dict[str, pd.DataFrame], conditions: dict[str, dict[str, pd.DataFrame]], n_paths: int = 4) -> pd.DataFrame:
    """One row a model and benchmark: Pass@1 as explorer and accuracy under each reference context, as Intervals over problems."""
    rows = []
    for model, kinds in conditions.items():
        for benchmark, pool in pools[model].groupby("benchmark", sort=False):
            row = {"model": model, "benchmark": benchmark, "Pass@1": stats.interval(pool.groupby("problem_id").correct.mean())}
            for kind, frame in kinds.items():
                row[kind] = stats.interval(frame[frame.benchmark == benchmark].groupby("problem_id").correct.mean())
            rows.append({**row, "n": pool.problem_id.nunique()})
    return pd.DataFrame(rows)


def by_right_references(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """A2R@N beside the vote on the same sets, one row a symmetric model and number of right references; Intervals over problems."""
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    rows = []
    for model, own in outcomes[outcomes.explorer.eq(outcomes.synthesizer) | outcomes.method.eq(cons)].groupby("explorer", sort=False):
        for right, part in own.groupby("right"):
            per = stats.per_problem(part)
            if a2r in per:
                accuracy = {m: stats.interval(per[m]) for m in (a2r, cons)} | {"A2R − Cons": stats.interval(per[a2r] - per[cons])}
                rows.append({"model": model, "right references": right, **accuracy, "sets": int(part.method.eq(a2r).sum()), "n": len(per)})
    return pd.DataFrame(rows)


def against(outcomes: pd.DataFrame, method: str, pools: dict[str, pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """One row a pair and control: accuracy of the control and of `method`, their paired difference and p, cost of 1,000 problems.

    Pass@1 and Pass@N of the explorer's pool are added to the controls in `outcomes` (of `controls.outcomes`).
    """
    rows = []
    for (explorer, synthesizer), part in outcomes.groupby(["explorer", "synthesizer"], sort=False):
        per = part.groupby(["method", "benchmark", "problem_id"], sort=False)[["correct", "cost"]].mean()
        ours = per.loc[method].correct
        right = pools[explorer].groupby(["benchmark", "problem_id"], sort=False).correct.agg(["size", "sum"])
        own = {
            "Pass@1": right["sum"] / right["size"],
            f"Pass@{lab.n_paths}": pd.Series(pass_at_k(right["size"], right["sum"], lab.n_paths), index=right.index),
        }
        for control in [*own, *(m for m in part.method.unique() if m != method)]:
            theirs = own[control] if control in own else per.loc[control].correct
            rows.append(
                {
                    **{
                        "explorer": explorer,
                        "synthesizer": synthesizer,
                        "control": control,
                        "accuracy": stats.interval(theirs.loc[ours.index]),
                    },
                    **{"A2R": stats.interval(ours), "A2R − control": stats.interval(ours - theirs.loc[ours.index])},
                    "cost per 1,000": float("nan") if control in own else 1000 * per.loc[control].cost.mean(),
                    **{"n": len(ours), "p": stats.paired_test(ours, theirs.loc[ours.index])},
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


def before_after(outcomes: pd.DataFrame, before: str, after: str, n_paths: int = 4) -> pd.DataFrame:
    """A2R@N of two synthesizers on the same sets, one row an explorer and one for their mean, with the paired difference and p."""
    rows = outcomes[outcomes.method == f"A2R@{n_paths}"]
    wide = rows.pivot_table(index=["benchmark", "problem_id"], columns=["synthesizer", "explorer"], values="correct")
    pairs = {e: (wide[before, e], wide[after, e]) for e in rows.explorer.unique()}
    pairs["mean of all"] = (wide[before].mean(axis=1), wide[after].mean(axis=1))
    table = pd.DataFrame(
        [
            {
                **{"explorer": e, f"{before}": stats.interval(a), f"{after}": stats.interval(b), "difference": stats.interval(b - a)},
                **{"n": len(a), "p": stats.paired_test(b, a)},
            }
            for e, (a, b) in pairs.items()
        ]
    )
    return table.assign(p_holm=stats.holm(table.p))


SPENT = [
    *(f"{role} {kind}" for role in ("explorer", "synthesizer") for kind in ("prompt", "cached", "completion")),
    *("cost per 1,000", "Mflops", "seconds", "engine seconds"),
]


def spent(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per problem, one row a (explorer, synthesizer, method): tokens by role, FLOPs in millions, seconds; cost of 1,000 problems."""
    means = outcomes.groupby(["explorer", "synthesizer", "method"], sort=False).mean(numeric_only=True).reset_index()
    means = means.assign(**{"cost per 1,000": 1000 * means.cost, "Mflops": means.flops / 1e6 if "flops" in means else float("nan")})
    return means.rename(columns=lambda c: c.replace("_", " "))[["explorer", "synthesizer", "method", *SPENT]]


def power(outcomes: pd.DataFrame, n_paths: int, gains: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.1), most: int = 3000) -> pd.DataFrame:
    """Problems needed for 80% power at p <= .05, one row a gain in points, one column a number of sets; pilot: all of these outcomes.

    The column "at 30 problems" is the power that 30 problems (AIME) with 16 sets have.
    """
    a2r, cons = f"A2R@{n_paths}", f"Cons@{n_paths}"
    mine = outcomes[outcomes.explorer.eq(outcomes.synthesizer) | outcomes.synthesizer.eq("")]
    pilot = pd.concat([stats.per_problem(part)[[cons, a2r]] for _, part in mine.groupby("explorer", sort=False) if a2r in set(part.method)])
    rows = []
    for gain in gains:
        try:
            needed = {
                f"{k} set{'s' * (k > 1)}": stats.problems_needed(pilot, gain, k, most=most, simulations=200) or f"more than {most}"
                for k in (1, 4, 16)
            }
            rows.append({"gain in points": 100 * gain, **needed, "power at 30 problems": stats.power(pilot, gain, 30, 16)})
        except ValueError:
            continue  # the gain does not fit between the pilot's accuracy and 1
    return pd.DataFrame(rows)


def shown(table: pd.DataFrame, points: tuple[str, ...] = ("gain",)) -> pd.DataFrame:
    """The table as text: intervals as "0.61 [0.57, 0.65]", gains in percentage points, p-values short."""

    def cell(value, column: str) -> str:
        if isinstance(value, tuple):
            e, low, high, _ = value
            if isnan(e):
                return "–"
            return f"{100 * e:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" if column in points else f"{e:.2f} [{low:.2f}, {high:.2f}]"
        if isinstance(value, float):
            return f"{value:.4f}" if column.startswith("p") else f"{value:.3g}"
        return str(value)

    return pd.DataFrame({c: [cell(v, c) for v in table[c]] for c in table})


def save(table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write a table as CSV (intervals in three columns, "undefined" in the first) and as LaTeX (booktabs); returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = {}
    for column in table:
        if any(isinstance(v, Interval) for v in table[column]):
            for i, part in enumerate(("", "_low", "_high")):
                flat[column + part] = [v[i] if isinstance(v, tuple) else None if i else v for v in table[column]]
        else:
            flat[column] = table[column]
    paths = [folder / f"{name}.csv", folder / f"{name}.tex"]
    pd.DataFrame(flat).to_csv(paths[0], index=False, float_format="%.5g")
    latex = shown(table).rename(columns=lambda c: c.replace("_", " "))
    paths[1].write_text(latex.to_latex(index=False, escape=True))
    return paths
