"""A study is executed again exactly where something that its results came from has changed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from fakes import FakeEngine, write_profile
from matplotlib.figure import Figure
from test_studies import write_notebook

from a2r import begin, explore, load_problems, load_profile
from a2r.errors import UserError
from a2r.lab import runner
from a2r.profiles import ROOT, digest
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


def test_a_file_that_is_edited_while_a_study_runs_is_not_what_it_read(tmp_path):
    edited, unread, left = (tmp_path / name for name in ("edited.csv", "unread.csv", "left.csv"))
    for file in (edited, unread, left):
        file.write_text("1\n")
    running = trace.Trace()
    assert [file.read_text() for file in (edited, left)] == ["1\n"] * 2
    for file in (edited, unread):
        file.write_text("2\n")
        os.utime(file, (later := time.time() + 5, later))
    edited.read_text()
    found = running.found(set(), {edited, unread, left})["files"]
    told = {Path(name).name: kept for name, kept in found.items()}
    assert told["edited.csv"] == told["unread.csv"] == "" and told["left.csv"] == digest(left)


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


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A repository of its own with a small study over stored samples, and a profile in it."""
    one = tmp_path / "one"
    shutil.copytree(ROOT / "a2r", one / "a2r", ignore=shutil.ignore_patterns("__pycache__"))
    (one / "notebooks").mkdir()
    write_notebook(one / "notebooks", "01_small", *CELLS, parameters='profile = "nano"')
    monkeypatch.setattr("a2r.pipeline.open_engine", lambda *_, **__: FakeEngine())
    benchmarks = [{"name": "sums", "path": "sums.jsonl"}]
    profile = write_profile(one, store="store", figures="figures", prices="prices.csv", benchmarks=benchmarks)
    explore(load_profile(str(profile)), "a", load_problems(load_profile(str(profile))), 4)
    return one


def a2r(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command of the checkout `folder` with its profile."""
    command = [sys.executable, "-m", "a2r.cli", *arguments, "--profile", "tiny.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_checkout_that_is_copied_or_moved_is_up_to_date(checkout, tmp_path):
    def said(folder: Path) -> str:
        run, report = a2r(folder, "run", "small"), a2r(folder, "report")
        assert run.returncode == report.returncode == 0, run.stderr + report.stderr
        return run.stderr + run.stdout + report.stdout

    fresh = "small: up to date (figures/tiny/small_*)\nreport: up to date (runs/reports/tiny.html)\n"
    assert "[1 of 1] small: not run to its end yet" in said(checkout)
    shutil.copytree(checkout, tmp_path / "two")
    assert said(tmp_path / "two") == fresh
    checkout.rename(tmp_path / "three")
    shutil.rmtree(tmp_path / "two")
    assert said(tmp_path / "three") == fresh


MEET = """
import time
from pathlib import Path
Path("{0}").touch()
deadline = time.monotonic() + 60
while Path("meet").exists() and not Path("{1}").exists():
    assert time.monotonic() < deadline, "alone"
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_studies_run_side_by_side_but_what_reads_their_results(checkout):
    """Each of two waits for the other; a third begins when both are done. One that fails ends the run."""
    for number, (one, other) in enumerate((("small", "large"), ("large", "small")), 1):
        cells = [cell.replace("'small'", f"'{one}'") for cell in CELLS]
        name = f"0{number}_{one}"
        write_notebook(checkout / "notebooks", name, MEET.format(one, other), *cells, parameters='profile = "nano"')
    reader_ = ("import a2r\nlab = a2r.load_profile(profile)\nfound = a2r.read_outcomes(lab)", "assert len(found) == 2")
    write_notebook(checkout / "notebooks", "03_both", *reader_, parameters='profile = "nano"')
    (checkout / "meet").touch()
    run = a2r(checkout, "run")
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("not run to its end yet") == 3 and "both: notebook" in run.stdout
    assert a2r(checkout, "run", "small", "large").stdout.count("up to date") == 2
    path = checkout / "notebooks" / "02_large.ipynb"
    path.write_text(path.read_text().replace("problems, 4)", "problems, 5)"))
    (checkout / "prices.csv").write_text((checkout / "prices.csv").read_text() + "\n")
    more = a2r(checkout, "run")
    assert "small: notebook" in more.stdout and more.returncode == 1
    assert "02_large.ipynb failed" in more.stderr and "both:" not in more.stdout + more.stderr


def test_a_run_with_other_parameters_is_another(ran, stale):
    runner.planned("small", ran)
    with pytest.raises(Exception, match="no parameter 'n_paths'"):
        runner.stale("small", ran, {"n_paths": 2})


def test_failed_samples_are_told_and_go_with_the_outcomes(lab, problems, use, monkeypatch):
    engine = use(FakeEngine(errors=lambda request, index: "server said no" if index == 2 else ""))
    rows, shown = pd.DataFrame({"method": ["A2R@4"], "correct": [0.5]}), []
    monkeypatch.setattr(study, "display", lambda what, **_: shown.append(getattr(what, "data", "")))

    def run() -> tuple[dict, dict]:
        made = begin(lab, "small", {})
        for _ in range(2):  # samples that are read twice are counted once
            explore(lab, "a", problems, 4)
        made.finish(rows)
        return study.read_outcomes(lab)["small"].attrs, json.loads((made.folder / "small.json").read_text())

    kept, provenance = run()
    told = f"{len(problems)} of {4 * len(problems)} samples"
    assert (
        kept == {"failed": told}
        and provenance["failed"] == told
        and f"**{told} failed (the first with 'server said no')" in shown[0]
    )
    engine.errors = lambda request, index: "server said no"
    with pytest.raises(UserError, match=r"^all 4 samples failed \(the first with 'server said no'\); put that right"):
        study_ = begin(lab, "none", {})
        explore(lab.with_(seed=1), "a", problems[:1], 4)
        study_.finish(rows)
    assert not list(study_.folder.glob("none*"))
    engine.errors, shown[:] = (lambda request, index: ""), []
    kept, provenance = run()
    assert kept == {} and "failed" not in provenance, "the same table, of samples none of which failed"
    assert not any("failed" in words for words in shown)


def test_files_that_would_come_out_the_same_are_left_alone(lab, monkeypatch):
    table = pd.DataFrame({"method": ["A2R@4"], "correct": [0.5], "seconds": [1.25]})

    def save(commit: str, table: pd.DataFrame, height: float = 1.0) -> dict[str, bytes]:
        monkeypatch.setattr(study, "commit", lambda: commit)
        run = begin(lab, "small", {})
        figure = Figure(figsize=(2, 2), layout="constrained")
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
    assert {name for name in first if second[name] != first[name]} == set(first) - {"small_figure_figure.tex"}
    for name in ("small_figure.png", "small.json"):
        assert b'"commit": "bbbb"' in second[name], "tables name no commit of their own"
