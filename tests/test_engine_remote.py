"""The engine for OpenAI-compatible servers, against a real server in a thread that fails in every way there is."""

import threading
import time

import pytest
from fakes import FakeServer, completion, write_profile

from a2r import UserError, explore, grade, load_problems, load_profile, read_prices
from a2r.engines import EngineError, Request, Sampling, open_engine
from a2r.engines.remote import OpenAIEngine, share
from a2r.outcomes import baselines
from a2r.prices import price
from a2r.store import Store


@pytest.fixture
def serve():
    """`serve(behave, ...)` starts a FakeServer; all of them end with the test."""
    started = []

    def start(*arguments, **options) -> FakeServer:
        started.append(FakeServer(*arguments, **options))
        return started[-1]

    yield start
    for server in started:
        server.close()


def ask(key: str = "p", n: int = 4, a: int = 1, **sampling) -> Request:
    messages = ({"role": "user", "content": f"What is {a} + {a}?"},)
    return Request(key, messages, Sampling(**sampling), tuple(range(n)), tuple(range(100, 100 + n)))


def engine(server: FakeServer | list[FakeServer], **options) -> OpenAIEngine:
    url = [s.url for s in server] if isinstance(server, list) else server.url
    return OpenAIEngine("m", url, **{"timeout": 1.0, "retries": 2, **options})


def all_of(server, *requests: Request, **options) -> list:
    return sorted(engine(server, **options).generate(requests), key=lambda g: (g.key, g.index))


def test_all_paths_of_a_prompt_are_one_request(serve):
    server = serve()
    made = all_of(server, ask(temperature=0.6, top_p=0.95, top_k=20, max_tokens=77))
    (body,) = server.bodies
    assert (body["n"], body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (4, 0.6, 0.95, 20, 77)
    assert [g.index for g in made] == [0, 1, 2, 3] and {g.text[-9:] for g in made} == {"\\boxed{2}"}
    assert [g.completion_tokens for g in made] == [30] * 4 and {g.finish_reason for g in made} == {"stop"}
    assert [(g.prompt_tokens, g.cached_tokens) for g in made] == [(10, 0)] + [(10, 10)] * 3, "the prompt is paid once"


def test_many_paths_of_a_prompt_are_asked_for_a_few_at_a_time(serve):
    """64 in one request are stored when the slowest is done, and may run into the timeout together."""
    server = serve()
    made = all_of(server, ask(n=20))
    assert sorted(body["n"] for body in server.bodies) == [4, 8, 8] and [g.index for g in made] == [*range(20)]
    assert {body["seed"] for body in server.bodies} == {100, 108, 116}


TOO_LONG = [
    "This model's maximum context length is 1000 tokens and your request has 900 input tokens (320 > 1000 - 900).",
    "This model's maximum context length is 1000 tokens. However, you requested 1220 tokens (900 in the messages, 320 "
    "in the completion). Please reduce the length of the messages or completion.",
]


@pytest.mark.parametrize("message", TOO_LONG)
def test_an_output_gets_what_the_context_leaves(serve, message):
    """As in the engine `transformers`; a server refuses a limit that it could not fill."""

    def short_of_room(body, before):
        return {"error": {"message": message}} if body["max_tokens"] > 100 else completion(body)

    made = all_of(server := serve(short_of_room), ask(max_tokens=320))
    assert [body["max_tokens"] for body in server.bodies] == [320, 100] and not any(g.error for g in made)
    full = serve(lambda body, before: {"error": {"message": message.replace("900", "1000")}})
    assert all("context length" in g.error for g in all_of(full, ask(max_tokens=320))) and len(full.bodies) == 1


def test_what_only_some_servers_know_is_sent_only_if_asked_for(serve):
    server = serve()
    all_of(server, ask(n=1))
    assert not {"top_k", "n", "chat_template_kwargs"} & server.bodies[0].keys() and server.bodies[0]["seed"] == 100
    request = Request("p", ask().messages, Sampling(), (3,), (2**62 + 5,), {"enable_thinking": False})
    all_of(server, request, extra_body={"priority": 1})
    assert server.bodies[1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert server.bodies[1]["priority"] == 1 and 0 <= server.bodies[1]["seed"] < 2**31


def refuses_n(body, before):
    return {"error": {"message": "'n' must be 1", "param": "n"}} if "n" in body else completion(body)


def ignores_n(body, before):
    return completion({**body, "n": 1})


@pytest.mark.parametrize("behave", [refuses_n, ignores_n])
def test_a_server_without_n_is_asked_one_by_one(serve, behave):
    server = serve(behave)
    made = all_of(server, ask("p"), ask("q", a=2), concurrency=1)
    assert [(g.key, g.index) for g in made] == [(k, i) for k in "pq" for i in range(4)] and not any(
        g.error for g in made
    )
    singles = [body for body in server.bodies if "n" not in body]
    assert len({(body["messages"][0]["content"], body["seed"]) for body in singles}) == len(singles), (
        "each with its own seed"
    )
    assert len(server.bodies) == (9 if behave is refuses_n else 8), (
        "a refusal is met once, and no sample is drawn twice"
    )


def refuses_logprobs(body, before):
    return (
        {"error": {"message": "logprobs are not supported by this model"}} if "logprobs" in body else completion(body)
    )


def test_log_probabilities_are_taken_where_they_are_given(serve):
    def gives(body, before):
        answer = completion(body)
        for k, choice in enumerate(answer["choices"]):
            choice["logprobs"] = {
                "content": [{"token": "x", "logprob": -0.5 * k, "bytes": None, "top_logprobs": []}] * 3
            }
        return answer

    made = all_of(server := serve(gives), ask(n=2))
    assert [g.logprobs for g in made] == [(0, 0, 0), (-0.5, -0.5, -0.5)] and server.bodies[0]["logprobs"] is True
    made = all_of(server := serve(refuses_logprobs), *(ask(f"p{a}", a=a) for a in range(1, 9)), concurrency=4)
    assert len(made) == 32 and not any(g.error or g.logprobs for g in made)
    assert sum("logprobs" in body for body in server.bodies) <= 4, (
        "a refusal is met by those already on their way, then no more"
    )
    with pytest.raises(EngineError, match="choose the engine transformers or vllm"):
        engine(server).score([ask()])


@pytest.mark.parametrize("what", [429, 500, 503, 408, "drop", "hang"])
def test_what_passes_is_asked_again(serve, what):
    server = serve(lambda body, before: what if before < 2 else completion(body))
    made = all_of(server, ask())
    assert [g.error for g in made] == [""] * 4 and len(server.bodies) == 3


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (500, "InternalServerError 500"),
        (429, "RateLimitError 429"),
        (400, "BadRequestError 400"),
        ("drop", "APIConnectionError"),
        ("hang", "APITimeoutError"),
        ("garbage", "unreadable answer"),
        ({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}, "unreadable answer"),
    ],
)
def test_what_fails_for_good_is_a_failed_sample_and_hurts_no_other(serve, what, said):
    server = serve(lambda body, before: what if "1 + 1" in body["messages"][0]["content"] else completion(body))
    made = all_of(server, ask("bad"), ask("good", a=2), retries=1)
    assert [g.finish_reason for g in made] == ["error"] * 4 + ["stop"] * 4
    assert all(said in g.error and g.text == "" for g in made[:4]), made[0].error


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "<think>\nadd\n</think>\n\n2"}, "<think>\nadd\n</think>\n\n2"),
        ({"content": "add\n</think>\n\n2"}, "add\n</think>\n\n2"),  # the template gave the opening mark
        ({"content": "2", "reasoning": "add"}, "<think>\nadd\n</think>\n\n2"),
        ({"content": "2", "reasoning_content": "add"}, "<think>\nadd\n</think>\n\n2"),
        ({"content": None, "reasoning": "add"}, "<think>\nadd"),
        ({"content": None}, ""),
        ({"content": "2", "reasoning": None}, "2"),
    ],
)
def test_thinking_is_found_wherever_the_server_puts_it(serve, message, text):
    (made,) = all_of(serve(lambda body, before: completion(body, [message])), ask(n=1))
    assert made.text == text and made.error == ""


def test_tokens_are_as_the_server_counts_them(serve):
    usage = {
        "prompt_tokens": 50,
        "completion_tokens": 101,
        "total_tokens": 151,
        "prompt_tokens_details": {"cached_tokens": 32},
    }
    texts = [{"content": "x" * 9}, {"content": "x" * 89}]
    made = all_of(serve(lambda body, before: completion(body, texts, "length", usage)), ask(n=2))
    assert sum(g.completion_tokens for g in made) == 101 and made[1].completion_tokens == 91
    assert [g.cached_tokens for g in made] == [32, 50] and {g.finish_reason for g in made} == {"length"}
    assert share(0, [1, 1]) == [0, 0] and sum(share(7, [3, 3, 3])) == 7

    def ids(body, before):
        answer = completion(body, texts, "stop", usage)
        for choice, count in zip(answer["choices"], (100, 1), strict=True):
            choice["token_ids"] = list(range(count))
        return answer

    assert [g.completion_tokens for g in all_of(serve(ids), ask(n=2))] == [100, 1]


def test_tokens_that_the_server_does_not_tell_are_not_known(serve, tmp_path):
    silent = serve(lambda body, before: {k: v for k, v in completion(body).items() if k != "usage"})
    for made in all_of(silent, ask(n=2)):
        assert (made.prompt_tokens, made.cached_tokens, made.completion_tokens) == (None, None, None)
        assert made.text and made.error == ""
    models, options = [{"name": "a", "path": "m"}], {"base_url": silent.url}
    lab = load_profile(str(write_profile(tmp_path, models=models, engine="openai", engine_options=options)))
    prices = read_prices(lab.prices)
    pool = grade(explore(lab, "a", problems := load_problems(lab), 4), problems)
    assert pool.correct.all() and price(pool, prices).isna().all()
    assert baselines(problems, pool, prices, 4, 1).cost.isna().all()


def test_a_filtered_answer_is_a_failed_sample(serve):
    (made,) = all_of(serve(lambda body, before: completion(body, [{"content": "2"}], "content_filter")), ask(n=1))
    assert (made.finish_reason, made.error, made.text) == ("error", "ended with 'content_filter'", "2")


def test_concurrency_is_bounded(serve):
    def slow(body, before):
        time.sleep(0.05)
        return completion(body)

    server = serve(slow)
    assert len(all_of(server, *(ask(str(i), a=i) for i in range(12)), concurrency=3)) == 48
    assert server.most == 3


def test_several_servers_share_the_work_the_least_busy_first(serve):
    def slow(body, before):
        time.sleep(0.2)
        return completion(body)

    servers = [serve(slow), serve()]
    made = all_of(servers, *(ask(str(i), a=i) for i in range(30)), concurrency=2)
    assert len(made) == 120 and not any(g.error for g in made)
    assert 0 < len(servers[0].bodies) < len(servers[1].bodies)


def test_the_key_is_read_from_the_environment_and_shown_nowhere(serve, monkeypatch):
    server = serve(lambda body, before: 400, key="sk-very-secret")
    with pytest.raises(EngineError, match=r"wants a key and \$MY_KEY holds none; set it in the environment") as without:
        engine(server, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    with pytest.raises(EngineError, match=r"\$MY_KEY holds a key that it refuses") as wrong:
        engine(server, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    made = all_of(server, ask(), api_key_env="MY_KEY")
    assert all("Bearer ***" in g.error for g in made), "the server quotes it"
    for text in [str(without.value), str(wrong.value), *(g.error for g in made), repr(vars(without.value))]:
        assert "sk-" not in text
    with pytest.raises(EngineError, match="carries a secret") as url:
        OpenAIEngine("m", "http://me:sk-pass@host/v1")
    assert "sk-pass" not in str(url.value)


def test_a_wrong_address_or_model_is_one_sentence(serve):
    with pytest.raises(
        EngineError, match=r"'localhost:8000' is not an address; give one such as http://localhost:8000/v1\."
    ):
        OpenAIEngine("m", "localhost:8000")
    with pytest.raises(EngineError, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
        OpenAIEngine("m", "http://127.0.0.1:9/v1")
    with pytest.raises(EngineError, match=r"does not serve 'm'; it serves other, another\."):
        engine(serve(models=("other", "another")))
    place = serve().url.removesuffix("/v1")
    with pytest.raises(EngineError, match=rf"at {place} has its models at {place}/v1; give that as base_url\."):
        OpenAIEngine("m", place + "/")
    with pytest.raises(EngineError, match=r"engine 'openai' has no option 'api_key' .*api_key_env"):
        open_engine("openai", "m", options={"base_url": serve().url, "api_key": "sk-secret"})
    with pytest.raises(EngineError, match=r"engine 'openai' does not take these options: 'int' object is not iterable"):
        open_engine("openai", "m", options={"base_url": 5})


def test_servers_that_are_gone_end_the_run(serve, monkeypatch):
    monkeypatch.setattr("a2r.engines.remote.LOST", 3)
    server = serve(lambda body, before: "drop")
    with pytest.raises(EngineError, match="no server answers at"):
        all_of(server, *(ask(str(i), a=i) for i in range(50)), retries=0, concurrency=2)
    assert len(server.bodies) < 10


def test_requests_that_no_server_took_are_counted_in_a_row(serve, monkeypatch):
    """Every other one is dropped: more than LOST in all, never two in a row."""
    monkeypatch.setattr("a2r.engines.remote.LOST", 3)
    seen = []

    def behave(body, before):
        seen.append(body)
        return "drop" if len(seen) % 2 else completion(body)

    made = all_of(serve(behave), *(ask(str(i), a=i) for i in range(20)), retries=0, concurrency=1)
    assert sum(bool(g.error) for g in made) == 40 and len(made) == 80, "four of each request"


def test_stopping_early_leaves_nothing_running(serve):
    def slow(body, before):
        time.sleep(0.1)
        return completion(body)

    before = threading.active_count()
    server = serve(slow)
    stream = engine(server, concurrency=2).generate([ask(str(i), a=i) for i in range(40)])
    next(stream)
    stream.close()
    asked = len(server.bodies)
    time.sleep(0.3)
    assert len(server.bodies) <= asked + 2
    server.close()
    time.sleep(0.2)
    assert threading.active_count() <= before + 4  # the fake server's own threads end in their own time
    assert not [t for t in threading.enumerate() if t.name.startswith("Thread") and "_drive" in t.name]


def test_a_run_over_a_server_that_fails_now_and_then_loses_nothing(serve, tmp_path):
    """The first run has a failed problem; the second asks for it alone, and the outcome is as if nothing had
    happened."""
    sick = [True]
    server = serve(
        lambda body, before: 500 if sick[0] and "What is 2 +" in body["messages"][0]["content"] else completion(body)
    )
    models = [{"name": "a", "path": "m"}, {"name": "b", "path": "m"}]
    options = {"base_url": server.url, "retries": 0}
    lab = load_profile(str(write_profile(tmp_path, models=models, engine="openai", engine_options=options)))
    problems = load_problems(lab)
    first = grade(explore(lab, "a", problems, 4), problems)
    assert first.groupby("problem_id").correct.sum().to_dict() == {"sum-1": 4, "sum-2": 0, "sum-3": 4}
    assert set(first[first.problem_id == "sum-2"].finish_reason) == {"error"} and first.answer.isna().sum() == 4
    sick[0], asked = False, len(server.bodies)
    second = grade(explore(lab, "a", problems, 4), problems)
    assert second.correct.all() and len(server.bodies) == asked + 1
    assert len(Store(lab.store_path).read()) == 12

    with pytest.raises(
        UserError, match=r"lacks 4 samples of a as explorer, the first of them sample 4 of problem 'sum-1'; import them"
    ):
        explore(lab.with_(engine="replay", n_problems=1), "a", problems[:1], 8)
    assert explore(lab.with_(engine="replay"), "a", problems, 4).equals(second.drop(columns=["answer", "correct"]))
