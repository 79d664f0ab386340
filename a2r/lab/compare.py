"""Two sets of results beside each other: of two profiles, two runs, or a run and what is committed."""

import io
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from a2r.errors import UserError, nearest
from a2r.profiles import ROOT, load_profile
from a2r.results import stats, tables
from a2r.results.stats import KEYS, Interval

COMMITTED = "committed"
PAIR = ["explorer", "synthesizer", "method"]
DIFFERENCE = "first − second"
MEASURED = ("seconds", "minutes")  # columns that no second run repeats


def folder(name: str) -> Path:
    """The folder of results that a name stands for: a profile's, by its name or file, one below figures/, or a path.
    UserError if there is none."""
    places = [ROOT / "figures" / name, ROOT / name, Path(name)]
    if name.endswith((".yaml", ".yml")):
        lab = load_profile(name)
        places = [ROOT / lab.figures / lab.name]
    for path in places:
        if path.is_dir():
            return path
    near = nearest(name, [COMMITTED, *(path.name for path in (ROOT / "figures").glob("*"))])
    raise UserError(f"there are no results '{name}'{near}: give a profile that was run, a folder, or '{COMMITTED}'.")


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
    lines = []
    if COMMITTED not in (one, other):
        for study, frame in outcomes(folder(one), folder(other)).items():
            about = f"{study}: first {one}, second {other}, over the n problems of both; differences in points"
            lines += [about, tables.shown(frame, (DIFFERENCE,)).to_string(index=False), ""]
    lines += [f"{name}: {why}" for name, why in differing.items()]
    for name, mine, theirs in ((one, a, b), (other, b, a)):
        if alone := sorted(mine.keys() - theirs.keys()):
            lines.append(f"only in {name}: {', '.join(alone)}")
    lines += verdicts(a.get("claims_scorecard.csv"), b.get("claims_scorecard.csv"))
    equal = not differing
    count = f"{len(both) - len(differing)} of {len(both)} tables equal"
    lines.append(f"reproduced: {count}" if COMMITTED in (one, other) else count)
    return "\n".join(lines), equal


def difference(a: pd.DataFrame, b: pd.DataFrame) -> str:
    """How two tables differ, "" where they are equal; columns of measured times are not looked at."""
    a, b = (table[[c for c in table if not any(word in c for word in MEASURED)]] for table in (a, b))
    if list(a) != list(b) or len(a) != len(b):
        return f"{len(a)} rows of {len(a.columns)} columns here, {len(b)} of {len(b.columns)} there"
    other = {}
    for column in a:
        x, y = a[column], b[column]
        if all(map(pd.api.types.is_numeric_dtype, (x, y))):
            same = np.isclose(x, y, rtol=1e-4, atol=1e-9, equal_nan=True)
        else:
            same = x.astype(object).fillna("").astype(str) == y.astype(object).fillna("").astype(str)
        if not same.all():
            other[column] = int((~same).sum())
    return ", ".join(f"{column} in {n} rows" for column, n in other.items())


def verdicts(a: pd.DataFrame | None, b: pd.DataFrame | None) -> list[str]:
    """The claims whose verdict is another, a line each."""
    if a is None or b is None:
        return []
    both = a.merge(b, on=["id", "claim"], suffixes=("", "_there"))
    changed = both[both.verdict != both.verdict_there]
    return [f"verdict changed: {r.id} {r.claim}: {r.verdict}, there {r.verdict_there}" for r in changed.itertuples()]


def outcomes(one: Path, other: Path) -> dict[str, pd.DataFrame]:
    """Accuracy by study, pair and method in two folders with their difference, over the `n` problems that both have.

    "same" where they are of the same samples (equal scores and tokens). Where no problem is in both each is over its
    own, and the difference has no interval. Methods of another N are joined, as "A2R@4 / A2R@8".
    """
    found = {}
    names = [one.name, other.name] if one.name != other.name else [str(one), str(other)]
    for path in sorted(one.glob("*_outcomes.parquet")):
        if not (other / path.name).exists():
            continue
        frames = [pd.read_parquet(folder / path.name).fillna({"synthesizer": ""}) for folder in (one, other)]
        # what a study varies by itself is told apart
        keys = [*PAIR, *(c for c in ("N", "temperature") if all(c in frame for frame in frames))]
        mine, theirs = (dict(list(frame.groupby(keys, sort=False))) for frame in frames)
        rows = []
        for key, there in joined(mine, theirs):
            each, others = (frame.groupby(KEYS).mean(numeric_only=True) for frame in (mine[key], theirs[there]))
            a, b = each.correct, others.correct
            difference = Interval(a.mean() - b.mean(), np.nan, np.nan, 0)
            if len(common := a.index.intersection(b.index)):
                a, b = a.loc[common], b.loc[common]
                difference = stats.difference(a, b)
                marks = [c for c in each if c == "correct" or "completion" in c]
                if key == there and np.allclose(
                    each.loc[common, marks], others.loc[common].reindex(columns=marks), equal_nan=True
                ):
                    difference = "same"
            method = " / ".join(dict.fromkeys((key[2], there[2])))
            values = dict(zip(names, map(stats.interval, (a, b)), strict=True))
            rows.append(
                {**dict(zip(keys, (*key[:2], method, *key[3:]), strict=True)), **values, DIFFERENCE: difference}
            )
            rows[-1]["n"] = len(common)
        if rows:
            found[path.stem.removesuffix("_outcomes")] = pd.DataFrame(rows)
    return found


def joined(mine: Iterable[tuple], theirs: Iterable[tuple]) -> list[tuple[tuple, tuple]]:
    """Keys (explorer, synthesizer, method, ...) that belong together: equal ones, and else those that differ in the
    method's N alone where each side has only one such."""

    def without_n(keys: Iterable[tuple], others: Iterable[tuple]) -> dict[tuple, list[tuple]]:
        found: dict[tuple, list[tuple]] = {}
        for key in (k for k in keys if k not in others):
            found.setdefault((*key[:2], key[2].split("@")[0], *key[3:]), []).append(key)
        return found

    there = without_n(theirs, mine)
    alone = {keys[0]: there.get(base, []) for base, keys in without_n(mine, theirs).items() if len(keys) == 1}
    pairs = [(key, [key] if key in theirs else alone.get(key, [])) for key in mine]
    return [(key, others[0]) for key, others in pairs if len(others) == 1]
