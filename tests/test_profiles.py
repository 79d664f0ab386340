"""Profiles: what is written is what is used, and what cannot be is refused by name."""

import re

import pytest
import yaml
from fakes import small_profile, write_profile

from a2r import UserError, load_profile
from a2r.engines import Sampling
from a2r.profiles import KNOBS, ROOT, Model, available

A = {"name": "a", "path": "a"}  # of a model, or of a benchmark


def refused(path) -> str:
    with pytest.raises(UserError) as error:
        load_profile(str(path))
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and str(path) in sentence
    return sentence


def written(folder, text: str):
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", available())
def test_the_profiles_that_come_along_load(name):
    profile = load_profile(name)
    assert profile.name == name and profile.models and profile.benchmarks and profile.explorers


def test_smoke_is_nano_cut_down():
    nano, smoke = load_profile("nano"), load_profile("smoke")
    assert smoke.benchmarks == nano.benchmarks and smoke.store == nano.store and smoke.sampling == nano.sampling
    assert {m.name: m for m in smoke.models}.items() <= {m.name: m for m in nano.models}.items()
    assert (smoke.n_problems, smoke.n_sets, smoke.sampling.max_tokens) == (4, 1, 320)


def test_an_unknown_profile_names_the_valid_ones(tmp_path):
    for name, near in (("nanno", " (did you mean 'nano'?)"), (str(tmp_path / "missing.yaml"), "")):
        choice = f"choose {', '.join(available())} or give the path of a YAML file."
        assert refused(name) == f"there is no profile '{name}'{near}; {choice}"
    assert {"nano", "smoke"} <= set(available())


def test_what_is_written_is_what_is_used(tmp_path):
    own = {"name": "b", "path": "hub/b", "revision": "r", "parameters": 4_000_000_000}
    models = [A, {**own, "template": {"enable_thinking": False}}]
    profile = small_profile(tmp_path, models=models, explorers=["a"], sampling={"top_k": 20}, seed=7)
    assert profile.name == "tiny" and profile.explorers == ("a",) and profile.seed == 7
    assert profile.synthesizers == profile.symmetric == ("a", "b")
    assert profile.model("b") == Model("b", "hub/b", "r", 4_000_000_000, None, {"enable_thinking": False})
    assert profile.sampling_of("b") == Sampling(top_k=20) and profile.store_path == tmp_path / "store"


def test_a_model_s_own_sampling_says_only_how_it_differs(tmp_path):
    models = [{"name": "a", "path": "a", "sampling": {"temperature": 0.6}}, {"name": "b", "path": "b"}]
    profile = small_profile(tmp_path, models=models, sampling={"max_tokens": 320, "temperature": 1.0})
    assert profile.sampling_of("a") == Sampling(temperature=0.6, max_tokens=320)
    assert profile.sampling_of("b") == Sampling(temperature=1.0, max_tokens=320)


def test_paths_of_a_user_s_profile_are_taken_from_its_folder(tmp_path):
    """What is not there may be the repository's, or a model on the hub; what is written is made there."""
    write_profile(tmp_path)
    for place in ("mine", "data/models/own"):
        (tmp_path / place).mkdir(parents=True)
    paths = {"a": "data/models/own", "b": "data/models/nano-32", "c": "org/c"}
    models = [{"name": name, "path": path} for name, path in paths.items()]
    keys = {"models": models, "benchmarks": [{"name": "own", "path": "sums.jsonl"}], "prices": "prices.csv"}
    profile = small_profile(tmp_path / "mine", **keys, store="samples", figures="drawn")
    assert profile.store_path == tmp_path / "mine/samples" and profile.figures == str(tmp_path / "mine/drawn")
    assert profile.benchmarks[0].path == str(tmp_path / "mine/sums.jsonl")
    assert profile.prices == str(tmp_path / "mine/prices.csv")
    assert profile.model("b").location == str(ROOT / "data/models/nano-32") and profile.model("c").location == "org/c"
    with pytest.raises(UserError, match=rf"looked for {tmp_path}/mine/data/models/own and {ROOT}/data/models/own"):
        _ = profile.model("a").location
    assert profile.model("a").identity == "main", "a study that does not use it is not in its way"
    (tmp_path / "mine/data/models/own").mkdir(parents=True)
    assert profile.model("a").location == str(tmp_path / "mine/data/models/own")
    assert profile.model("a").path == "data/models/own", "samples are known by it, wherever the folder lies"
    assert load_profile("nano").prices == "data/prices.csv"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"n_path": 4},
            r"has an unknown key 'n_path' \(did you mean 'n_paths'\?\) for a profile; known are name, models,",
        ),
        (
            {"sampling": {"temprature": 1}},
            r"has an unknown key 'temprature' \(did you mean 'temperature'\?\) for a sampling; known",
        ),
        ({"models": [{**A, "hub": "x"}]}, "has an unknown key 'hub' for a model; known are name, path,"),
        ({"models": [{**A, "sampling": {"n": 1}}]}, "has an unknown key 'n' for a sampling;"),
        ({"benchmarks": [{**A, "subset": "x"}]}, "has an unknown key 'subset' for a benchmark;"),
        ({"models": [{"name": "a"}]}, "gives the model 'a' no 'path', which it needs."),
        ({"benchmarks": [{"path": "a"}]}, "gives the benchmark no 'name', which it needs."),
        (
            {"studies": {"symmetric": {"n_problms": 3}}},
            r"has an unknown key 'n_problms' \(did you mean 'n_problems'\?\) under studies, symmetric.",
        ),
        ({"models": []}, "names no model; list at least one under 'models'."),
        ({"models": "a"}, "gives 'a' as its models, which has to be a list."),
        (
            {"models": ["Qwen/Qwen3-4B"]},
            "gives 'Qwen/Qwen3-4B' for a model, which has to be a mapping of keys to values.",
        ),
        ({"models": [A, {**A, "path": "y"}]}, "has 'a' twice among its models; make the names unique."),
        ({"benchmarks": [A, A]}, "has 'a' twice among its benchmarks; make the names unique."),
        ({"explorers": ["a", "c"]}, "gives 'c' as one of its explorers, but its models are a, b."),
        ({"synthesizers": ["c"]}, "gives 'c' as one of its synthesizers, but its models are a, b."),
        ({"symmetric": ["c"]}, "gives 'c' as one of its symmetric, but its models are a, b."),
        ({"explorers": "ab"}, "gives 'ab' as its explorers, which has to be a list."),
        ({"extends": "nanno"}, r"extends 'nanno' \(did you mean 'nano'\?\), which does not exist; choose .*smoke"),
        ({"efficient": ["a", "b"]}, "gives a, b as 'efficient'; give three models"),
        ({"efficient": ["a", "b", "bb"]}, r"gives 'bb' \(did you mean 'b'\?\) as one of its efficient, but its models"),
        ({"forms": ["explore"]}, r"gives 'explore' \(did you mean 'explorer'\?\) as one of its forms, but its"),
        ({"models": [{**A, "base": "z"}]}, "gives 'z' as one of its bases, but its models are a."),
        ({"engine": "vlm"}, r"names the engine 'vlm' \(did you mean 'vllm'\?\); choose auto, transformers, vllm"),
    ],
)
def test_keys_and_names_that_do_not_fit(tmp_path, changes, sentence):
    assert re.search(f"profile .*tiny.yaml {sentence}", refused(write_profile(tmp_path, **changes)))


def test_syntheses_may_be_sampled_otherwise(tmp_path):
    models = [{"name": "a", "path": "a", "sampling": {"top_k": 20}}, {"name": "b", "path": "b"}]
    keys = {"models": models, "sampling": {"temperature": 1.0}, "synthesis": {"temperature": 0.3, "max_tokens": 99}}
    lab = small_profile(tmp_path, **keys)
    assert lab.sampling_of("a") == Sampling(1.0, top_k=20)
    assert lab.sampling_of("a", "synthesizer") == Sampling(0.3, top_k=20, max_tokens=99)

    def temperatures(lab) -> tuple[float, float]:
        return lab.sampling_of("a").temperature, lab.sampling_of("b", "synthesizer").temperature

    assert temperatures(lab.with_(temperature=0.7)) == (0.7, 0.7), "of both roles"
    assert lab.with_(temperature=0.7).sampling_of("b", "synthesizer").max_tokens == 99
    assert temperatures(lab.with_(synthesizer_temperature=0.5)) == (1.0, 0.5)
    assert temperatures(lab.with_(temperature=0.7, synthesizer_temperature=0.5)) == (0.7, 0.5)
    assert dict(lab.with_(synthesizer_temperature=0.3).changes) == {}, "it is that already"
    assert dict(lab.with_(temperature=1.0).changes) == {"temperature": 1.0}, "the syntheses change"
    with pytest.raises(UserError, match="temperature is -1"):
        lab.with_(synthesizer_temperature=-1.0)


@pytest.mark.parametrize(
    ("synthesis", "what"),
    [
        ({"heat": 1}, "unknown key 'heat' for a sampling"),
        ({"top_p": 2}, "top_p is 2"),
        ("cold", "synthesis is 'cold'; it has to be a mapping"),
    ],
)
def test_a_synthesis_that_makes_no_sense(tmp_path, synthesis, what):
    with pytest.raises(UserError, match=what):
        small_profile(tmp_path, synthesis=synthesis)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        *[({key: 0}, f"{key} is 0; it has to be at least 1.") for key in KNOBS[:4]],
        ({"n_sets": -3}, "n_sets is -3; it has to be at least 1."),
        ({"n_paths": "4"}, "n_paths is '4'; it has to be a whole number."),
        ({"n_paths": 4.0}, "n_paths is 4.0; it has to be a whole number."),
        ({"n_paths": True}, "n_paths is True; it has to be a whole number."),
        ({"n_paths": None}, "n_paths is None; it has to be a whole number."),
        ({"seed": "zero"}, "seed is 'zero'; it has to be a whole number."),
        ({"store": 3}, "store is 3; it has to be text."),
        ({"engine_options": ["x"]}, r"engine_options is \['x'\]; it has to be a mapping."),
        ({"sampling": {"temperature": -0.1}}, r"temperature is -0.1; it has to be 0 \(greedy\) or more."),
        ({"sampling": {"temperature": float("nan")}}, r"temperature is nan; it has to be 0 \(greedy\) or more."),
        ({"sampling": {"temperature": "hot"}}, "temperature is 'hot'; it has to be a number."),
        ({"sampling": {"top_p": 0}}, "top_p is 0; it has to be above 0 and at most 1."),
        ({"sampling": {"top_p": 1.5}}, "top_p is 1.5; it has to be above 0 and at most 1."),
        ({"sampling": {"top_k": -1}}, r"top_k is -1; it has to be 0 \(off\) or more."),
        ({"sampling": {"max_tokens": 0}}, "max_tokens is 0; it has to be at least 1."),
        ({"models": [{**A, "sampling": {"max_tokens": 0.5}}]}, "max_tokens is 0.5; it has to be a whole number."),
        ({"models": [{**A, "parameters": "4e9"}]}, "parameters is '4e9'; it has to be a number."),
        ({"models": [{**A, "parameters": -1}]}, "parameters is -1; it has to be at least 1."),
        ({"models": [{**A, "name": 7}]}, "name is 7; it has to be text."),
        ({"benchmarks": [{**A, "rows": 0}]}, "rows is 0; it has to be at least 1."),
        ({"benchmarks": [{**A, "integer_answers": 1}]}, "integer_answers is 1; it has to be true or false."),
        ({"benchmarks": [{**A, "columns": ["x"]}]}, r"columns is \['x'\]; it has to be a mapping."),
    ],
)
def test_values_that_do_not_fit(tmp_path, changes, what):
    assert re.search(rf"profile .*tiny.yaml says that {what}$", refused(write_profile(tmp_path, **changes)))


def test_text_that_is_no_yaml_is_refused_with_its_line(tmp_path):
    assert "is not valid YAML (line 4: " in refused(
        written(tmp_path, "models:\n  - {name: a}\n  - {name: b\nseed: 0\n")
    )
    assert "is not valid YAML (line 2: " in refused(written(tmp_path, "seed: 0\n\tn_sets: 1\n"))
    twice = "is not valid YAML (line 3: the key 'temperature' is there twice)"
    assert twice in refused(written(tmp_path, "sampling:\n  temperature: 0.6\n  temperature: 1.0\n"))
    for nothing in ("", "just words", "- a\n- list\n"):
        assert "holds no keys; see a2r/profiles/nano.yaml" in refused(written(tmp_path, nothing))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x01")
    assert "cannot be read (" in refused(tmp_path / "bytes.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read (" in refused(tmp_path / "folder.yaml")


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Profiles that extend one another: grandchild, child, parent; and two that extend each other."""
    monkeypatch.setattr("a2r.profiles.PROFILES", tmp_path)
    profiles = {
        "parent": {"models": [A], "sampling": {"temperature": 0.6, "top_p": 0.95}, "n_sets": 8, "seed": 1},
        "child": {"extends": "parent", "sampling": {"max_tokens": 99}, "n_sets": 2},
        "grandchild": {"extends": "child", "models": [{"name": "b", "path": "b"}], "seed": 3},
        "hen": {"extends": "egg"},
        "egg": {"extends": "hen"},
    }
    for name, keys in profiles.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(keys))
    return tmp_path


def test_a_profile_states_only_how_it_differs(family):
    child, grandchild = load_profile("child"), load_profile("grandchild")
    assert (child.n_sets, child.seed, child.name) == (2, 1, "child")
    assert child.sampling == grandchild.sampling == Sampling(temperature=0.6, top_p=0.95, max_tokens=99)
    assert [m.name for m in grandchild.models] == ["b"] and grandchild.explorers == ("b",)
    assert (grandchild.n_sets, grandchild.seed) == (2, 3)
    assert [m.name for m in load_profile(str(family / "grandchild.yaml")).models] == ["b"]


def test_a_profile_may_extend_a_file_beside_it(family, tmp_path):
    (own := tmp_path / "own").mkdir()
    (own / "base.yaml").write_text(yaml.safe_dump({"extends": "child", "seed": 7}))
    (own / "mine.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", "n_sets": 5}))
    made = load_profile(str(own / "mine.yaml"))
    assert (made.seed, made.n_sets, made.sampling.temperature) == (7, 5, 0.6)
    (own / "self.yaml").write_text(yaml.safe_dump({"extends": "self.yaml"}))
    with pytest.raises(UserError, match=r"extends 'self.yaml', which extends itself"):
        load_profile(str(own / "self.yaml"))
    (own / "none.yaml").write_text(yaml.safe_dump({"extends": "bases.yaml"}))
    with pytest.raises(UserError, match=r"extends 'bases.yaml', which does not exist; choose .* or a file beside"):
        load_profile(str(own / "none.yaml"))


def test_profiles_that_extend_each_other(family):
    with pytest.raises(UserError, match="extends 'egg', which extends itself"):
        load_profile("hen")


def test_with_changes_a_copy(lab):
    other = lab.with_(n_sets=1, n_paths=None, seed=5, temperature=None)
    assert (other.n_sets, other.n_paths, other.seed) == (1, 4, 5)
    assert (lab.n_sets, lab.seed) == (2, 0)
    assert lab.with_() == lab


def test_the_temperature_is_that_of_every_model(tmp_path):
    models = [{"name": "a", "path": "a", "sampling": {"temperature": 0.6, "top_k": 20}}, {"name": "b", "path": "b"}]
    lab = small_profile(tmp_path, models=models, sampling={"max_tokens": 320})
    greedy = lab.with_(temperature=0.0)
    assert greedy.sampling_of("a") == Sampling(temperature=0, top_k=20, max_tokens=320)
    assert greedy.sampling_of("b") == Sampling(temperature=0, max_tokens=320)
    assert lab.sampling_of("a").temperature == 0.6 and lab.with_(temperature=1).sampling.temperature == 1


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"temperature": -1}, r"temperature is -1; it has to be 0 \(greedy\) or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": "0.7"}, "temperature is '0.7'; it has to be a number"),
        ({"n_sets": 0}, "n_sets is 0; it has to be at least 1"),
        ({"n_paths": 2.5}, "n_paths is 2.5; it has to be a whole number"),
        ({"n_syntheses": "2"}, "n_syntheses is '2'; it has to be a whole number"),
        ({"n_problems": -4}, "n_problems is -4; it has to be at least 1"),
        ({"npaths": 2}, "a profile has no 'npaths' .did you mean 'n_paths'.. to change; it has name"),
    ],
)
def test_with_refuses_what_makes_no_sense(lab, changes, what):
    with pytest.raises(UserError, match=what):
        lab.with_(**changes)


def test_an_unknown_model_names_the_valid_ones(lab):
    with pytest.raises(UserError, match="model 'c' is not in profile 'tiny'; it has a, b"):
        lab.sampling_of("c")


def test_a_folder_s_identity_is_its_content(tmp_path):
    assert Model("a", "some/where").identity == "main" and Model("a", "some/where", "r1").identity == "r1"
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")
    model = Model("a", str(one))
    assert model.location == str(one) and model.identity == Model("b", str(two)).identity
    (two / "config.json").write_text('{"a": 1}')
    assert model.identity != Model("b", str(two)).identity


def test_models_by_size_leave_out_what_rl_made(tmp_path):
    sizes = [("c", 3, None), ("a", 1, None), ("c-rl", 3, "c"), ("b", 2, None)]
    models = [{"name": n, "path": n, "parameters": p} | ({"base": b} if b else {}) for n, p, b in sizes]
    lab = small_profile(tmp_path, models=models)
    assert lab.by_size(["c-rl", "b", "a", "elsewhere"]) == ["a", "b"] and lab.by_size(["c-rl"]) == ["c-rl"]
