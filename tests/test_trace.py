"""A study is executed again exactly where something that its results came from has changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fakes import FakeEngine, write_profile
from matplotlib.figure import Figure
from test_studies import write_notebook

from a2r import begin, explore, load_problems, load_profile
from a2r.lab import runner
from a2r.profiles import ROOT
from a2r.results import study, trace
from a2r.store import Store, reader

CELLS = (
    "import a2r\nlab = a2r.load_profile(profile, 'small')\nproblems = a2r.load_problems(lab)",
    "study = a2r.begin(lab, 'small', {})\npool = a2r.grade(a2r.explore(lab, 'a', problems, 4), problems)",
    "prices, one = a2r.read_prices(lab.prices), lab.with_(n_sets=1)",
    "outcomes = a2r.collect(problems, {'a': pool}, {}, prices, one)",
    "study.table(outcomes, 'table')\nstudy.finish(outcomes)",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A small study over stored samples, run once: its profile, and where its parts are."""
    folder = tmp_path_factory.mktemp("traced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "NOTEBOOKS", folder / "notebooks")
        patch.setattr(runner, "RUNS", folder / "executed")
        patch.setattr("a2r.pipeline.open_engine", lambda *_, **__: FakeEngine())
        (folder / "notebooks").mkdir()
        write_notebook(folder / "notebooks", "01_small", *CELLS, parameters='profile = "nano"')
        profile = str(write_profile(folder))
        lab = load_profile(profile)
        explore(lab, "a", load_problems(lab), 8)
        assert runner.stale("small", profile) == "not run to its end yet"
        runner.run("small", profile, progress=False)
        yield profile


@pytest.fixture
def stale(ran):
    """What `stale` says now; whatever a test changes is put back behind it."""
    folder = Path(ran).parent
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    yield lambda: runner.stale("small", ran)
    for file in [file for file in folder.rglob("*") if file.is_file() and file not in before]:
        file.unlink()
    for file, content in before.items():
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
    reader.cache_clear()
    assert runner.stale("small", ran) is None


def test_it_is_up_to_date_right_after(stale):
    assert stale() is None


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("notebooks/01_small.ipynb", "01_small.ipynb is not as it was"),
        ("sums.jsonl", "sums.jsonl is not as it was"),
        ("prices.csv", "prices.csv is not as it was"),
        ("tiny.yaml", "tiny.yaml is not as it was"),
        ("figures/tiny/small_table.csv", "small_table.csv is not as it was"),
        ("figures/tiny/small_outcomes.parquet", "small_outcomes.parquet is not as it was"),
    ],
)
def test_a_file_that_is_touched_or_gone(ran, stale, file, reason):
    path = Path(ran).parent / file
    path.write_bytes(path.read_bytes() + b"\n")
    assert stale().endswith(reason)
    if path.suffix in (".csv", ".parquet"):
        path.unlink()
        assert stale().endswith(reason)


def test_code_and_packages(ran, stale, monkeypatch):
    (stamp,) = (Path(ran).parent / "executed").glob("*.json")
    found = json.loads(stamp.read_text())
    code = {Path(file).name for file in found["files"] if file.endswith(".py")}
    assert {"pipeline.py", "outcomes.py", "store.py", "study.py"} <= code and not {"runner.py", "grid.py"} & code
    file = next(file for file in found["files"] if file.endswith("pipeline.py"))
    stamp.write_text(json.dumps({**found, "files": {**found["files"], file: "another"}}))
    assert stale() == "a2r/pipeline.py is not as it was"
    stamp.write_text(json.dumps(found))
    monkeypatch.setattr(trace, "versions", lambda: {**found["versions"], "pandas": "0.1"})
    assert stale() == "another version of pandas"
    monkeypatch.setattr(trace, "versions", lambda: found["versions"])
    assert stale() is None


def test_samples_that_it_used(ran, stale):
    """One that it read and that is now missing, failed or made anew is a reason; one that it never read is none."""
    folder = load_profile(ran).store_path
    rows = Store(folder).read().astype({"text": "str"})
    (part,) = folder.glob("*.parquet")

    def now(frame: pd.DataFrame) -> str | None:
        part.unlink(missing_ok=True)
        with Store(folder) as store:
            for row in frame.to_dict("records"):
                store.add(row)
        said = stale()
        for file in folder.glob("*.parquet"):
            file.unlink()
        return said

    used, unused = rows["index"] < 4, rows["index"] == 7
    assert now(rows) is None and now(rows[~unused]) is None and now(rows.sample(frac=1, random_state=0)) is None
    first = rows.index == rows.index[used][0]
    for changed in (
        rows[~first],
        rows.assign(time=rows.time + first),
        rows.assign(error=["x" if one else "" for one in first]),
    ):
        assert now(changed).endswith("are missing, failed, or others")


HERE = """
from a2r.lab import runner
from a2r.profiles import ROOT
if runner.stale("small", "tiny.yaml") == "not run to its end yet":
    runner.run("small", "tiny.yaml", progress=False)
page = ROOT / "runs" / "page.html"
_, new = runner.once("page", [ROOT / "figures"], lambda: [page.write_text("x")] and [page])
print(runner.stale("small", "tiny.yaml"), new)
"""


def test_a_checkout_that_is_copied_or_moved_is_up_to_date(tmp_path, monkeypatch):
    one = tmp_path / "one"
    shutil.copytree(ROOT / "a2r", one / "a2r", ignore=shutil.ignore_patterns("__pycache__"))
    (one / "notebooks").mkdir()
    write_notebook(one / "notebooks", "01_small", *CELLS, parameters='profile = "nano"')
    monkeypatch.setattr("a2r.pipeline.open_engine", lambda *_, **__: FakeEngine())
    benchmarks = [{"name": "sums", "path": "sums.jsonl"}]
    profile = write_profile(one, store="store", figures="figures", prices="prices.csv", benchmarks=benchmarks)
    lab = load_profile(str(profile))
    explore(lab, "a", load_problems(lab), 4)

    def said(folder: Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        done = subprocess.run(
            [sys.executable, "-c", HERE], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert said(one) == "None True"
    shutil.copytree(one, tmp_path / "two")
    assert said(tmp_path / "two") == said(one) == "None False"
    one.rename(tmp_path / "three")
    shutil.rmtree(tmp_path / "two")
    assert said(tmp_path / "three") == "None False"
    with (tmp_path / "three" / "sums.jsonl").open("a") as file:
        file.write("\n")
    assert said(tmp_path / "three") == "sums.jsonl is not as it was False"


def test_a_run_with_other_parameters_is_another(ran, stale):
    runner.planned("small", ran)
    with pytest.raises(Exception, match="no parameter 'n_paths'"):
        runner.stale("small", ran, {"n_paths": 2})


def test_files_that_would_come_out_the_same_are_left_alone(lab, monkeypatch):
    table = pd.DataFrame({"method": ["A2R@4"], "correct": [0.5], "seconds": [1.25]})

    def save(commit: str, table: pd.DataFrame, height: float = 1.0) -> dict[str, bytes]:
        monkeypatch.setattr(study, "commit", lambda: commit)
        run = begin(lab, "small", {})
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([0, 1], [0, height])
        run.table(table, "table")
        run.figure(figure, "figure")
        run.finish(table)
        return {file.name: file.read_bytes() for file in run.files}

    first = save("aaaa", table)
    drawn = {f"small_figure{end}" for end in (".pdf", ".png", "_figure.tex")}
    assert set(first) == drawn | {"small_table.csv", "small_table.tex", "small.json", "small_outcomes.parquet"}
    for name in ("small_figure.pdf", "small_figure.png", "small.json"):
        assert b'"commit": "aaaa"' in first[name]
    assert save("bbbb+changes", table) == first, "the commit alone"
    assert save("bbbb", table.assign(seconds=2.0)) == first, "and what a clock measured"
    second = save("bbbb", table.assign(correct=0.75), height=2.0)
    assert {name for name in first if second[name] != first[name]} == set(first) - {
        "small.json",
        "small_figure_figure.tex",
    }
    assert b'"commit": "bbbb"' in second["small_figure.png"]
