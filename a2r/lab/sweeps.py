"""What a sweep leaves: for every table of its runs a tidy one (CSV and LaTeX), and a figure of the accuracies."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from a2r.lab.runner import results
from a2r.profiles import ROOT, Profile
from a2r.results import figures, tables
from a2r.results.stats import Interval

MOST_PANELS = 12


def collect(lab: Profile, runs: list[tuple[dict, Path]], given: dict[str, str] | None = None) -> list[Path]:
    """Tidy tables and figures of the runs of a sweep, (swept knobs, executed notebook) each; returns what was written.

    They lie beside the folders of the single runs, in one named after the sweep and what else was `given`.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for swept, executed in runs:
        for path in map(Path, results(executed).get("tables", [])):
            if path.suffix == ".csv":
                found.setdefault(path.stem, []).append(tidy(tables.read(ROOT / path), swept))
    joined = {name: pd.concat(frames, ignore_index=True) for name, frames in found.items() if any(map(len, frames))}
    if not joined:
        return []
    knobs = {name: list(dict.fromkeys(swept[name] for swept, _ in runs)) for name in runs[0][0]}
    said = "_".join(f"{k}={v}" for k, v in ({k: "+".join(v) for k, v in knobs.items()} | (given or {})).items())
    folder = ROOT / lab.figures / lab.name / f"sweep_{said}".replace(",", "+").replace("/", "-")
    written = []
    for name, frame in joined.items():
        written += tables.save(frame, folder, f"{name}_sweep")
        if (figure := draw(frame, list(knobs))) is not None:
            path = folder / f"{name}_sweep"
            for kind in ("pdf", "png"):
                figure.savefig(path.with_suffix(f".{kind}"))
            path.with_name(f"{path.name}_figure.tex").write_text(tables.latex_figure(path.name, figure.caption))
            plt.close(figure)
            written.append(path.with_suffix(".png"))
    return written


def tidy(table: pd.DataFrame, swept: dict[str, str]) -> pd.DataFrame:
    """A table with one row an estimate: the swept knobs, what the row is about, method, N and `value` (an Interval), n.

    "A2R@4" becomes the method A2R with N = 4. Columns that are neither text nor intervals (p-values, costs) are left to
    the runs' own tables.
    """
    estimates = [c for c in table if any(isinstance(v, Interval) or v == tables.UNDEFINED for v in table[c])]
    keys = [c for c in table if c not in estimates and (c == "N" or not pd.api.types.is_numeric_dtype(table[c]))]
    rows = []
    for row in table.to_dict("records"):
        for column, value in ((c, row[c]) for c in estimates if isinstance(row[c], Interval)):
            method, n = re.fullmatch(r"(.+?)(?:@(\d+))?", column).groups()
            about = {k: row[k] for k in keys} | ({"N": int(n)} if n else {})
            rows.append({**swept, **about, "method": row.get("method", method), "value": value, "n": value.n})
    return pd.DataFrame(rows)


def draw(frame: pd.DataFrame, knobs: list[str]) -> Figure | None:
    """Accuracy against the first knob, one line a method and one panel a pair of models, value of the other knobs and
    benchmark.

    None where the table holds no accuracies of a pair, too many, or those of a single benchmark once more.
    """
    of_pairs = {"explorer", "synthesizer"} <= set(frame) and {"A2R", "Cons"} <= set(frame.method)
    if not of_pairs or ("benchmark" in frame and frame.benchmark.nunique() == 1):
        return None
    frame = frame[frame.method.isin(("Pass", "Cons", "A2R"))].copy()
    single = frame.method.eq("Pass") & frame.N.eq(1)
    frame["method"] = frame.method.mask(single, "Pass@1").replace("Pass", "Pass@N")
    by = [*knobs[1:], *frame.columns.intersection(["benchmark"]), "explorer", "synthesizer"]
    groups = list(frame.groupby(by, sort=False))
    if len(groups) > MOST_PANELS:
        return None
    numbers = pd.to_numeric(frame[knobs[0]], errors="coerce")
    places = {v: i for i, v in enumerate(frame[knobs[0]].unique())}
    frame["at"] = frame[knobs[0]].map(places) if numbers.isna().any() else numbers
    figures.style(figures.size())
    figure, axes = figures.panels(2.2, len(groups), wide=3, sharey=True)
    for panel, (key, part) in zip(axes, groups, strict=True):
        panel.set_ylim(-0.02, 1.02)
        figures.lines(panel, frame.loc[part.index], "at", "value", "method")
        if numbers.isna().any():
            panel.set_xticks(list(places.values()), list(places))
        others = [f"{k} = {v}" for k, v in zip(by[:-2], key[:-2], strict=True)]
        panel.set(xlabel=knobs[0], title=", ".join([figures.paired(*key[-2:]), *others]))
    axes[0].set_ylabel("accuracy")
    a2r = frame[frame.method == "A2R"]
    best = a2r.loc[a2r.value.map(lambda v: v.estimate).idxmax()]
    where = ", ".join(f"{k} = {best[k]}" for k in knobs)
    says = f"A2R is highest at {where} ({figures.paired(best.explorer, best.synthesizer)}): {tables.text(best.value)}"
    return figures.captioned(figure, says, figures.counted(frame.value))
