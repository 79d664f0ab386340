"""Free methods: what can be made of one set of explorer paths without generating more, each a function by name.

A set's answers are a list of str, or None for a path without an answer. None does not vote. A method takes a set's
answers, in the order of their indices, and its scores (name -> one number a path, the higher the better), and returns
a `Choice`. One's own takes eight lines:

    from a2r.methods import Choice, method, vote

    @method("Last two")
    def last_two(answers, scores):
        "The vote of the last two paths: a method that nobody should use."
        return Choice(vote(answers[-2:]))

What it needs beyond answers is said as in `@method("Mine", needs=("mean",), asks=("synthesizer",))`: scores of SCORES,
and a synthesis by the "synthesizer" or the "large" model of the study, which `Choice(ask="synthesizer")` then takes. In
a file it is a method of study `ways` with `a2r run ways -p methods=mine.py`. In a cell of a notebook
`a2r.played(problems, pool, prices, n_paths, n_sets, methods=named("Cons", "Last two"))` has the outcomes of methods on
the sets of a pool, each billed for what it used and nothing else, as rows that go with those of `a2r.outcomes`.
"""

import math
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scipy.special import betainc

from a2r.answers import canonical, equivalent, is_integer
from a2r.errors import UserError, nearest

Answers = Sequence[str | None]
Scores = Mapping[str, Sequence[float]]


def ballot(answers: Answers) -> dict[str, list[int]]:
    """Groups of equivalent answers: key of the group -> positions of its votes in `answers`.

    Answers with the same canonical key are one group; groups whose keys are equivalent are merged (so the relation is
    made transitive). Independent of the order of the answers. A group goes by its most frequent key, then the first.
    """
    positions: dict[str, list[int]] = {}
    for i, answer in enumerate(answers):
        if answer is not None and answer == answer and (key := canonical(str(answer))):  # nan: missing in a frame
            positions.setdefault(key, []).append(i)
    if all(map(is_integer, positions)):
        return dict(sorted(positions.items()))
    groups: list[list[str]] = []
    for key in sorted(positions):
        same = [group for group in groups if any(equivalent(other, key) for other in group)]
        groups = [*(group for group in groups if group not in same), [*(k for group in same for k in group), key]]
    named = {min(group, key=lambda key: (-len(positions[key]), key)): group for group in groups}
    return {name: sorted(i for key in named[name] for i in positions[key]) for name in sorted(named)}


def weighted(answers: Answers, weights: Sequence[float]) -> list[str]:
    """The answers whose paths' weights have the largest sum, as canonical keys: one, several when tied (sorted), none
    when that is 0; paths without a weight (nan) do not vote."""
    groups = ballot(answers).items()
    sums = {name: sum(weights[i] for i in voters if weights[i] == weights[i]) for name, voters in groups}
    most = max(sums.values(), default=0.0)
    return [name for name, total in sums.items() if total > 0 and math.isclose(total, most, rel_tol=1e-12)]


def vote(answers: Answers) -> list[str]:
    """The answers with most votes, as `weighted`."""
    return weighted(answers, [1] * len(answers))


def majority(answers: Answers, gold: str) -> float:
    """Cons@N of one set: 1.0 if the winning answer is right, the share of right ones among tied winners, 0.0 if nobody
    voted."""
    return Choice(vote(answers)).score(gold)


def explorer_state(correct: Sequence[bool], answers: Answers) -> str:
    """How a set stands before the synthesizer reads it, from each path's correctness and answer (same length N).

    "none"      no path is right
    "minority"  the right answer has fewer votes than the winner
    "tie"       it shares first place
    "majority"  it wins alone, but not every path is right
    "all"       every path is right

    ValueError if the lengths differ or a path without an answer is marked right.
    """
    if len(correct) != len(answers) or not len(answers):
        raise ValueError(f"{len(correct)} verdicts for {len(answers)} answers; give one of each a path.")
    if not any(correct) or all(correct):
        return "all" if any(correct) else "none"
    groups = ballot(answers).values()
    right = max((len(voters) for voters in groups if any(correct[i] for i in voters)), default=0)
    wrong = max((len(voters) for voters in groups if not any(correct[i] for i in voters)), default=0)
    if not right:
        raise ValueError("explorer_state: a path without an answer is marked correct; grade the set again.")
    return "minority" if right < wrong else "majority" if right > wrong else "tie"


@dataclass(frozen=True)
class Choice:
    """What a method makes of a set.

    `answers` has the winner, or several that are tied and share the score; empty is no answer. `waves` says how many
    paths were drawn together, wave after wave in index order, where that is not the whole set at once: what was not
    drawn is not paid. With `ask`, a synthesizer of that name reads the set, and its output is the answer. `best`: the
    best of the answers counts.
    """

    answers: Sequence[str] = ()
    waves: tuple[int, ...] | None = None
    ask: str = ""
    best: bool = False

    def __post_init__(self):
        if isinstance(self.answers, str):  # its characters would be taken for answers
            raise TypeError(f"a Choice has a list of answers, as Choice([{self.answers!r}])")

    def score(self, gold: str) -> float:
        """0..1, the share of right answers among the winners; 0 without one."""
        right = [equivalent(gold, answer) for answer in self.answers] or [False]
        return float(max(right) if self.best else sum(right) / len(right))


class Method(NamedTuple):
    """A free method: its function, and the scores and synthesizers without which it is left out."""

    choose: Callable[[Answers, Scores], Choice]
    needs: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


METHODS: dict[str, Method] = {}


def named(*names: str) -> dict[str, Method]:
    """The registered methods of these names."""
    return {name: METHODS[name] for name in names}


def load(path: str) -> None:
    """Run a Python file that registers methods of one's own.

    UserError where there is none, or it registers nothing, or the vote, which all ways are held against, or a method
    that needs a score, or asks a synthesizer, that there is not.
    """
    if not Path(path).is_file():
        where = Path(path).absolute()
        raise UserError(f"there is no file {where} to take methods from; give the path of a Python file.")
    before = dict(METHODS)
    runpy.run_path(path)
    own = {name: made for name, made in METHODS.items() if made is not before.get(name)}
    if not own:
        raise UserError(f'{path} registers no method; put @method("its name") above a function (a2r.methods.method).')
    if "Cons" in own:
        METHODS["Cons"] = before["Cons"]
        raise UserError(f"{path} has a method 'Cons', the vote that all ways are held against; give it another name.")
    for name, made in own.items():
        for what, given, known in (("needs", made.needs, SCORES), ("asks", made.asks, ("synthesizer", "large"))):
            if strange := [one for one in given if one not in known]:
                near = nearest(strange[0], known)
                there = f"{what} '{strange[0]}'{near}; there are {', '.join(known)}"
                raise UserError(f"method '{name}' of {path} {there}.")


def method(name: str, needs: tuple[str, ...] = (), asks: tuple[str, ...] = ()) -> Callable:
    """Register the decorated function as a free method, in place of any of that name; see `Method`."""

    def register(choose: Callable) -> Callable:
        METHODS[name] = Method(choose, needs, asks)
        return choose

    return register


@method("Cons")
def cons(answers: Answers, scores: Scores) -> Choice:
    """The vote of all paths (Wang et al. 2022, arXiv 2203.11171)."""
    return Choice(vote(answers))


@method("Oracle")
def oracle(answers: Answers, scores: Scores) -> Choice:
    """Any right path makes the set right: what a perfect selector would reach."""
    return Choice(list(ballot(answers)), best=True)


@method("Adaptive")
def adaptive(answers: Answers, scores: Scores, threshold: float = 0.95) -> Choice:
    """Adaptive consistency (Aggarwal et al. 2023, arXiv 2305.11860): path after path until the leader is safe.

    Stops where P(p > 1/2) >= threshold, p ~ Beta(v1 + 1, v2 + 1) over the two largest groups' votes; then the vote.
    """
    drawn = 0
    for drawn in range(1, len(answers) + 1):
        first, second = [*sorted(map(len, ballot(answers[:drawn]).values()), reverse=True), 0, 0][:2]
        if first and 1 - betainc(first + 1, second + 1, 0.5) >= threshold:
            break
    return Choice(vote(answers[:drawn]), waves=(1,) * drawn)


@method("Early stop")
def early_stop(answers: Answers, scores: Scores, window: int = 4) -> Choice:
    """Early stopping (Li et al. 2024, arXiv 2401.10480): window after window until one agrees; then the vote."""
    waves: list[int] = []
    while (drawn := sum(waves)) < len(answers):
        waves.append(min(window, len(answers) - drawn))
        latest = ballot(answers[drawn : drawn + window])
        if len(latest) == 1 and len(*latest.values()) == window:
            break
    return Choice(vote(answers[: sum(waves)]), waves=tuple(waves))


@method("Gate", asks=("synthesizer",))
def gate(answers: Answers, scores: Scores, agree: float = 0.75) -> Choice:
    """The vote where the largest group has at least `agree` of the set's paths, else the synthesis."""
    return Choice(vote(answers)) if agreement(answers) >= agree else Choice(ask="synthesizer")


@method("Route", asks=("synthesizer", "large"))
def route(answers: Answers, scores: Scores, sure: float = 0.75, split: float = 0.5) -> Choice:
    """Routing by agreement (Squeeze-Evolve, arXiv 2604.07725).

    The vote where at least `sure` of the paths agree, the synthesizer where `split` of them do, else the large model.
    """
    share = agreement(answers)
    return Choice(vote(answers)) if share >= sure else Choice(ask="synthesizer" if share >= split else "large")


def best(answers: Answers, values: Sequence[float]) -> list[str]:
    """Best-of-N, ties broken by the vote: the vote among the paths of the highest value that have an answer."""
    known = [i for voters in ballot(answers).values() for i in voters if values[i] == values[i]]
    top = max((values[i] for i in known), default=0.0)
    return vote([answers[i] for i in known if values[i] == top])


def agreement(answers: Answers) -> float:
    """The share of a set's paths that are in its largest group, 0..1."""
    return max(map(len, ballot(answers).values()), default=0) / max(1, len(answers))


# Scores that are log-probabilities (per token, see engines.log_probs; "likelihood": by another model), and those that a
# judge gives (`scores.ASKED`), with what choosing by them is called.
LOGPROBS = ("mean", "tail", "lowest", "likelihood")
JUDGED = {
    "chosen": "GenSelect",
    "consistent": "USC",  # universal self-consistency
    "verified": "Best by verified",
    "knockout": "Knockout",
    "swiss": "Swiss",
}

SCORES = (*LOGPROBS, *JUDGED)  # what a method may need

for _name, _title in {**{name: f"Best by {name}" for name in LOGPROBS}, **JUDGED}.items():
    method(_title, needs=(_name,))(lambda answers, scores, name=_name: Choice(best(answers, scores[name])))
for _name in LOGPROBS:  # by the geometric mean probability, so that a path has a vote between 0 and 1
    method(f"Vote by {_name}", needs=(_name,))(
        lambda answers, scores, name=_name: Choice(
            weighted(answers, [math.exp(score) for score in scores[name]]) or vote(answers)
        )
    )
