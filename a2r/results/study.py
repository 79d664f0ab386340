"""What a study leaves behind: tables, figures and its outcomes, each with provenance."""

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from PIL import Image

from a2r.errors import UserError
from a2r.pipeline import cut_sets, explorer_asks, synthesizer_asks
from a2r.profiles import KNOBS, ROOT, Profile, from_root, short
from a2r.results import figures, tables, trace

COMMIT = re.compile(rb'"commit": ?"([^"]*)"')
ERRORS: dict[str, str] = {}  # of the samples that have been read since a study began, by id; "" of most


def _read(event: str, arguments: tuple) -> None:
    if event == "a2r.samples":
        ERRORS.update(zip(arguments[1].id, arguments[1].error, strict=True))


sys.addaudithook(_read)


class Study:
    """One run of one study: what it makes goes to figures/<profile>/ when it is finished, and not if a cell fails.

    `parameters` are the study's knobs as given, None where the profile decides. A run whose knobs differ from the
    profile's has a folder of its own there, named after them. A file that would come out as it is, but for the commit
    it was made at and seconds that a clock measured, is left alone.
    """

    def __init__(self, lab: Profile, name: str, parameters: dict):
        self.lab, self.name = lab, name
        own = {k: v for k, v in parameters.items() if v is not None and k not in KNOBS}
        changed = {k: "+".join(map(str, v)) if isinstance(v, list) else v for k, v in (*lab.changes, *own.items())}
        folder = short("_".join(f"{k}={v}" for k, v in changed.items()).replace("/", "-"))
        self.folder = ROOT / lab.figures / lab.name / folder
        self.provenance = provenance(lab, name, parameters)
        self.made: dict[str, list[str]] = {"tables": [], "figures": [], "says": []}
        self.files: dict[Path, bytes | None] = {}  # what `finish` writes; None where the file stays as it is
        ERRORS.clear()
        size = figures.size()
        self.pictures = self.folder if size == figures.DEFAULT else self.folder / size
        figures.style(size)
        # the report is read from paper, where nothing unfolds
        pd.set_option("display.max_colwidth", None, "display.max_rows", None)

    def table(self, table: pd.DataFrame, name: str, caption: str = "", points: tuple[str, ...] = ("gain",)) -> "Shown":
        """Save a table as <study>_<name>.csv and .tex; returned as it is shown, `points` being columns in percentage
        points."""
        new: dict[Path, bytes] = {}
        paths = tables.save(table, self.folder, f"{self.name}_{name}", new.__setitem__)
        self.files |= {path: new.get(path) for path in paths}
        self.made["tables"].append(from_root(paths[0]))
        return Shown(tables.shown(table, points), from_root(paths[0]), caption)

    def figure(self, figure: Figure, name: str) -> None:
        """Save a figure as <study>_<name>.pdf and .png (the provenance in the files' metadata), and show it.

        What it says (`figures.captioned`) is its heading; its caption is the picture's alternative text, and stands in
        <study>_<name>_figure.tex for a report in LaTeX.
        """
        path, caption = self.pictures / f"{self.name}_{name}", getattr(figure, "caption", "")

        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # which moves things a little at every drawing, so that no two would be equal

        def drawn(form: str, field: str, provenance: dict, **more) -> bytes:
            file, note = io.BytesIO(), json.dumps(provenance, sort_keys=True, default=str)
            figure.savefig(file, format=form, metadata={"Title": path.name, field: note, **more})
            return file.getvalue()

        self._keep(path.with_suffix(".pdf"), lambda p: drawn("pdf", "Keywords", p, CreationDate=None))
        self._keep(path.with_suffix(".png"), lambda p: drawn("png", "Description", p))
        latex = tables.latex_figure(path.name, caption).encode()
        self._keep(path.with_name(f"{path.name}_figure.tex"), lambda p: latex)
        self.made["figures"].append(from_root(path) + ".{pdf,png}")
        picture = {"alt": caption or name, "width": round(110 * figure.get_size_inches()[0])}
        about = {"image/png": picture, "a2r": {"figure": from_root(path), "caption": caption}}
        if caption:
            self.made["says"].append(figure.says)
            display(Markdown(f"### {figure.says}"), metadata={"a2r": {"caption of": from_root(path)}})
        png = path.with_suffix(".png")
        png = small_png(io.BytesIO(self.files[png]) if self.files[png] else png)
        display({"image/png": png, "text/plain": caption}, metadata=about, raw=True)
        plt.close(figure)

    def earlier(self, name: str) -> pd.DataFrame:
        """The table <name> ("<study>_<table>") of another study of this profile; empty where that has not been run."""
        path = ROOT / self.lab.figures / self.lab.name / f"{name}.csv"
        return tables.read(path) if path.exists() else pd.DataFrame()

    def example(
        self, problems: pd.DataFrame, pool: pd.DataFrame, syntheses: pd.DataFrame, n_paths: int | None = None
    ) -> None:
        """Show one problem as it went: the explorer's prompt and first path, and what a synthesizer read and wrote.

        `pool` and `syntheses` are graded, of sets of `n_paths` (default: the profile's). The problem is the first whose
        synthesis is right although some path of its set is wrong, else the first there is.
        """
        lab = self.lab.with_(n_paths=n_paths, n_sets=int(syntheses["set"].max()) + 1)
        sets = cut_sets(pool, lab.n_paths, lab.n_sets)
        right = sets.groupby(["problem_id", "set"]).correct.mean()
        wanted = (s for s in syntheses.itertuples() if s.correct and right[s.problem_id, s.set] < 1)
        made = next(wanted, next(syntheses.itertuples()))
        paths = sets[(sets.problem_id == made.problem_id) & (sets["set"] == made.set)]
        problem, first = problems[problems.problem_id == made.problem_id], next(paths.itertuples())
        asked = synthesizer_asks(lab, problem, pool[pool.problem_id == made.problem_id])
        prompt = next(ask for ask in asked if ask.set == made.set).messages[-1]["content"]
        words = [
            f"**An example:** problem `{made.problem_id}`, answer {problem.answer.iloc[0]}. The explorer reads",
            f"and {first.model} writes ({'right' if first.correct else 'wrong'})",
            f"The synthesizer reads that problem with {len(paths)} answer components, {paths.correct.sum()} right",
            f"and {made.model} writes ({'right' if made.correct else 'wrong'})",
        ]
        texts = (explorer_asks(lab, problem, 1)[0].messages[-1]["content"], first.text, prompt, made.text)
        said = [f"{w}\n\n```text\n{t.strip()[:3000]}\n```\n" for w, t in zip(words, texts, strict=True)]
        display(Markdown("\n\n".join(said)))

    def _keep(self, path: Path, make: Callable[[dict], bytes], anew: bool = False) -> None:
        """Keep `make(provenance)` to be written, unless the file is there and differs in its commit alone; `anew`: also
        then, as the provenance of tables that name no commit themselves."""
        before = path.read_bytes() if path.exists() else b""
        commit = COMMIT.search(before)
        same = not anew and commit and make({**self.provenance, "commit": commit[1].decode()}) == before
        self.files[path] = None if same else make(self.provenance)

    def finish(self, outcomes: pd.DataFrame | None = None) -> None:
        """Write everything, with the provenance, and the outcomes where the study has some; show where it is.

        Where samples failed, their number is shown, and stands in the provenance and in `attrs` of the outcomes. Where
        all did, UserError, and nothing is written: there is no result.
        """
        if failed := [error for error in ERRORS.values() if error]:
            share = f"{len(failed)} of {len(ERRORS)} samples"
            reason = f"the first with '{failed[0].splitlines()[0][:200]}'"
            if len(failed) == len(ERRORS):
                raise UserError(f"all {len(failed)} samples failed ({reason}); put that right and run again.")
            said = f"{share} failed ({reason}) and count as wrong; run again, and they are asked for again."
            display(Markdown(f"**{said}**"))
            self.provenance["failed"], self.made["failed"] = share, [said]
        if outcomes is not None:
            outcomes.attrs = {"failed": share} if failed else {}
            path = self.folder / f"{self.name}_outcomes.parquet"
            new = outcomes.to_parquet(compression="zstd")
            self.files[path] = None if _alike(path, new) else new
            self.made["tables"].append(from_root(path))
        path = self.folder / f"{self.name}.json"
        anew = any(new is not None and not (p.exists() and p.read_bytes() == new) for p, new in self.files.items())
        self._keep(path, lambda p: (json.dumps(p, indent=1, sort_keys=True, default=str) + "\n").encode(), anew)
        self.made["provenance"] = [from_root(path)]
        for path, content in self.files.items():
            if content is not None:
                tables.written(path, content)
        given = (self.lab.source, self.lab.prices, *(benchmark.path for benchmark in self.lab.benchmarks))
        trace.write(set(self.files), {ROOT / place for place in given})
        lines = "\n".join(f"{kind:10} {', '.join(paths)}" for kind, paths in self.made.items() if kind != "says")
        display({"text/plain": lines, "application/vnd.a2r+json": self.made}, raw=True)


def _alike(path: Path, new: bytes) -> bool:
    """Whether a Parquet file is there and has what `new` has."""
    try:
        before, after = pd.read_parquet(path), pd.read_parquet(io.BytesIO(new))
        return before.attrs == after.attrs and tables.alike(before, after)
    except (OSError, ValueError):  # not there, or cut off
        return False


class Shown:
    """A table as a notebook shows it: HTML without the row numbers, marked with its CSV file and caption for the
    report."""

    def __init__(self, table: pd.DataFrame, csv: str, caption: str = ""):
        self.table, self.about = table, {"table": csv, "caption": caption}

    def _repr_mimebundle_(self, include=None, exclude=None):
        html = self.table.to_html(index=False, border=0, na_rep="–")
        return {"text/html": html, "text/plain": self.table.to_string(index=False)}, {"a2r": self.about}


def small_png(png: Path | io.BytesIO) -> str:
    """A picture in 128 colours, base64: a third of the file's size, and alike to the eye."""
    buffer = io.BytesIO()
    Image.open(png).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


begin = Study  # as notebooks call it


def read_outcomes(lab: Profile) -> dict[str, pd.DataFrame]:
    """Saved outcomes by study, of those studies that were run with the profile's own knobs."""
    files = sorted((ROOT / lab.figures / lab.name).glob("*_outcomes.parquet"))
    for file in files:
        sys.audit("open", str(file), "r", 0)  # Parquet is opened below Python (`trace`)
    return {path.stem.removesuffix("_outcomes"): pd.read_parquet(path) for path in files}


def provenance(lab: Profile, study: str, parameters: dict) -> dict:
    """Commit, parameters, model revisions, package versions; the file of a profile of the user's own."""
    about = {"study": study, "profile": lab.name, "parameters": parameters, "commit": commit()}
    if not lab.shipped:
        about["source"] = from_root(Path(lab.source))
    models, packages = {model.name: model.identity for model in lab.models}, dict(trace.versions())
    return {**about, "models": models, "python": packages.pop("python"), "packages": packages}


def commit() -> str:
    """The checkout's commit ("+changes" where code, data or notebooks differ from it), or "unknown" outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "a2r", "data", "notebooks")
        return git("rev-parse", "--short=12", "HEAD") + "+changes" * bool(changes)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
