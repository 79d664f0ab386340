"""Studies: parameterised notebooks, executed by papermill over the store of samples."""

import ast
import json
import logging
import os
import sys
from pathlib import Path
from typing import get_args, get_origin

import nbformat
import pandas as pd
import papermill
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from a2r.errors import UserError
from a2r.profiles import ROOT, Profile, load_profile

NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs" / "notebooks"


class StudyFailed(RuntimeError):
    """A cell failed; the executed notebook so far was kept."""


def available() -> dict[str, Path]:
    """Studies by name: notebooks/01_symmetric.ipynb is `symmetric`. UserError where two notebooks have one name."""
    studies: dict[str, Path] = {}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if first := studies.get(path.stem[3:]):
            raise UserError(f"{first} and {path} are both the study '{path.stem[3:]}'; rename one of them.")
        studies[path.stem[3:]] = path
    return studies


def find(study: str) -> Path:
    """The notebook of a study, by its name with or without the number. UserError naming the studies there are."""
    studies = available()
    if notebook := {**studies, **{path.stem: path for path in studies.values()}}.get(study):
        return notebook
    raise UserError(f"there is no study '{study}'; choose {', '.join(studies)}.")


def runnable(profile: str) -> list[str]:
    """All studies but, said in a line, those of trainings that the profile has no records of."""
    from a2r.studies import stability
    from a2r.training import rl
    from a2r.training.nano import family

    chosen = list(available())
    for study, read in (("family", family.records), ("rl", rl.read_record), ("stability", stability.stored)):
        try:
            read(load_profile(profile, study))
        except UserError as reason:
            print(f"{study}: left out, {reason}", file=sys.stderr)
            chosen.remove(study)
    return chosen


def parameters_of(notebook: Path) -> dict[str, object]:
    """Default values of a notebook's `parameters` cell, by name."""
    cells = nbformat.read(notebook, as_version=4).cells
    source = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}


def check_parameters(notebook: Path, given: dict[str, str | object]) -> dict[str, object]:
    """Given parameters as values of the right types; text is read as the type that the notebook's default has.

    A parameter whose default is None takes a number, a word or a comma-separated list. Raises UserError for a name
    the notebook does not have, or a value that does not fit.
    """
    defaults = parameters_of(notebook)
    checked = {}
    for name, value in given.items():
        if name not in defaults:
            raise UserError(f"study {notebook.stem} has no parameter '{name}'; it takes {', '.join(defaults)}.")
        checked[name] = convert(name, value, defaults[name], notebook.stem)
    return checked


EXPECTED = {
    **{
        "n_": int,
        "seed": int,
        "temperatures": list[float],
        "temperature": float,
        "synthesizer_temperature": float,
        "sizes": list[int],
    },
    **dict.fromkeys(("models", "explorers", "synthesizers", "pairs"), list[str]),
}


def convert(name: str, value, default, study: str):
    """`value` as the type of `default`; where that is None, the type its name stands for in every notebook."""
    kind = (
        type(default)
        if default is not None
        else next((t for prefix, t in EXPECTED.items() if name.startswith(prefix)), str)
    )
    if value is None or value in ("None", "null"):
        return None
    try:
        if kind is list or get_origin(kind) is list:
            parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
            if not parts or "" in parts:
                raise ValueError
            member = type(default[0]) if default else (*get_args(kind), str)[0]
            return [member(part) for part in parts]
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        converted = kind(value)
        if isinstance(value, bool) or (not isinstance(value, str) and converted != value):
            raise ValueError  # 0.5 is no whole number
        return converted
    except (ValueError, KeyError, TypeError):
        names = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            list: "a comma-separated list",
            str: "text",
        }
        raise UserError(
            f"parameter '{name}' of {study} has to be {names[get_origin(kind) or kind]}, not '{value}'."
        ) from None


def run(study: str, profile: str = "nano", parameters: dict | None = None, progress: bool = True) -> Path:
    """Execute a study; returns the executed notebook, whose name tells the parameters.

    Raises UserError for an unknown study, profile or parameter (nothing is executed then), and StudyFailed
    when a cell fails: the executed notebook is kept and everything sampled is in the store, so the next run continues.
    """
    notebook = find(study)
    load_profile(profile)
    if profile.endswith((".yaml", ".yml")):
        profile = str(Path(profile).resolve())  # the notebook runs in the repository's root, wherever this was called
    values = check_parameters(notebook, {**(parameters or {}), "profile": profile})
    label = "_".join(
        f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}".replace("/", "-")
        for k, v in sorted(values.items())
        if k != "profile"
    )
    output = RUNS / "__".join(filter(None, [notebook.stem, Path(profile).stem, label[:150]]))
    output = output.with_name(output.name + ".ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    # tqdm.auto, which some library imports, wants widgets
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=values,
            kernel_name="python3",
            cwd=str(ROOT),
            progress_bar=False,
            log_output=False,
            stderr_file=sys.stderr if progress else None,
            # the kernel's, which else warns of its unencrypted socket on every start
            extra_arguments=["--log-level=ERROR"],
        )
    except (PapermillExecutionError, CellExecutionError) as error:
        cell = f"In [{getattr(error, 'exec_count', '?')}]"
        reason = f"{getattr(error, 'ename', 'Error')}: {getattr(error, 'evalue', error)}".splitlines()[0]
        raise StudyFailed(
            f"cell {cell} of {notebook.name} failed ({reason}); "
            f"the notebook so far is {output}, and the samples are kept."
        ) from error
    except DeadKernelError as error:
        raise StudyFailed(
            f"the kernel of {notebook.name} died; the samples are kept, run it again to go on."
        ) from error
    return output


def results(executed: Path) -> dict[str, list[str]]:
    """What the last cell of an executed study says it made: {"tables": [...], "figures": [...]}; paths from the
    repository's root."""
    for cell in reversed(nbformat.read(executed, as_version=4).cells):
        for out in cell.get("outputs", []):
            made = out.get("data", {}).get("application/vnd.a2r+json")
            if made:
                return json.loads(made) if isinstance(made, str) else made
    return {}


def collected(lab: Profile, runs: list[tuple[dict, Path]]) -> list[Path]:
    """The tables that the runs of a sweep have in common, each as one CSV with the swept knobs in front; returns their
    paths.

    They lie beside the folders of the single runs, in one named after the sweep.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for swept, executed in runs:
        for path in map(Path, results(executed).get("tables", [])):
            if path.suffix == ".csv":
                frame = pd.read_csv(ROOT / path)
                for name, value in reversed(swept.items()):
                    frame.insert(0, name, value, allow_duplicates=True)
                tables.setdefault(path.name, []).append(frame)
    if not tables:
        return []
    knobs = [f"{name}={'+'.join(dict.fromkeys(swept[name] for swept, _ in runs))}" for name in runs[0][0]]
    folder = ROOT / lab.figures / lab.name / "_".join(["sweep", *knobs])
    folder.mkdir(parents=True, exist_ok=True)
    for name, frames in tables.items():
        pd.concat(frames, ignore_index=True).to_csv(folder / name, index=False)
    return [folder / name for name in tables]
