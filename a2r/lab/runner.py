"""Studies: parameterised notebooks, executed by papermill over the store of samples."""

import ast
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import get_args, get_origin

from a2r.errors import UserError, nearest
from a2r.problems import load_problems
from a2r.profiles import KNOBS, ROOT, Profile, load_profile

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
    raise UserError(f"there is no study '{study}'{nearest(study, studies)}; choose {', '.join(studies)}.")


def runnable(profile: str) -> list[str]:
    """All studies but, said in a line, those of trainings that the profile has no records of."""
    chosen = list(available())
    for study in ("family", "rl", "stability"):
        try:
            if stale(study, profile):  # else its records are there, and what reads them need not be loaded
                _read_records(study, load_profile(profile, study))
        except UserError as reason:
            print(f"{study}: left out, {reason}", file=sys.stderr)
            chosen.remove(study)
    return chosen


def _read_records(study: str, lab: Profile) -> None:
    from a2r.studies import stability
    from a2r.training import rl
    from a2r.training.nano import family

    {"family": family.records, "rl": rl.read_record, "stability": stability.stored}[study](lab)


def parameters_of(notebook: Path) -> dict[str, object]:
    """Default values of a notebook's `parameters` cell, by name. UserError for one that is no literal."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [cell["source"] for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    defaults = {}
    for node in ast.parse("".join(tagged[0]) if tagged else "").body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            try:
                defaults[target.id] = ast.literal_eval(node.value)
            except (ValueError, AttributeError):
                raise UserError(
                    f"the parameters cell of {notebook.name} says `{ast.unparse(node)}`; a default has to be a plain "
                    "value under one name, so compute it in a later cell."
                ) from None
    return defaults


def check_parameters(notebook: Path, given: dict[str, str | object]) -> dict[str, object]:
    """Given parameters as values of the right types; text is read as the type that the notebook's default has.

    A parameter whose default is None takes a number, a word or a comma-separated list. Raises UserError for a name
    the notebook does not have, or a value that does not fit.
    """
    defaults = parameters_of(notebook)
    checked = {}
    for name, value in given.items():
        if name not in defaults:
            takes = f"it takes {', '.join(defaults)}" if defaults else "tag a cell of it 'parameters' to give it some"
            raise UserError(f"study {notebook.stem} has no parameter '{name}'{nearest(name, defaults)}; {takes}.")
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
    **dict.fromkeys(("models", "explorers", "synthesizers", "pairs", "contexts", "others"), list[str]),
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


def planned(study: str, profile: str = "nano", parameters: dict | None = None) -> tuple[Path, dict, Path]:
    """What a run would execute, with which values, and where the executed copy would be, whose name tells them.

    Raises UserError for everything that can be refused before: an unknown study, profile, parameter or model, a value
    that does not fit. Reads and writes nothing else.
    """
    notebook = find(study)
    if profile.endswith((".yaml", ".yml")):
        profile = str(Path(profile).resolve())  # the notebook runs in the repository's root, wherever this was called
    name = next(name for name, path in available().items() if path == notebook)
    lab = load_profile(profile, name)
    for own in lab.studies:
        if own not in available():
            raise UserError(
                f"profile {profile} gives values to a study '{own}'{nearest(own, available())} under 'studies', "
                f"but there are {', '.join(available())}."
            )
    values = check_parameters(notebook, {**(parameters or {}), "profile": profile})
    lab.with_(**{knob: values[knob] for knob in KNOBS if knob in values})
    for temperature in values.get("temperatures") or ():
        lab.with_(temperature=temperature)
    for size in values.get("sizes") or ():
        lab.with_(n_paths=size)
    for name in ("models", "explorers", "synthesizers", "pairs"):
        for model in values.get(name) or ():
            for one in model.split(">"):
                lab.model(one)
    size = os.environ.get("A2R_FIGURES", "text")  # of figures (`results.figures.SIZES`); another one is another run
    label = "_".join(
        f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}".replace("/", "-")
        for k, v in [*sorted(values.items()), *([("figures", size)] if size != "text" else [])]
        if k != "profile"
    )
    output = "__".join(filter(None, [notebook.stem, Path(profile).stem, label[:150]]))
    return notebook, values, RUNS / f"{output}.ipynb"


def stale(study: str, profile: str = "nano", parameters: dict | None = None) -> str | None:
    """Why a study has to be executed, in a few words; None where all that its last run came from is as it was."""
    from a2r.results import trace

    notebook, values, output = planned(study, profile, parameters)
    if not output.exists() or not _stamp(output).exists():
        return "not run to its end yet"
    stamp = json.loads(_stamp(output).read_text())
    if stamp["notebook"] != trace.digest(notebook):
        return f"{notebook.name} is not as it was"
    if stamp["values"] != values:
        return "other parameters"
    return trace.changed(stamp)


def digests(files: list[Path]) -> dict[str, str]:
    """Those of the files that are there."""
    from a2r.results import trace

    return {str(file): trace.digest(file) for file in sorted(files) if file.is_file()}


def seconds(study: str, profile: str = "nano", parameters: dict | None = None) -> float | None:
    """How long the last run of a study took that went to its end; None if there was none."""
    stamp = _stamp(planned(study, profile, parameters)[2])
    return json.loads(stamp.read_text())["seconds"] if stamp.exists() else None


def _stamp(output: Path) -> Path:
    return output.with_suffix(".json")


def run(study: str, profile: str = "nano", parameters: dict | None = None, progress: bool = True) -> Path:
    """Execute a study; returns the executed notebook, with a stamp beside it of what the results came from (`stale`).

    Raises UserError where `planned` or the problems refuse (nothing is executed then), and StudyFailed when a cell
    fails: the executed notebook is kept and everything sampled is in the store, so the next run continues.
    """
    notebook, values, output = planned(study, profile, parameters)
    name = next(name for name, path in available().items() if path == notebook)
    lab = load_profile(values["profile"], name)
    load_problems(lab)
    if lab.engine in ("auto", "transformers", "vllm"):
        for model in dict.fromkeys((*lab.explorers, *lab.synthesizers, *lab.symmetric)):
            _ = lab.model(model).location  # refuses a folder that is not there

    import papermill
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from a2r.results import trace

    output.parent.mkdir(parents=True, exist_ok=True)
    _stamp(output).unlink(missing_ok=True)
    started, digest, found = time.time(), trace.digest(notebook), output.with_suffix(".trace")
    os.environ["A2R_TRACE"] = str(found)  # for the kernel
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
    finally:
        del os.environ["A2R_TRACE"]
    if found.exists():
        stamp = {"notebook": digest, "values": values, "seconds": time.time() - started}
        _stamp(output).write_text(json.dumps({**json.loads(found.read_text()), **stamp}))
        found.unlink()
    return output


def results(executed: Path) -> dict[str, list[str]]:
    """What the last cell of an executed study says it made: {"tables": [...], "figures": [...]}; paths from the
    repository's root."""
    for cell in reversed(json.loads(executed.read_text(encoding="utf-8"))["cells"]):
        for out in cell.get("outputs", []):
            made = out.get("data", {}).get("application/vnd.a2r+json")
            if made:
                return json.loads(made) if isinstance(made, str) else made
    return {}
