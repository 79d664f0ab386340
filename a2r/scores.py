"""Scores of paths that a model has to be asked for: what free methods (`methods`) choose by, and what asking took.

Each function takes the sets of a graded pool and returns an `outcomes.Score`. A score is told of a set's paths
together, so that it is paid for the set.
"""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from a2r import pipeline, prompts
from a2r.answers import answer_component, canonical, extract
from a2r.outcomes import Score
from a2r.pipeline import Ask, cut_sets, derive_seed
from a2r.profiles import Profile

YES = {"yes", "true", "right", "correct"}


def likelihood(
    lab: Profile, model: str, problems: pd.DataFrame, pool: pd.DataFrame, n_paths: int, n_sets: int
) -> Score:
    """How likely `model` finds each path after the explorer's prompt: its mean log-probability per token, for one
    prefill a path.

    Nothing is written (Squeeze-Evolve's scoring model, arXiv 2604.07725). A path that failed has no text and no
    likelihood (nan).
    """
    opened, questions = lab.model(model).opened, problems.set_index("problem_id").question
    paths = cut_sets(pool, n_paths, n_sets)
    paths = paths[paths.text != ""]
    asks = [
        Ask(
            **{
                "benchmark": path.benchmark,
                "problem_id": path.problem_id,
                "indices": range(1),
                "set": number,
                "explorer": path.model,
            },
            messages=tuple(prompts.explorer_messages(questions[path.problem_id], lab.prompt("explorer"))),
            scored=path.text.removeprefix("<think>\n") if opened else path.text,
        )
        for path, number in zip(paths.itertuples(), paths["set"], strict=True)
    ]
    spent = pipeline.ask(lab, model, "scorer", asks)
    return Score(pd.Series(spent.logprob_mean.to_numpy(), index=paths.index).reindex(pool.index), spent)


def chosen(
    lab: Profile,
    model: str,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    n_paths: int,
    n_sets: int,
    form: str = "chooser",
) -> Score:
    """1 for the reference whose number `model` puts in its box, 0 for the others, and for all where it names none.

    `form` is a prompt that asks for a number: "chooser", "genselect" (arXiv 2507.17797) or "consistent" (2311.17311).
    The order of the references is shuffled by the problem and set.
    """
    asks, orders = [], []
    for problem, number, paths in _sets(problems, pool, n_paths, n_sets):
        order = prompts.order(len(paths), derive_seed(lab.seed, problem.problem_id, number, form))
        orders.append(paths.index[order])
        messages = prompts.synthesizer_messages(
            problem.question, _components(paths.iloc[order]), None, lab.prompt(form)
        )
        asks.append(_ask(problem, number, paths, messages, form))
    spent = pipeline.ask(lab, model, "synthesizer", asks)
    values = pd.Series(0.0, index=[label for order in orders for label in order])
    for order, text in zip(orders, spent.text, strict=True):
        if 0 < (place := _number(text)) <= len(order):
            values[order[place - 1]] = 1.0
    return Score(values.reindex(pool.index), spent)


def verified(
    lab: Profile, model: str, problems: pd.DataFrame, pool: pd.DataFrame, n_paths: int, n_sets: int, draws: int = 1
) -> Score:
    """The share of `draws` verdicts of `model` that call a path right: self-verification of every path by itself.

    Two paths of a set that say the same are asked about apart, as two samples of one prompt.
    """
    asks, labels, before = [], [], Counter()
    for problem, number, paths in _sets(problems, pool, n_paths, n_sets):
        for label, component in zip(paths.index, _components(paths), strict=True):
            messages = prompts.synthesizer_messages(problem.question, [component], None, lab.prompt("verifier"))
            first = draws * before[problem.problem_id, number, component]
            before[problem.problem_id, number, component] += 1
            asks.append(_ask(problem, number, paths, messages, "verifier", range(first, first + draws)))
            labels += [label] * draws
    spent = pipeline.ask(lab, model, "synthesizer", asks)
    accepted = pd.Series(
        [canonical(extract(text) or "").casefold() in YES for text in spent.text], index=labels, dtype=float
    )
    return Score(accepted.groupby(level=0).mean().reindex(pool.index), spent)


def wins(
    lab: Profile,
    model: str,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    n_paths: int,
    n_sets: int,
    swiss: int = 0,
    form: str = "chooser",
) -> Score:
    """Matches won in a tournament in which `model` is shown two paths at a time, each pair in both orders.

    Knockout (arXiv 2411.19477): winners go on until one is left; drawn lots decide who meets whom, and a match in
    which the two orders contradict each other. `swiss` rounds instead (V1, arXiv 2603.04304): all play on, next to
    those with as many points. Where two paths have one answer nothing is asked: it is right or wrong in both. `spent`
    has the columns `stage` and, in pool labels, `one`, `two` (as they were shown) and `won` (<NA>: neither).
    """
    fields = []
    for problem, number, paths in _sets(problems, pool, n_paths, n_sets):
        lots = [
            paths.index[i] for i in prompts.order(len(paths), derive_seed(lab.seed, problem.problem_id, number, "lots"))
        ]
        fields.append((problem, number, paths, lots, dict.fromkeys(lots, 0.0)))
    stages = []
    while True:
        asks, shown, matches = [], [], []
        for problem, number, paths, alive, points in fields:
            components = dict(zip(paths.index, _components(paths), strict=True))
            answers = paths.answer.where(paths.answer.notna(), paths.index.to_series().astype(str).radd("no answer "))
            keys = answers.astype(str).map(canonical)
            line = sorted(alive, key=lambda label: -points[label]) if swiss else list(alive)
            pairs = list(zip(line[::2], line[1::2], strict=False)) if not swiss or len(stages) < swiss else []
            matches.append(pairs)
            for one, two in ((a, b) for pair in pairs for a, b in (pair, pair[::-1]) if keys[pair[0]] != keys[pair[1]]):
                messages = prompts.synthesizer_messages(
                    problem.question, [components[one], components[two]], None, lab.prompt(form)
                )
                asks.append(_ask(problem, number, paths, messages, f"{form} of two"))
                shown.append((one, two))
        if not any(matches):
            break
        made = pipeline.ask(lab, model, "synthesizer", asks)
        picks = [
            pair[n - 1] if (n := _number(text)) in (1, 2) else pd.NA
            for pair, text in zip(shown, made.text, strict=True)
        ]
        names = {"one": [a for a, _ in shown], "two": [b for _, b in shown], "won": pd.array(picks, dtype="Int64")}
        stages.append(made.assign(stage=len(stages), **names))
        votes = Counter(pick for pick in picks if pick is not pd.NA)
        for (*_, alive, points), pairs in zip(fields, matches, strict=True):
            for one, two in pairs:
                winner, loser = (two, one) if votes[two] > votes[one] else (one, two)
                points[winner] += 1 if not swiss or votes[one] != votes[two] else 0.5
                if not swiss:
                    alive.remove(loser)
                elif votes[one] == votes[two]:
                    points[loser] += 0.5
    values = pd.Series({label: value for *_, points in fields for label, value in points.items()})
    return Score(values.reindex(pool.index), pd.concat(stages, ignore_index=True))


def _sets(problems: pd.DataFrame, pool: pd.DataFrame, n_paths: int, n_sets: int) -> Iterator[tuple]:
    """(problem, set, its paths) of every set; the problem is a row with `problem_id`, `benchmark` and `question`."""
    questions = {p.problem_id: p for p in problems.itertuples()}
    for (problem_id, number), paths in cut_sets(pool, n_paths, n_sets).groupby(["problem_id", "set"], sort=False):
        yield questions[problem_id], number, paths


def _components(paths: pd.DataFrame) -> list[str]:
    return [answer_component(text) for text in paths.text]


def _ask(
    problem, number: int, paths: pd.DataFrame, messages: list[dict], condition: str, indices: range = range(1)
) -> Ask:
    explorer = "+".join(dict.fromkeys(paths.model))
    return Ask(problem.benchmark, problem.problem_id, tuple(messages), indices, number, explorer, condition)


def _number(text: str) -> int:
    """The whole number in a text's box; 0 where there is none."""
    said = canonical(extract(text) or "")
    return int(said) if said.isdecimal() and said.isascii() else 0
