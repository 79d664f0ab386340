"""The problems of the embedded family: candidates named by letters, and a check that is cheaper than the search.

A puzzle lists candidates; a few equations settle whether one fits, and exactly one does. How many may be tested stands
in the question ("You may test 4."): the same budget for every model, and a dial between depth and width. One frame
writes the work of both roles for all domains:

- a *path* tests candidates in an order of its own, stops at the first that fits, and when its tests are used up names
  one that it has not tested. So a path succeeds by luck as much as by skill: paths differ, and cooling does not help;
- its *answer component* says what it ruled out and what its answer is, not whether the answer was tested;
- a *synthesis* tests what the references claim, then as many more as the question allows of what nobody has ruled out,
  and else guesses. A right reference is known by one check, and what is ruled out narrows the search.

A domain is a generator, its wording and its check: *numbers* (two or three of the parcels weigh T together), *code*
(for which input does the program print T), *logic* (which badge fits every clue).
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from a2r.problems import with_tests

LETTERS = "abcdefghijkl"
TESTS = 4  # of the problems that are reported; training has 1 to 8
SPLITS = {"train": range(0, 80), "rl": range(80, 90), "dev": range(90, 95), "test": range(95, 100)}
# A level is how many candidates there are; numbers: of how many parcels how many are taken.
PARCELS = {(3, 2): 3, (4, 2): 6, (5, 2): 10, (6, 2): 15, (7, 2): 21, (4, 3): 4, (5, 3): 10, (6, 3): 20}
LEVELS: dict[str, tuple] = {"numbers": tuple(PARCELS), "code": (6, 8, 10, 12), "logic": (6, 8, 10, 12)}
INPUTS = range(300, 600)  # of programs
BADGES = [n for n in range(101, 900) if n % 100]


@dataclass(frozen=True)
class Candidate:
    """A candidate: its name ("e+f"), the numbers it stands for, its answer, the check written out, its verdict."""

    name: str
    numbers: str
    answer: str
    line: str
    fits: bool


@dataclass(frozen=True)
class Puzzle:
    domain: str
    level: int
    question: str
    content: str  # what makes it this puzzle and no other, for splits
    candidates: tuple[Candidate, ...]
    tests: int = TESTS

    @property
    def right(self) -> Candidate:
        return next(c for c in self.candidates if c.fits)

    @property
    def answer(self) -> str:
        return self.right.answer

    @property
    def chance(self) -> float:
        """The share of candidates that give the right answer: what naming one without any test scores."""
        return sum(c.answer == self.answer for c in self.candidates) / len(self.candidates)

    @property
    def problem_id(self) -> str:
        return f"{self.domain}-{self.level}-{hashlib.sha256(self.content.encode()).hexdigest()[:10]}"


def split_of(content: str) -> str:
    """The split a puzzle belongs to, by its content alone."""
    bucket = int(hashlib.sha256(content.encode()).hexdigest(), 16) % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def generate(domain: str, level, split: str, rng: random.Random, tests: int = TESTS) -> Puzzle:
    """A puzzle of `split`, drawn by `rng`; `level` is one of LEVELS[domain]."""
    while True:
        puzzle = DOMAINS[domain](level, rng)
        if sum(c.fits for c in puzzle.candidates) == 1 and split_of(puzzle.content) == split:
            return replace(puzzle, tests=tests, question=with_tests(puzzle.question, tests))


def draw(split: str, rng: random.Random, shares: dict[str, float], tests: int | None = None) -> Puzzle:
    """A puzzle of any domain (by `shares`) and level; as many tests as told, or 1 to 8."""
    domain = rng.choices(list(shares), list(shares.values()))[0]
    return generate(domain, rng.choice(LEVELS[domain]), split, rng, tests or rng.choice((1, 2, 3, 4, 4, 4, 5, 6, 7, 8)))


# The domains


def listed(numbers: Sequence[int]) -> str:
    return " ".join(f"({letter}) {n}" for letter, n in zip(LETTERS, numbers, strict=False))


def numbers(level: tuple[int, int], rng: random.Random) -> Puzzle:
    """Two or three of the parcels weigh T together."""
    count, taken = level
    weights = rng.sample(range(100, 500 if taken == 2 else 300), count)
    total = sum(rng.sample(weights, taken))
    candidates = [parcels_candidate(weights, chosen, total) for chosen in combinations(range(count), taken)]
    many, written = {2: ("Two", "a+c as 13"), 3: ("Three", "a+c+d as 134")}[taken]
    asked = f"You may test {TESTS}. Which are they? Write {written}."
    question = f"Parcels weigh: {listed(weights)}. {many} of them weigh {total} together. {asked}"
    return Puzzle("numbers", PARCELS[level], question, f"{total} {sorted(weights)} {taken}", tuple(candidates))


def parcels_candidate(weights: Sequence[int], chosen: Sequence[int], total: int) -> Candidate:
    """`e+f=222+236=458:458 yes`; three take two sums."""
    name = "+".join(LETTERS[i] for i in chosen)
    taken = [weights[i] for i in chosen]
    sums = [f"{sum(taken[:k])}+{taken[k]}={sum(taken[: k + 1])}" for k in range(1, len(taken))]
    work = sums[0] + "".join(s[s.index("+") :] for s in sums[1:])
    fits = sum(taken) == total
    answer = "".join(str(i + 1) for i in chosen)  # as one number: no two candidates share it, so wrong answers scatter
    return Candidate(name, ", ".join(map(str, taken)), answer, f"{name}={work}:{total} {verdict(fits)}", fits)


def code(level: int, rng: random.Random) -> Puzzle:
    """For which of the listed inputs does a short program print T?"""
    program = Program.drawn(rng)
    inputs = rng.sample(INPUTS, level)
    printed = program.run(rng.choice(inputs))[0]
    candidates = [code_candidate(program, LETTERS[i], x, printed) for i, x in enumerate(inputs)]
    question = (
        f"{program.source}\nInputs: {listed(inputs)}. You may test {TESTS}. For which of them does it print {printed}?"
    )
    return Puzzle("code", level, question, f"{program.source} {printed} {sorted(inputs)}", tuple(candidates))


@dataclass(frozen=True)
class Program:
    """One to three lines that add to x or take from it, one of them perhaps only where x is above a limit."""

    steps: tuple[tuple[int | None, str, int], ...]  # limit or None, + or -, number

    @classmethod
    def drawn(cls, rng: random.Random) -> "Program":
        """Whatever it gets of INPUTS, x keeps three digits."""
        count = rng.choice((1, 2, 2, 3))
        limited = rng.randrange(count) if rng.random() < 0.4 else None
        while True:
            steps = tuple(
                (rng.randint(350, 550) if i == limited else None, rng.choice("+-"), rng.randint(100, 249))
                for i in range(count)
            )
            signed = [n if op == "+" else -n for _, op, n in steps]
            if INPUTS[0] + sum(min(0, s) for s in signed) >= 100 and INPUTS[-1] + sum(max(0, s) for s in signed) < 1000:
                return cls(steps)

    @property
    def source(self) -> str:
        return (
            "\n".join(f"{'' if limit is None else f'if x>{limit}: '}x=x{op}{n}" for limit, op, n in self.steps)
            + "\nprint(x)"
        )

    def run(self, x: int) -> tuple[int, str]:
        """What it prints for x, and the trace: `320+126=446>300 yes-205=241`."""
        trace = str(x)
        for limit, op, n in self.steps:
            if limit is not None:
                trace += f">{limit} {verdict(x > limit)}"
                if x <= limit:
                    continue
            x = x + n if op == "+" else x - n
            trace += f"{op}{n}={x}"
        return x, trace


def code_candidate(program: Program, letter: str, x: int, printed: int) -> Candidate:
    result, trace = program.run(x)
    return Candidate(
        letter, str(x), str(x), f"{letter}={trace}:{printed} {verdict(result == printed)}", result == printed
    )


CLUES: dict[str, Callable[[int, int], bool]] = {
    ">": lambda x, n: x > n,
    "<": lambda x, n: x < n,
    "even": lambda x, _: x % 2 == 0,
    "odd": lambda x, _: x % 2 == 1,
    "no": lambda x, n: str(n) not in str(x),
}
CLUE_WORDS = {">": "more than {}", "<": "less than {}", "even": "even", "odd": "odd", "no": "without a {}"}
Clue = tuple[str, int]


def logic(level: int, rng: random.Random) -> Puzzle:
    """Which of the badges fits every one of three to five clues?"""
    while True:
        badges = rng.sample(BADGES, level)
        right = rng.choice(badges)
        kinds = [">", "<", rng.choice(("even", "odd")), "no", "no"][: rng.choice((3, 4, 5))]
        clues = [clue_about(kind, right, rng) for kind in rng.sample(kinds, len(kinds))]
        candidates = [badge_candidate(LETTERS[i], x, clues) for i, x in enumerate(badges)]
        if (
            all(CLUES[kind](right, n) for kind, n in clues)
            and len(set(clues)) == len(clues)
            and sum(c.fits for c in candidates) == 1
        ):
            break
    said = ", ".join(CLUE_WORDS[kind].format(n) for kind, n in clues)
    question = f"Badges: {listed(badges)}. One of them is {said}. You may test {TESTS}. Which number is it?"
    return Puzzle("logic", level, question, f"{sorted(clues)} {sorted(badges)}", tuple(candidates))


def clue_about(kind: str, x: int, rng: random.Random) -> Clue:
    """A clue that often holds for x; limits are whole hundreds, so that one digit decides."""
    if kind in "<>":
        hundred = x // 100 * 100
        return kind, max(100, hundred - rng.choice((0, 0, 100, 200))) if kind == ">" else min(
            900, hundred + rng.choice((100, 100, 200, 300))
        )
    return kind, rng.randrange(10) if kind == "no" else 0


def badge_candidate(letter: str, x: int, clues: Sequence[Clue]) -> Candidate:
    """`c=320>250 yes,320<700 yes,320 odd no`: clue by clue, to the first that does not hold."""
    parts, fits = [], True
    for kind, n in clues:
        fits = CLUES[kind](x, n)
        parts.append(
            f"{x}{kind}{n} {verdict(fits)}"
            if kind in "<>"
            else f"{x} {kind}{f' {n}' if kind == 'no' else ''} {verdict(fits)}"
        )
        if not fits:
            break
    return Candidate(letter, str(x), str(x), f"{letter}={','.join(parts)}", fits)


def verdict(fits: bool) -> str:
    return "yes" if fits else "no"


DOMAINS: dict[str, Callable] = {"numbers": numbers, "code": code, "logic": logic}


def drill(rng: random.Random, shares: dict[str, float], count: int = 6) -> tuple[str, list[str]]:
    """A list of numbers as a puzzle has it and `count` checks on it, each with its own target; most fit or nearly."""
    domain = rng.choices(list(shares), list(shares.values()))[0]
    if domain == "numbers":
        taken = rng.choice((2, 3))
        given = rng.sample(range(100, 500 if taken == 2 else 300), rng.randint(3, 7))
        lines = []
        for _ in range(count):
            chosen = sorted(rng.sample(range(len(given)), taken))
            lines.append(parcels_candidate(given, chosen, near(sum(given[i] for i in chosen), rng)).line)
        return listed(given), lines
    if domain == "code":
        program, given = Program.drawn(rng), rng.sample(INPUTS, rng.randint(4, 8))
        picks = [rng.randrange(len(given)) for _ in range(count)]
        lines = [code_candidate(program, LETTERS[i], given[i], near(program.run(given[i])[0], rng)).line for i in picks]
        return f"{program.source}\n{listed(given)}", lines
    given, lines = rng.sample(BADGES, rng.randint(4, 8)), []
    for _ in range(count):
        i = rng.randrange(len(given))
        about = given[i] if rng.random() < 0.5 else rng.choice(BADGES)
        clues = [
            clue_about(kind, about, rng) for kind in rng.sample([">", "<", "even", "odd", "no"], rng.randint(1, 3))
        ]
        lines.append(badge_candidate(LETTERS[i], given[i], clues).line)
    return listed(given), lines


def near(value: int, rng: random.Random) -> int:
    """The value itself (45%), one that differs in a digit or so (35%), or any."""
    kind = rng.random()
    if kind < 0.45:
        return value
    if kind < 0.8:
        return min(999, max(0, value + rng.choice((1, 10, 100)) * rng.choice((-3, -2, -1, 1, 2, 3))))
    return rng.randint(100, 999)
