"""One self-contained HTML page from the executed notebooks of a profile: what it shows first, provenance last."""

import html
import json
import os
import re
from datetime import datetime
from itertools import count
from pathlib import Path

import jinja2
import nbformat
import pandas as pd

from a2r.errors import UserError
from a2r.lab import compare
from a2r.lab.runner import RUNS, available, results
from a2r.profiles import ROOT, Profile, load_profile
from a2r.results import tables
from a2r.results.study import small_png
from a2r.store import Store

REPORTS = ROOT / "runs" / "reports"
HERE = Path(__file__).parent
FIRST = "claims"
FINDINGS = ("symmetric_accuracy", "grid_lines", "controls_compared", "cost_front", "ways_front")  # figures, by weight
NUMBER = re.compile(r"^([+−-]?[\d.,]+(e[+-]?\d+)?( \[.*\])?%?|nan|–|undefined|)$")


def executed(profile: str) -> dict[str, list[Path]]:
    """Finished runs of the profile by study, the scorecard first: with the profile's own knobs, then with others."""
    found = {}
    for name, notebook in available().items():
        start = f"{notebook.stem}__{Path(profile).stem}"
        runs = [RUNS / f"{start}.ipynb", *sorted(RUNS.glob(f"{start}__*.ipynb"))]
        found[name] = [path for path in runs if path.exists() and results(path)]
    finished = {name: paths for name, paths in found.items() if paths}
    return dict(sorted(finished.items(), key=lambda item: item[0] != FIRST))


def write(profile: str, against: str | None = None) -> Path:
    """Write runs/reports/<profile>.html from whatever studies have been run; returns its path.

    Runs with other knobs and sweeps are sections of their own; with `against`, so is the comparison with another
    profile's tables and figures. Raises UserError if no study has been run. The page needs no network: everything is
    inside it.
    """
    lab = load_profile(profile)
    runs = executed(profile)
    own = {name: paths[0] for name, paths in runs.items() if paths[0].stem.count("__") == 1}
    if not runs:
        raise UserError(
            f"no study of profile '{lab.name}' has been run to its end; "
            f"run one first, as in `a2r run symmetric --profile {profile}`."
        )
    REPORTS.mkdir(parents=True, exist_ok=True)
    page = Page()
    card = page.scorecard(lab)  # before the sections: it has the first number
    sections = [page.section(name, path) for name, path in own.items()]
    changed = [
        page.section(name, path, folded=True)
        for name, paths in runs.items()
        for path in paths
        if path not in own.values()
    ]
    swept = sorted((ROOT / lab.figures / lab.name).glob("sweep_*"))
    if changed or swept:
        subs = [sub for section in changed for sub in section["subs"]] + [page.sweep(folder) for folder in swept]
        sections.append({"id": "ablations", "title": "Ablations", "subs": subs, "notebook": ""})
    if against:
        sections.append(page.against(lab, load_profile(against)))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string((HERE / "report.html.j2").read_text()).render(
        **{"title": f"A2R on profile {lab.name}" + (f", against {against}" if against else ""), "sections": sections},
        **{"css": (HERE / "page.css").read_text(), "script": (HERE / "page.js").read_text()},
        question="Is a synthesizer that reads N solutions and reasons once more better than a vote over them, and why?",
        facts=facts(lab, own),
        findings=[page.captions[f] for f in FINDINGS if f in page.captions][:3],
        scorecard=card,
        missing=[name for name in available() if name not in own],
        provenance=provenance(lab, own),
    )
    path = REPORTS / (f"{lab.name}-against-{Path(against).stem}.html" if against else f"{lab.name}.html")
    path.write_text(text, encoding="utf-8")
    return path


class Page:
    """Sections of HTML with tables and figures numbered through; `captions` of the figures by name."""

    def __init__(self):
        self.tables, self.figures, self.ids, self.captions = count(1), count(1), count(1), {}

    def section(self, name: str, path: Path, folded: bool = False) -> dict:
        """An executed notebook as a section: its headings, text and outputs; `folded`, as one part that opens on a
        click."""
        notebook = nbformat.read(path, as_version=4)
        title, subs = name, [{"id": f"{name}-0", "title": "", "html": "", "shows": True}]
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                first, _, rest = cell.source.partition("\n")
                if first.startswith("# "):
                    title, body = first.lstrip("# "), rest
                elif first.startswith("## "):
                    subs.append({"id": f"{name}-{next(self.ids)}", "title": first[3:], "html": "", "shows": False})
                    body = rest
                else:
                    body = cell.source
                subs[-1]["html"] += markdown(body)
            elif not {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
                for output in cell.get("outputs", []):
                    if shown := self.output(output, subs[-1]["title"] or title):
                        subs[-1]["html"] += shown
                        subs[-1]["shows"] = True
        subs = [sub for sub in subs if sub["shows"] and (sub["html"] or not sub["title"])]
        if folded:
            knobs = path.stem.split("__", 2)[2]
            inner = "".join(f"<h4>{sub['title']}</h4>{sub['html']}" for sub in subs)
            body = f"<details><summary>{html.escape(title)}</summary>{inner}</details>"
            subs = [{"id": f"{name}-{next(self.ids)}", "title": f"{name}: {knobs}", "html": body}]
        return {"id": name, "title": title, "subs": subs, "notebook": link(path)}

    def output(self, output, heading: str) -> str:
        """An output as HTML: tables and figures with a numbered caption and links to their files; "" where it is not
        shown."""
        data, about = output.get("data", {}), output.get("metadata", {}).get("a2r", {})
        if output.output_type == "stream":
            return f"<pre>{html.escape(output.text)}</pre>" if output.name == "stdout" else ""
        if "application/vnd.a2r+json" in data or "caption of" in about:
            return ""  # where files were saved; and captions, which stand with their figures
        if "image/png" in data:
            return self.figure(data["image/png"], about.get("caption") or "", about.get("figure"))
        if "text/markdown" in data:
            return markdown(data["text/markdown"])
        if "text/html" in data and "<table" in data["text/html"]:
            return self.table(data["text/html"], about.get("caption") or heading, about.get("table"))
        return f"<pre>{html.escape(data['text/plain'])}</pre>" if "text/plain" in data else ""

    def figure(self, png: str, caption: str, file: str | None) -> str:
        """A picture (base64) with its number, caption and links; the caption is its alternative text."""
        files = [
            f'<a class="file" href="{link(ROOT / f"{file}.{kind}")}">{kind.upper()}</a>'
            for kind in ("pdf", "png")
            if file
        ]
        self.captions[Path(file or "").name] = caption
        text = f"<b>Figure {next(self.figures)}.</b> {html.escape(caption)} {' '.join(files)}"
        alt = html.escape(caption or "figure without a caption", quote=True)
        return f'<figure><img alt="{alt}" src="data:image/png;base64,{png}"><figcaption>{text}</figcaption></figure>'

    def table(self, source: str, caption: str, csv: str | None = None) -> str:
        """An HTML table of pandas as one that sorts: row numbers dropped, text left and numbers right."""
        head, *body = [
            [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
            for row in re.findall(r"<tr[^>]*>(.*?)</tr>", source, re.DOTALL)
        ]
        body = [row + [""] * (len(head) - len(row)) for row in body]
        if body and all(row[0] == str(i) for i, row in enumerate(body)) and head[0] == "":
            head, body = head[1:], [row[1:] for row in body]
        right = [bool(body) and all(NUMBER.match(row[i]) for row in body) for i in range(len(head))]
        mark = ['class="n"' if r else "" for r in right]
        rows = ["".join(f"<td {m}>{cell}</td>" for m, cell in zip(mark, row, strict=False)) for row in body]
        heads = "".join(f"<th {m}>{cell}</th>" for m, cell in zip(mark, head, strict=True))
        links = f' <a class="file" href="{link(ROOT / csv)}">CSV</a>' if csv else ""
        caption = f"<caption><b>Table {next(self.tables)}.</b> {html.escape(caption)}{links}</caption>"
        lines = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody>"
        return f'<div class="scroll"><table class="sorts">{caption}{lines}</table></div>'

    def frame(self, frame: pd.DataFrame, caption: str, csv: str | None = None) -> str:
        """A table of results as `table` shows it; gains and differences in points."""
        return self.table(tables.shown(frame, ("gain", "difference")).to_html(index=False, border=0), caption, csv)

    def sweep(self, folder: Path) -> dict:
        """What a sweep left: its figures and its tidy tables."""
        name, body = folder.name.removeprefix("sweep_"), ""
        for path in sorted(folder.glob("*.png")):
            tex = path.with_name(f"{path.stem}_figure.tex")
            caption = re.search(r"\\caption\{(.*)\}", tex.read_text())[1] if tex.exists() else name
            body += self.figure(small_png(path), caption.replace("\\", ""), str(path.with_suffix("").relative_to(ROOT)))
        for path in sorted(folder.glob("*_sweep.csv")):
            body += self.frame(
                tables.read(path), f"{path.stem.removesuffix('_sweep')} by {name}", str(path.relative_to(ROOT))
            )
        return {"id": f"sweep-{next(self.ids)}", "title": f"Sweep: {name}", "html": body}

    def against(self, lab: Profile, other: Profile) -> dict:
        """Two profiles side by side: accuracies with their difference (paired where the problems are the same), and
        figures."""
        ours, theirs = (ROOT / p.figures / p.name for p in (lab, other))
        subs = [
            {
                "id": f"against-{study}",
                "title": study,
                "html": self.frame(frame, f"{study}: {lab.name} and {other.name}"),
            }
            for study, frame in compare.outcomes(ours, theirs).items()
        ]
        pairs = [(path, theirs / path.name) for path in sorted(ours.glob("*.png")) if (theirs / path.name).exists()]
        for mine, other_one in pairs:
            both = "".join(self.figure(small_png(p), f"{p.stem} of {p.parent.name}", None) for p in (mine, other_one))
            subs.append({"id": f"against-{mine.stem}", "title": mine.stem, "html": f'<div class="pair">{both}</div>'})
        if not subs:
            raise UserError(f"profile '{other.name}' has nothing to compare with: run its studies first.")
        return {"id": "against", "title": f"{lab.name} against {other.name}", "subs": subs, "notebook": ""}

    def scorecard(self, lab: Profile) -> str:
        """The claims with value and verdict, where the scorecard has been run."""
        path = ROOT / lab.figures / lab.name / "claims_scorecard.csv"
        if not path.exists():
            return ""
        card = tables.read(path)
        columns = [c for c in ("id", "claim", "statistic", "value", "n", "verdict") if c in card]
        return self.frame(
            card[columns], "The claims, by rules that were fixed before the data", str(path.relative_to(ROOT))
        )


def facts(lab: Profile, runs: dict[str, Path]) -> list[str]:
    """Date, models, problems, samples and minutes of what the page shows."""
    meta = {name: nbformat.read(path, as_version=4).metadata.get("papermill", {}) for name, path in runs.items()}
    minutes = sum(m.get("duration") or 0 for m in meta.values()) / 60
    newest = max((path.stat().st_mtime for path in runs.values()), default=datetime.now().timestamp())
    benchmarks = ", ".join(f"{b.name} ({b.rows:,} problems)" if b.rows else b.name for b in lab.reported)
    with Store(lab.store_path, writable=False) as store:
        samples = int(store.contents()["samples"].sum()) if lab.store_path.exists() else 0
    models = ", ".join(m.name for m in lab.models)
    return [
        f"{datetime.fromtimestamp(newest):%d %B %Y}",
        f"models: {models}",
        f"problems: {benchmarks}",
        f"N = {lab.n_paths}",
        f"{samples:,} samples in the store",
        f"{minutes:.1f} minutes for these runs",
    ]


def provenance(lab: Profile, runs: dict[str, Path]) -> str:
    """What all studies have in common once, then a line for what is each one's own."""
    notes = {name: ROOT / lab.figures / lab.name / f"{name}.json" for name in runs}
    notes = {name: json.loads(path.read_text()) for name, path in notes.items() if path.exists()}
    if not notes:
        return "<p>No study noted where its results come from.</p>"
    shared = {k: v for k, v in next(iter(notes.values())).items() if all(note.get(k) == v for note in notes.values())}
    lines = [f"<pre>{html.escape(json.dumps(shared, indent=1))}</pre>"]
    for name, note in notes.items():
        rest = {k: v for k, v in note.items() if k not in shared and k != "study"}
        rest["parameters"] = {k: v for k, v in note.get("parameters", {}).items() if v is not None}
        lines.append(f"<p><b>{name}</b> <code>{html.escape(json.dumps(rest))}</code></p>")
    return "\n".join(lines)


def markdown(text: str) -> str:
    """Markdown as HTML."""
    from nbconvert.filters import markdown2html

    return markdown2html(text) if text.strip() else ""


def link(path: Path) -> str:
    """A path as a link from the folder of the reports."""
    return html.escape(os.path.relpath(path, REPORTS), quote=True)
