"""Problems for the embedded family: three domains, one checkable integer answer each.

*math* follows a three-digit counter, *code* traces a short Python program, *logic* finds the one
badge that fits every clue. All are worked in steps whose equations read the same in every path
("347*6=082", "347>290=yes"), so that two paths can be compared step by step. What makes them hard for
a small model is that each equation has to be computed in one go: its errors are slips (a carry, a
comparison) and differ from sample to sample, as they do in large models.

A problem belongs to a split by a hash of its *content* (the numbers and operations, not the wording),
so training, development and evaluation problems cannot overlap, however many are drawn.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

DOMAINS = ("math", "code", "logic")
# Share of the content-hash space (of 100) that each split owns.
SPLITS = {"train": range(0, 80), "rl": range(80, 90), "dev": range(90, 95), "test": range(95, 100)}


@dataclass(frozen=True)
class Problem:
    """One generated problem with its worked solution.

    `thinking` and `component` are the two parts of a full output; `level` is the number of events,
    lines or clues; `content` is the canonical form whose hash decides the split.
    """

    domain: str
    level: int
    question: str
    answer: str
    thinking: str
    component: str
    content: str

    @property
    def problem_id(self) -> str:
        return f"{self.domain}-{self.level}-{hashlib.sha256(self.content.encode()).hexdigest()[:10]}"


def split_of(content: str) -> str:
    """The split that owns `content` (a canonical problem form)."""
    bucket = int(hashlib.sha256(content.encode()).hexdigest(), 16) % 100
    return next(name for name, owned in SPLITS.items() if bucket in owned)


def generate(domain: str, level: int, split: str, rng: random.Random) -> Problem:
    """Draw one problem of `domain` at `level` that belongs to `split`."""
    make = {"math": counter, "code": program, "logic": badges}[domain]
    while True:
        problem = make(level, rng)
        if problem is not None and split_of(problem.content) == split:
            return problem


LEVELS = {"math": range(3, 9), "code": range(2, 5), "logic": range(2, 5)}


def draw(split: str, rng: random.Random, weights: dict[str, float] | None = None) -> Problem:
    """Draw one problem of `split`, domain by `weights` (default: math alone), level uniformly."""
    weights = weights or {"math": 1.0}
    domain = rng.choices(list(weights), list(weights.values()))[0]
    return generate(domain, rng.choice(LEVELS[domain]), split, rng)


class Work:
    """Collects the steps of a solution modulo 1000 in both of its forms."""

    def __init__(self):
        self.thinking: list[str] = []
        self.equations: list[str] = []

    def equation(self, a: int, op: str, b: int) -> int:
        """Compute a·b mod 1000 for op in + - *, note it, return it. Multipliers are not padded."""
        value = {"+": a + b, "-": a - b, "*": a * b}[op] % 1000
        right = str(b) if op == "*" else f"{b:03d}"
        self.equations.append(f"{a:03d}{op}{right}={value:03d}")
        return value

    def compare(self, a: int, sign: str, b: int) -> bool:
        """Note whether a > b or a < b, return it."""
        value = a > b if sign == ">" else a < b
        self.equations.append(f"{a:03d}{sign}{b:03d}={'yes' if value else 'no'}")
        return value

    def parity(self, a: int) -> int:
        """Note a modulo 2, return it."""
        self.equations.append(f"{a:03d}%2={a % 2}")
        return a % 2

    def digits(self, a: int) -> int:
        """Note the sum of the digits of a, return it."""
        self.equations.append(f"sum {a:03d}={sum(map(int, str(a))):03d}")
        return sum(map(int, str(a)))

    def line(self, label: str, equations: int, verdict: str = "") -> None:
        """Close a thinking line: what is done, then the last `equations` equations, then what follows from them."""
        self.thinking.append(f"{label}: {', '.join(self.equations[-equations:])}{verdict}.")

    def finish(self, closing: str, answer: int, **problem) -> Problem:
        component = ",".join(self.equations) + f"\n\\boxed{{{answer:03d}}}"
        thinking = "\n".join([*self.thinking, closing])
        return Problem(thinking=thinking, component=component, answer=str(answer), **problem)


def multiplier(rng: random.Random) -> int:
    """Multiplications are what goes wrong; with two digits even the largest model gets them wrong now and then."""
    return rng.randint(2, 15)


def counter(level: int, rng: random.Random) -> Problem:
    """A counter that shows three digits goes through `level` events, one equation each."""
    start = rng.randint(100, 999)
    value, work = start, Work()
    events, content = [], [str(start)]
    for letter in "abcdefghi"[:level]:
        op = rng.choice("+-*")
        n = multiplier(rng) if op == "*" else rng.randint(100, 999)
        event = f"({letter}) " + {"+": "Add", "-": "Subtract", "*": "Multiply by"}[op] + f" {n}"
        events.append(f"{event}.")
        value = work.equation(value, op, n)
        work.line(event, 1)
        content.append(f"{op}{n}")
    opening = rng.choice(["A counter keeps the last three digits.", "A display shows three digits and wraps around."])
    closing = rng.choice(["What does it show at the end?", "What is shown at the end?"])
    question = f"{opening} It starts at {start}. {' '.join(events)} {closing}"
    return work.finish(
        f"At the end it shows {value:03d}.", value, domain="math", level=level, question=question, content="math " + " ".join(content)
    )


def program(level: int, rng: random.Random) -> Problem:
    """A Python program of two assignments and `level` further lines; the answer is what it prints."""
    names = rng.sample("abcdefghkmnpqrstuvwxyz", level + 2)
    env: dict[str, int] = {}
    work, code = Work(), []
    for name in names[:2]:
        env[name] = rng.randint(100, 999)
        code.append(f"{name} = {env[name]}")
    for i, name in enumerate(names[2:]):
        # the newest value is always used, so no line is idle
        x = names[i + 1]
        y = rng.choice([name for name in env if name != x])
        kind = rng.choice(["+", "-", "*", "*", "if", "for"])
        if kind == "*":
            m = rng.randint(2, 9)
            code.append(f"{name} = {x} * {m} % 1000")
            env[name] = work.equation(env[x], "*", m)
            work.line(f"{name} is {x} * {m}", 1)
        elif kind in "+-":
            x, y = rng.choice([(x, y), (y, x)])
            code.append(f"{name} = ({x} {kind} {y}) % 1000")
            env[name] = work.equation(env[x], kind, env[y])
            work.line(f"{name} is {x} {kind} {y}", 1)
        elif kind == "if":
            m, n = rng.randint(2, 9), rng.randint(100, 900)
            code.append(f"{name} = ({x} + {n} if {x} > {y} else {x} * {m}) % 1000")
            larger = work.compare(env[x], ">", env[y])
            env[name] = work.equation(env[x], *(("+", n) if larger else ("*", m)))
            work.line(f"{name} is {x} {'+' if larger else '*'} {n if larger else m}", 2)
        else:
            times, n = rng.randint(2, 3), rng.randint(100, 999)
            code += [f"{name} = {x}", f"for i in range({times}):", f"    {name} = ({name} + {n}) % 1000"]
            env[name] = env[x]
            for _ in range(times):
                env[name] = work.equation(env[name], "+", n)
            work.line(f"{name} is {x} with {times} times {n}", times)
    last = names[-1]
    listing = "\n".join([*code, f"print({last})"])
    return work.finish(
        f"It prints {last}, which is {env[last]:03d}.",
        env[last],
        domain="code",
        level=level,
        question=f"What does this program print?\n{listing}",
        content="code " + listing,
    )


Clue = tuple[str, Callable[[int, Work], bool]]  # its wording, and whether a number fits it, worked out


def clue(kind: str, numbers: list[int], rng: random.Random) -> Clue:
    """A clue of `kind` about badges; its limit is near one of `numbers`, so that it is not told from the first digit alone."""
    limit = min(990, max(110, rng.choice(numbers) + rng.randint(-50, 50)))
    odd, total = rng.random() < 0.5, rng.randint(8, 19)
    word = "odd" if odd else "even"
    return {
        "parity": (f"It is {word}.", lambda x, work: work.parity(x) == odd),
        "over": (f"It is over {limit}.", lambda x, work: work.compare(x, ">", limit)),
        "under": (f"It is under {limit}.", lambda x, work: work.compare(x, "<", limit)),
        "digits": (f"Its digits add up to more than {total:03d}.", lambda x, work: work.compare(work.digits(x), ">", total)),
        "if": (f"If it is {word}, then it is over {limit}.", lambda x, work: work.parity(x) != odd or work.compare(x, ">", limit)),
    }[kind]


def badges(level: int, rng: random.Random) -> Problem | None:
    """Three to five numbered badges and `level` clues that exactly one of them fits (None if the draw has no such one).

    They are gone through in turn, each until it fails a clue, up to the one that fits.
    """
    numbers = rng.sample(range(100, 1000), rng.randint(3, 5))
    clues = [clue(kind, numbers, rng) for kind in rng.sample(["parity", "over", "under", "digits", "if"], level)]
    fit = [[x for x in numbers if test(x, Work())] for _, test in clues]
    common = set(numbers).intersection(*fit)
    # every clue must rule somebody out, or it would be idle
    if len(common) != 1 or any(len(some) == len(numbers) for some in fit):
        return None
    answer, work = common.pop(), Work()
    for letter, x in zip("abcde", numbers, strict=False):
        before = len(work.equations)
        fits = all(test(x, work) for _, test in clues)
        work.line(f"({letter}) {x}", len(work.equations) - before, " fits" if fits else " out")
        if fits:
            break
    listed = " ".join(f"({letter}) {x}" for letter, x in zip("abcde", numbers, strict=False))
    told = " ".join(text for text, _ in clues)
    return work.finish(
        f"The badge is {answer}.",
        answer,
        domain="logic",
        level=level,
        question=f"One of these badges opens the door: {listed}. {told} Which badge is it?",
        content=f"logic {listed} {told}",
    )
