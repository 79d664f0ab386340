"""Tables of a study: every number with its interval and the number of problems behind it."""

import io
from collections.abc import Callable
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd

from a2r.results import stats
from a2r.results.stats import Interval

UNDEFINED = "undefined"


def summary(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """One row a (explorer, synthesizer): Pass@1, Cons@N, Pass@N, A2R@N, gain, relative gain, gap closed as Intervals.

    Undefined ratios are the word "undefined" (their denominator's interval contains 0). `p` is the paired
    sign-flip test of A2R@N against Cons@N, `p_holm` the same corrected over the rows.
    """
    a2r, cons, upper = f"A2R@{n_paths}", f"Cons@{n_paths}", f"Pass@{n_paths}"
    rows = []
    for (explorer, synthesizer), wide in stats.per_pair(outcomes, a2r).items():
        row = {"explorer": explorer, "synthesizer": synthesizer}
        row |= {m: stats.interval(wide[m]) for m in ("Pass@1", cons, upper, a2r)}
        row["gain"] = stats.difference(wide[a2r], wide[cons])
        row["relative gain"] = ratio(wide[a2r] - wide["Pass@1"], wide[cons] - wide["Pass@1"])
        row["gap closed"] = ratio(wide[a2r] - wide[cons], wide[upper] - wide[cons])
        rows.append({**row, "n": len(wide), "p": stats.paired_test(wide[a2r], wide[cons])})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


def ratio(numerator: pd.Series, denominator: pd.Series) -> Interval | str:
    """A ratio of mean gains with its interval, or "undefined" where the denominator could be 0, or is a loss."""
    value = stats.ratio_interval(numerator, denominator)
    return UNDEFINED if isnan(value.estimate) or np.mean(denominator) < 0 else value


def means(rows: pd.DataFrame, by: list[str], columns: dict[str, tuple[float, float] | None]) -> pd.DataFrame:
    """One row a group of `by`, in the order of the rows: every column's mean over problems as an Interval.

    `columns`: the bounds that one problem's mean has (`stats.interval`). `sets` counts the rows, `n` the problems.
    """
    made = []
    for key, part in rows.groupby(by, sort=False):
        per = part.groupby(stats.KEYS)[list(columns)].mean()
        found = {name: stats.interval(per[name], bounds) for name, bounds in columns.items()}
        made.append({**dict(zip(by, key, strict=True)), **found, "sets": len(part), "n": len(per)})
    return pd.DataFrame(made, columns=[*by, *columns, "sets", "n"])


def by_benchmark(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """`summary` of each benchmark by itself; `p_holm` over all rows."""
    parts = [summary(part, n_paths).assign(benchmark=name) for name, part in outcomes.groupby("benchmark", sort=False)]
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(p_holm=stats.holm(table.p)) if len(table) else table
    return table[["benchmark", *[c for c in table if c != "benchmark"]]]


def by_right_references(outcomes: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """A2R@N beside the vote and the synthesizer alone on the same sets, one row a symmetric model and number of right
    references.

    Sets with few right references are of hard problems, on which a fresh path does badly too: what reading them adds is
    A2R − Alone, not the distance to a vote whose score the number itself decides. Intervals over problems.
    """
    a2r, cons, rows = f"A2R@{n_paths}", f"Cons@{n_paths}", []
    own = outcomes[outcomes.explorer.eq(outcomes.synthesizer) | outcomes.method.eq(cons)]
    for model, mine in own.groupby("explorer", sort=False):
        for right, part in mine.groupby("right"):
            per = stats.per_problem(part)
            if a2r not in per:
                continue
            others = {"Cons": cons} | ({"Alone": "Alone@1"} if "Alone@1" in per else {})
            row = {"model": model, "right references": right}
            row |= {m: stats.interval(per[m]) for m in (a2r, *others.values())}
            row |= {f"A2R − {name}": stats.difference(per[a2r], per[m]) for name, m in others.items()}
            rows.append({**row, "sets": int(part.method.eq(a2r).sum()), "n": len(per)})
    return pd.DataFrame(rows)


SPENT = [
    *(f"{role} {kind}" for role in ("explorer", "synthesizer") for kind in ("prompt", "cached", "completion")),
    *("cost per 1,000", "Mflops", "seconds", "engine seconds"),
]


def spent(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Per problem, one row a (explorer, synthesizer, method): tokens by role, FLOPs in millions, seconds; cost of 1,000
    problems."""
    means = outcomes.groupby(["explorer", "synthesizer", "method"], sort=False).mean(numeric_only=True).reset_index()
    mflops = means.flops / 1e6 if "flops" in means else float("nan")
    means = means.assign(**{"cost per 1,000": 1000 * means.cost, "Mflops": mflops})
    return means.rename(columns=lambda c: c.replace("_", " "))[["explorer", "synthesizer", "method", *SPENT]]


def text(value: Interval, form: str = ".2f", scale: float = 1) -> str:
    """An interval as "0.61 [0.57, 0.65]", the estimate alone where it has no bounds, "–" where there is none.

    Rounded from the five digits that `save` keeps, so that pages made from its CSV show the same number.
    """
    e, low, high = (f"{scale * float(f'{v:.5g}'):{form}}".replace("-", "−") for v in value[:3])
    return "–" if isnan(value.estimate) else e if isnan(value.low) else f"{e} [{low}, {high}]"


def front(points: pd.DataFrame, cost: str = "cost", value: str = "correct") -> pd.Series:
    """Whether each row is on the non-dominated front: no other is at least as good and as cheap, and better in one of
    the two."""
    c, v = points[cost].to_numpy(), points[value].to_numpy()
    no_worse = (v[:, None] >= v) & (c[:, None] <= c)
    better = (v[:, None] > v) | (c[:, None] < c)
    return pd.Series(~(no_worse & better).any(axis=0), index=points.index)


def shown(table: pd.DataFrame, points: tuple[str, ...] = ("gain",)) -> pd.DataFrame:
    """The table as text: intervals as "0.61 [0.57, 0.65]", gains in percentage points, p-values short."""

    def cell(value, column: str) -> str:
        if isinstance(value, tuple):
            return text(value, "+.1f", 100) if column in points else text(value)
        if isinstance(value, float):
            if isnan(value):
                return ""  # not known
            if column in ("p", "p_holm"):
                return f"{value:.0e}" if value < 0.0001 else f"{value:.4f}"
            return f"{value:.3g}"
        return str(value)

    return pd.DataFrame({c: [cell(v, c) for v in table[c]] for c in table})


def written(path: Path, content: bytes) -> None:
    """Write a file at once: who is stopped in the middle leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[-200:]}.tmp")
    partial.write_bytes(content)
    partial.replace(path)


def save(table: pd.DataFrame, folder: Path, name: str, write: Callable[[Path, bytes], object] = written) -> list[Path]:
    """Write a table as CSV (intervals in three columns, "undefined" in the first) and as LaTeX (booktabs); returns the
    paths."""
    flat = {}
    for column in table:
        if any(isinstance(v, Interval) for v in table[column]):
            for i, part in enumerate(("", "_low", "_high")):
                flat[column + part] = [v[i] if isinstance(v, tuple) else None if i else v for v in table[column]]
        else:
            flat[column] = table[column]
    paths = [folder / f"{name}.csv", folder / f"{name}.tex"]
    short = {c: [float(f"{v:.5g}") if isinstance(v, float) else v for v in flat[c]] for c in flat}  # beside words too
    text = pd.DataFrame(short).to_csv(index=False, float_format="%.5g")
    before = paths[0].read_text(encoding="utf-8") if all(path.exists() for path in paths) else text
    if before == text or not alike(*(pd.read_csv(io.StringIO(csv), dtype=str) for csv in (before, text))):
        write(paths[0], text.encode())
        latex = shown(table).rename(columns=lambda c: c.replace("_", " "))
        write(paths[1], latex.to_latex(index=False, escape=True).translate(str.maketrans(SIGNS)).encode())
    return paths


def alike(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """Whether two tables are equal but for seconds that a clock measured, which no run repeats."""
    kept = [column for column in before if "seconds" not in column]
    return list(before) == list(now) and before[kept].equals(now[kept])


LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": "/"}
SIGNS = {"→": r"$\to$", "−": "$-$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "×": r"$\times$"}


def latex_figure(name: str, caption: str) -> str:
    """A LaTeX figure of the picture <name> with its caption and the label fig:<name>."""
    return (
        f"\\begin{{figure}}\n\\centering\n\\includegraphics[width=\\linewidth]{{{name}}}\n"
        f"\\caption{{{caption.translate(str.maketrans(LATEX | SIGNS))}}}\n\\label{{fig:{name}}}\n\\end{{figure}}\n"
    )


def read(path: Path) -> pd.DataFrame:
    """A table as it was before `save` wrote its CSV: columns with _low and _high are Intervals again ("undefined" stays
    a word)."""
    flat = pd.read_csv(path, keep_default_na=False, na_values=["", "nan"])
    table = pd.DataFrame(index=flat.index)
    for column in flat:
        if f"{column}_low" in flat:
            ns = flat["n"] if "n" in flat else [0] * len(flat)
            rows = zip(flat[column], flat[f"{column}_low"], flat[f"{column}_high"], ns, strict=True)
            table[column] = [
                Interval(float(e), low, high, int(n)) if e != UNDEFINED else UNDEFINED for e, low, high, n in rows
            ]
        elif not (column.endswith(("_low", "_high")) and column.rsplit("_", 1)[0] in flat):
            table[column] = flat[column]
    return table
