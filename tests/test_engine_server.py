"""The life of a managed server: it is waited for, and it ends, in whatever way the process that started it ends.

A small HTTP server that starts a child of its own stands in for vLLM, so that this runs everywhere and in seconds.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from a2r.engines import EngineError, Request, Sampling, vllm

ROOT = Path(__file__).parents[1]
# What stands in for vLLM: arguments are the port, seconds before it is healthy, and what to do ("serve", "crash",
# "ignore" signals).
STUB = """
import http.server, signal, subprocess, sys, time
port, delay, kind = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if kind == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("loading", flush=True)
time.sleep(delay)
if kind == "crash":
    print("the last words", flush=True)
    sys.exit(3)
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""


@pytest.fixture(autouse=True)
def stub(monkeypatch, tmp_path):
    """`vllm.start("serve")` starts the stand-in."""

    def command(model, port, revision, options):
        return [sys.executable, "-c", STUB, str(port), str(options.get("delay", 0)), model]

    monkeypatch.setattr(vllm, "command", command)
    monkeypatch.setattr(vllm, "LOGS", tmp_path)
    monkeypatch.setattr(vllm, "installed", lambda: "a stand-in")
    yield
    vllm.stop()


def alive(group: int) -> list[int]:
    """Processes of a process group that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def gone(group: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(group)


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt, RuntimeError])
def test_a_server_ends_with_its_block(failure):
    try:
        with vllm.start("serve") as server:
            assert len(alive(server.process.pid)) == 3, "the supervisor, the server and the server's child"
            if failure:
                raise failure
    except (KeyboardInterrupt, RuntimeError):
        pass
    assert not alive(server.process.pid)


def test_a_server_that_does_not_listen_is_killed():
    with vllm.start("ignore") as server:
        group = server.process.pid
        started = time.monotonic()
    assert not alive(group) and time.monotonic() - started < 20


def test_a_server_has_ended_when_the_last_of_its_processes_has(monkeypatch):
    process = subprocess.Popen(["sh", "-c", "sleep 600 &"], start_new_session=True)
    process.wait()
    assert alive(process.pid)
    kill = os.killpg

    def late(group: int, number: int) -> None:  # as on a machine that is busy
        threading.Timer(0.3, kill, (group, number)).start() if number else kill(group, number)

    monkeypatch.setattr(os, "killpg", late)
    vllm.Server("", process, Path()).stop()
    assert not alive(process.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_server_ends_with_whoever_started_it(number, tmp_path):
    """As when a notebook's kernel is killed: nobody is left to clean up."""
    script = (
        "import signal, sys, time; from a2r.engines import vllm\n"
        # a job in the background inherits that it is ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"vllm.command = lambda model, port, *_: [sys.executable, '-c', {STUB!r}, str(port), '0', model]\n"
        "vllm.installed = lambda: 'a stand-in'\n"
        f"server = vllm.start('serve', logs={str(tmp_path)!r})\n"
        "print(server.process.pid, flush=True); time.sleep(600)"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    group = int(kernel.stdout.readline())
    assert len(alive(group)) == 3
    kernel.send_signal(number)
    kernel.wait(30)
    assert gone(group, 30)


def test_a_server_that_ends_while_starting_shows_its_last_lines():
    with pytest.raises(
        EngineError, match=r"the vLLM server ended while starting; its log .*\.log ends with:\nloading\nthe last words$"
    ):
        vllm.start("crash", delay=0.2)


def test_a_server_that_is_never_ready_is_ended():
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    with pytest.raises(EngineError, match=r"was not ready after 1 s; its log .*\.log ends with:\nloading$"):
        vllm.start("serve", start_timeout=1, delay=60)
    time.sleep(0.2)
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


def test_one_server_runs_at_a_time_and_is_kept_for_the_same_model():
    first = vllm.running("serve", None, {})
    assert vllm.running("serve", None, {}) is first
    second = vllm.running("serve", "another revision", {})
    assert second is not first and not alive(first.process.pid) and alive(second.process.pid)
    os.killpg(second.process.pid, signal.SIGKILL)
    second.process.wait()
    third = vllm.running("serve", "another revision", {})
    assert third is not second, "one that died is replaced"
    vllm.stop()
    assert not alive(third.process.pid)


def test_without_vllm_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(vllm, "installed", lambda: None)
    with pytest.raises(EngineError, match="vLLM is not installed; install it with"):
        vllm.start("serve")


def test_a_text_is_scored_by_the_prompt_s_log_probabilities(monkeypatch):
    """The prompt and the text are tokenized by the server, sent as one prompt, and the text's own numbers are taken."""
    asked = []

    def answer(self, path: str, body: dict) -> dict:
        asked.append((path, body))
        if path == "/tokenize":
            return {"tokens": [1, 2, 3]} if "messages" in body else {"tokens": [7, 8]}
        told = [None, *({str(t): {"logprob": -t / 10}, "99": {"logprob": 0.0}} for t in body["prompt"][1:])]
        return {"choices": [{"text": "x", "prompt_logprobs": told}]}

    monkeypatch.setattr(vllm.VLLMEngine, "_post", answer)
    engine = object.__new__(vllm.VLLMEngine)
    engine.concurrency = 2
    request = Request(
        "p", ({"role": "user", "content": "?"},), Sampling(), (0,), (0,), {"thinking": True}, "seven eight"
    )
    (one,) = engine.score([request])
    assert one.logprobs == pytest.approx((-0.75, -0.75, -0.75)) and (one.prompt_tokens, one.completion_tokens) == (5, 0)
    assert asked[0][1]["chat_template_kwargs"] == {"thinking": True} and asked[0][1]["add_generation_prompt"] is True
    assert asked[1][1] == {"prompt": "seven eight", "add_special_tokens": False}
    assert asked[2] == ("/v1/completions", {"prompt": [1, 2, 3, 7, 8], "max_tokens": 1, "prompt_logprobs": 0})
    monkeypatch.setattr(vllm.VLLMEngine, "_post", lambda *_: {"choices": []})
    (failed,) = engine.score([request])
    assert failed.error.startswith("KeyError") and failed.logprobs is None
