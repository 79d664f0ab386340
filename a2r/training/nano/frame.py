"""The work that is taught, written for every domain alike: paths, syntheses, choices and verdicts on a puzzle."""

import random
import re
from collections.abc import Sequence

from a2r.training.nano.puzzles import Candidate, Puzzle

RULED_OUT, CLAIMED = re.compile(r"^Not ([^.]*)\.", re.M), re.compile(r"^It is ([a-l+]+):", re.M)
LINE = re.compile(r"^([a-l+]+)=.* (yes|no)$", re.M)
BOXED = re.compile(r"\\boxed\{(\d+)\}")


def path(puzzle: Puzzle, rng: random.Random, slips: float = 0.0) -> str:
    """An explorer's output: tests in random order to the first that fits, else a candidate that was not tested.

    With probability `slips` a verdict is taken for its opposite, as small models do: for references, not for targets.
    """
    order = rng.sample(puzzle.candidates, len(puzzle.candidates))
    return search(order, puzzle.tests, rng, slips)


def synthesis(puzzle: Puzzle, references: Sequence[str], rng: random.Random) -> str:
    """A synthesizer's output: tests the references' claims, in order, then what nobody ruled out, then the rest."""
    claims, ruled_out = read(puzzle, references)
    others = rng.sample(puzzle.candidates, len(puzzle.candidates))
    fresh = [c for c in others if c not in claims and c not in ruled_out]
    known = [c for c in others if c not in claims and c in ruled_out]
    return search([*claims, *fresh, *known], len(claims) + puzzle.tests, rng)


def search(order: Sequence[Candidate], tests: int, rng: random.Random, slips: float = 0.0) -> str:
    """Test the first `tests` candidates of `order` to the first that fits; else name the one after them."""
    lines, out = [], []
    for candidate in order[:tests]:
        slip = rng.random() < slips
        lines.append(turned(candidate.line) if slip else candidate.line)
        if candidate.fits != slip:
            return output(lines, component(out, candidate))
        out.append(candidate)
    rest = order[tests:]
    return output(lines, component(out, rest[0] if rest else rng.choice(order)))


def turned(line: str) -> str:
    left, _, said = line.rpartition(" ")
    return f"{left} {'no' if said == 'yes' else 'yes'}"


def component(ruled_out: Sequence[Candidate], answer: Candidate) -> str:
    """The answer component: what was ruled out, and the answer; not whether the answer was tested."""
    out = f"Not {', '.join(c.name for c in ruled_out)}.\n" if ruled_out else ""
    return f"{out}It is {answer.name}: {answer.numbers}.\n\\boxed{{{answer.answer}}}"


def output(lines: Sequence[str], said: str) -> str:
    return "<think>\n" + "".join(f"{line}\n" for line in lines) + f"</think>\n\n{said}"


def read(puzzle: Puzzle, references: Sequence[str]) -> tuple[list[Candidate], list[Candidate]]:
    """What references claim, in order, and what they rule out. A bare number claims all candidates with it."""
    by_name = {c.name: c for c in puzzle.candidates}
    claims: dict[Candidate, None] = {}
    ruled_out: dict[Candidate, None] = {}
    for text in references:
        names = [n for found in RULED_OUT.findall(text) for n in found.split(", ")]
        names += [name for name, said in LINE.findall(text) if said == "no"]
        ruled_out.update((by_name[n], None) for n in names if n in by_name)
        claimed = [by_name[n] for n in CLAIMED.findall(text) if n in by_name]
        if not claimed and (boxed := BOXED.findall(text)):
            claimed = [c for c in puzzle.candidates if c.answer == boxed[-1]]
        claims.update((c, None) for c in claimed)
    return list(claims), list(ruled_out)


def choice(puzzle: Puzzle, references: Sequence[str]) -> str:
    """A chooser's output: a check of each reference's claim to the first that fits, and its number; 0 if none does."""
    lines = []
    for number, text in enumerate(references, 1):
        claims, _ = read(puzzle, [text])
        for claim in claims[:1]:
            lines.append(f"{number} {claim.line}")
            if claim.fits:
                return output(lines, f"\\boxed{{{number}}}")
    return output(lines, "\\boxed{0}")


def verification(puzzle: Puzzle, reference: str) -> str:
    """A verifier's output on one reference: a check of its claim, and yes or no."""
    claims, _ = read(puzzle, [reference])
    line = [claims[0].line] if claims else []
    return output(line, f"\\boxed{{{'yes' if claims and claims[0].fits else 'no'}}}")


def forms(rng: random.Random, texts: Sequence[str], shares: dict[str, float]) -> list[str]:
    """Full outputs as they may be shown: answer components, finals alone, whole traces, or one of them for all."""
    form = rng.choices(list(shares), list(shares.values()))[0]
    components = [text.rpartition("</think>")[2].strip() for text in texts]
    if form == "final":
        return [f"\\boxed{{{BOXED.findall(c)[-1]}}}" if BOXED.search(c) else "" for c in components]
    if form == "trace":
        return [text.replace("<think>", "").replace("</think>", "").strip() for text in texts]
    if form == "repeated":
        return components[:1] * len(components)
    return components
