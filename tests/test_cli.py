"""The command line: exit codes, and one sentence for each thing that can be wrong."""

import itertools
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from fakes import write_profile

from a2r import cli, explore, profiles
from a2r.lab import planning, runner, sweeps
from a2r.lab.runner import StudyFailed
from a2r.results.study import KNOBS

ROOT = Path(__file__).parents[1]
STUDY = next(iter(runner.available()))


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """What would have been executed: (study, profile, parameters) of each call."""
    calls = []

    def run(study, profile, parameters):
        calls.append((study, profile, parameters))
        profiles.load_profile(profile)
        return tmp_path / "executed.ipynb"

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner, "side_by_side", lambda _: nullcontext(lambda *each: runner.run(*each)))  # here
    monkeypatch.setattr(runner, "ready", lambda *_: None)
    monkeypatch.setattr(runner, "RUNS", tmp_path / "runs")  # where nothing is up to date
    made = {"tables": ["in/x_a.csv", "in/x_b.csv"], "figures": ["in/x.png"], "provenance": []}
    made["says"] = ["A2R is better", "by much"]
    monkeypatch.setattr(runner, "results", lambda executed: made)
    return calls


def refused(capsys, *arguments: str) -> str:
    assert cli.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("a2r: ") and err.count("\n") == 1 and err.endswith(".\n")
    return err.removeprefix("a2r: ").rstrip("\n")


def test_an_unknown_study(capsys, ran):
    sentence = f"there is no study 'nope'; choose {', '.join(runner.available())}."
    assert refused(capsys, "run", "nope") == refused(capsys, "run", STUDY, "nope") == sentence
    assert not ran, "none is executed where one is unknown"


def test_an_unknown_profile(capsys):
    sentence = f"there is no profile 'nope'; choose {', '.join(profiles.available())} or give the path of a YAML file."
    assert refused(capsys, "run", STUDY, "--profile", "nope") == sentence
    assert refused(capsys, "run", STUDY, "-p", "profile=nope") == sentence


def test_an_unknown_parameter(capsys, ran):
    assert refused(capsys, "run", STUDY, "-p", "n_path=4").startswith("study ")
    said = refused(capsys, "run", STUDY, "-p", "seed=1", "-p", "n_path=4")
    assert "has no parameter 'n_path'; it takes profile, " in said
    assert not ran


def test_temperatures_of_either_role_reach_the_profile():
    notebook = runner.find("symmetric")
    given = {"temperature": "0.7", "synthesizer_temperature": "0.3", "seed": "5", "n_sets": "1"}
    lab = profiles.load_profile("nano", "symmetric").with_(**runner.check_parameters(notebook, given))
    assert (lab.sampling.temperature, lab.sampling_of("nano-32", "synthesizer").temperature) == (0.7, 0.3)
    assert (lab.seed, lab.n_sets) == (5, 1)


def test_a_study_leaves_the_profile_its_own_values():
    for name, notebook in runner.available().items():
        knobs = {k: v for k, v in runner.parameters_of(notebook).items() if k in KNOBS}
        assert not any(v is not None for v in knobs.values()), f"{name} decides for the profile"


def test_a_value_of_another_type(capsys, ran):
    notebook = runner.find(STUDY).stem
    sentence = f"parameter 'seed' of {notebook} has to be a whole number, not 'lucky'."
    assert refused(capsys, "run", STUDY, "-p", "seed=lucky") == sentence and not ran


@pytest.mark.parametrize("pair", ["seed", "seed:1", ""])
def test_a_parameter_without_a_value(capsys, ran, pair):
    assert refused(capsys, "run", STUDY, "-p", pair) == f"'-p {pair}' is not of the form KNOB=VALUE."
    assert not ran


def test_what_is_up_to_date_is_said_and_left_out(capsys, ran, monkeypatch):
    monkeypatch.setattr(runner, "stale", lambda study, *_: None if study == "grid" else "because")
    assert cli.main(["run", "grid", "symmetric", "--profile", "smoke"]) == 0
    out, err = capsys.readouterr()
    assert [study for study, _, _ in ran] == ["symmetric"] and err == "[2 of 2] symmetric: because\n"
    assert out.splitlines()[0] == "grid: up to date (in/x*)"
    assert cli.main(["run", "grid", "--profile", "smoke", "--again"]) == 0
    assert [study for study, _, _ in ran] == ["symmetric", "grid"]
    assert capsys.readouterr().err == "[1 of 1] grid: as asked\n"


def test_how_long_it_will_take_is_told_at_the_pace_of_what_was_executed(capsys, ran, monkeypatch):
    """By the minutes of the committed runs: a study that took a quarter of them leaves a quarter of the others'."""
    monkeypatch.setattr(runner, "minutes", lambda study: {"symmetric": 2.0, "grid": 20.0}[study])
    monkeypatch.setattr(cli.time, "monotonic", itertools.count(0, 30).__next__)
    assert cli.main(["run", "symmetric", "grid", "--profile", "smoke"]) == 0
    said = [line.split("]")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["[1 of 2", "[2 of 2, about 5 min left"]


def test_a_page_is_written_again_only_where_something_changed(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "RUNS", tmp_path / "runs")
    (tmp_path / "tables").mkdir()
    table, page = tmp_path / "tables" / "t.csv", tmp_path / "page.html"

    def once(again: bool = False) -> bool:
        made, new = runner.once("page", [table.parent], lambda: [page.write_text(table.read_text())] and [page], again)
        assert made == [page] and page.read_text() == table.read_text()
        return new

    table.write_text("1")
    assert once() and not once() and once(again=True)
    table.write_text("22")
    assert once() and not once()
    page.unlink()
    assert once() and not once()


@pytest.mark.parametrize(
    ("study", "knob", "sentence"),
    [
        ("symmetric", "temperature=-1", "says that temperature is -1.0; it has to be 0 (greedy) or more"),
        ("symmetric", "n_paths=0", "says that n_paths is 0; it has to be at least 1"),
        ("symmetric", "n_pilot=0", "parameter 'n_pilot' of 01_symmetric is 0; it has to be at least 1"),
        ("symmetric", "n_pahts=4", "has no parameter 'n_pahts' (did you mean 'n_paths'?)"),
        ("symmetric", "models=a,bb", "model 'bb' (did you mean 'b'?) is not in profile 'tiny'; it has a, b."),
        ("diversity", "synthesizer=bb", "model 'bb' (did you mean 'b'?) is not in profile 'tiny'; it has a, b."),
        ("controls", "pairs=a", "'a' is no pair of models; give it as explorer>synthesizer."),
        ("controls", "pairs=a>bb", "model 'bb' (did you mean 'b'?) is not in profile 'tiny'; it has a, b."),
    ],
)
def test_what_can_be_refused_is_before_anything_runs(capsys, ran, tmp_path, study, knob, sentence):
    """Before any folder is made."""
    profile = str(write_profile(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    assert sentence in refused(capsys, "run", study, "--profile", profile, "-p", knob)
    assert not ran and sorted(tmp_path.rglob("*")) == before


def test_where_nobody_synthesizes_no_model_is_looked_for():
    assert runner.planned("ways", "nano", {"synthesizer": "none"})[1]["synthesizer"] == "none"


def test_values_for_a_study_that_is_none_are_refused(capsys, ran, tmp_path):
    profile = str(write_profile(tmp_path, studies={"symetric": {"n_sets": 1}}))
    said = refused(capsys, "run", "grid", "--profile", profile)
    assert "a study 'symetric' (did you mean 'symmetric'?) under 'studies'" in said
    profile = str(write_profile(tmp_path, studies={"symmetric": {"n_set": 1}}))
    said = refused(capsys, "run", "symmetric", "--profile", profile)
    assert "unknown key 'n_set' (did you mean 'n_sets'?)" in said and not ran


def test_a_reader_that_has_had_enough_is_no_error(tmp_path):
    command = [sys.executable, "-c", "import sys; from a2r import cli; sys.exit(cli.main(['list']))"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.communicate()[1] == b"" and process.returncode == 0


def test_a_run_says_what_it_made(capsys, ran, tmp_path):
    assert cli.main(["run", STUDY, "--profile", "smoke", "-p", "seed=3"]) == 0
    assert ran == [(STUDY, "smoke", {"seed": "3"})]
    said = f"{STUDY}: A2R is better\n  notebook {tmp_path / 'executed.ipynb'}; tables in/x_*; figures in/x.png\n"
    assert capsys.readouterr().out == said


def test_the_profile_may_also_be_a_parameter(ran):
    assert cli.main(["run", STUDY, "-p", "profile=smoke"]) == 0
    assert cli.main(["run", STUDY]) == 0
    assert ran == [(STUDY, "smoke", {}), (STUDY, "nano", {})]


def test_without_a_name_all_studies_run(ran):
    assert cli.main(["run", "--profile", "smoke"]) == 0
    studies = [study for study, _, _ in ran]
    assert sorted(studies) == sorted(runner.available()) and studies[-1] == "claims", "what reads the others' results"


def test_without_a_name_studies_run_whose_trainings_are_there(capsys, ran):
    assert cli.main(["run", "--profile", "paper"]) == 0
    assert sorted(study for study, _, _ in ran) == sorted({*runner.available()} - {"family", "rl", "stability"})
    lines = capsys.readouterr().err.splitlines()
    err = [line for line in lines if ": left out, " in line]
    assert [line.split(":")[0] for line in err] == ["family", "rl", "stability"]
    assert "Qwen3-8B-RL is not trained yet; run `a2r train-synthesizer" in err[1]
    said = [line.replace(", about 1 min left", "") for line in lines[3:]]
    assert said == [f"[{i} of {len(ran)}] {study}: not run to its end yet" for i, (study, *_) in enumerate(ran, 1)]


def test_a_sweep_runs_every_combination_and_collects(capsys, ran, monkeypatch, tmp_path):
    collected = []

    def collect(lab, runs, given):
        collected.append((lab.name, [swept for swept, _ in runs], given))
        return [tmp_path / "all.csv"]

    monkeypatch.setattr(sweeps, "collect", collect)
    swept = "run symmetric --profile smoke -p seed=3 --sweep n_paths=1,2 --sweep temperature=0.7,1.0"
    assert cli.main(swept.split()) == 0
    swept = [{"n_paths": n, "temperature": t} for n in ("1", "2") for t in ("0.7", "1.0")]
    assert ran == [("symmetric", "smoke", {"seed": "3", **values}) for values in swept]
    assert collected == [("smoke", swept, {"seed": "3"})]
    assert capsys.readouterr().out.endswith(f"symmetric: all runs in {tmp_path / 'all.csv'}\n")


def test_a_bad_sweep_runs_nothing(capsys, ran):
    assert "has no parameter 'n_path'" in refused(capsys, "run", "symmetric", "--sweep", "n_path=1,2")
    assert "has to be a whole number, not 'two'" in refused(capsys, "run", "symmetric", "--sweep", "n_paths=1,two")
    said = refused(capsys, "run", "symmetric", "--sweep", "n_paths")
    assert said == "'--sweep n_paths' is not of the form KNOB=VALUE." and not ran


def test_the_plan_of_the_grid_is_what_its_run_asks_for(lab, problems, use, monkeypatch):
    """By its committed notebook. Where paths say the same, prompts are the same, so a run may need fewer."""
    engine, grid = use(), runner.find("grid")
    monkeypatch.setattr(runner, "available", lambda: {"grid": grid})
    planned = planning.plan(lab).set_index(["role", "model"]).missing
    assert planned["explorer", "a"] == planned["explorer", "b"] == 3 * 8 and not engine.asked
    pool = explore(lab, "a", problems, 8)
    assert planning.plan(lab).missing.sum() == planned.sum() - 24
    first, *rest = planning.sampling(grid)
    names = {}
    exec(first, names)
    names["profile"] = lab.source
    for cell in rest:
        exec(cell, names)
    assert len(pool) < len(engine.asked) <= planned.sum()
    assert planning.plan(lab).missing.sum() == 0


def test_a_failed_study(capsys, monkeypatch, ran):
    def fail(*_):
        raise StudyFailed("cell In [3] of x.ipynb failed (ValueError: no).")

    monkeypatch.setattr(runner, "run", fail)
    assert cli.main(["run", STUDY]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["a2r: cell In [3] of x.ipynb failed (ValueError: no)."]


def test_an_interrupt(capsys, monkeypatch, ran):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupt)
    assert cli.main(["run", STUDY]) == 130
    said = capsys.readouterr().err.splitlines()[1:]
    assert said == ["a2r: interrupted; what was sampled is kept, and the same command goes on from there."]


def test_list_names_studies_parameters_and_profiles(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for name, notebook in runner.available().items():
        assert name in out and notebook.name in out
    assert "profile='nano'" in out and all(name in out for name in profiles.available())


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--nope"]])
def test_what_is_no_command(arguments):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2


@pytest.mark.parametrize("command", ["view", "run", "list"])
def test_an_option_that_a_command_does_not_have_shows_the_usage_of_that_command(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--nope"])
    said = capsys.readouterr().err
    assert said.startswith(f"usage: a2r {command} ") and f"a2r {command}: error: unrecognized arguments: --nope" in said


def test_as_a_program():
    command = [sys.executable, "-m", "a2r.cli", "run", STUDY, "--profile", "nope"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("a2r: there is no profile 'nope'") and done.stderr.count("\n") == 1
