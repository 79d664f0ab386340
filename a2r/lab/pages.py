"""Pages that hold numbers (README.md and some in docs/ and data/), written from templates and the committed tables.

A template lies in docs/templates under the path of its page, with .j2 behind it, and calls the functions of `HELPERS`:
no number is typed. `write` renders all; a test fails where a page differs from what its template and tables give.
"""

import json
import os
import re
from itertools import pairwise, takewhile
from math import isnan
from pathlib import Path

import jinja2
import nbformat
import pandas as pd

from a2r.errors import UserError
from a2r.lab.runner import RUNS, available, results
from a2r.profiles import PROFILES, ROOT, Profile, load_profile
from a2r.results import tables
from a2r.results.stats import Interval
from a2r.store import Store
from a2r.training.nano.puzzles import TESTS

TEMPLATES = ROOT / "docs" / "templates"
EXECUTED = ROOT / "docs" / "executed"
FIGURES = ROOT / "figures"
FAMILY = "nano"
LONGEST_PAUSE = 60  # seconds between two studies of one run
DIFFERENCE = re.compile(" − |^gain|difference")  # columns that are shown in percentage points


def render() -> dict[Path, str]:
    """The text of every page, by its path. UserError names the template whose table or column is not there."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    layout = {"keep_trailing_newline": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **layout)
    environment.globals |= HELPERS
    pages = {}
    for template in sorted(TEMPLATES.rglob("*.md.j2")):
        name = template.relative_to(TEMPLATES)
        try:
            pages[ROOT / name.with_suffix("")] = environment.get_template(str(name)).render()
        except (jinja2.TemplateError, LookupError, OSError) as error:
            raise UserError(f"page {name.with_suffix('')} cannot be written: {error}; run the study first.") from error
    return pages


def write() -> list[Path]:
    """Write every page that is not as its template and tables give it; returns the paths of those."""
    changed = {path: text for path, text in render().items() if not path.exists() or path.read_text() != text}
    for path, text in changed.items():
        path.write_text(text)
    return list(changed)


def keep_executed(profile: str = FAMILY) -> list[Path]:
    """Copy the profile's executed notebooks to docs/executed, where they show something else than there; returns the
    copies.

    Without progress bars, times and machine. `minutes` in the metadata is what the study took in the `run` that is
    named beside it: the last one of all studies that began `from_nothing`.
    """
    runs = {EXECUTED / path.name: RUNS / f"{path.stem}__{Path(profile).stem}.ipynb" for path in available().values()}
    new = {copy: nbformat.read(run, as_version=4) for copy, run in runs.items() if run.exists() and results(run)}
    old = {copy: nbformat.read(copy, as_version=4) for copy in new if copy.exists()}
    notes = {copy: notebook.metadata.get("papermill", {}) for copy, notebook in new.items()}
    for notebook in new.values():
        for i, cell in enumerate(notebook.cells):
            cell.id, tags = f"cell-{i}", cell.metadata.get("tags")
            cell.metadata = {"tags": tags} if tags else {}
            if cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
    about = {copy: old[copy].metadata.get("a2r", {}) if copy in old else {} for copy in new}
    whole = len(new) == len(runs) and from_nothing(list(notes.values()), load_profile(profile))
    changed = [copy for copy in new if copy not in old or old[copy].cells != new[copy].cells]
    if changed and whole:
        first = pd.Timestamp(min(note["start_time"] for note in notes.values()))
        took = pd.Timestamp(max(note["end_time"] for note in notes.values())) - first
        run = f"{first:%-d %B %Y}, {took.total_seconds() / 60:.0f} minutes in all on {os.cpu_count()} cores"
        about = {copy: {"minutes": round(note["duration"] / 60, 2), "run": run} for copy, note in notes.items()}
        changed = list(new)
    EXECUTED.mkdir(exist_ok=True)
    for copy in changed:
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        new[copy].metadata = {"kernelspec": kernel, "a2r": about[copy]}
        copy.write_text(json.dumps(new[copy], indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return changed


def from_nothing(notes: list[dict], lab: Profile) -> bool:
    """Whether studies, by what papermill noted of them, were run one right after another, and began without a sample of
    the profile's models: what each took is then what it takes who reproduces all."""
    times = sorted([pd.Timestamp(note[end]).timestamp() for end in ("start_time", "end_time")] for note in notes)
    pauses = [start - end for (_, end), (start, _) in pairwise(times)]
    samples = Store(lab.store_path, writable=False).read()
    own = samples[samples.revision.isin([model.identity for model in lab.models])]
    return times[0][0] < own.time.min() and max(pauses, default=0) < LONGEST_PAUSE


# What templates may call


def families(first: str = FAMILY) -> list[str]:
    """The family, and its trainings from other seeds as far as they were run; or those of a profile beside them."""
    others = "seed-*" if first == FAMILY else f"{first}-*"
    return [first, *sorted(path.name for path in FIGURES.glob(others))]


def exists(name: str, profile: str = FAMILY) -> bool:
    """Whether figures/<profile>/<name>.csv is there."""
    return (FIGURES / profile / f"{name}.csv").exists()


def table(name: str, profile: str = FAMILY, **where) -> pd.DataFrame:
    """The rows of figures/<profile>/<name>.csv in which every named column has the given value, or one of several."""
    frame = tables.read(FIGURES / profile / f"{name}.csv")
    for column, value in where.items():
        frame = frame[frame[column].isin(value if isinstance(value, list) else [value])]
    return frame


def markdown(frame: pd.DataFrame, *columns: str) -> str:
    """A Markdown table of some columns or all: "x@N" is x at the table's N, "a: b" is column b under the name a."""
    names = {column_of(frame, c.rpartition(": ")[2]): c.rpartition(": ")[0] for c in columns or frame.columns}
    chosen = frame[list(names)].apply(lambda c: c.map("{:,}".format) if pd.api.types.is_integer_dtype(c) else c)
    shown = tables.shown(chosen, tuple(filter(DIFFERENCE.search, names)))
    lines = [[name or c for c, name in names.items()], ["---"] * len(names), *shown.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(value.replace("|", "\\|") for value in line) + " |" for line in lines)


def column_of(frame: pd.DataFrame, name: str) -> str:
    """The column of a table by its name, in which "@N" stands for the table's N."""
    wanted = re.compile(re.escape(name).replace("@N", r"@(?!1$)\d+"))
    if found := next(filter(wanted.fullmatch, frame), None):
        return found
    raise LookupError(f"no column {name} in {', '.join(frame)}")


def beside(name: str, column: str, *keys: str, first: str = FAMILY, **where) -> str:
    """One column of a table for every training of the family side by side, or of the profile `first` beside it; a row
    each value of `keys`."""
    found = {}
    for profile in (p for p in families(first) if exists(name, p)):
        frame = table(name, profile, **where).set_index(list(keys))
        points = DIFFERENCE.search(column) is not None
        found[seed(profile)] = frame[column_of(frame, column)].map(lambda v, points=points: in_units(v, points))
    return markdown(pd.DataFrame(found).reindex(found[seed(first)].index).fillna("–").reset_index())


def scorecard() -> str:
    """One row a claim: what every training of the family that was run says, their mean, what the paper reports, the
    study."""
    from a2r.studies.claims import CLAIMS

    ran, key = [p for p in families() if exists("claims_scorecard", p)], ["id", "claim"]
    found = {profile: table("claims_scorecard", profile).set_index(key) for profile in ran}
    over = table("claims_seeds").set_index(key)["over seeds"] if len(ran) > 1 else None
    rows = []
    for claim in CLAIMS:
        cells, about = {}, (claim.id, claim.claim)
        for profile, card in found.items():
            value, verdict = card.loc[about, ["value", "verdict"]]
            measured = f"**{verdict}**: {in_units(value, not claim.threshold)}, n = {value.n}"
            cells[seed(profile)] = verdict if isnan(value.estimate) else measured
        if over is not None:
            cells["mean over seeds"] = in_units(over[about], not claim.threshold)
        study = f"[{available()[claim.needs].stem[:2]}]({link_to(claim.needs)})"
        rows.append({"id": claim.id, "claim": claim.claim, **cells, "paper": claim.paper or "–", "study": study})
    return markdown(pd.DataFrame(rows))


def seed(profile: str) -> str:
    """What a training of the family is called in a table's head."""
    number = profile.rpartition("-")[2]
    return f"seed {number if number.isdigit() else 0}"


def in_units(value: Interval, points: bool) -> str:
    """An interval, or one of a difference of accuracies in percentage points."""
    return tables.text(value, "+.1f", 100) if points else tables.text(value)


def link_to(study: str) -> str:
    """The executed copy of a study's notebook if there is one, else the notebook; from the repository's root."""
    notebook = available()[study]
    copy = EXECUTED / notebook.name
    return str((copy if copy.exists() else notebook).relative_to(ROOT))


def studies() -> list[dict]:
    """Every study: file, link, title (of its first cell), and the minutes that it took in the `run` of all studies."""
    found = []
    for name, path in available().items():
        title = "".join(record(path)["cells"][0]["source"]).partition("\n")[0].lstrip("# ")
        copy = EXECUTED / path.name
        about = record(copy)["metadata"].get("a2r", {}) if copy.exists() else {}
        found.append({"file": path.stem, "link": link_to(name), "title": title, "minutes": None, "run": None} | about)
    return found


def example() -> dict:
    """A real synthesis of the controls study: the first that rescues, selects or keeps, in this order; {} before it
    ran."""
    kept = table("controls_examples").fillna("").to_dict("records") if exists("controls_examples") else []
    return next((row for move in ("rescues", "selects", "keeps") for row in kept if row["move"] == move), {})


def cheaper(method: str, other: str) -> float:
    """What a method of the study of ways costs, as a share of another's cost."""
    cost = {row.method: row.cost.estimate for row in table("ways_points").itertuples()}
    return cost[method] / cost[other]


def ahead(benchmark: str) -> str:
    """The models whose A2R is above the vote on a benchmark of the study of the family, with its interval: by seed."""
    said = []
    for profile in (p for p in families() if exists("family_domains", p)):
        rows = table("family_domains", profile, benchmark=benchmark).itertuples()
        names = [row.synthesizer for row in rows if row.gain.low > 0]
        said.append(f"{seed(profile)}: {', '.join(names) or 'none'}")
    return "; ".join(said)


def uncorrected() -> str:
    """The supported rows of the scorecards that Holm's correction over their scorecard would not leave so."""
    from a2r.studies.claims import LEVEL, SUPPORTED

    said = []
    for profile in (p for p in families() if exists("claims_scorecard", p)):
        rows = table("claims_scorecard", profile, verdict=SUPPORTED).itertuples()
        said += [f"{r.id} “{r.claim}” of {seed(profile)} (p = {r.p_holm:.2g})" for r in rows if r.p_holm > LEVEL]
    return ", ".join(said)


def shipped() -> str:
    """The profiles that the repository has, a row each: the name, and the comment at the top of its file."""
    rows = []
    for path in sorted(PROFILES.glob("*.yaml")):
        top = takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
        rows.append({"profile": f"`{path.stem}`", "what it is": " ".join(line.lstrip("# ") for line in top)})
    return markdown(pd.DataFrame(rows))


def caption(name: str, folder: str | Path = FAMILY) -> str:
    """The caption of a figure of the family (or of a folder, from figures on), as its .tex has it; "" where there is
    none."""
    tex = FIGURES / folder / f"{name}_figure.tex"
    text = re.search(r"\\caption\{(.*)\}", tex.read_text())[1] if tex.exists() else ""
    for sign, command in tables.SIGNS.items():
        text = text.replace(command, sign)
    return text.replace("\\", "")


def record(path: str | Path) -> dict:
    """A JSON file, by its path from the repository's root."""
    return json.loads((ROOT / path).read_text())


def skill(problems: str) -> float:
    """What paths that never slip score on a file of the family's problems: they test as many candidates as they may,
    and name one of the rest where none fits."""
    chances = pd.read_json(ROOT / problems, lines=True).chance
    return ((TESTS + 1) * chances).clip(upper=1).mean()


HELPERS = families, exists, table, markdown, beside, scorecard, in_units, seed, studies, example, ahead, uncorrected
HELPERS += cheaper, shipped, caption, record, skill
HELPERS = {function.__name__: function for function in HELPERS} | {"profile": load_profile}
