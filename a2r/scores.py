"""Scores of paths that a model has to be asked for: what free methods (`methods`) choose by, and what asking took.

Each function takes sets of a graded pool (`sets_of`) and returns an `outcomes.Score` of their paths. A score is told of
a set's paths together, so that it is paid for the set.
"""

from collections import Counter
from functools import partial
from typing import NamedTuple

import pandas as pd

from a2r import pipeline, prompts
from a2r.answers import answer_component, canonical, extract
from a2r.outcomes import Score
from a2r.pipeline import Ask, cut_sets, derive_seed, in_memory
from a2r.profiles import Profile

YES = {"yes", "true", "right", "correct"}


class Set(NamedTuple):
    """A set of paths as a judge sees it: the problem's row, the set's number and graded rows, and their answer
    components by pool label."""

    problem: NamedTuple
    number: int
    paths: pd.DataFrame
    components: dict[int, str]

    def ask(self, lab: Profile, form: str, labels: list[int], index: int = 0, condition: str = "") -> Ask:
        """The paths with these labels, in this order, shown in a prompt of this form; the sample of this index."""
        messages = prompts.messages(form, self.problem.question, [self.components[i] for i in labels], text=lab.prompt)
        explorer, where = "+".join(dict.fromkeys(self.paths.model)), (self.problem.benchmark, self.problem.problem_id)
        return Ask(*where, tuple(messages), range(index, index + 1), self.number, explorer, condition or form)

    def shuffled(self, lab: Profile, by: str) -> list[int]:
        """The labels in an order drawn by (run seed, problem, set, `by`)."""
        seed = derive_seed(lab.seed, self.problem.problem_id, self.number, by)
        return [self.paths.index[i] for i in prompts.order(len(self.paths), seed)]


def sets_of(problems: pd.DataFrame, pool: pd.DataFrame, n_paths: int, n_sets: int) -> list[Set]:
    """The sets of a graded pool, problem by problem."""
    rows = {p.problem_id: p for p in problems.itertuples()}
    groups = cut_sets(in_memory(pool), n_paths, n_sets).groupby(["problem_id", "set"], sort=False)
    return [
        Set(rows[problem_id], number, paths, {i: answer_component(text) for i, text in paths.text.items()})
        for (problem_id, number), paths in groups
    ]


def likelihood(lab: Profile, model: str, sets: list[Set]) -> Score:
    """How likely `model` finds each path after the explorer's prompt: its mean log-probability per token, for one
    prefill a path.

    Nothing is written (Squeeze-Evolve's scoring model, arXiv 2604.07725). A path that failed has no text and no
    likelihood (nan).
    """
    opened, asks, labels = lab.model(model).opened, [], []
    for one in sets:
        messages = tuple(prompts.explorer_messages(one.problem.question, lab.prompt("explorer")))
        for path in one.paths[one.paths.text != ""].itertuples():
            text = path.text.removeprefix("<think>\n") if opened else path.text
            where = path.benchmark, path.problem_id
            asks.append(Ask(*where, messages, range(1), one.number, path.model, scored=text))
            labels.append(path.Index)
    spent = pipeline.ask(lab, model, "scorer", asks)
    values = pd.Series(spent.logprob_mean.to_numpy(float), index=labels)
    return Score(values.reindex([label for one in sets for label in one.paths.index]), spent)


def chosen(lab: Profile, model: str, sets: list[Set], form: str = "chooser") -> Score:
    """1 for the reference whose number `model` puts in its box, 0 for the others, and for all where it names none.

    `form` is a prompt that asks for a number: "chooser", "genselect" (arXiv 2507.17797) or "consistent" (2311.17311).
    The order of the references is shuffled by the problem and set.
    """
    orders = [one.shuffled(lab, form) for one in sets]
    asks = (one.ask(lab, form, order) for one, order in zip(sets, orders, strict=True))
    spent = pipeline.ask(lab, model, "synthesizer", asks)
    values = pd.Series(0.0, index=[label for order in orders for label in order])
    for order, text in zip(orders, spent.text, strict=True):
        if 0 < (place := _number(text)) <= len(order):
            values[order[place - 1]] = 1.0
    return Score(values, spent)


def verified(lab: Profile, model: str, sets: list[Set], form: str = "verifier") -> Score:
    """1 for the paths that `model` calls right, each shown by itself (self-verification), 0 for the others.

    Two paths of a set that say the same are asked about apart, as two samples of one prompt.
    """
    asks, labels = [], []
    for one in sets:
        said = list(one.components.values())
        labels += one.components
        asks += [one.ask(lab, form, [i], said[:k].count(said[k])) for k, i in enumerate(one.components)]
    spent = pipeline.ask(lab, model, "synthesizer", asks)
    accepted = [canonical(extract(text) or "").casefold() in YES for text in spent.text]
    return Score(pd.Series(accepted, index=labels, dtype=float), spent)


def wins(lab: Profile, model: str, sets: list[Set], form: str = "chooser", swiss: bool = False) -> Score:
    """Matches won in a tournament in which `model` is shown two paths at a time, each pair in both orders.

    Knockout (arXiv 2411.19477): winners go on until one is left; drawn lots decide who meets whom, and a match in
    which the two orders contradict each other. Or `swiss`, log2(N) rounds (V1, arXiv 2603.04304): all play on, next to
    those with as many points. Where two paths have one answer nothing is asked: it is right or wrong in both. `spent`
    has the columns `stage` and, in pool labels, `one`, `two` (as they were shown) and `won` (<NA>: neither).
    """
    answers = pd.concat([one.paths.answer for one in sets]).items()
    said = {i: canonical(answer) if isinstance(answer, str) else f"no answer {i}" for i, answer in answers}
    alive, rounds = [one.shuffled(lab, "lots") for one in sets], (len(sets[0].paths) - 1).bit_length()
    points = {label: 0.0 for line in alive for label in line}
    stages: list[pd.DataFrame] = []
    while len(stages) < rounds if swiss else any(len(line) > 1 for line in alive):
        lines = [sorted(line, key=points.get, reverse=True) for line in alive]  # lots decide where points are equal
        matches = [(k, *pair) for k, line in enumerate(lines) for pair in zip(line[::2], line[1::2], strict=False)]
        shown = [(k, pair) for k, a, b in matches if said[a] != said[b] for pair in ((a, b), (b, a))]
        asks = (sets[k].ask(lab, form, list(pair), condition=f"{form} of two") for k, pair in shown)
        made = pipeline.ask(lab, model, "synthesizer", asks)
        numbers = map(_number, made.text)
        won = [pair[n - 1] if n in (1, 2) else None for (_, pair), n in zip(shown, numbers, strict=True)]
        names = {"one": [pair[0] for _, pair in shown], "two": [pair[1] for _, pair in shown]}
        stages.append(made.assign(stage=len(stages), **names, won=pd.array(won, dtype="Int64")))
        votes = Counter(won)
        for k, one, two in matches:
            winner, loser = (two, one) if votes[two] > votes[one] else (one, two)
            share = 0.5 if swiss and votes[one] == votes[two] else 1.0
            points[winner] += share
            points[loser] += 1 - share
            if not swiss:
                alive[k].remove(loser)
    return Score(pd.Series(points), pd.concat(stages, ignore_index=True) if stages else None)


# What a judge can be asked: score (`methods.JUDGED`) -> how, and its forms, of which the first that it knows is taken.
ASKED = {
    "chosen": (chosen, ("genselect", "chooser")),
    "consistent": (chosen, ("consistent",)),
    "verified": (verified, ("verifier",)),
    "knockout": (wins, ("chooser",)),
    "swiss": (partial(wins, swiss=True), ("chooser",)),
}


def judged(lab: Profile, model: str, sets: list[Set]) -> dict[str, Score]:
    """Every score of `ASKED` whose form the profile's models know."""
    known = {name: [form for form in forms if form in lab.forms] for name, (_, forms) in ASKED.items()}
    return {name: ask(lab, model, sets, known[name][0]) for name, (ask, _) in ASKED.items() if known[name]}


def _number(text: str) -> int:
    """The whole number in a text's box; 0 where there is none."""
    said = canonical(extract(text) or "")
    return int(said) if said.isdecimal() and said.isascii() else 0
