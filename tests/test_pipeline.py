"""From problems to samples: nothing that is known is asked again, nothing that is asked is lost."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from fakes import FakeEngine, outcomes, small_profile

from a2r import UserError, explore, grade, load_problems, pipeline, read_prices, synthesize
from a2r import outcomes as grader
from a2r.answers import answer_component
from a2r.engines import Sampling
from a2r.outcomes import rates
from a2r.pipeline import Context, cut_sets, synthesize_all
from a2r.profiles import Model
from a2r.store import SCHEMA, Store, reader


def road(lab, problems, n: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both stages: n paths of a for each of 3 problems, then one synthesis of b for each of their sets."""
    pool = explore(lab, "a", problems, n)
    return pool, synthesize(lab, "b", problems, pool)


def test_the_pool_is_complete_and_in_order(lab, problems, use):
    engine = use()
    pool = explore(lab, "a", problems, 8)
    assert list(pool.columns) == SCHEMA.names
    assert list(zip(pool.problem_id, pool["index"], strict=True)) == list(product(problems.problem_id, range(8)))
    assert not pool.isna().any(axis=None) and pool.id.is_unique
    for column, value in {"role": "explorer", "model": "a", "engine": "fake", "set": -1}.items():
        assert set(pool[column]) == {value}
    assert len(engine.requests) == 3, "all paths of a problem are one request"
    assert engine.opened == engine.closed == 1


def test_problems_that_do_not_fit_the_samples_are_named(lab, problems, use):
    use()
    with pytest.raises(UserError, match="a sample is of problem 'sum-2', which is not among the 1 to grade it by"):
        grade(explore(lab, "a", problems, 2), problems.head(1))
    with pytest.raises(UserError, match="the problems have no column 'benchmark'; take them from load_problems"):
        explore(lab, "a", problems.drop(columns="benchmark"), 2)


def test_a_second_run_samples_nothing(lab, problems, use):
    use()
    first = road(lab, problems)
    engine = use()
    second = road(lab, problems)
    assert engine.opened == 0, "not even the model is loaded"
    for a, b in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(a, b)


def test_as_many_runs_of_small_models_sample_at_once_as_there_are_processors(tmp_path, use, monkeypatch, capsys):
    lab = small_profile(tmp_path, models=[{"name": "a", "path": "made/up-a", "parameters": 1000}])
    problems = load_problems(lab)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(pipeline, "PATIENCE", 0.2)
    engine = use()
    with ThreadPoolExecutor(1) as other, pipeline.processor(Store(lab.store_path)):
        explore(lab, "a", problems, 2)  # there is another one
        with pipeline.processor(Store(lab.store_path)):
            waiting = other.submit(explore, lab, "a", problems, 4)
            time.sleep(1)
            assert not waiting.done() and engine.opened == 1
            assert len(explore(lab, "a", problems, 2)) == 6, "who only reads does not wait"
        assert len(waiting.result(30)) == 12
    assert capsys.readouterr().err.count("All processors") == 1


class CutOff(FakeEngine):
    """Every other output ends in its thinking, which the prompt had opened."""

    def sample(self, request, index, seed):
        whole = super().sample(request, index, seed)
        text = whole.text.removeprefix("<think>\n")
        return replace(whole, text=text.replace("</think>", "\\boxed{8}") if index % 2 else text)


def test_two_studies_that_want_the_same_at_the_same_time_sample_it_once(lab, problems, use):
    engine = use(FakeEngine(pause=0.01))
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(lambda n: explore(lab, "a", problems, n), (4, 6))
    assert len(engine.asked) == len(set(engine.asked)) == 6 * len(problems)
    assert set(one.id) < set(other.id)


def test_thinking_that_the_prompt_opened_is_thinking_where_it_is_cut_off(lab, problems, use):
    opened = replace(lab, models=tuple(replace(m, opened=True) for m in lab.models))
    use(CutOff())
    pool = grade(explore(opened, "a", problems, 4), problems)
    assert pool.answer.isna().tolist() == [False, True] * 6 and pool.text.str.startswith("<think>\n").all()
    assert not [text for text in map(answer_component, pool.text) if "sample" in text], "no thinking is shown"
    use(CutOff())
    shown = explore(lab.with_(seed=1), "a", problems, 4)
    assert [text for text in map(answer_component, shown.text) if "sample" in text], "it cannot be known untold"


def test_another_temperature_of_the_syntheses_leaves_the_paths(lab, problems, use):
    use()
    road(lab, problems)
    engine = use()
    road(lab.with_(synthesizer_temperature=0.2), problems)
    assert len(engine.asked) == 6 and {r.sampling.temperature for r in engine.requests} == {0.2}


def test_more_paths_ask_only_for_the_further_ones(lab, problems, use):
    use()
    few = explore(lab, "a", problems, 3)
    engine = use()
    many = explore(lab, "a", problems, 5)
    assert sorted(index for _, index in engine.asked) == [3, 3, 3, 4, 4, 4]
    pd.testing.assert_frame_equal(many[many["index"] < 3].reset_index(drop=True), few)


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), RuntimeError("the model fell over")], ids=["interrupt", "error"]
)
@pytest.mark.parametrize("k", [0, 1, 5, 23])
def test_after_k_samples_only_the_missing_ones_are_asked_for(lab, problems, use, k, failure):
    broken = use(FakeEngine(after=k, fails=failure))
    with pytest.raises(type(failure)):
        explore(lab, "a", problems, 8)
    assert broken.closed == 1, "the model is freed"
    stored = Store(lab.store_path).read()
    assert len(stored) == k
    engine = use()
    pool = explore(lab, "a", problems, 8)
    assert len(engine.asked) == 24 - k
    assert not {(r.prompt_sha, r.index) for r in stored.itertuples(index=False)} & set(engine.asked)
    assert len(pool) == 24 and not pool.isna().any(axis=None)


def test_interrupted_again_and_again(lab, problems, use):
    for _ in range(4):
        use(FakeEngine(after=5, fails=KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            explore(lab, "a", problems, 8)
    engine = use()
    resumed = explore(lab, "a", problems, 8)
    assert len(engine.asked) == 4
    use()
    whole = explore(replace(lab, store=lab.store + "-other"), "a", problems, 8)
    pd.testing.assert_series_equal(resumed.text, whole.text)


# Forks a child for each moment; the child explores, slowly, and is killed when it has handed over that many samples.
KILLED = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fakes import FakeEngine
import a2r.pipeline, a2r.store
folder, number, moments = Path(sys.argv[2]), getattr(signal, sys.argv[3]), json.loads(sys.argv[4])
a2r.store.FLUSH_SECONDS = 0.05
log = folder / "log"
log.touch()
lines = lambda: log.read_text().count("\\n")
lab = a2r.load_profile(str(folder / "tiny.yaml"))
problems = a2r.load_problems(lab)
for moment in moments:
    log.write_text("")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        a2r.pipeline.open_engine = lambda *_, **__: FakeEngine(pause=0.01, log=log)
        try:
            a2r.explore(lab, "a", problems, 40)
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(0)
    deadline = time.monotonic() + 60
    while lines() < moment and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    stored = a2r.store.Store(lab.store_path).read()
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "given": lines(), "stored": len(stored)}), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("signal", "code", "lost"), [("SIGINT", 130, 0), ("SIGKILL", -9, 15)])
def test_a_killed_process_loses_only_its_last_moment(lab, problems, use, tmp_path, signal, code, lost):
    """FLUSH_SECONDS is 0.05 and a sample takes at least 0.01 s, so a killed process loses few; an interrupted one
    none."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", KILLED, str(root / "tests"), str(tmp_path), signal, json.dumps([1, 12, 30])]
    out = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert out.returncode == 0, out.stderr
    before = 0
    for moment in map(json.loads, out.stdout.splitlines()):
        assert moment["code"] == code
        kept = moment["stored"] - before
        assert moment["given"] - lost <= kept <= moment["given"] + 1
        before = moment["stored"]
    assert 20 < before < 120, "killed in the middle, three times"
    assert not list(Path(lab.store_path).glob("*.damaged"))
    engine = use()
    pool = explore(lab, "a", problems, 40)
    assert len(engine.asked) == 120 - before and len(pool) == 120
    use()
    assert pool.text.tolist() == explore(replace(lab, store=lab.store + "-other"), "a", problems, 40).text.tolist()


# Forks a child for each of 20 random moments; the child runs both stages, notes what it asks for, and is killed.
KILLED_AGAIN = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fakes import FakeEngine
import a2r.pipeline, a2r.store
a2r.store.FLUSH_SECONDS = 0.02
folder = Path(sys.argv[2])
log, asked = folder / "log", folder / "asked"
lab = a2r.load_profile(str(folder / "tiny.yaml")).with_(n_sets=20)
problems = a2r.load_problems(lab)

class Noting(FakeEngine):
    def generate(self, requests):
        requests = list(requests)
        with asked.open("a") as file:
            file.writelines(f"{r.key} {i}\\n" for r in requests for i in r.indices)
        return super().generate(requests)

rng = random.Random(0)
for _ in range(20):
    log.write_text("")
    asked.write_text("")
    known = a2r.store.Store(lab.store_path).read()
    stored = {f"{sha} {index}" for sha, index in zip(known.prompt_sha, known["index"])}
    child = os.fork()
    if not child:
        a2r.pipeline.open_engine = lambda *_, **__: Noting(pause=0.004, log=log)
        pool = a2r.explore(lab, "a", problems, 80)
        a2r.synthesize(lab, "b", problems, pool)
        os._exit(0)
    moment, ended = rng.randint(0, 25), os.WEXITED | os.WNOHANG | os.WNOWAIT
    while log.read_text().count("\\n") < moment and os.waitid(os.P_PID, child, ended) is None:
        time.sleep(0.001)
    time.sleep(0.02 * rng.random())
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    again = stored & set(asked.read_text().split("\\n"))
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"code": code, "stored": len(stored), "again": len(again)}), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_change_nothing_in_the_tables(lab, problems, use, tmp_path):
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", KILLED_AGAIN, str(root / "tests"), str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=240)
    assert out.returncode == 0, out.stderr
    kills = [json.loads(line) for line in out.stdout.splitlines()]
    assert len(kills) == 20 and sum(kill["code"] == -9 for kill in kills) >= 15, "nearly all of them in the middle"
    assert [kill["again"] for kill in kills] == [0] * 20, "nothing that was stored is asked for again"
    assert kills[-1]["stored"] > 100

    def table(lab) -> pd.DataFrame:
        use()
        pool, syntheses = (grade(frame, problems) for frame in road(lab, problems, 80))
        return outcomes(problems, pool, read_prices(lab.prices), syntheses, lab.n_paths, lab.n_sets)

    disturbed, whole = (table(replace(lab.with_(n_sets=20), store=lab.store + other)) for other in ("", "-other"))
    pd.testing.assert_frame_equal(disturbed, whole)


def test_a_text_is_read_for_its_grade_once(lab, problems, use, monkeypatch):
    """By this version of the grader, against this gold answer, whichever process asks: none is remembered here."""
    extract, read = grader.extract, []
    monkeypatch.setattr(grader, "extract", lambda text: read.append(text) or extract(text))

    def graded(by=problems) -> pd.DataFrame:
        reader.cache_clear()
        read.clear()
        return grade(explore(replace(lab, engine="replay"), "a", problems, 2), by)

    use()
    explore(lab, "a", problems, 2)
    first = graded()
    assert len(read) == 6 and first.answer.notna().all() and first.correct.any()
    pd.testing.assert_frame_equal(graded(), first)
    assert not read, "kept"
    other = graded(problems.assign(answer="-1"))
    assert len(read) == 6 and not other.correct.any(), "another gold answer, another verdict"
    monkeypatch.setattr("a2r.answers.version", lambda: "next")
    pd.testing.assert_frame_equal(graded(), first)
    assert len(read) == 6
    for kept in lab.store_path.glob("_graded-next/*"):
        kept.write_bytes(b"damaged")
    pd.testing.assert_frame_equal(graded(), first)
    assert len(read) == 6


def test_failed_samples_are_kept_counted_and_asked_again(lab, problems, use):
    use(FakeEngine(errors=lambda request, index: "server said no" if index in (2, 5) else ""))
    graded = grade(explore(lab, "a", problems, 8), problems)
    failed = graded[graded.error != ""]
    assert failed["index"].tolist() == [2, 5] * 3 and set(failed.error) == {"server said no"}
    assert failed.answer.isna().all() and not failed.correct.any()
    assert rates(graded) == {"truncated": 0.0, "failed": 0.25, "no_answer": 0.25}
    assert (Store(lab.store_path).read().error != "").sum() == 6
    engine = use()
    again = explore(lab, "a", problems, 8)
    assert sorted(index for _, index in engine.asked) == [2, 2, 2, 5, 5, 5]
    assert (again.error == "").all()


def test_a_prompt_that_is_too_long_fails_alone_and_is_counted(lab, problems, use):
    too_long = "prompt of 9000 tokens exceeds the context of 4096 tokens of b"
    use(FakeEngine(errors=lambda request, index: too_long if "What is 2 +" in request.messages[0]["content"] else ""))
    pool, syntheses = (grade(frame, problems) for frame in road(lab, problems))
    assert set(pool[pool.error == too_long].problem_id) == {"sum-2"}
    assert rates(pool)["failed"] == rates(syntheses)["failed"] == pytest.approx(1 / 3)
    table = outcomes(problems, pool, read_prices(lab.prices), syntheses, 4, 2)
    here = table[table.problem_id == "sum-2"]
    assert set(here.method) == {"Pass@1", "Cons@4", "Pass@4", "A2R@4"}
    assert not here.correct.any() and set(here.state) == {"none"}
    assert (here.cost > 0).all(), "its prompt was paid for"
    synthesizer_saw = syntheses[syntheses.problem_id == "sum-2"]
    assert synthesizer_saw.text.tolist() == ["", ""]


def test_a_path_that_failed_is_still_one_of_the_references(lab, problems, use):
    use(FakeEngine(errors=lambda request, index: "broken" if index == 1 else ""))
    pool = explore(lab, "a", problems, 8)
    engine = use()
    synthesize(lab, "b", problems, pool)
    assert [said.count("\n\nReference ") for said in references(engine)] == [4] * 6
    assert [said.count("(no answer)") for said in references(engine)] == [1, 0] * 3, "path 1 is in set 0"


def test_sets_are_disjoint_and_whole(lab, problems, use):
    use()
    sets = cut_sets(explore(lab, "a", problems, 10), 4, 2)
    assert sets.id.is_unique and set(sets["set"]) == {0, 1}
    assert sets.groupby(["problem_id", "set"])["index"].agg(list).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]] * 3


@pytest.mark.parametrize(("n_paths", "n_sets"), [(9, 1), (4, 3), (5, 2)])
def test_more_paths_than_the_pool_has(lab, problems, use, n_paths, n_sets):
    use()
    pool = explore(lab, "a", problems, 8)
    with pytest.raises(UserError) as refused:
        synthesize(lab.with_(n_paths=n_paths, n_sets=n_sets), "b", problems, pool)
    needed = f"{n_sets} sets of {n_paths} paths need {n_sets * n_paths} samples a problem"
    assert str(refused.value) == f"{needed}, but the pool has 8; explore more or ask for fewer."
    with pytest.raises(UserError, match=f"need {n_sets * n_paths} samples"):
        cut_sets(pool, n_paths, n_sets)


def test_what_makes_no_sense_is_refused(lab, problems, use):
    engine = use()
    with pytest.raises(UserError, match="asked for 0 paths"):
        explore(lab, "a", problems, 0)
    with pytest.raises(UserError, match="model 'c' is not in profile 'tiny'; it has a, b"):
        explore(lab, "c", problems, 1)
    assert engine.opened == 0


def changed(lab, **model):
    """The profile with something else about model b."""
    return replace(lab, models=(lab.models[0], replace(lab.models[1], **model)))


@pytest.fixture
def small(lab):
    """The profile with models of a million parameters."""
    return replace(lab, models=tuple(replace(model, parameters=1e6) for model in lab.models))


def test_who_wants_the_same_samples_waits_and_who_wants_others_does_not(small, problems, use):
    lab, engine = small, use(FakeEngine(pause=0.02))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: explore(lab, "a", problems, 8), range(2))
    assert engine.opened == 1 and len(engine.asked) == 24 and one.id.equals(other.id)
    both = threading.Barrier(2, timeout=30)
    engine.generate = lambda requests: (both.wait(), FakeEngine.generate(engine, requests))[1]
    contexts = [Context(one), Context(one, "none", lambda paths: [])]
    with ThreadPoolExecutor(2) as pool:
        read, alone = pool.map(lambda shown: synthesize_all(lab, "b", problems, [shown])[0], contexts)
    assert engine.opened == 3 and len(read) == len(alone) == 6


def test_a_small_model_stays_loaded_until_another_one_is_asked(lab, problems, use):
    engine = use()
    engine.small = True
    pool = explore(lab, "b", problems, 2)
    explore(lab, "b", problems, 3)
    assert (engine.opened, engine.closed) == (1, 0)
    synthesize(lab.with_(n_paths=2, n_sets=1), "a", problems, pool)
    assert (engine.opened, engine.closed) == (2, 1)
    engine.errors = lambda request, index: 1 / 0
    with pytest.raises(ZeroDivisionError):
        explore(lab, "a", problems, 1)
    assert (engine.opened, engine.closed) == (2, 2), "one that failed is not kept"


def test_a_large_model_has_the_machine_for_itself_and_who_waits_says_so(small, problems, use, capsys):
    lab, engine, other = small, use(), Store(small.store_path).turn("machine")
    with ThreadPoolExecutor(1) as pool, other:
        large = pool.submit(explore, changed(lab, parameters=4e9), "b", problems, 1)
        assert len(explore(lab, "a", problems, 1)) == 3 and not large.done() and engine.opened == 1
        other.release()
        assert len(large.result(30)) == 3
    assert "b as explorer waits for another run, which has the turn 'machine'.\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "other",
    [
        lambda lab: lab.with_(seed=1),
        lambda lab: lab.with_(temperature=0.3),
        lambda lab: replace(lab, sampling=Sampling(max_tokens=77)),
        lambda lab: replace(lab, sampling=Sampling(top_p=0.9)),
        lambda lab: replace(lab, sampling=Sampling(top_k=20)),
        lambda lab: changed(lab, revision="r2"),
        lambda lab: changed(lab, path="made/up-c"),
        lambda lab: changed(lab, template={"enable_thinking": False}),
        lambda lab: changed(lab, sampling=Sampling(temperature=0.6)),
    ],
    ids=["seed", "temperature", "max_tokens", "top_p", "top_k", "revision", "path", "template", "model's own sampling"],
)
def test_what_makes_another_sample_asks_anew(lab, problems, use, other):
    use()
    explore(lab, "b", problems, 2)
    engine = use()
    explore(other(lab), "b", problems, 2)
    assert len(engine.asked) == 6
    engine = use()
    explore(lab, "b", problems, 2)
    explore(other(lab), "b", problems, 2)
    assert engine.opened == 0, "both are kept side by side"


@pytest.mark.parametrize(
    "other",
    [
        lambda lab: lab.with_(n_paths=2, n_sets=1),
        lambda lab: changed(lab, parameters=1e6),
        lambda lab: lab.with_(engine_options={"a": 1}),
    ],
    ids=["sets", "parameters", "engine options"],
)
def test_what_makes_no_other_sample_does_not(lab, problems, use, other):
    use()
    explore(lab, "b", problems, 2)
    engine = use()
    explore(other(lab), "b", problems, 2)
    assert engine.opened == 0


def test_retrained_weights_ask_anew(lab, problems, use, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("about")
    lab = replace(lab, models=(Model("a", str(folder)),))
    use()
    explore(lab, "a", problems, 1)
    (folder / "README.md").write_text("more about")
    engine = use()
    explore(lab, "a", problems, 1)
    assert not engine.asked
    (folder / "model.safetensors").write_bytes(b"others!")
    explore(lab, "a", problems, 1)
    assert len(engine.asked) == 3


def test_a_changed_question_asks_anew(lab, problems, use):
    use()
    explore(lab, "a", problems, 1)
    engine = use()
    reworded = problems.assign(question=["Say! " + problems.question[0], *problems.question[1:]])
    explore(lab, "a", reworded, 1)
    assert len(engine.asked) == 1


def test_every_sample_has_a_seed_of_its_own(lab, problems, use):
    engine = use()
    road(lab, problems)
    road(lab.with_(seed=1), problems)
    seeds = [seed for request in engine.requests for seed in request.seeds]
    assert len(seeds) == 2 * (24 + 6) == len(set(seeds)) and all(0 <= seed < 2**63 for seed in seeds)


def references(engine: FakeEngine) -> list[str]:
    asked = [request.messages[0]["content"] for request in engine.requests]
    return [content for content in asked if "Reference 1:" in content]


def test_the_order_of_the_references_follows_the_seed(lab, problems, use):
    pool = (use(), explore(lab, "a", problems, 8))[1]
    pool = pool.assign(text=[f"component {p} {i}" for p, i in zip(pool.problem_id, pool["index"], strict=True)])

    def shown(store: str, seed: int) -> list[str]:
        engine = use()
        synthesize(replace(lab, store=lab.store + store, seed=seed), "b", problems, pool)
        return references(engine)

    first, again, other = shown("1", 0), shown("2", 0), shown("3", 1)
    assert len(first) == 6 and first == again
    assert first != other and [sorted(text.split()) for text in first] == [sorted(text.split()) for text in other]


def test_a_synthesizer_reads_the_answer_components_of_its_set_alone(lab, problems, use):
    engine = use()
    pool, _ = road(lab, problems)
    sets = [answers for _, answers in cut_sets(pool, 4, 2).groupby(["problem_id", "set"], sort=False).text]
    assert len(references(engine)) == 6
    for said, texts in zip(references(engine), sets, strict=True):
        shown = [part.split("\n", 1)[1] for part in said.split("\n\nWork out")[0].split("\n\nReference ")[1:]]
        assert sorted(shown) == sorted(map(answer_component, texts)) and "<think>" not in said


def test_sets_with_the_same_references_share_a_sample(lab, problems, use):
    """The same answer components are the same prompt; the frame still tells each sample as what it was asked for."""
    use()
    pool = explore(lab, "a", problems, 8).assign(text="<think>\n</think>\nthe same \\boxed{1}")
    lab = lab.with_(n_syntheses=2)
    syntheses = synthesize(lab, "b", problems, pool)
    places = list(zip(syntheses.problem_id, syntheses["set"], syntheses["index"], strict=True))
    assert places == list(product(problems.problem_id, range(2), range(2)))
    (named,) = synthesize_all(lab, "b", problems, [Context(pool.assign(model="z"), "copied")])
    assert set(named.condition) == {"copied"} and set(named.explorer) == {"z"}
    assert named.id.tolist() == syntheses.id.tolist()
    assert named["set"].dtype == syntheses["set"].dtype == "int32"


def test_one_question_in_two_benchmarks_is_sampled_once_and_told_twice(tmp_path, use):
    one = small_profile(tmp_path)
    (tmp_path / "more.csv").write_text("problem_id,question,answer\nelsewhere,What is 1 + 7?,8\n")
    both = [{"name": "sums", "path": "sums.jsonl"}, {"name": "more", "path": "more.csv"}]
    both = small_profile(tmp_path, benchmarks=both)
    engine = use()
    pool = explore(both, "a", load_problems(both), 4)
    assert len(engine.asked) == 12 and len(pool) == 16
    twin = pool[pool.problem_id == "elsewhere"]
    assert set(twin.benchmark) == {"more"} and twin.text.tolist() == pool[pool.problem_id == "sum-1"].text.tolist()
    renamed = load_problems(one).assign(benchmark="renamed")
    assert set(explore(one, "a", renamed, 4).benchmark) == {"renamed"}
    assert engine.opened == 1


def test_an_engine_that_forgets_a_sample_is_found_out(lab, problems, use):
    engine = FakeEngine()
    whole = engine.generate
    engine.generate = lambda requests: (g for g in whole(requests) if g.index != 3)
    use(engine)
    with pytest.raises(RuntimeError, match="no sample for 3 of 24 requests of a"):
        explore(lab, "a", problems, 8)


def test_any_way_of_making_the_context(lab, problems, use):
    use()
    pool = explore(lab, "a", problems, 8)
    engine = use()
    context = Context(pool, "count", lambda paths: [f"{len(paths)} paths"], n_sets=1)
    (frame,) = synthesize_all(lab, "b", problems, [context])
    assert len(frame) == 3 and set(frame.condition) == {"count"}
    assert all("Reference 1:\n4 paths\n" in text and "Reference 2" not in text for text in references(engine))


def test_symmetric_and_asymmetric_use_the_same_sets(lab, problems, use):
    use()
    pool = explore(lab, "a", problems, 8)
    engine = use()
    synthesize(lab, "a", problems, pool)
    by_a = references(engine)
    engine = use()
    synthesize(lab, "b", problems, pool)
    assert references(engine) == by_a
