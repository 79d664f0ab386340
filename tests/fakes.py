"""A stand-in for a language model, shared by the tests and by the processes that they start and kill."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import yaml

from a2r.engines import Generation, Request


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
        a, b = map(int, re.search(r"What is (\d+) \+ (\d+)\?", request.messages[0]["content"]).groups())
        answer = a + b + (seed % 3 == 0) * (1 + seed % 2)
        text = f"<think>\nsample {index} of {request.key[:8]}, seed {seed}\n</think>\n\n{a}+{b}={answer}\n\\boxed{{{answer}}}"
        return Generation(request.key, index, text, "stop", prompt, prompt // 2, len(text), 0.01 * (1 + index))

    def close(self) -> None:
        self.closed += 1


def write_profile(folder: Path, **changes) -> Path:
    """A profile over three small problems in `folder`, its store and figures in there too; `changes` replace its keys."""
    problems = folder / "sums.jsonl"
    problems.write_text(
        "".join(f'{{"problem_id": "sum-{i}", "question": "What is {i} + {7 * i}?", "answer": "{8 * i}"}}\n' for i in (1, 2, 3))
    )
    (folder / "prices.csv").write_text(
        "model,input,cached_input,output,currency,source,date\n" + "".join(f"{name},1,0.5,2,USD,made up,2026-01-01\n" for name in "ab")
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
