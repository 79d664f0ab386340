"""A stand-in for a language model, shared by the tests and by the processes that they start and kill."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import yaml

from a2r.engines import Generation, LogProbs, Request
from a2r.outcomes import baselines, synthesized
from a2r.profiles import Profile, load_profile


class FakeEngine:
    """Solves "What is A + B?" at once: right or wrong by the seed, always the same for the same (key, index, seed).

    `fails` is raised after `after` samples; `errors(request, index)` says which samples fail with a text;
    `pause` is slept before each sample; `log` gets a line for each sample that was handed over.
    `requests` collects what was asked, `opened` and `closed` count.
    """

    name, version = "fake", "1"

    def __init__(
        self,
        after: int | None = None,
        fails: BaseException | None = None,
        errors: Callable[[Request, int], str] = lambda request, index: "",
        pause: float = 0.0,
        log: Path | None = None,
    ):
        self.after, self.fails, self.errors, self.pause, self.log = after, fails, errors, pause, log
        self.requests: list[Request] = []
        self.opened = self.closed = 0

    @property
    def asked(self) -> list[tuple[str, int]]:
        """(key, index) of every sample that was asked for."""
        return [(request.key, index) for request in self.requests for index in request.indices]

    def generate(self, requests: Iterable[Request]) -> Iterator[Generation]:
        requests = list(requests)
        self.requests += requests
        given = 0
        for request in requests:
            for index, seed in zip(request.indices, request.seeds, strict=True):
                if given == self.after:
                    raise self.fails
                time.sleep(self.pause)
                yield self.sample(request, index, seed)
                given += 1
                if self.log is not None:
                    with self.log.open("a") as log:
                        log.write(f"{request.key} {index}\n")

    def sample(self, request: Request, index: int, seed: int) -> Generation:
        prompt = len(request.messages[0]["content"])
        if error := self.errors(request, index):
            return Generation(request.key, index, "", "error", prompt, 0, 0, 0.0, error)
        a, b = map(
            int, re.search(r"What is (\d+) \+ (\d+)\?", "\n".join(m["content"] for m in request.messages)).groups()
        )
        answer = a + b + (seed % 3 == 0) * (1 + seed % 2)
        text = (
            f"<think>\nsample {index} of {request.key[:8]}, seed "
            f"{seed}\n</think>\n\n{a}+{b}={answer}\n\\boxed{{{answer}}}"
        )
        sure = LogProbs(-(seed % 101) / 100, -(seed % 103) / 100, -1.5)
        return Generation(
            request.key, index, text, "stop", prompt, prompt // 2, len(text), 0.01 * (1 + index), logprobs=sure
        )

    def close(self) -> None:
        self.closed += 1


class Scripted(FakeEngine):
    """Writes as FakeEngine does; asked to choose or to judge it answers what `says(question, references, index)` says.

    Of a text to be scored it finds each number's mean to be its length.
    """

    def __init__(self, says: Callable[[str, list[str], int], str] = lambda *_: "1"):
        super().__init__()
        self.says = says

    def sample(self, request: Request, index: int, seed: int):
        made, content = super().sample(request, index, seed), request.messages[0]["content"]
        if "Put its number" not in content and "Put yes or no" not in content:
            return made
        references = re.findall(r"Reference \d+:\n(?:.*\n)?\\boxed\{(\d+)\}", content)
        return replace(made, text=f"<think>\n</think>\n\n\\boxed{{{self.says(content, references, index)}}}")

    def score(self, requests):
        self.requests += (requests := list(requests))
        for request in requests:
            made, n = super().sample(request, request.indices[0], request.seeds[0]), float(len(request.scored))
            tokens = {"prompt_tokens": 100, "cached_tokens": 0, "completion_tokens": 0}
            yield replace(made, text="", logprobs=LogProbs(-n, -2 * n, -3 * n), **tokens)


def gold(question: str) -> str:
    a, b = map(int, re.search(r"What is (\d+) \+ (\d+)\?", question).groups())
    return str(a + b)


def knowing(question: str, references: list[str], index: int) -> str:
    """Names the first right reference; of a single one says whether it is right."""
    right = [reference == gold(question) for reference in references]
    if "Is it right?" in question:
        return "yes" if right[0] else "no"
    return str(right.index(True) + 1) if any(right) else "0"


def write_profile(folder: Path, **changes) -> Path:
    """A profile over three small problems in `folder`, its store and figures in there too; `changes` replace its
    keys."""
    problems = folder / "sums.jsonl"
    problems.write_text(
        "".join(
            f'{{"problem_id": "sum-{i}", "question": "What is {i} + {7 * i}?", "answer": "{8 * i}"}}\n'
            for i in (1, 2, 3)
        )
    )
    (folder / "prices.csv").write_text(
        "model,input,cached_input,output,currency,source,date\n"
        + "".join(f"{name},1,0.5,2,USD,made up,2026-01-01\n" for name in "ab")
    )
    keys = {
        "models": [{"name": "a", "path": "made/up-a"}, {"name": "b", "path": "made/up-b", "revision": "r1"}],
        "benchmarks": [{"name": "sums", "path": str(problems), "integer_answers": True}],
        "n_paths": 4,
        "n_sets": 2,
        "store": str(folder / "store"),
        "figures": str(folder / "figures"),
        "prices": str(folder / "prices.csv"),
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**keys, **changes}))
    return path


def outcomes(problems, pool, prices, syntheses=None, n_paths: int = 4, n_sets: int = 2) -> pd.DataFrame:
    """All methods on the same sets of one pair of models."""
    base = baselines(problems, pool, prices, n_paths, n_sets)
    more = [] if syntheses is None else [synthesized(base, prices, syntheses, n_paths, n_sets)]
    return pd.concat([base, *more], ignore_index=True)


def small_profile(folder: Path, **changes) -> Profile:
    """`write_profile`, loaded."""
    return load_profile(str(write_profile(folder, **changes)))


class FakeServer:
    """An OpenAI-compatible server in a thread that answers as it is told.

    `behave(request body, how many requests came before with these messages)` returns what to do: a dict as the
    answer's body, an int as an HTTP status, "drop" to close the connection, "hang" to keep it, "garbage" for a body
    that is no completion. Without one it completes. `bodies` has every completion request, `most` the highest number at
    once.
    """

    def __init__(self, behave=None, models=("m",), key: str | None = None):
        self.behave, self.models, self.key = behave or (lambda body, before: completion(body)), models, key
        self.bodies: list[dict] = []
        self.busy = self.most = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status: int, body) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def refused(self) -> bool:
                sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
                if outer.key is None or sent == outer.key:
                    return False
                self.reply(401, {"error": {"message": f"Incorrect API key provided: {sent}"}})
                return True

            def do_GET(self):
                if self.path != "/v1/models":
                    self.reply(404, {"error": {"message": f"there is no {self.path}"}})
                elif not self.refused():
                    self.reply(
                        200,
                        {
                            "object": "list",
                            "data": [{"id": m, "object": "model", "owned_by": "fake"} for m in outer.models],
                        },
                    )

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.refused():
                    return
                with outer.lock:
                    before = sum(b["messages"] == body["messages"] for b in outer.bodies)
                    outer.bodies.append(body)
                    outer.busy += 1
                    outer.most = max(outer.most, outer.busy)
                try:
                    self.act(outer.behave(body, before))
                finally:
                    with outer.lock:
                        outer.busy -= 1

            def act(self, what) -> None:
                if what == "drop":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                elif what == "hang":
                    time.sleep(2)
                    self.close_connection = True
                elif what == "garbage":
                    self.reply(200, b'{"choices": 7}')
                elif isinstance(what, int):
                    self.reply(
                        what, {"error": {"message": f"status {what}, asked with {self.headers.get('Authorization')}"}}
                    )
                elif "error" in what:
                    self.reply(400, what)
                else:
                    self.reply(200, what)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def completion(body: dict, messages: list[dict] | None = None, reason: str = "stop", usage: dict | None = None) -> dict:
    """A completion of `body["n"]` choices: `messages`, or right answers to "What is A + B?"."""
    if messages is None:
        a, b = map(int, re.search(r"What is (\d+) \+ (\d+)\?", body["messages"][0]["content"]).groups())
        right = f"<think>\nadd\n</think>\n\n\\boxed{{{a + b}}}"
        messages = [{"content": right}] * body.get("n", 1)
    choices = [
        {"index": k, "finish_reason": reason, "message": {"role": "assistant", **m}} for k, m in enumerate(messages)
    ]
    usage = usage or {
        "prompt_tokens": 10,
        "completion_tokens": 30 * len(choices),
        "total_tokens": 10 + 30 * len(choices),
    }
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": choices,
        "usage": usage,
    }
