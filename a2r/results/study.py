"""What a study leaves behind: tables, figures and its outcomes, each with provenance."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from a2r.profiles import ROOT, Profile
from a2r.results import figures, tables

PACKAGES = ("torch", "transformers", "vllm", "datasets", "pandas", "scipy", "seaborn", "papermill", "math-verify")

# In `lab.changes` where they differ from the profile.
KNOBS = ("n_paths", "n_sets", "n_syntheses", "n_problems", "seed", "temperature", "synthesizer_temperature")


class Study:
    """One run of one study: saves under figures/<profile>/ and remembers what it saved.

    A run whose knobs differ from the profile's saves in a folder of its own there, named after them.
    """

    def __init__(self, lab: Profile, name: str, parameters: dict):
        self.lab, self.name = lab, name
        own = {k: v for k, v in parameters.items() if v is not None and k not in KNOBS}
        changed = [
            f"{k}={'+'.join(map(str, v)) if isinstance(v, list) else v}" for k, v in (*lab.changes, *own.items())
        ]
        self.folder = ROOT / lab.figures / lab.name / "_".join(changed).replace("/", "-")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.provenance = provenance(lab, name, parameters)
        self.made: dict[str, list[str]] = {"tables": [], "figures": []}
        figures.style()
        # the report is read from paper, where nothing unfolds
        pd.set_option("display.max_colwidth", None, "display.max_rows", None)

    def table(self, table: pd.DataFrame, name: str) -> None:
        """Save a table as <study>_<name>.csv and .tex."""
        paths = tables.save(table, self.folder, f"{self.name}_{name}")
        self.made["tables"].append(from_root(paths[0]))

    def figure(self, figure: Figure, name: str) -> None:
        """Save a figure as <study>_<name>.pdf and .png, the provenance in the files' metadata."""
        path = self.folder / f"{self.name}_{name}"
        note = json.dumps(self.provenance, sort_keys=True, default=str)
        figure.savefig(path.with_suffix(".pdf"), metadata={"Title": path.name, "Keywords": note, "CreationDate": None})
        figure.savefig(path.with_suffix(".png"), metadata={"Title": path.name, "Description": note})
        self.made["figures"].append(from_root(path) + ".{pdf,png}")

    def finish(self, outcomes: pd.DataFrame | None = None) -> None:
        """Write the provenance, and the outcomes where the study has some, and show where everything is."""
        from IPython.display import display

        if outcomes is not None:
            path = self.folder / f"{self.name}_outcomes.parquet"
            outcomes.to_parquet(path, compression="zstd")
            self.made["tables"].append(from_root(path))
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(self.provenance, indent=1, sort_keys=True, default=str) + "\n")
        self.made["provenance"] = [from_root(path)]
        lines = "\n".join(f"{kind:10} {', '.join(paths)}" for kind, paths in self.made.items())
        display({"text/plain": lines, "application/vnd.a2r+json": self.made}, raw=True)


def begin(lab: Profile, name: str, parameters: dict) -> Study:
    """Start a study: set the house style and note the provenance of what it will save.

    `parameters` are the study's knobs as given, None where the profile decides.
    """
    return Study(lab, name, parameters)


def read_outcomes(lab: Profile) -> dict[str, pd.DataFrame]:
    """Saved outcomes by study, of those studies that were run with the profile's own knobs."""
    files = sorted((ROOT / lab.figures / lab.name).glob("*_outcomes.parquet"))
    return {path.stem.removesuffix("_outcomes"): pd.read_parquet(path) for path in files}


def from_root(path: Path) -> str:
    """A path as it is shown: from the repository's root where it is in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def provenance(lab: Profile, study: str, parameters: dict) -> dict:
    """Commit ("+changes" where code, data or notebooks differ from it), parameters, model revisions, package
    versions."""
    return {
        "study": study,
        "profile": lab.name,
        "parameters": parameters,
        "models": {m.name: m.identity for m in lab.models},
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: v for name in PACKAGES if (v := installed(name))},
    }


def commit() -> str:
    """The checkout's commit, or "unknown" outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+changes" if git("status", "--porcelain", "a2r", "data", "notebooks") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
