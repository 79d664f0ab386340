r"""From a model's raw output to an answer, and from two answers to a verdict.

    raw text --answer_component--> text after the thinking --extract--> answer --canonical--> key that votes

Two answers are the same when their keys are (integers, text, equal formulas: microseconds), else when math-verify
finds them equal. math-verify is only ever run in a worker process of our own: its time limit is a SIGALRM, which
works in main threads alone, and sympy can hang inside one long C call that no signal reaches.
"""

import faulthandler
import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

log = logging.getLogger(__name__)

LIMIT = 0.6  # seconds per comparison, after which the worker gives up by itself
KILL = 0.95  # seconds after which it is killed: it hung where no signal reaches
ROOT = os.path.dirname(os.path.dirname(__file__))  # where the worker finds this package, wherever it is started from
LONGEST = 300  # characters; a longer answer is compared as text


def answer_component(text: str) -> str:
    """What a model says after thinking: the text after the last `</think>`, stripped.

    The opening mark may be missing. Without any mark the whole text is the component (samples of a model whose prompt
    opens the thinking are stored with the mark, see `profiles.Model.opened`). Thinking that was never closed leaves "".
    """
    after = text.rpartition("</think>")[2]
    return "" if "<think>" in after else after.strip()


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"(\\{1,2}(?:boxed|fbox)\s*\{)|\\.|[{}]", re.DOTALL)
_SAID = re.compile(r"\banswer[*_\s]*(?:is|are|:|=)[*_:\s]*", re.IGNORECASE)
_STATEMENT_END = re.compile(r"\n|\.\s|\.?\Z")
_YES_NO = {"yes", "no", "true", "false"}


def extract(text: str) -> str | None:
    r"""The final answer of a raw output: the last \boxed{} (or \fbox{}) of its answer component, without the box.

    Without a box, a plain statement ("the final answer is 12.", "Answer: (B)") counts; prose does not. None if there is
    no answer: no statement, an empty box, a last box that is cut off, or thinking that never ended. Linear in the
    length.
    """
    component = answer_component(text)
    box = _last_box(component)
    answer = _last_statement(component) if box is None else box.strip()
    return answer if answer and canonical(answer) else None


def _last_box(text: str) -> str | None:
    """Content of the last outermost box, "" if that box never closes, None if there is no box. One pass over the
    braces."""
    first = _BOX.search(text)
    if first is None:
        return None
    open_braces: list[int] = []  # where a box's content starts; -1 for any other brace
    content, end = "", -1
    for mark in _BRACE.finditer(text, first.start()):
        if mark[0] == "{":
            open_braces.append(-1)
        elif mark[0] == "}":
            start = open_braces.pop() if open_braces else -1
            if start >= 0:
                content, end = text[start : mark.start()], mark.end()
        elif mark[1]:
            open_braces.append(mark.end())
    return "" if max(open_braces, default=-1) > end else content


def _last_statement(text: str) -> str | None:
    """X of the last "answer is X" or "answer: X", if X is visibly an answer: one number (with a unit), formula, option
    or yes/no."""
    said = deque(_SAID.finditer(text), maxlen=1)
    if not said:
        return None
    stated = text[said[0].end() : said[0].end() + LONGEST]
    stated = stated[: _STATEMENT_END.search(stated).start()].strip(" *_`")
    if re.fullmatch(r"\$[^$]+\$|\\\([^$]+\\\)|\(?[A-Z]\)?", stated) or stated.lower() in _YES_NO:
        return stated
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", re.sub(_TEXT, "", stated))
    plain = re.search(r"\d|\\[a-z]", stated) and not re.search(r"[:;?!]\s|,\s(?![^()]*\))", stated)
    return stated if plain and (not words or (len(words) == 1 and stated.endswith(words[0]))) else None


_TEXT = r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathit|mbox)\s*\{([^{}]*)\}"
_WRAPPED = re.compile(r"\$+([^$]*)\$+|\\\((.*)\\\)|\\\[(.*)\\\]|\\boxed\s*\{(.*)\}|" + _TEXT, re.DOTALL)
_SPELLINGS = [  # LaTeX that carries no meaning, and characters that LaTeX has a name for
    (re.compile(r"\\(?:left|right|displaystyle|limits|[bB]ig+[lr]?)(?![A-Za-z])|\\!"), ""),
    (re.compile(r"\\[dtc]frac(?![a-z])"), r"\\frac"),
    (re.compile(r"(?<!\\)\\(?:q?quad(?![a-z])|[,;:\s])|~"), " "),  # not after a backslash: "\\ " ends a matrix row
    (re.compile(r"(?<=[\d)}]) ?(?:\\text ?\{ ?(?:and|or) ?\}|\b(?:and|or)\b) ?(?=[-\d(\\])"), ", "),
    (re.compile(r"\{,\}"), ","),
    (re.compile("[\u2010-\u2013\u2212]"), "-"),
    (re.compile(r"\\leq(?![a-z])|\u2264"), r"\\le "),
    (re.compile(r"\\geq(?![a-z])|\u2265"), r"\\ge "),
    (re.compile("\u03c0|(?<![A-Za-z\\\\])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile("\u221e"), r"\\infty "),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"(\d) (\d+)/(\d+)"), r"\1\\frac{\2}{\3}"),
    (re.compile("(?:\\\\sqrt|\u221a)\\s*(\\d)"), r"\\sqrt{\1}"),
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-z])|\u00b0"), " degrees"),
]
_GROUPED = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)(?![0-9,])")
_INTEGER = re.compile(r"(?:[A-Za-z]{1,3} ?= ?)?\\?\$? ?([+-]?) ?([0-9]+)(?:\.0*)?(.*)", re.DOTALL)
_UNIT = re.compile(r" ?(?:\\?%|[ckm]m|kg|m[lL]|km/h|m/s|min)(?: ?\^?\{?[23]\}?)?| [A-Za-z]{3,}(?:[ /.-]+[A-Za-z]+)*\.?")
_NO_UNIT = re.compile(
    r"\b(?:and|or|to|over|mod|[ap]\.?m|sqrt|sin|cos|tan|log|exp|(?:hundred|thousand|[mbtr]+illion|dozen)s?)\b"
)
_NAME = re.compile(r"(?:sqrt|sin|cos|tan|cot|sec|csc|log|exp|inf|infinity|max|min|gcd|lcm)(?![A-Za-z])")


@lru_cache(maxsize=1 << 17)
def canonical(answer: str) -> str:
    r"""The key under which an answer votes: equal keys mean equal answers; "" if nothing is left. Idempotent.

    Integers lose leading zeros, thousands separators, a trailing ".0", "x =" and a unit, percent or degree sign
    (dropped, never converted); text loses case and wrapping; formulas lose spacing and equivalent LaTeX spellings.
    """
    key = " ".join(answer.split())
    for _ in range(LONGEST if len(key) <= LONGEST else 0):
        key, before = _simpler(key), key
        if key == before:
            break
    return key


def _simpler(key: str) -> str:
    """One round of simplification, repeated until nothing changes."""
    key = key.strip("*` ").rstrip(".;, ")
    if (wrapped := _WRAPPED.fullmatch(key)) is not None:
        return next(inner for inner in wrapped.groups() if inner is not None)
    for pattern, spelling in _SPELLINGS:
        key = pattern.sub(spelling, key)
    key = " ".join(key.split())
    plain = " ".join(re.sub(_TEXT, r" \1 ", key).split())
    if (integer := _as_integer(plain)) is not None:
        return integer
    option = re.fullmatch(r"\(([A-Za-z])\)|([A-Z])[).:]|\(([A-Z])\) [^*/^=+-].*", plain)
    if option:  # (B), B), or (B) with its text
        return next(letter for letter in option.groups() if letter).upper()
    if _is_text(plain):
        return plain.casefold()
    return re.sub(
        r"(?<=[0-9]) (?=[0-9])|(?<=,) (?=[0-9]{3}(?![0-9]))|(\\[A-Za-z]+) (?=[A-Za-z])|( )",
        lambda gap: "" if gap[2] else gap[0],
        key,
    )


def _as_integer(key: str) -> str | None:
    """The integer that an answer is, as a key; None if it is none."""
    if re.fullmatch(r"\([^,]*\)|\{[^,]*\}", key):
        key = key[1:-1].strip()
    found = _INTEGER.fullmatch(_GROUPED.sub(lambda number: re.sub("[, ]", "", number[0]), key))
    if found is None or (found[3] and (not _UNIT.fullmatch(found[3]) or _NO_UNIT.search(found[3].lower()))):
        return None
    return str(int(found[1] + found[2]))


def _is_text(key: str) -> bool:
    """Whether an answer is words: no formula signs, and letters in a row that are not the name of a function."""
    return key.casefold() in _YES_NO or (
        not re.search(r"[\\^_+*=<>|]", key) and bool(re.search(r"[^\W\d_]{3,}", _NAME.sub(" ", key)))
    )


@lru_cache(maxsize=1 << 18)
def equivalent(gold: str | int, prediction: str | int | None) -> bool:
    """Whether a prediction says the same as the gold answer. False for None, and where no verdict comes in time
    (logged).

    Integers are compared exactly and text by its key; only other formulas reach math-verify, gold first, for less than
    a second each (starting its worker takes one or two more, once). No text makes it raise; RuntimeError if math-verify
    does not start at all. Results are cached.
    """
    if prediction is None:
        return False
    gold, prediction = canonical(str(gold)), canonical(str(prediction))
    if gold == prediction:
        return gold != ""
    if not gold or not prediction or max(len(gold), len(prediction)) > LONGEST:
        return False
    if _is_text(gold) or _is_text(prediction) or (is_integer(gold) and is_integer(prediction)):
        return False
    return prediction.count("{") == prediction.count("}") and _math_equal(gold, prediction)


def is_integer(key: str) -> bool:
    """Whether a canonical key is an integer, so that another integer key is another number."""
    return key.removeprefix("-").isdecimal() and key.isascii()


@lru_cache(maxsize=1)
def version() -> str:
    """What a verdict depends on besides the two answers: this file and math-verify."""
    return hashlib.sha256(Path(__file__).read_bytes() + metadata.version("math-verify").encode()).hexdigest()[:12]


_undecided: set[tuple[str, str]] = set()  # keys


def decided(gold: str, prediction: str | None) -> bool:
    """Whether `equivalent` had a verdict on the two; if not, a less busy machine may have one."""
    return not _undecided or prediction is None or (canonical(gold), canonical(prediction)) not in _undecided


@lru_cache(maxsize=1 << 17)
def _math_equal(gold: str, prediction: str) -> bool:
    reply = _worker.ask(gold, prediction)
    if reply not in ("true", "false"):
        _undecided.add((gold, prediction))
        said = "Comparing %r with %r gave no verdict (%s); it counts as different."
        log.warning(said, gold, prediction, reply or "no reply in time")
    return reply == "true"


class _Worker:
    """One process that compares formulas; killed when it overruns, started again by the next question.

    A plain subprocess, not multiprocessing: that would re-run the caller's main script, and cannot find it in a
    notebook. Blocking reads and a timer that kills: no signals, so that any thread may ask.
    """

    def __init__(self):
        self.lock, self.process = threading.Lock(), None

    def ask(self, gold: str, prediction: str) -> str:
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                code = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import a2r.answers as a; a._serve()"
                places = json.dumps([os.path.abspath(place) for place in (*sys.path, ROOT)])
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
                command = [sys.executable, "-c", code, places]
                # Ctrl-C is not for the worker
                self.process = subprocess.Popen(command, start_new_session=True, text=True, **pipes)
                if self._exchange("", 60) != "ready":
                    raise RuntimeError(
                        "The process that runs math-verify did not start; check that `import math_verify` works here."
                    )
            return self._exchange(json.dumps([gold, prediction]) + "\n", KILL)

    def _exchange(self, line: str, limit: float) -> str:
        """Send a line, return the reply; "" if the worker ran into the limit or died."""
        process, reply = self.process, ""
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            with suppress(OSError):
                process.stdin.write(line)
                process.stdin.flush()
                reply = process.stdout.readline().strip()
        finally:
            timer.cancel()
            if not reply:  # also when interrupted: a reply still under way must not meet the next question
                self.process = None
                process.kill()
                with suppress(OSError):
                    process.communicate()
        return reply


_worker = _Worker()
if hasattr(os, "register_at_fork"):  # a forked child must not talk into its parent's pipes
    os.register_at_fork(after_in_child=_worker.__init__)


class _Overrun(BaseException):
    """Not an Exception: sympy and math-verify catch those."""


def _overrun(*_) -> None:
    raise _Overrun


def _serve() -> None:
    """The worker: JSON pairs in, `true`, `false` or a reason out, one line each, until the input closes."""
    logging.disable(logging.CRITICAL)
    replies, sys.stdout = sys.stdout, sys.stderr
    timed = hasattr(signal, "setitimer")  # not on Windows: there the kill alone limits
    if timed:
        signal.signal(signal.SIGALRM, _overrun)
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))  # 4 GiB: a tower of powers ends as MemoryError
    for pair in ((r"\frac{1}{2}", "0.5"), (r"2\sqrt{2}", r"\sqrt{8}"), ("(0,1]", r"[0,\infty)"), (r"\{1,2\}", "x+1")):
        _verify(*pair)  # loads what math-verify loads late
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        faulthandler.dump_traceback_later(5, exit=True)  # should the parent be gone, do not compute for ever
        try:
            try:
                if timed:
                    signal.setitimer(signal.ITIMER_REAL, LIMIT, 0.05)
                reply = json.dumps(_verify(*json.loads(line)))
            finally:
                if timed:
                    signal.setitimer(signal.ITIMER_REAL, 0)
        except (Exception, _Overrun) as error:
            reply = "time limit" if isinstance(error, _Overrun) else type(error).__name__
        faulthandler.cancel_dump_traceback_later()
        print(reply, file=replies, flush=True)


def _verify(gold: str, prediction: str) -> bool:
    from math_verify import parse, verify  # imported in the worker alone

    gold_parsed, parsed = (parse(f"${key}$", parsing_timeout=None) for key in (gold, prediction))
    return bool(gold_parsed and parsed and verify(gold_parsed, parsed, timeout_seconds=None))
