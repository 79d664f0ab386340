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
from nbconvert.filters import markdown2html

from a2r.errors import UserError
from a2r.lab import compare, pages
from a2r.lab.runner import RUNS, available, of_profile, results
from a2r.problems import wanted
from a2r.profiles import ROOT, Profile, from_root, load_profile
from a2r.results import tables
from a2r.results.study import small_png
from a2r.store import Store

REPORTS = ROOT / "runs" / "reports"
HERE = Path(__file__).parent
FINDINGS = ("symmetric_accuracy", "grid_lines", "controls_compared", "cost_front", "ways_front")  # figures, by weight


def executed(profile: str) -> dict[str, list[Path]]:
    """Finished runs of the profile by study, the scorecard first: with the profile's own knobs, then with others."""
    found = {}
    for name, notebook in sorted(available().items(), key=lambda item: item[0] != "claims"):
        start = f"{notebook.stem}__{Path(profile).stem}"
        paths = [RUNS / f"{start}.ipynb", *sorted(RUNS.glob(f"{start}__*.ipynb"))]
        if finished := [path for path in paths if path.exists() and of_profile(path, profile) and results(path)]:
            found[name] = finished
    return found


def write(profile: str, against: str | None = None) -> Path:
    """Write runs/reports/<profile>.html from whatever studies have been run; returns its path.

    Runs with other knobs and sweeps are parts of their own; with `against`, so is the comparison with another profile's
    tables and figures. Raises UserError if no study has been run. The page needs no network: everything is inside it.
    """
    lab, runs, page = load_profile(profile), executed(profile), Page()
    if not runs:
        raise UserError(
            f"no study of profile '{lab.name}' has been run to its end; "
            f"run one first, as in `a2r run symmetric --profile {profile}`."
        )
    own = {name: path for name, (path, *_) in runs.items() if path.stem.count("__") == 1}
    card = page.scorecard(lab)  # before the sections: it has the first number
    sections = [page.section(name, path) for name, path in own.items()]
    changed = [page.changed(n, path) for n, paths in runs.items() for path in paths if path != own.get(n)]
    if ablations := changed + [page.sweep(folder) for folder in sorted(results_of(lab).glob("sweep_*"))]:
        sections.append({"id": "ablations", "title": "Ablations", "parts": ablations})
    if against:
        sections.append(page.against(lab, load_profile(against)))
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string((HERE / "report.html.j2").read_text()).render(
        title=f"A2R on profile {lab.name}" + (f", against {against}" if against else ""),
        css=(HERE / "page.css").read_text(),
        script=(HERE / "page.js").read_text(),
        facts=facts(lab, [path for paths in runs.values() for path in paths]),
        findings=[page.captions[f].partition("; bars")[0] for f in FINDINGS if f in page.captions][:3],
        scorecard=card,
        sections=sections,
        missing=[name for name in available() if name not in own],
        provenance=provenance(lab),
    )
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / (f"{lab.name}-against-{Path(against).stem}.html" if against else f"{lab.name}.html")
    path.write_text(text, encoding="utf-8")
    return path


class Page:
    """Sections of HTML, each of parts, with tables and figures numbered through; `captions` of the figures by name."""

    def __init__(self):
        self.tables, self.figures, self.ids, self.captions = count(1), count(1), count(1), {}

    def part(self, title: str, body: str = "") -> dict:
        return {"id": f"part-{next(self.ids)}", "title": title, "html": body}

    def section(self, name: str, path: Path) -> dict:
        """An executed notebook as a section: a part for each of its headings, left out where it shows no output."""
        title, parts, shows = name, [self.part("")], [True]
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                head, _, body = cell.source.partition("\n")
                if head.startswith("## "):
                    parts.append(self.part(head[3:]))
                    shows.append(False)
                elif head.startswith("# "):
                    title = head[2:]
                else:
                    body = cell.source
                parts[-1]["html"] += markdown2html(body) if body.strip() else ""
            elif not {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
                outputs = [self.output(output, parts[-1]["title"] or title) for output in cell.get("outputs", [])]
                parts[-1]["html"] += "".join(outputs)
                shows[-1] |= any(outputs)
        kept = [part for part, shown in zip(parts, shows, strict=True) if shown]
        return {"id": name, "title": title, "parts": kept, "notebook": link(path)}

    def changed(self, name: str, path: Path) -> dict:
        """A run with other knobs as one part, which opens on a click."""
        section = self.section(name, path)
        inner = "".join(f"<h4>{part['title']}</h4>{part['html']}" for part in section["parts"])
        body = f"<details><summary>{html.escape(section['title'])}</summary>{inner}</details>"
        return self.part(f"{name}: {path.stem.split('__', 2)[2]}", body)

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
            return markdown2html(data["text/markdown"])
        if "<table" in data.get("text/html", ""):
            return self.table(data["text/html"], about.get("caption") or heading, about.get("table"))
        return f"<pre>{html.escape(data['text/plain'])}</pre>" if "text/plain" in data else ""

    def figure(self, png: str, caption: str, file: str | None) -> str:
        """A picture (base64) with its number, caption and links; the caption is its alternative text."""
        files = " ".join(named_link(kind, ROOT / f"{file}.{kind}") for kind in ("pdf", "png") if file)
        self.captions[Path(file or "").name] = caption
        text = f"<b>Figure {next(self.figures)}.</b> {html.escape(caption)} {files}"
        alt = html.escape(caption or "figure without a caption", quote=True)
        return f'<figure><img alt="{alt}" src="data:image/png;base64,{png}"><figcaption>{text}</figcaption></figure>'

    def table(self, source: str, caption: str, csv: str | None = None) -> str:
        """An HTML table of pandas with its number, caption and link; the page's script sorts, folds and aligns it."""
        links = named_link("csv", ROOT / csv) if csv else ""
        caption = f"<caption><b>Table {next(self.tables)}.</b> {html.escape(caption)} {links}</caption>"
        return f'<div class="scroll"><table class="sorts">{caption}{re.split("<table[^>]*>", source)[1]}</div>'

    def frame(self, frame: pd.DataFrame, caption: str, csv: Path | None = None) -> str:
        """A table of results as `table` shows it; gains and differences in points."""
        shown = tables.shown(frame, ("gain", compare.DIFFERENCE))
        return self.table(shown.to_html(index=False, border=0), caption, csv and from_root(csv))

    def sweep(self, folder: Path) -> dict:
        """What a sweep left: its figures and its tidy tables."""
        name, shown = folder.name.removeprefix("sweep_"), []
        for path in sorted(folder.glob("*.png")):
            caption = pages.caption(path.stem, folder) or name
            shown.append(self.figure(small_png(path), caption, from_root(path.with_suffix(""))))
        for path in sorted(folder.glob("*_sweep.csv")):
            shown.append(self.frame(tables.read(path), f"{path.stem.removesuffix('_sweep')} by {name}", path))
        return self.part(f"Sweep: {name}", "".join(shown))

    def against(self, lab: Profile, other: Profile) -> dict:
        """Two profiles side by side: accuracies with their difference (paired where the problems are the same), and
        figures."""
        ours, theirs = results_of(lab), results_of(other)
        parts = [
            self.part(
                study,
                self.frame(frame, f"{study}: {lab.name} and {other.name}, and their difference where both were run"),
            )
            for study, frame in compare.outcomes(ours, theirs).items()
        ]
        for mine in sorted(path for path in ours.glob("*.png") if (theirs / path.name).exists()):
            both = "".join(
                self.figure(small_png(folder / mine.name), f"{folder.name}: {pages.caption(mine.stem, folder)}", None)
                for folder in (ours, theirs)
            )
            parts.append(self.part(mine.stem, f'<div class="pair">{both}</div>'))
        if not parts:
            raise UserError(f"profile '{other.name}' has nothing to compare with: run its studies first.")
        return {"id": "against", "title": f"{lab.name} against {other.name}", "parts": parts}

    def scorecard(self, lab: Profile) -> str:
        """The claims with value and verdict, where the scorecard has been run."""
        path = results_of(lab) / "claims_scorecard.csv"
        if not path.exists():
            return ""
        columns = ["id", "claim", "value", "n", "verdict"]
        return self.frame(tables.read(path)[columns], "The claims and their verdicts; their rules are below", path)


def results_of(lab: Profile) -> Path:
    """The folder of a profile's tables and figures."""
    return ROOT / lab.figures / lab.name


def facts(lab: Profile, runs: list[Path]) -> list[str]:
    """Date, models, problems, samples and minutes of what the page shows; of studies side by side each minute once."""
    notes = [nbformat.read(path, as_version=4).metadata.get("papermill", {}) for path in runs]
    ended = [note for note in notes if note.get("end_time")]
    times = sorted([datetime.fromisoformat(note[at]) for at in ("start_time", "end_time")] for note in ended)
    seconds, reached = 0.0, None
    for start, end in times:
        start = max(start, reached or start)
        seconds += max(0.0, (end - start).total_seconds())
        reached = max(end, start)
    newest = datetime.fromtimestamp(max(path.stat().st_mtime for path in runs))
    sizes = {b.name: b.rows and min(b.rows, wanted(lab, b) or b.rows) for b in lab.reported}
    benchmarks = ", ".join(f"{name} ({size:,} problems)" if size else name for name, size in sizes.items())
    samples = 0
    if lab.store_path.exists():
        with Store(lab.store_path, writable=False) as store:
            samples = int(store.contents()["samples"].sum())
    about = [f"{newest:%d %B %Y}", f"models: {', '.join(m.name for m in lab.models)}", f"problems: {benchmarks}"]
    return [
        *about,
        f"N = {lab.n_paths}",
        f"{samples:,} samples in the store",
        f"{seconds / 60:.1f} minutes for these runs",
    ]


def provenance(lab: Profile) -> str:
    """What the profile's studies have in common once, then a line for what is each one's own."""
    notes = {path.stem: json.loads(path.read_text()) for path in sorted(results_of(lab).glob("*.json"))}
    if not notes:
        return "<p>No study noted where its results come from.</p>"
    shared = {k: v for k, v in next(iter(notes.values())).items() if all(note.get(k) == v for note in notes.values())}
    lines = [f"<pre>{html.escape(json.dumps(shared, indent=1))}</pre>"]
    for name, note in notes.items():
        own = {k: v for k, v in note.items() if k not in shared and k != "study"}
        own["parameters"] = {k: v for k, v in note.get("parameters", {}).items() if v is not None}
        lines.append(f"<p><b>{name}</b> <code>{html.escape(json.dumps(own))}</code></p>")
    return "\n".join(lines)


def link(path: Path) -> str:
    """A path as a link from the folder of the reports."""
    return html.escape(os.path.relpath(path, REPORTS), quote=True)


def named_link(kind: str, path: Path) -> str:
    return f'<a class="file" href="{link(path)}">{kind.upper()}</a>'
