"""Two sets of results beside each other: of two profiles, two runs, or a run and what is committed."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from a2r.errors import UserError
from a2r.profiles import ROOT
from a2r.results import stats, tables
from a2r.results.stats import Interval

COMMITTED = "committed"
KEYS = ["benchmark", "problem_id"]
MEASURED = ("seconds", "minutes")  # columns that no second run repeats


def folder(name: str) -> Path:
    """The folder of results that a name stands for: a profile's, one below figures/, or a path. UserError if there is
    none."""
    for path in (ROOT / "figures" / name, ROOT / name, Path(name)):
        if path.is_dir():
            return path
    raise UserError(
        f"there are no results '{name}': give a profile that was run, a folder of results, or '{COMMITTED}'."
    )


def csvs(name: str, like: Path) -> dict[str, pd.DataFrame]:
    """Tables by file name: of a folder, or ("committed") of git's HEAD for the folder `like`."""
    if name != COMMITTED:
        return {path.name: pd.read_csv(path) for path in sorted(folder(name).glob("*.csv"))}
    where = like.resolve().relative_to(ROOT)
    listed = git("ls-tree", "--name-only", "HEAD", f"{where}/").splitlines()
    return {Path(f).name: pd.read_csv(io.StringIO(git("show", f"HEAD:{f}"))) for f in listed if f.endswith(".csv")}


def git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError("what is committed can only be read in a git checkout.") from error


def described(one: str, other: str) -> tuple[str, bool]:
    """The comparison of two results in words, and whether their tables are equal (measured times aside)."""
    like = folder(one if one != COMMITTED else other)
    a, b = csvs(one, like), csvs(other, like)
    both = [name for name in a if name in b]
    if not both:
        raise UserError(f"'{one}' and '{other}' have no table in common.")
    differing = {name: why for name in both if (why := difference(a[name], b[name]))}
    lines = [f"{name}: {why}" for name, why in differing.items()]
    for name, first, second in ((n, x, y) for n, x, y in ((one, a, b), (other, b, a)) if x.keys() - y.keys()):
        lines.append(f"only in {name}: {', '.join(sorted(first.keys() - second.keys()))}")
    lines += verdicts(a.get("claims_scorecard.csv"), b.get("claims_scorecard.csv"))
    if COMMITTED not in (one, other):
        for study, frame in outcomes(folder(one), folder(other)).items():
            lines += ["", f"{study}, {one} and {other}", tables.shown(frame, ("difference",)).to_string(index=False)]
    equal = not differing
    count = f"{len(both) - len(differing)} of {len(both)} tables equal"
    lines.append(f"reproduced: {count}" if COMMITTED in (one, other) else count)
    return "\n".join(lines), equal


def difference(a: pd.DataFrame, b: pd.DataFrame) -> str:
    """How two tables differ, "" where they are equal; columns of measured times are not looked at."""
    timed = [c for c in a.columns.union(b.columns, sort=False) if any(word in c for word in MEASURED)]
    a, b = a.drop(columns=timed, errors="ignore"), b.drop(columns=timed, errors="ignore")
    if list(a.columns) != list(b.columns) or len(a) != len(b):
        return f"{len(a)} rows of {len(a.columns)} columns here, {len(b)} of {len(b.columns)} there"
    other = {}
    for column in a:
        x, y = a[column], b[column]
        if pd.api.types.is_numeric_dtype(x) and pd.api.types.is_numeric_dtype(y):
            same = np.isclose(x, y, rtol=1e-4, atol=1e-9, equal_nan=True)
        else:
            same = (x.astype(object).fillna("").astype(str) == y.astype(object).fillna("").astype(str)).to_numpy()
        if not same.all():
            other[column] = int((~same).sum())
    return ", ".join(f"{column} in {n} rows" for column, n in other.items())


def verdicts(a: pd.DataFrame | None, b: pd.DataFrame | None) -> list[str]:
    """The claims whose verdict is another, a line each."""
    if a is None or b is None:
        return []
    key = [c for c in ("id", "claim", "statistic") if c in a and c in b]
    there = dict(zip(b[key].itertuples(index=False, name=None), b.verdict, strict=True))
    rows = zip(a[key].itertuples(index=False, name=None), a.verdict, strict=True)
    found = [(about, verdict, there.get(about, verdict)) for about, verdict in rows]
    return [f"verdict changed: {' '.join(about[:2])}: {v}, there {w}" for about, v, w in found if v != w]


def outcomes(one: Path, other: Path) -> dict[str, pd.DataFrame]:
    """Accuracy by study, pair and method in two folders with their difference: paired over the problems that both have,
    without an interval where they have none in common."""
    found = {}
    for path in sorted(one.glob("*_outcomes.parquet")):
        if not (other / path.name).exists():
            continue
        keys = ["explorer", "synthesizer", "method"]
        frames = [
            pd.read_parquet(p).assign(synthesizer=lambda f: f.synthesizer.fillna("")) for p in (path, other / path.name)
        ]
        groups = [dict(list(f.groupby(keys, sort=False))) for f in frames]
        rows = []
        for key in (k for k in groups[0] if k in groups[1]):
            a, b = (g[key].groupby(KEYS).correct.mean() for g in groups)
            common = a.index.intersection(b.index)
            apart = Interval(a.mean() - b.mean(), np.nan, np.nan, 0)
            difference = stats.difference(a.loc[common], b.loc[common]) if len(common) else apart
            values = {one.name: stats.interval(a), other.name: stats.interval(b), "difference": difference}
            rows.append(dict(zip(keys, key, strict=True)) | values | {"problems in common": len(common)})
        if rows:
            found[path.stem.removesuffix("_outcomes")] = pd.DataFrame(rows)
    return found
