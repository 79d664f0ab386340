"""Pages that hold numbers (README.md and some in docs/ and data/), written from templates and the committed tables.

A template lies in docs/templates under the path of its page, with .j2 behind it, and calls the functions of `helpers`:
no number is typed. `write` renders all; a test fails where a page differs from what its template and tables give.
"""

import json
from pathlib import Path

import jinja2
import nbformat
import pandas as pd

from a2r.errors import UserError
from a2r.lab.runner import RUNS, available, results
from a2r.profiles import ROOT, load_profile
from a2r.results import tables
from a2r.results.stats import Interval

TEMPLATES = ROOT / "docs" / "templates"
EXECUTED = ROOT / "docs" / "executed"


def render() -> dict[Path, str]:
    """The text of every page, by its path. UserError names the template whose table or column is not there."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= helpers()
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


def keep_executed(profile: str = "nano") -> list[Path]:
    """Copy the profile's executed notebooks to docs/executed, where what they show is another than there; returns the
    copies.

    Without progress bars, times and machine; `minutes` in the metadata is what the copied run took.
    """
    kept = []
    EXECUTED.mkdir(exist_ok=True)
    for path in (RUNS / f"{notebook.stem}__{Path(profile).stem}.ipynb" for notebook in available().values()):
        if not path.exists() or not results(path):
            continue
        notebook = nbformat.read(path, as_version=4)
        minutes = round((notebook.metadata.get("papermill", {}).get("duration") or 0) / 60, 2)
        for i, cell in enumerate(notebook.cells):
            cell.id, tags = f"cell-{i}", cell.metadata.get("tags")
            cell.metadata = {"tags": tags} if tags else {}
            if cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
        target = EXECUTED / f"{path.stem.partition('__')[0]}.ipynb"
        before = nbformat.read(target, as_version=4) if target.exists() else None
        if before is None or before.cells != notebook.cells:
            kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
            notebook.metadata = {"kernelspec": kernel, "a2r": {"minutes": minutes}}
            target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
            kept.append(target)
    return kept


def helpers() -> dict:
    """What templates may call."""
    functions = (table, cell, points, number, rows, markdown, scorecard, studies, example, provenance, exists, families)
    return {function.__name__: function for function in functions} | {"profile": load_profile, "root": ROOT}


def families() -> list[str]:
    """The profile nano, and those of other trainings of its family as far as they were run."""
    return ["nano", *sorted(path.name for path in (ROOT / "figures").glob("seed-*"))]


def exists(profile: str, name: str) -> bool:
    """Whether figures/<profile>/<name>.csv is there."""
    return (ROOT / "figures" / profile / f"{name}.csv").exists()


def table(profile: str, name: str) -> pd.DataFrame:
    """The committed table figures/<profile>/<name>.csv, its intervals as Intervals."""
    return tables.read(ROOT / "figures" / profile / f"{name}.csv")


def rows(frame: pd.DataFrame, **where) -> list[dict]:
    """The rows of a table in which every named column has the given value."""
    for column, value in where.items():
        frame = frame[frame[column.replace("_", " ") if column not in frame else column] == value]
    return frame.to_dict("records")


def cell(profile: str, name: str, column: str, **where):
    """One cell of a committed table. LookupError unless `where` fits one row."""
    found = rows(table(profile, name), **where)
    if len(found) != 1:
        raise LookupError(f"{name} of {profile} has {len(found)} rows with {where}")
    return found[0][column]


def number(value, digits: int = 2) -> str:
    """An interval as "0.61 [0.57, 0.65]"; a plain number with as many digits; anything else as it is."""
    if isinstance(value, Interval):
        return tables.text(value, f".{digits}f")
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def points(value: Interval) -> str:
    """A difference of accuracies in percentage points, "+5.4 [+3.0, +7.9]"."""
    return tables.text(value, "+.1f", 100) if isinstance(value, Interval) else str(value)


def markdown(header: list[str], body: list[list]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(str(value).replace("|", "\\|") for value in line) + " |" for line in lines)


def scorecard(*profiles: str) -> str:
    """One row a claim: its statistic, what every profile that was run says, what the paper reports, the study."""
    from a2r.studies.claims import CLAIMS

    needs, notebooks = {(c.id, c.claim): c.needs for c in CLAIMS}, available()
    found = {p: table(p, "claims_scorecard") for p in profiles if exists(p, "claims_scorecard")}
    cells = {p: {(row.id, row.claim): verdict(row) for _, row in card.iterrows()} for p, card in found.items()}
    body = []
    for _, row in found[profiles[0]].iterrows():
        key, study = (row.id, row.claim), needs.get((row.id, row.claim))
        link = f"[{notebooks[study].stem[:2]}]({link_to(study)})" if study in notebooks else "–"
        paper = row.paper if isinstance(row.paper, str) else "–"
        body.append([row.id, row.claim, row.statistic, *(card.get(key, "–") for card in cells.values()), paper, link])
    return markdown(["", "claim", "statistic", *found, "paper", "study"], body)


def verdict(row: pd.Series) -> str:
    """A claim's row in words: "**supported**: 0.04 [0.03, 0.05], n = 400"."""
    value = row["value"]
    if not isinstance(value, Interval) or value.estimate != value.estimate:
        return row.verdict
    return f"**{row.verdict}**: {number(value, 3)}, n = {value.n}"


def link_to(study: str) -> str:
    """The executed copy of a study's notebook if there is one, else the notebook; from the repository's root."""
    notebook = available()[study]
    copy = EXECUTED / notebook.name
    return str((copy if copy.exists() else notebook).relative_to(ROOT))


def studies() -> list[dict]:
    """Every study: name, notebook, link, title, question (from its first cell), minutes that its executed copy took."""
    found = []
    for name, path in available().items():
        first = "".join(json.loads(path.read_text())["cells"][0]["source"])
        title, _, rest = first.lstrip("# ").partition("\n")
        question = rest.partition("**Question.**")[2].partition("\n\n")[0].strip()
        copy, minutes = EXECUTED / path.name, None
        if copy.exists():
            minutes = json.loads(copy.read_text())["metadata"].get("a2r", {}).get("minutes")
        found.append(
            {"name": name, "file": path.name, "link": link_to(name), "title": title, "question": question}
            | {"minutes": minutes}
        )
    return found


def example(profile: str = "nano") -> dict:
    """A real synthesis of the controls study: the first that rescues, selects or keeps, in this order; {} before it
    ran."""
    if not exists(profile, "controls_examples"):
        return {}
    kept = table(profile, "controls_examples").fillna("")
    return next(row for move in ("rescues", "selects", "keeps") for row in rows(kept, move=move))


def provenance(profile: str, study: str) -> dict:
    """What a study noted of its run."""
    return json.loads((ROOT / "figures" / profile / f"{study}.json").read_text())
