"""Pages, comparisons, views and new studies: what stands around the runs of studies."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from fakes import small_profile
from test_report import CHROMIUM, executed, in_browser

from a2r import UserError, cli, explore, grade, load_problems, synthesize
from a2r.lab import compare, pages, runner, scaffold, view
from a2r.profiles import ROOT, available, load_profile
from a2r.results.study import small_png

# README.md and docs/


def test_every_page_is_as_its_template_and_tables_give_it():
    written = pages.render()
    stale = [
        str(path.relative_to(ROOT)) for path, text in written.items() if not path.exists() or path.read_text() != text
    ]
    assert {"README.md", "docs/profiles.md", "docs/results.md", "data/models/README.md", "data/rl/README.md"} == {
        str(path.relative_to(ROOT)) for path in written
    }
    assert not stale, "run `a2r pages`"


def test_trainings_from_other_seeds_stand_beside_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "FIGURES", tmp_path)
    for name, made in {"nano": "nano", "seed-1": "nano", "seed-2": "nano", "nano-dial": "nano-dial"}.items():
        shutil.copytree(ROOT / "figures" / made, tmp_path / name, ignore=shutil.ignore_patterns("*.pdf", "*.png"))
    path = tmp_path / "seed-1" / "grid_accuracy.csv"
    grid = pd.read_csv(path)
    grid.assign(**{"A2R@4": 0.01, "A2R@4_low": 0.005, "A2R@4_high": 0.015}).to_csv(path, index=False)
    page = {path.name if path.parent == ROOT else path.parent.name: text for path, text in pages.render().items()}
    head = "| id | claim | seed 0 | seed 1 | seed 2 | mean over seeds | paper | study |"
    assert head in page["README.md"] and head in page["docs"] and len(page["README.md"].splitlines()) <= 150
    assert (
        "*mean over seeds* is what holds" in page["README.md"]
        and "| benchmark | synthesizer | seed 0 | seed 1 | seed 2 |" in page["models"]
    )
    assert page["docs"].count("| 0.01 [0.01, 0.01] |") + page["docs"].count("| 0.01 [0.01, 0.02] |") == len(grid)
    assert "seed 1" not in (ROOT / "README.md").read_text() or (ROOT / "figures" / "seed-1").exists()


def test_who_never_slips_finds_what_may_be_tested_and_guesses_the_rest(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"chance": 0.3333}\n{"chance": 0.2}\n{"chance": 0.1}\n')
    assert pages.skill(path) == pytest.approx((1 + 1 + 0.5) / 3), "4 tests and a guess: 5 of 10 candidates"


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        assert not [t for t in targets if not (page.parent / t).exists()], page


def test_a_lacking_table_is_one_sentence_that_names_the_page(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x.md.j2").write_text("{{ markdown(table('no_such')) }}")
    monkeypatch.setattr(pages, "TEMPLATES", tmp_path)
    with pytest.raises(UserError, match=r"page docs/x.md cannot be written: .*no_such.csv.*; run the study first"):
        pages.render()


@pytest.mark.parametrize("path", sorted(pages.EXECUTED.glob("*.ipynb")), ids=lambda path: path.stem)
def test_an_executed_copy_is_of_the_run_whose_figures_are_committed(path):
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if o.get("metadata", {}).get("a2r", {}).get("figure")]
    made = next(o.data["application/vnd.a2r+json"] for o in outputs if "application/vnd.a2r+json" in o.get("data", {}))
    assert [o.metadata["a2r"]["figure"] for o in pictures] == [name.split(".{")[0] for name in made["figures"]]
    for output in pictures:
        assert output.data["image/png"].strip() == small_png(ROOT / f"{output.metadata['a2r']['figure']}.png")
    assert not [o for o in outputs if o.output_type in ("error", "stream") and o.get("name") != "stdout"]


def test_the_executed_copies_are_small():
    assert sum(path.stat().st_size for path in pages.EXECUTED.glob("*.ipynb")) <= 3e6


def noted(start: float, seconds: float) -> dict:
    """What papermill notes of a run that starts at `start` (seconds since 1970)."""
    first, last = (pd.Timestamp(at, unit="s", tz="UTC").isoformat() for at in (start, start + seconds))
    return {"start_time": first, "end_time": last, "duration": seconds}


@pytest.fixture
def first_sample(monkeypatch):
    """A store whose first sample was made 100 s after 1970."""
    rows = {"revision": ["another", load_profile("nano").models[0].identity], "time": [1.0, 100.0]}
    monkeypatch.setattr(pages, "Store", lambda *_, **__: SimpleNamespace(read=lambda: pd.DataFrame(rows)))


def test_minutes_are_those_of_one_run_that_began_with_no_sample(first_sample):
    one, next_to_it, later, second = noted(40, 90), noted(140, 30), noted(300, 30), noted(200, 10)
    lab = load_profile("nano")
    assert pages.from_nothing([next_to_it, one], lab)
    assert not pages.from_nothing([one, later], lab), "a pause of three minutes"
    assert not pages.from_nothing([next_to_it, second], lab), "samples were there"


def test_a_run_is_copied_once_and_without_its_times(tmp_path, monkeypatch, first_sample):
    monkeypatch.setattr(pages, "RUNS", tmp_path)
    monkeypatch.setattr(pages, "EXECUTED", tmp_path / "executed")
    monkeypatch.setattr(pages, "available", lambda: {"symmetric": Path("01_symmetric.ipynb")})

    def run(start: float, seconds: float, title: str = "The baseline") -> list[Path]:
        executed(tmp_path, "01_symmetric__nano", title)
        notebook = nbformat.read(tmp_path / "01_symmetric__nano.ipynb", as_version=4)
        notebook.metadata["papermill"] = noted(start, seconds)
        for cell in notebook.cells:
            cell.metadata["papermill"] = {"duration": seconds}
        nbformat.write(notebook, tmp_path / "01_symmetric__nano.ipynb")
        return pages.keep_executed()

    def about(copy: Path) -> dict:
        return nbformat.read(copy, as_version=4).metadata["a2r"]

    (copy,) = run(200, 3)
    assert about(copy) == {}, "it read samples, and took no time to speak of"
    assert run(40, 90) == [], "what shows the same leaves the copy alone"
    assert run(40, 90, "The baseline, drawn anew") == [copy] and about(copy)["minutes"] == 1.5
    assert about(copy)["run"].startswith("1 January 1970, 2 minutes in all on ")
    assert run(200, 3, "The baseline, changed") == [copy] and about(copy)["minutes"] == 1.5
    nbformat.validate(nbformat.read(copy, as_version=4))
    assert "papermill" not in copy.read_text() and "sample/s" not in copy.read_text()


def test_the_shipped_profiles_are_listed_with_what_they_are_for():
    rows = pages.shipped().splitlines()
    assert len(rows) == 2 + len(available()) and all(len(row) > 50 for row in rows[2:])
    assert any(row.startswith("| `smoke` | nano cut down for tests") for row in rows)


# a2r compare


@pytest.fixture
def two(tmp_path):
    """Two folders of results: tables that differ in one cell and in measured seconds; outcomes of three common
    problems."""
    for name, accuracy in (("one", 0.5), ("two", 0.75)):
        folder = tmp_path / name
        folder.mkdir()
        pd.DataFrame({"model": ["a", "b"], "A2R@4": [0.25, accuracy]}).to_csv(folder / "s_accuracy.csv", index=False)
        pd.DataFrame({"model": ["a"], "engine seconds": [accuracy]}).to_csv(folder / "s_cost.csv", index=False)
        card = {"id": ["C1", "C1"], "claim": ["x", "y"], "verdict": ["supported", f"verdict of {name}"]}
        pd.DataFrame(card).to_csv(folder / "claims_scorecard.csv", index=False)
        correct = [0.0, 1.0, accuracy, 1.0]
        rows = {"benchmark": "b", "problem_id": ["p1", "p2", "p3", f"only {name}"], "explorer": "a", "synthesizer": "a"}
        pd.DataFrame({**rows, "method": "A2R@4", "correct": correct}).to_parquet(folder / "s_outcomes.parquet")
    return tmp_path / "one", tmp_path / "two"


def test_compare_says_what_differs_and_pairs_what_can_be_paired(two):
    said, equal = compare.described(*map(str, two))
    assert not equal and "s_accuracy.csv: A2R@4 in 1 rows" in said and "s_cost.csv" not in said
    assert "verdict changed: C1 y: verdict of one, there verdict of two" in said and "C1 x" not in said
    assert said.endswith("1 of 3 tables equal")
    (row,) = compare.outcomes(*two)["s"].to_dict("records")
    assert row["n"] == row["one"].n == row["first − second"].n == 3 and row["one"].estimate == pytest.approx(0.5)
    assert row["first − second"].estimate == pytest.approx((0.5 - 0.75) / 3)
    assert said.startswith(f"s: first {two[0]}, second {two[1]}, over the n problems of both; differences in points\n")


def test_compare_joins_methods_of_another_n_and_says_where_all_scores_are_the_same(two):
    methods = [("Pass@1", "A2R@2", "Pass@4", "A2R@4", "Cons@4"), ("Pass@1", "Pass@8", "A2R@8", "Cons@8")]
    for folder, names in zip(two, methods, strict=True):
        frame = pd.read_parquet(folder / "s_outcomes.parquet")
        made = [frame.assign(method=m, correct=[0.5, 1, 0.5, 1] if m == "Pass@1" else frame.correct) for m in names]
        pd.concat(made).to_parquet(folder / "s_outcomes.parquet")
    rows = compare.outcomes(*two)["s"].set_index("method")["first − second"]
    assert list(rows.index) == ["Pass@1", "Pass@4 / Pass@8", "Cons@4 / Cons@8"], "A2R@8 could be A2R@2 or A2R@4"
    assert rows["Pass@1"] == "same" and rows["Cons@4 / Cons@8"].estimate == pytest.approx(-0.25 / 3)
    for folder, tokens in zip(two, (1, 2), strict=True):
        frame = pd.read_parquet(folder / "s_outcomes.parquet")
        frame.assign(explorer_completion=tokens).to_parquet(folder / "s_outcomes.parquet")
    other = compare.outcomes(*two)["s"].set_index("method")["first − second"]["Pass@1"]
    assert other.estimate == 0 and other.low < 0 < other.high, "equal scores of other samples are not the same"


def test_compare_takes_the_file_of_a_profile(two, tmp_path):
    lab = small_profile(tmp_path, figures=str(tmp_path / "mine"))
    with pytest.raises(UserError, match="there are no results"):
        compare.folder(lab.source)
    shutil.copytree(two[0], tmp_path / "mine" / lab.name)
    assert compare.described(lab.source, str(two[0]))[1] and not compare.described(lab.source, str(two[1]))[1]


def test_compare_with_what_is_committed(two, monkeypatch):
    monkeypatch.setattr(compare, "csvs", lambda name, like: {"t.csv": pd.DataFrame({"x": [1.0]})})
    assert compare.described(str(two[0]), "committed") == ("reproduced: 1 of 1 tables equal", True)
    with pytest.raises(UserError, match="there are no results 'nowhere'"):
        compare.described("nowhere", "committed")
    with pytest.raises(UserError, match="no results 'nanoo' \\(did you mean 'nano'\\?\\)"):
        compare.described("nanoo", "committed")


# a2r view


def viewed(lab, problems, use):
    use()
    pool = grade(explore(lab, "a", problems, lab.n_paths * lab.n_sets), problems)
    return pool, grade(synthesize(lab, "b", problems, pool), problems)


def test_the_records_of_a_view_hold_what_was_asked_written_and_right(lab, problems, use):
    pool, syntheses = viewed(lab, problems, use)
    records = view.sets(problems, pool, syntheses, lab)
    assert len(records) == len(problems) * lab.n_sets * lab.n_syntheses
    for record in records:
        assert record["question"] == problems.set_index("problem_id").question[record["id"]]
        assert len(record["paths"]) == lab.n_paths and sum(p["correct"] for p in record["paths"]) == record["right"]
        assert record["synthesis"]["correct"] == (record["move"] in ("rescues", "selects", "keeps"))
    assert json.loads(json.dumps(records)) == records, "everything is plain JSON"


def test_a_view_shows_what_a_run_of_fewer_problems_made_and_else_names_the_run(lab, use, tmp_path, monkeypatch, capsys):
    use()
    monkeypatch.setattr(view, "VIEWS", tmp_path)
    few = lab.with_(n_problems=2)
    problems = load_problems(few)
    synthesize(few, "a", problems, explore(few, "a", problems, lab.n_paths * lab.n_sets))
    capsys.readouterr()
    seen, asked = [], ["view", "--profile", lab.source]
    monkeypatch.setattr(view, "page", lambda records, _: seen.extend(records) or "page")
    assert cli.main([*asked, "-p", "n_problems=2", "-p", "models=a"]) == 0
    assert capsys.readouterr().out.endswith("tiny-symmetric-n_problems=2-models=a.html\n")
    assert {record["id"] for record in seen} == set(problems.problem_id) and len(problems) == 2
    assert cli.main([*asked, "-p", "models=a"]) == 2
    said = capsys.readouterr().err
    assert "nothing to view: the store" in said and f"`a2r run symmetric --profile {lab.source} -p models=a`" in said
    assert said.endswith("`a2r view -p KNOB=VALUE` shows what a run with other values made.\n") and "engine" not in said
    for knob, sentence in (("n_pilot=2", "'n_pilot' changes nothing in a view"), ("n_problem=2", "did you mean")):
        assert cli.main([*asked, "-p", knob]) == 2 and sentence in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="NO CHROMIUM HERE, SO NO PAGE WAS OPENED IN A BROWSER")
def test_in_a_browser_a_view_of_five_thousand_samples_lists_them(lab, problems, use, tmp_path):
    pool, syntheses = viewed(lab, problems, use)
    one = view.sets(problems, pool, syntheses, lab)[0]
    count = 5000 // (lab.n_paths + 1)
    path = tmp_path / "view.html"
    path.write_text(view.page([{**one, "set": i, "question": "<b>q</b>"} for i in range(count)], "many"))
    document, console = in_browser(path, tmp_path / "browser")
    assert console == "" and f"{count} of {count} sets, 5000 samples" in document
    assert document.count("<li") == 200 and "&lt;b&gt;q&lt;/b&gt;" in document


# a2r new-study, by what docs/new-study.md says


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / "docs" / "new-study.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def a2r(tmp_path):
    """Runs a command in a copy of the package and the notebooks in tmp_path; returns what it printed."""
    for name in ("a2r", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").symlink_to(ROOT / "data")

    def run(command: str) -> str:
        program, *arguments = command.split()
        assert program == "a2r"
        done = subprocess.run(
            [sys.executable, "-m", "a2r.cli", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.mark.parametrize("study", ["symmetric", "cost", "rl"])
def test_a_copy_has_its_own_name_where_the_study_s_stood_and_nowhere_else(tmp_path, monkeypatch, study):
    (tmp_path / f"{study}.py").write_text('"""Of old."""\n')
    monkeypatch.setattr(scaffold, "STUDIES", tmp_path)
    notebook = runner.find(study)
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    shutil.copy(notebook, tmp_path)
    made, _ = scaffold.new_study("lengths", study)
    old, new = (
        "\n".join(c.source for c in nbformat.read(p, as_version=4).cells if c.cell_type == "code")
        for p in (notebook, made)
    )
    assert new.replace("lengths", study) == old and new.count('"lengths"') == old.count(f'"{study}"') >= 2
    left = {
        "symmetric": ["None: its symmetric ones", "list(lab.symmetric)"],
        "cost": [],
        "rl": ["from a2r.training import rl as training"],
    }
    assert all(text in new for text in left[study]) and len(re.findall(rf"\b{study}\b", new)) == len(left[study])


@pytest.mark.slow
def test_a_copy_runs_before_anything_in_it_is_changed(a2r, tmp_path):
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("a2r new-study"))
    a2r(line.partition("#")[0])
    assert "up to date" not in a2r("a2r run lengths --profile smoke -p n_problems=2")
    assert len(pd.read_csv(tmp_path / "figures" / "smoke" / "n_problems=2" / "lengths_accuracy.csv")) == 2


@pytest.mark.slow
def test_the_new_study_of_the_docs_runs(a2r, tmp_path):
    make, execute = blocks("bash")
    made, module = (tmp_path / line.partition(":")[0] for line in a2r(make.strip()).splitlines())
    assert "CHANGE" in made.read_text() and "CHANGE" in module.read_text()
    module.write_text(blocks("python")[0])
    notebook = nbformat.read(made, as_version=4)
    head = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells[head + 1 :] = map(nbformat.v4.new_code_cell, blocks("python cell"))
    nbformat.write(notebook, made)
    assert "shortest" in a2r(execute.strip())
    table = pd.read_csv(tmp_path / "figures" / "smoke" / "shortest_compared.csv")
    assert {"shortest", "vote", "gain", "gain_low", "n"} <= set(table) and table.shortest.between(0, 1).all()
    assert (tmp_path / "figures" / "smoke" / "shortest_gain.pdf").stat().st_size > 1000
