"""Studies: parameterised notebooks, executed by papermill over the store of samples."""

import ast
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path

from a2r.errors import StudyFailed, UserError, nearest
from a2r.prices import read_prices
from a2r.problems import load_problems, online
from a2r.profiles import KNOBS, ROOT, check_folder, digest, from_root, load_profile, short

NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs" / "notebooks"
UNFINISHED = "unfinished"  # the folder in it for what is being executed, or has failed


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
    for study in [name for name in ("family", "rl", "stability") if name in chosen]:
        try:
            if stale(study, profile):  # else its records are there, and what reads them need not be loaded
                from a2r.studies import stability
                from a2r.training import rl
                from a2r.training.nano import records

                kept = {"family": records.records, "rl": rl.read_record, "stability": stability.stored}
                kept[study](load_profile(profile, study))
        except UserError as reason:
            print(f"{study}: left out, {reason}", file=sys.stderr)
            chosen.remove(study)
    return sorted(chosen, key=lambda study: study == "claims")  # last: they are about what all others made


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
                what = "a default has to be a plain value under one name, so compute it in a later cell"
                said = f"the parameters cell of {notebook.name} says `{ast.unparse(node)}`; {what}."
                raise UserError(said) from None
    return defaults


def check_parameters(notebook: Path, given: dict[str, str | object]) -> dict[str, object]:
    """Given parameters as values of the right types; text is read as the type that the notebook's default has.

    A parameter whose default is None takes a number, a word or a comma-separated list. Raises UserError for a name
    the notebook does not have, or a value that does not fit.
    """
    defaults = parameters_of(notebook)
    if unknown := [name for name in given if name not in defaults]:
        takes = f"it takes {', '.join(defaults)}" if defaults else "tag a cell of it 'parameters' to give it some"
        near = nearest(unknown[0], defaults)
        raise UserError(f"study {notebook.stem} has no parameter '{unknown[0]}'{near}; {takes}.")
    return {name: convert(name, value, defaults[name], notebook.stem) for name, value in given.items()}


# by the beginning of its name, what a parameter without a default may be
EXAMPLES = {
    **{"n_": 4, "seed": 0, "temperatures": [0.7], "temperature": 0.7, "synthesizer_temperature": 0.7, "sizes": [1, 2]},
    **{name: ["a", "b"] for name in ("models", "explorers", "synthesizers", "pairs", "contexts", "others")},
}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", list: "a comma-separated list", str: "text"}


def convert(name: str, value, default, study: str):
    """`value` as the type of `default`; where that is None, the type its name stands for in every notebook."""
    if default is None:
        default = next((example for prefix, example in EXAMPLES.items() if name.startswith(prefix)), "text")
    kind = type(default)
    if value is None or value in ("None", "null"):
        return None
    try:
        if kind is list:
            if isinstance(value, str):  # a,b or as YAML has it: [a, b]
                bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
                parts = [part.strip(" '\"") for part in bare.split(",")]
            else:
                parts = list(value)
            if not parts or "" in parts:
                raise ValueError
            return [type((*default, "text")[0])(part) for part in parts]
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        converted = kind(value)
        if isinstance(value, bool) or (not isinstance(value, str) and converted != value):
            raise ValueError  # 0.5 is no whole number
        return converted
    except (ValueError, KeyError, TypeError):
        raise UserError(f"parameter '{name}' of {study} has to be {WORDS[kind]}, not '{value}'.") from None


def planned(study: str, profile: str = "nano", parameters: dict | None = None) -> tuple[Path, dict, Path]:
    """What a run would execute, with which values, and where the executed copy would be, whose name tells them.

    Raises UserError for an unknown study, profile, parameter or model, or a value that does not fit; looks at nothing
    else (`ready`) and writes nothing.
    """
    notebook, studies = find(study), available()
    if profile.endswith((".yaml", ".yml")):
        profile = str(Path(profile).resolve())  # the notebook runs in the repository's root, wherever this was called
    lab = load_profile(profile, notebook.stem[3:])
    for own in lab.studies:
        if own not in studies:
            gives = f"gives values to a study '{own}'{nearest(own, studies)} under 'studies'"
            raise UserError(f"profile {profile} {gives}, but there are {', '.join(studies)}.")
    values = check_parameters(notebook, {**(parameters or {}), "profile": profile})
    lab.with_(**{knob: values[knob] for knob in KNOBS if knob in values})
    for several, knob in (("temperatures", "temperature"), ("sizes", "n_paths")):
        for value in values.get(several) or ():
            lab.with_(**{knob: value})
    if counts := [name for name, v in values.items() if name.startswith("n_") and v is not None and v < 1]:
        raise UserError(f"parameter '{counts[0]}' of {notebook.stem} is {values[counts[0]]}; it has to be at least 1.")
    if odd := [pair for pair in values.get("pairs") or () if pair.count(">") != 1]:
        raise UserError(f"'{odd[0]}' is no pair of models; give it as explorer>synthesizer.")
    given = [values.get(role) or () for role in ("models", "explorers", "synthesizers", "pairs")]
    # in the study of ways nobody may read
    given += [[values[role]] for role in ("explorer", "synthesizer", "large") if values.get(role) not in (None, "none")]
    for model in [model for names in given for name in names for model in name.split(">")]:
        lab.model(model)
    size = os.environ.get("A2R_FIGURES", "text")  # of figures (`results.figures.SIZES`); another one is another run
    knobs = {k: v for k, v in sorted(values.items()) if k != "profile"} | ({"figures": size} if size != "text" else {})
    label = "_".join(f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in knobs.items())
    output = "__".join(filter(None, [notebook.stem, Path(profile).stem, short(label.replace("/", "-"))]))
    return notebook, values, RUNS / f"{output}.ipynb"


def ready(study: str, profile: str = "nano", parameters: dict | None = None) -> None:
    """Nothing where the problems, prices and models' folders of a run are there; else UserError, as in `planned`.

    A model on the hub is not asked for: all samples that are wanted of it may be in the store.
    """
    notebook, values, _ = planned(study, profile, parameters)
    lab = load_profile(values["profile"], notebook.stem[3:])
    check_folder(lab)
    if values.get("contexts"):
        from a2r import references

        references.kinds(lab, "", "", values["contexts"])  # refuses one that there is not
    load_problems(lab)
    read_prices(values.get("prices") or lab.prices)
    if lab.engine in ("auto", "transformers", "vllm"):
        for model in map(lab.model, (*lab.explorers, *lab.synthesizers, *lab.symmetric)):
            _ = model.location  # refuses a folder that is not there
            if model.folder is None and not model.imported:
                online()  # if the hub is not, its clients are told, who would try for minutes in the notebook


def stale(study: str, profile: str = "nano", parameters: dict | None = None) -> str | None:
    """Why a study has to be executed, in a few words; None where all that its last run came from is as it was."""
    from a2r.results import trace

    notebook, values, output = planned(study, profile, parameters)
    stamp = _stamp(output)
    if not output.exists() or not stamp:
        return "not run to its end yet"
    if stamp["notebook"] != digest(notebook):
        return f"{notebook.name} is not as it was"
    if stamp["values"] != _values(values):
        return "other parameters"
    return (
        "a model or a file of methods is not as it was"
        if stamp.get("given") != _given(values)
        else trace.changed(stamp)
    )


def minutes(study: str) -> float:
    """How long the committed run of a study took, or about what one takes where none is committed."""
    copy = ROOT / "docs" / "executed" / find(study).name
    return json.loads(copy.read_text(encoding="utf-8"))["metadata"]["a2r"]["minutes"] if copy.exists() else 2.0


def of_profile(output: Path, profile: str) -> bool:
    """Whether an executed copy is of this profile, and not of another file of its name."""
    named = str(Path(profile).resolve()) if profile.endswith((".yaml", ".yml")) else profile
    return _stamp(output).get("values", {}).get("profile") in (None, from_root(Path(named)))


def _stamp(output: Path) -> dict:
    try:
        return json.loads(output.with_suffix(".json").read_text())
    except (OSError, ValueError):  # not there, or cut off
        return {}


def _given(values: dict) -> dict[str, str]:
    """Hashes of the models' folders and of a file of methods, which may lie where no trace looks: outside of the
    repository, or in its runs."""
    found = {model.name: model.identity for model in load_profile(values["profile"]).models if model.folder}
    methods = Path(values.get("methods") or "")
    return {**found, **({str(methods): digest(methods)} if methods.is_file() else {})}


def _values(values: dict) -> dict:
    """Parameters as a stamp has them: a profile's path from the repository's root."""
    return {**values, "profile": from_root(Path(values["profile"]))}


def once(
    name: str, places: Iterable[Path], make: Callable[[], list[Path]], again: bool = False
) -> tuple[list[Path], bool]:
    """(what `make` wrote, whether just now): it is left out where each file of `places` (files, or folders whole), and
    what it wrote, is as it was after the last time."""
    from a2r.results import trace

    def digests(made: list[Path]) -> dict[str, str]:
        files = [file for place in places for file in (place.rglob("*.*") if place.is_dir() else [place])]
        return trace.digests(f for f in (*files, *made) if f.is_file() and "__pycache__" not in f.parts)

    stamp, before = RUNS / f"{name}.json", _stamp(RUNS / name)
    made = [ROOT / file for file in before.get("made", ())]
    if not again and before.get("files") == digests(made):
        return made, False
    made = make()
    RUNS.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps({"made": list(map(from_root, made)), "files": digests(made)}))
    return made, True


def run(study: str, profile: str = "nano", parameters: dict | None = None, progress: bool = True) -> Path:
    """Execute a study; returns the executed notebook, with a stamp beside it of what the results came from (`stale`).

    Raises UserError where `planned` or `ready` refuse (nothing is executed then), and StudyFailed when a cell fails:
    the notebook so far is kept in the folder UNFINISHED and what was sampled is in the store: the next run goes on.
    """
    notebook, values, output = planned(study, profile, parameters)
    ready(study, profile, parameters)

    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from a2r.lab.kernels import Manager

    unfinished = output.parent / UNFINISHED / output.name
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").unlink(missing_ok=True)
    as_it_was, given, found = digest(notebook), _given(values), unfinished.with_suffix(".trace")
    os.environ["A2R_TRACE"] = str(found)  # for the kernel
    logging.getLogger("papermill").setLevel(logging.WARNING)
    # tqdm.auto, which some library imports, wants widgets
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
    options = {"kernel_name": "python3", "cwd": str(ROOT), "progress_bar": False, "log_output": False}
    # the level is the kernel's, which else warns of its unencrypted socket on every start
    options |= {"stderr_file": sys.stderr if progress else None, "extra_arguments": ["--log-level=ERROR"]}
    options |= {"kernel_manager_class": Manager}
    try:
        papermill.execute_notebook(str(notebook), str(unfinished), parameters=values, **options)
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        kept = f"the notebook so far is {unfinished}, and the samples are kept"
        raise StudyFailed(f"cell In [{error.exec_count}] of {notebook.name} failed ({reason}); {kept}.") from error
    except DeadKernelError as error:
        kept = "the samples are kept, run it again to go on"
        raise StudyFailed(f"the kernel of {notebook.name} died; {kept}.") from error
    finally:
        del os.environ["A2R_TRACE"]
    unfinished.replace(output)
    if found.exists():
        stamp = {"notebook": as_it_was, "values": _values(values), "given": given}
        output.with_suffix(".json").write_text(json.dumps({**json.loads(found.read_text()), **stamp}))
        found.unlink()
    return output


def waits(study: str) -> bool:
    """Whether a study reads what others have made."""
    return any(word in find(study).read_text(encoding="utf-8") for word in ("read_outcomes(", "study.earlier("))


@contextmanager
def side_by_side(studies: list[tuple[str, str, dict]]) -> Iterator[Callable[..., Path]]:
    """`run`, with `studies` begun several at a time, the longest first, so that none of them is left alone at the end.

    Of small models three, with half of the processors each: while one counts, draws or waits for its turn
    (`pipeline.turns`), two sample, which leaves fewer processors idle, where batches begin and end, than one on all of
    them. Else two: one samples, one counts and draws; but one alone where each would keep a vLLM server of its own,
    which takes the whole GPU.
    """
    if len(studies) < 2:
        yield run
        return
    labs = [load_profile(each[1]) for each in studies]
    cores, large = os.cpu_count() or 1, any(model.large for lab in labs for model in lab.models)
    workers, threads = (min(2, cores), None) if large else (min(3, cores + 1), max(1, cores // 2))
    workers = 1 if {"vllm", "auto"} & {lab.engine for lab in labs} and large else workers
    from a2r.lab import kernels

    context = kernels.loaded(threads) if kernels.AVAILABLE and threads else get_context("spawn")

    def apart(*each) -> Path:
        with ProcessPoolExecutor(1, context, _begin, (threads,)) as process:
            return process.submit(run, *each).result()

    with ThreadPoolExecutor(workers) as pool:
        longest = sorted(studies, key=lambda each: -minutes(each[0]))
        begun = {repr(each): pool.submit(apart, *each) for each in longest}
        try:
            yield lambda *each: begun[repr(each)].result() if repr(each) in begun else apart(*each)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(threads: int | None) -> None:
    """What a process does first in which one study is run."""
    if threads:  # else engines choose, as vLLM does
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        from a2r.lab import kernels

        if kernels.AVAILABLE:
            kernels.prepare()
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent) -> None:
    """End this process when its parent has been killed; its kernel then ends itself."""
    parent.join()
    os._exit(1)


def results(executed: Path) -> dict[str, list[str]]:
    """What the last cell of an executed study says it made: {"tables": [...], "figures": [...]}, paths from the
    repository's root, and what its figures say."""
    for cell in reversed(json.loads(executed.read_text(encoding="utf-8"))["cells"]):
        for out in cell.get("outputs", []):
            if made := out.get("data", {}).get("application/vnd.a2r+json"):
                return json.loads(made) if isinstance(made, str) else made
    return {}
