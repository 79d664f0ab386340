"""Notebooks as studies: refused before anything runs, kept when a cell fails, and executed as they are committed."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from fakes import FakeServer, write_profile

from a2r import UserError, load_profile
from a2r.lab import runner
from a2r.lab.runner import StudyFailed, check_parameters, convert, find, parameters_of
from a2r.profiles import ROOT

COMMITTED = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = """\
profile = "nano"
models = None  # names from the profile; None: its symmetric ones
n_paths = 4  # N
n_sets = None
temperature = None
share = 0.5
shuffled = True
sizes = [1, 2, 4]
words = ["a", "b"]
label = "x = y"
seed = 0
"""


def write_notebook(folder: Path, name: str, *cells: str, parameters: str = PARAMETERS) -> Path:
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    notebook.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, cells),
    ]
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebooks(tmp_path, monkeypatch) -> Path:
    """A folder in place of notebooks/, and another one for what is executed."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    monkeypatch.setattr(runner, "RUNS", tmp_path / "executed")
    return folder


@pytest.fixture
def notebook(notebooks) -> Path:
    return write_notebook(notebooks, "01_small_study", "print(n_paths)")


def test_parameters_are_read_from_their_cell(notebook):
    words = {"profile": "nano", "models": None, "words": ["a", "b"], "label": "x = y", "shuffled": True}
    numbers = {"n_paths": 4, "n_sets": None, "temperature": None, "share": 0.5, "sizes": [1, 2, 4], "seed": 0}
    assert parameters_of(notebook) == words | numbers


def test_parameters_may_be_annotated(notebooks):
    path = write_notebook(notebooks, "02_typed", parameters='keep: str = "shortest"\nsize: int\nk: int = -2')
    assert parameters_of(path) == {"keep": "shortest", "k": -2}


@pytest.mark.parametrize("line", ["k = 2 * 3", "a, b = 1, 2", "k = other"])
def test_a_default_that_is_no_plain_value_is_said_so(notebooks, line):
    path = write_notebook(notebooks, "02_odd", parameters=f"n = 1\n{line}")
    with pytest.raises(UserError, match=r"02_odd.ipynb says `.*`; a default has to be a plain value under one name"):
        parameters_of(path)


def test_a_notebook_without_parameters_says_how_to_have_some(notebooks):
    path = write_notebook(notebooks, "02_bare", parameters="")
    with pytest.raises(UserError, match="has no parameter 'k'; tag a cell of it 'parameters' to give it some"):
        check_parameters(path, {"k": 1})


def test_a_model_s_folder_or_a_problem_file_that_is_not_there_is_refused(notebooks, tmp_path):
    write_notebook(notebooks, "01_small", "print(1)")
    models = [{"name": "a", "path": "my/own/model"}]
    said = r"the folder of model 'a' is not there: looked for .*my/own/model and .*correct"
    with pytest.raises(UserError, match=said):
        runner.run("small", str(write_profile(tmp_path, models=models)))
    profile = write_profile(tmp_path)
    (tmp_path / "sums.jsonl").unlink()
    with pytest.raises(UserError, match=r"is not there: looked for .*sums.jsonl"):
        runner.run("small", str(profile))
    write_notebook(notebooks, "02_priced", "print(1)", parameters='profile = "nano"\nprices = None')
    with pytest.raises(UserError, match=r"there is no price table .*none.csv"):
        runner.run("priced", str(write_profile(tmp_path)), {"prices": "none.csv"})
    assert not runner.RUNS.exists()


def test_a_reference_context_that_there_is_not_is_refused_before_anything_is_sampled(tmp_path, use):
    engine = use()
    with pytest.raises(UserError, match=r"there is no reference context 'foregn' \(did you mean 'foreign'\?\); choose"):
        runner.ready("controls", str(write_profile(tmp_path)), {"contexts": "none,foregn"})
    assert not engine.asked


def test_an_unknown_parameter_names_the_valid_ones(notebook):
    with pytest.raises(UserError) as refused:
        check_parameters(notebook, {"n_path": "4"})
    assert str(refused.value) == (
        "study 01_small_study has no parameter 'n_path' (did you mean 'n_paths'?); "
        "it takes profile, models, n_paths, n_sets, temperature, share, shuffled, "
        "sizes, words, label, seed."
    )


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        *[("n_paths", given, 8) for given in ("8", 8, 8.0)],
        *[(name, given, None) for name in ("n_paths", "temperature", "models") for given in ("None", "null", None)],
        *[("n_sets", "2", 2), ("seed", "-1", -1), ("label", "12", "12"), ("profile", "smoke", "smoke")],
        *[("temperature", "0.3", 0.3), ("temperature", "1", 1.0), ("share", "1e-3", 0.001)],
        *[("shuffled", "false", False), ("shuffled", "True", True), ("shuffled", False, False)],
        *[("models", "a", ["a"]), ("models", "a, b", ["a", "b"]), ("models", ("a", "b"), ["a", "b"])],
        *[("models", "[a]", ["a"]), ("models", "[a, 'b']", ["a", "b"]), ("sizes", "[1,2]", [1, 2])],
        *[("sizes", "1,2,8", [1, 2, 8]), ("sizes", [0, 3], [0, 3]), ("words", "c", ["c"])],
    ],
)
def test_text_becomes_what_the_notebook_expects(notebook, name, given, value):
    found = check_parameters(notebook, {name: given})[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        *[("n_paths", given, "a whole number") for given in ("four", "4.5", 4.5, True, "", [4])],
        *[("n_sets", "many", "a whole number"), ("seed", "0.5", "a whole number")],
        *[("temperature", "hot", "a number"), ("share", "half", "a number"), ("shuffled", "perhaps", "true or false")],
        *[("models", given, "a comma-separated list") for given in ("", "[]", "a,,b", 3)],
        ("sizes", "1,two", "a comma-separated list"),
    ],
)
def test_values_of_another_type_are_refused(notebook, name, given, expected):
    with pytest.raises(UserError) as refused:
        check_parameters(notebook, {name: given})
    assert str(refused.value) == f"parameter '{name}' of 01_small_study has to be {expected}, not '{given}'."


def test_a_study_has_two_names(notebook):
    for name in ("small_study", "01_small_study"):
        assert find(name) == notebook
    with pytest.raises(UserError, match="there is no study 'big'; choose small_study"):
        find("big")


def test_names_are_whole_and_two_notebooks_of_one_name_are_refused_with_both_paths(notebook, notebooks):
    longer = write_notebook(notebooks, "01_small_study_mine")
    assert runner.available() == {"small_study": notebook, "small_study_mine": longer}
    twin = write_notebook(notebooks, "07_small_study")
    with pytest.raises(UserError, match=f"{notebook} and {twin} are both the study 'small_study'"):
        find("small_study_mine")


def test_a_notebook_without_a_number_is_no_study(notebook, notebooks):
    write_notebook(notebooks, "draft")
    assert runner.available() == {"small_study": notebook}


def test_nothing_is_executed_where_something_is_wrong(notebook, tmp_path):
    for study, profile, parameters in (
        *[("big", "nano", {}), ("small_study", "nanno", {})],
        *[("small_study", "nano", {"n_path": 4}), ("small_study", "nano", {"seed": "x"})],
    ):
        with pytest.raises(UserError):
            runner.run(study, profile, parameters)
    assert not runner.RUNS.exists()


def test_a_study_runs_with_its_parameters(notebooks, tmp_path, monkeypatch):
    """In the repository's root, with a profile given from where the caller stands, and says what it made."""
    cells = [
        "from pathlib import Path\nprint(n_paths, models, profile, Path('pyproject.toml').exists())",
        "from IPython.display import display\n"
        "display({'text/plain': 'made', 'application/vnd.a2r+json': {'tables': ['t.csv'], 'figures': []}}, raw=True)",
    ]
    source = write_notebook(notebooks, "01_small_study", *cells)
    committed = source.read_bytes()
    path = write_profile(tmp_path)
    monkeypatch.chdir(tmp_path)
    executed = runner.run("small_study", "tiny.yaml", {"n_paths": "8", "models": "a,b", "sizes": "1,2"}, progress=False)
    assert executed.parent == runner.RUNS and source.read_bytes() == committed
    assert executed.stem == "01_small_study__tiny__models=a,b_n_paths=8_sizes=1,2"
    printed = nbformat.read(executed, 4).cells[2].outputs[0].text
    assert printed == f"8 ['a', 'b'] {path} True\n"
    assert runner.results(executed) == {"tables": ["t.csv"], "figures": []}


def test_a_failed_cell_keeps_the_notebook_and_is_named(notebooks, tmp_path):
    cells = "print('before')", "raise ValueError('no such\\nthing')", "print('after')"
    write_notebook(notebooks, "01_small_study", *cells)
    with pytest.raises(StudyFailed) as failed:
        runner.run("small_study", str(write_profile(tmp_path)), progress=False)
    executed = runner.RUNS / "unfinished" / "01_small_study__tiny.ipynb"
    assert not list(runner.RUNS.glob("*.*")), "nothing half is left where results are read"
    assert str(failed.value) == (
        "cell In [4] of 01_small_study.ipynb failed (ValueError: no such); "
        f"the notebook so far is {executed}, and the samples are kept."
    )
    code = [cell for cell in nbformat.read(executed, 4).cells if cell.cell_type == "code"]
    assert code[2].outputs[0].text == "before\n"
    assert code[3].execution_count == 4 and code[3].outputs[0].output_type == "error"
    assert code[4].execution_count is None and runner.results(executed) == {}


def test_what_ends_a_run_on_a_server_is_said(notebooks, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    models, server = [{"name": "a", "path": "m"}], FakeServer(lambda body, before: 401)
    options = {"models": models, "engine": "openai", "engine_options": {"base_url": server.url}}
    sampled = "lab = a2r.load_profile(profile)\na2r.explore(lab, 'a', a2r.load_problems(lab), 4)"
    write_notebook(notebooks, "01_small_study", "import a2r", sampled)
    try:
        with pytest.raises(StudyFailed, match=r"failed \(EngineError: the server at .* wants a key and \$OPENAI"):
            runner.run("small_study", str(write_profile(tmp_path, **options)), progress=False)
    finally:
        server.close()


def test_a_study_that_fails_leaves_the_figures_as_they_were(notebooks, tmp_path):
    cells = (
        "import a2r, pandas as pd, matplotlib.pyplot as plt\nstudy = a2r.begin(a2r.load_profile(profile), 'small', {})",
        "table = pd.DataFrame({'x': [seed]})\nstudy.table(table, 'table')\n"
        "figure, axes = plt.subplots()\naxes.plot([0, seed])\nstudy.figure(figure, 'figure')",
        "1 / (seed < 2)",
        "study.finish(table)",
    )
    write_notebook(notebooks, "01_small", *cells)
    profile, figures = str(write_profile(tmp_path)), tmp_path / "figures"
    with pytest.raises(StudyFailed, match="ZeroDivisionError"):
        runner.run("small", profile, {"seed": 2}, progress=False)
    assert not figures.exists()
    runner.run("small", profile, {"seed": 1}, progress=False)
    before = {file: file.read_bytes() for file in figures.rglob("*.*")}
    with pytest.raises(StudyFailed, match="ZeroDivisionError"):
        runner.run("small", profile, {"seed": 2}, progress=False)
    assert len(before) == 7 and before == {file: file.read_bytes() for file in figures.rglob("*.*")}


def test_a_second_profile_file_of_one_name_does_not_overwrite_the_results_of_the_first(notebooks, tmp_path):
    cell = "study = a2r.begin(a2r.load_profile(profile), 'small', {})\nstudy.finish()"
    write_notebook(notebooks, "01_small", f"import a2r\n{cell}")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = (write_profile(tmp_path / name, figures=str(tmp_path / "figures")) for name in ("one", "two"))
    for _ in range(2):
        runner.run("small", str(first), progress=False)
    said = f"figures/tiny holds results of the profile {first}, which {second} would overwrite; rename one of the two"
    with pytest.raises(UserError, match=said):
        runner.run("small", str(second), progress=False)
    own = second.rename(tmp_path / "nano.yaml")
    (tmp_path / "figures" / "nano").mkdir()
    shutil.copy(ROOT / "figures" / "nano" / "grid.json", tmp_path / "figures" / "nano")
    with pytest.raises(UserError, match=r"results of the profile a2r/profiles/nano\.yaml, which"):
        runner.run("small", str(own), progress=False)
    first.unlink()
    runner.run("small", str(own.rename(second)), progress=False)
    source = json.loads((tmp_path / "figures" / "tiny" / "small.json").read_text())["source"]
    assert source == str(second), "whoever moves a profile goes on in its folder"


def test_the_interrupt_that_shuts_a_kernel_down_is_no_error(notebooks, tmp_path, capfd):
    """However long the kernel takes to be done with papermill's last question, after which it is interrupted."""
    slow = (
        "import time, a2r\nkernel = get_ipython().kernel\nanswer = kernel.kernel_info_request\n"
        "async def slowly(*question):\n    await answer(*question)\n    time.sleep(0.5)\n"
        "kernel.shell_handlers['kernel_info_request'] = slowly"
    )
    finish = "study = a2r.begin(a2r.load_profile(profile), 'small', {})\nstudy.finish()"
    write_notebook(notebooks, "01_small", slow, finish)
    runner.run("small", str(write_profile(tmp_path)))
    assert "KeyboardInterrupt" not in capfd.readouterr().err


def test_a_kernel_that_dies_is_said_so(notebooks, tmp_path):
    write_notebook(notebooks, "01_small_study", "import os\nos._exit(1)")
    said = r"the kernel of 01_small_study.ipynb died; the samples are kept, run it again to go on"
    with pytest.raises(StudyFailed, match=said):
        runner.run("small_study", str(write_profile(tmp_path)), progress=False)


# What is committed.


def test_every_committed_notebook_is_a_study_of_its_own_name():
    assert COMMITTED and sorted(runner.available().values()) == COMMITTED


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_parameters_of_a_committed_notebook(path):
    """They are literals, `profile` is nano, and what `-p` can say of each gives the default's type."""
    defaults = parameters_of(path)
    assert defaults.get("profile") == "nano"
    for name, default in defaults.items():
        said = ",".join(map(str, default)) if isinstance(default, list) else str(default)
        assert convert(name, said, default, path.stem) == default


@pytest.mark.parametrize(
    ("study", "name", "said", "value"),
    [
        ("01_symmetric", "n_pilot", "50", 50),
        ("05_controls", "contexts", "none,foreign", ["none", "foreign"]),
        ("09_claims", "others", "seed-1,seed-2", ["seed-1", "seed-2"]),
    ],
)
def test_parameters_without_a_default_have_a_type(study, name, said, value):
    (path,) = [p for p in COMMITTED if p.stem == study]
    assert convert(name, said, parameters_of(path)[name], study) == value


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A copy of the package in which `a2r run --profile smoke` has been run, and how that ended."""
    if missing := [m.path for m in load_profile("smoke").models if not (ROOT / m.path / "config.json").exists()]:
        pytest.skip(
            f"{' AND '.join(missing)} NOT THERE, SO NO NOTEBOOK WAS EXECUTED: train the models with `make nano`"
        )
    folder = tmp_path_factory.mktemp("smoke")
    for name in ("a2r", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").symlink_to(ROOT / "data")
    command = [sys.executable, "-m", "a2r.cli", "run", "--profile", "smoke"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, timeout=590, **pipes)
    return folder, done


@pytest.mark.slow
def test_a_run_of_all_studies_ends_well(smoke):
    folder, done = smoke
    assert done.returncode == 0, done.stdout
    assert len(list((folder / "runs" / "notebooks").glob("*__smoke.ipynb"))) == len(COMMITTED)


@pytest.mark.slow
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_notebook_runs(path, smoke):
    folder, done = smoke
    executed = folder / "runs" / "notebooks" / f"{path.stem}__smoke.ipynb"
    assert executed.exists(), done.stdout
    made = runner.results(executed)
    assert made["tables"] and made["figures"] and made["provenance"] and all(made.pop("says"))
    files = [name.replace("{pdf,png}", kind) for name in itertools.chain(*made.values()) for kind in ("pdf", "png")]
    for file in (folder / name for name in files):
        assert file.is_relative_to(folder) and file.stat().st_size > 0
