"""Problems for the embedded family: three domains, one checkable integer answer each.

*math* follows a three-digit counter, *code* traces a short Python program, *logic* finds the one
person who fits every clue. All are worked in steps whose equations read the same in every path
("347*6=082"), so that two paths can be compared step by step. What makes them hard for a small model
is that each equation has to be computed in one go: its errors are slips (a carry, a retrieved
attribute) and differ from sample to sample, as they do in large models.

A problem belongs to a split by a hash of its *content* (the numbers and operations, not the wording),
so training, development and evaluation problems cannot overlap, however many are drawn.
"""

import hashlib
import random
from collections.abc import Container
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
    make = {"math": counter, "code": program, "logic": suspects}[domain]
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

    def line(self, label: str, equations: int) -> None:
        """Close a thinking line: what is done, then the last `equations` equations."""
        self.thinking.append(f"{label}: {', '.join(self.equations[-equations:])}.")

    def finish(self, closing: str, answer: int, **problem) -> Problem:
        width = 1 if problem["domain"] == "logic" else 3
        component = ",".join(self.equations) + f"\n\\boxed{{{answer:0{width}d}}}"
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
            larger = env[x] > env[y]
            work.equations.append(f"{env[x]:03d}>{env[y]:03d} {'yes' if larger else 'no'}")
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


ATTRIBUTES = {
    "height": ("tall", "short", "average"),
    "hat": ("red", "blue", "green"),
    "pet": ("cat", "dog", "bird"),
    "drink": ("tea", "coffee", "milk"),
}


# A clue's wording, and whether somebody fits it who has p, who has q.
CLUES = {
    "or": ("{p} or {q}", lambda p, q: p or q),
    "not": ("not {p}", lambda p, q: not p),
    "xor": ("either {p} or {q} but not both", lambda p, q: p != q),
    "if": ("if {p} then {q}", lambda p, q: not p or q),
}


def columns(fit: Container[int], n: int) -> str:
    """Who of 1..n fits: "1+ 2- 3-"."""
    return " ".join(f"{k}{'+' if k in fit else '-'}" for k in range(1, n + 1))


def roster(rng: random.Random) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Six to nine people with three attributes each, and the three kinds of attributes."""
    kinds = rng.sample(list(ATTRIBUTES.values()), 3)
    return [tuple(rng.choice(kind) for kind in kinds) for _ in range(rng.randint(6, 9))], kinds


def introduce(people: list[tuple[str, ...]]) -> str:
    """ "1: tall, red, cat. 2: ..." """
    return " ".join(f"{k}: {', '.join(person)}." for k, person in enumerate(people, 1))


def clue(people: list[tuple[str, ...]], kinds: list[tuple[str, ...]], rng: random.Random) -> tuple[str, set[int]]:
    """A random clue over two kinds of attributes, and the numbers of those who fit it."""
    p, q = (rng.choice(kind) for kind in rng.sample(kinds, 2))
    text, holds = CLUES[rng.choice(list(CLUES))]
    return text.format(p=p, q=q), {k for k, person in enumerate(people, 1) if holds(p in person, q in person)}


def suspects(level: int, rng: random.Random) -> Problem | None:
    """Six to nine numbered people, `level` clues; exactly one fits them all (None if the draw has no such one)."""
    people, kinds = roster(rng)
    n = len(people)
    clues = [clue(people, kinds, rng) for _ in range(level)]
    common = set(range(1, n + 1)).intersection(*(fit for _, fit in clues))
    # every clue must rule somebody out, or it would be idle
    if len(common) != 1 or any(len(fit) == n for _, fit in clues) or len({text for text, _ in clues}) < level:
        return None
    answer = common.pop()
    listed = introduce(people)
    question = f"One of {n} people has the key. {listed} " + " ".join(f"Clue: {text}." for text, _ in clues) + " Who has the key?"
    work = Work()
    left = set(range(1, n + 1))
    for text, fit in clues:
        left &= fit
        # a column for everybody: each place is one decision, and paths align
        work.equations.append(f"{text}={columns(fit, n)}")
        work.thinking.append(f"Clue: {work.equations[-1]}, left {columns(left, n)}.")
    return work.finish(
        f"Only {answer} is left, so {answer} has the key.",
        answer,
        domain="logic",
        level=level,
        question=question,
        content="logic " + listed + "|" + "|".join(text for text, _ in clues),
    )
