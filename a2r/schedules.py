"""Schedules: round upon round of reading what was written before. One function; what others propose differs in its
rounds alone.

The paths of a set are round 0, and what a round writes is what the next one reads. A2R@N is `[Round(1)]` on sets of N.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from a2r import pipeline, prompts
from a2r.answers import answer_component
from a2r.errors import UserError
from a2r.pipeline import Ask, cut_sets, derive_seed, in_memory
from a2r.profiles import Profile


@dataclass(frozen=True)
class Round:
    """`width` outputs, each of which reads `k` of the round before, drawn without replacement (None: all of them).

    `model` writes them (None: the schedule's synthesizer), asked with the prompt `form`: "synthesizer", another one
    that takes a problem and references, "mixture" (references in the system message) or "debate" (own output as own
    turn, k others as references; as many outputs as the round before). `apart`: the first output reads the first k,
    the second the next k, and so on, as `synthesize` does set by set.
    """

    width: int
    k: int | None = None
    model: str | None = None
    form: str = "synthesizer"
    apart: bool = False


# Those of others by name, from the set's size n, RSA's k and the number of rounds t.
SCHEDULES: dict[str, Callable[[int, int, int], list[Round]]] = {
    "A2R": lambda n, k, t: [Round(1)],
    # recursive self-aggregation (arXiv 2509.26626): n = 16, k = 4, t = 10; the answer is the last population's vote
    "RSA": lambda n, k, t: [Round(n, k)] * t,
    # PaCoRe (arXiv 2601.05593): [32, 4] and a final call, and as small as [8, 2]; its [4] and [16] are A2R@4 and A2R@16
    "PaCoRe": lambda n, k, t: [Round(max(2, n // 8)), Round(1)],
    # ParaGator (arXiv 2603.18886): m candidates, all of them read by each of m aggregations, again and again
    "ParaGator": lambda n, k, t: [Round(n)] * t,
    # sequential refinement, RSA with k = 1: each output reads the one before it and no other
    "Refinement": lambda n, k, t: [Round(n, 1)] * t,
    # A2R in layers, and Mixture-of-Agents (arXiv 2406.04692): the same with the references in the system message
    "Layers": lambda n, k, t: [*[Round(n)] * (t - 1), Round(1)],
    "Mixture-of-Agents": lambda n, k, t: [*[Round(n, form="mixture")] * (t - 1), Round(1, form="mixture")],
    # debate (arXiv 2305.14325): 2 rounds, the first of which is the paths; the answer is the vote
    "Debate": lambda n, k, t: [Round(n, form="debate")],
    # A2R in the wording of GenSynthesis (NeMo-Skills)
    "GenSynthesis": lambda n, k, t: [Round(1, form="gensynthesis")],
}


def play(
    lab: Profile,
    synthesizer: str,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    rounds: Sequence[Round],
    name: str = "schedule",
) -> pd.DataFrame:
    """The outputs of every round over the sets of `pool`, as many and as large as the profile says: a samples frame
    with `set` and `round` (1, 2, ...).

    Which k an output reads, and in which order, is drawn by (run seed, problem, set, round, output); where it reads
    all, by (run seed, problem, set), and in later rounds the round, so that the first round of `[Round(m)]` has the
    samples of `synthesize`. A prompt that this set has asked before is drawn again, with the next indices: equal
    subsets share no sample. UserError for a round that reads more than there is.
    """
    population = _components(cut_sets(pool, lab.n_paths, lab.n_sets))
    questions, explorer = problems.set_index("problem_id"), "+".join(dict.fromkeys(pool.model))
    before: Counter = Counter()
    made = []
    for number, step in enumerate(rounds, 1):
        size, model = len(next(iter(population.values()))), step.model or synthesizer
        check(step, number, size)
        asks = []
        for (problem_id, place), components in population.items():
            problem, seed = questions.loc[problem_id], (lab.seed, problem_id, place)
            shown_to = (_shown(lab, problem.question, components, step, seed, number, i) for i in range(step.width))
            for shown, count in Counter(shown_to).items():
                first = before[problem_id, place, model, shown]
                before[problem_id, place, model, shown] += count
                told, indices = tuple(json.loads(shown)), range(first, first + count)
                asks.append(Ask(problem.benchmark, problem_id, told, indices, place, explorer, f"{name} {number}"))
        samples = pipeline.ask(lab, model, "synthesizer", asks).assign(round=number)
        made.append(samples)
        population = _components(samples)
    return pd.concat(made, ignore_index=True)


def _components(samples: pd.DataFrame) -> dict[tuple[str, int], list[str]]:
    """The answer components of samples by (problem, set)."""
    said = in_memory(samples).text.map(answer_component)
    return said.groupby([samples.problem_id, samples["set"]], sort=False).agg(list).to_dict()


def check(step: Round, number: int, size: int) -> None:
    """UserError where a round cannot be played over `size` texts."""
    most = size - 1 if step.form == "debate" else size
    k = most if step.k is None else step.k
    if step.width < 1 or not 1 <= k <= most // (step.width if step.apart else 1):
        what = f"to read {k} of {most} texts{' apart' * step.apart} and to write {step.width}"
        rule = "it needs at least one of each, and can read no more than there are"
        raise UserError(f"round {number} of a schedule is {what}; {rule}.")
    if step.form == "debate" and step.width != size:
        what = f"a debate of {step.width} where there are {size} agents"
        raise UserError(f"round {number} is {what}; each of them writes one.")


def _shown(lab: Profile, question: str, components: list[str], step: Round, seed: tuple, number: int, i: int) -> str:
    """The messages of output `i` of a round, as JSON."""
    debate = step.form == "debate"
    there = [j for j in range(len(components)) if not debate or j != i]
    if step.apart:
        run, problem, place = seed
        order = prompts.order(step.k, derive_seed(run, problem, place * step.width + i))
        read = [i * step.k + j for j in order]
    elif step.k in (None, len(there)):
        again = (() if number == 1 else (number,)) + ((i,) if debate else ())
        read = [there[j] for j in prompts.order(len(there), derive_seed(*seed, *again))]
    else:
        read = random.Random(derive_seed(*seed, number, i)).sample(there, step.k)
    own = components[i] if debate else ""
    return json.dumps(prompts.messages(step.form, question, [components[j] for j in read], own, lab.prompt))
