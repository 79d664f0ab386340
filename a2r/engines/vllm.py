"""The `vllm` engine: a vLLM server of our own for one model, asked like any other (engine `openai`).

One server runs at a time. It is kept for the next call with the same model, and always ended: by a call
with another model, by `stop()`, and when this process ends, in whatever way (see supervisor).
"""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from a2r.engines import EngineError, Generation, Request, installed, log_probs, on_cpu
from a2r.engines.remote import OpenAIEngine

NAME = "model"  # what a server of ours calls the model, whatever folder it is in
LOG_LINES = 15
LAST_WAIT = 10.0  # seconds for killed processes to end
SUPERVISOR = Path(__file__).with_name("supervisor.py")
LOGS = Path(__file__).resolve().parents[2] / "runs" / "logs"


@dataclass
class Server:
    """A running server: where it answers, its process (the supervisor's), its log."""

    url: str
    process: subprocess.Popen
    log: Path

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """End the whole process group and wait until all of it is gone, as its memory is free only then."""
        if self.process.poll() is None:
            with suppress(OSError):
                self.process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        deadline = time.monotonic() + LAST_WAIT
        with suppress(ProcessLookupError, PermissionError):  # nobody is left
            while time.monotonic() < deadline:  # or some are dead but never reaped, as in a container without an init
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)


def command(model: str, port: int, revision: str | None, options: dict) -> list[str]:
    """The command line of a server; `options` are vLLM's engine arguments by name, as `tensor_parallel_size` or
    `max_model_len`."""
    # the `vllm` command looks for a package of that name, which the CPU build is not
    own = ["vllm", "serve", model] if shutil.which("vllm") and not on_cpu() else None
    start = own or [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    given = {"enable_prefix_caching": True, "enable_prompt_tokens_details": True, "revision": revision, **options}
    arguments = []
    for key, value in given.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            arguments += [f"--{name}", str(value)]
    return [*start, "--host", "127.0.0.1", "--port", str(port), "--served-model-name", NAME, *arguments]


def start(
    model: str, revision: str | None = None, start_timeout: float = 1800.0, logs: str | Path | None = None, **options
) -> Server:
    """Start a server on a free port and wait until it is healthy, at most `start_timeout` seconds.

    Its log goes to the folder `logs` (default: runs/logs of the repository). Use it as a context manager to have it
    ended. EngineError with the last lines of its log where it ends or is not ready in time.
    """
    if not installed():
        raise EngineError(
            "vLLM is not installed; install it with `pip install 'a2r[vllm]'`, or use the engine 'transformers'."
        )
    if on_cpu():
        # seeds with chunked prefill crash in the CPU build; without it a batch must hold the longest prompt
        options = {"enable_chunked_prefill": False, "dtype": "float32", "max_num_batched_tokens": 32768, **options}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = Path(logs or LOGS) / f"vllm-{Path(model).name}-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", **os.environ}
    supervised = [sys.executable, str(SUPERVISOR), *command(model, port, revision, options)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            supervised, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{port}/v1", process, log)
    try:
        wait(server, f"http://127.0.0.1:{port}/health", start_timeout, f"vLLM loads {Path(model).name}")
    except BaseException:
        server.stop()
        raise
    return server


def wait(server: Server, health: str, limit: float, label: str) -> None:
    """Return when the server is healthy; EngineError if it ends before, or after `limit` seconds."""
    started = time.monotonic()
    with tqdm(desc=label, bar_format="{desc}: {elapsed}", mininterval=1) as line:
        while True:
            if server.process.poll() is not None:
                raise EngineError(
                    f"the vLLM server ended while starting; its log {server.log} ends with:\n{tail(server.log)}"
                )
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(health, timeout=5):
                return
            if time.monotonic() - started > limit:
                raise EngineError(
                    f"the vLLM server was not ready after {limit:.0f} s; "
                    f"its log {server.log} ends with:\n{tail(server.log)}"
                )
            line.update()
            time.sleep(0.5)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


_RUNNING: dict[str, Server] = {}  # at most one, by what it was started with


def running(model: str, revision: str | None, options: dict) -> Server:
    """The server for `model`: the one that runs, if it is that model's, else a new one in its place."""
    key = repr((model, revision, sorted(options.items(), key=str)))
    server = _RUNNING.get(key)
    if server is None or server.process.poll() is not None:
        stop()
        server = _RUNNING[key] = start(model, revision, **options)
    return server


@atexit.register
def stop() -> None:
    """End the server that is kept, if any, and free its memory."""
    while _RUNNING:
        _RUNNING.popitem()[1].stop()


class VLLMEngine(OpenAIEngine):
    """Engine `openai` on a managed server. `server` are vLLM's engine arguments and what else `start` takes."""

    name = "vllm"

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        server: dict | None = None,
        concurrency: int = 64,
        timeout: float = 3600.0,
    ):
        url = running(model, revision, server or {}).url
        # token ids tell how many tokens each of n choices has
        super().__init__(
            NAME, url, "A2R_NO_KEY", concurrency, timeout, retries=2, extra_body={"return_token_ids": True}
        )
        self.version, self.root = installed() or "vllm", url.removesuffix("/v1")

    def score(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """See `Engine.score`: vLLM tells the log-probabilities of a prompt's tokens. In the order of the requests."""
        with ThreadPoolExecutor(self.concurrency) as workers:
            yield from workers.map(self._score, requests)

    def _score(self, request: Request) -> Generation:
        started, ids = time.perf_counter(), []
        prompt = {
            "messages": list(request.messages),
            "add_generation_prompt": True,
            "chat_template_kwargs": request.template,
        }
        try:
            for asked in (prompt, {"prompt": request.scored, "add_special_tokens": False}):
                ids.append(self._post("/tokenize", asked)["tokens"])
            asked = {"prompt": [*ids[0], *ids[1]], "max_tokens": 1, "prompt_logprobs": 0}
            given = self._post("/v1/completions", asked)["choices"][0]["prompt_logprobs"]
            sure = log_probs(
                [place[str(id_)]["logprob"] for place, id_ in zip(given[len(ids[0]) :], ids[1], strict=True)]
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = f"{type(error).__name__} {error}"[:500]
            return Generation(
                request.key, request.indices[0], "", "error", 0, 0, 0, time.perf_counter() - started, said
            )
        seconds = time.perf_counter() - started
        return Generation(
            request.key, request.indices[0], "", "stop", len(ids[0]) + len(ids[1]), 0, 0, seconds, logprobs=sure
        )

    def _post(self, path: str, body: dict) -> dict:
        asked = urllib.request.Request(
            self.root + path, json.dumps({"model": NAME, **body}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=self.timeout) as answer:
            return json.load(answer)
