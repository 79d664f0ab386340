"""Outcomes: the third table, one row per problem x set x method, computed from samples alone.

Columns: benchmark, problem_id, explorer, synthesizer ("" for methods without one), set, method,
correct (0..1), cost, prompt, cached and completion tokens by role, seconds (critical path: the slowest
path, then the synthesis), engine_seconds (all of it), flops, state (how many of the set's paths are right and how they
would vote).
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from a2r import answers
from a2r.answers import decided, equivalent, extract
from a2r.errors import UserError
from a2r.methods import METHODS, Choice, Method, explorer_state, majority
from a2r.metrics import pass_at_k
from a2r.pipeline import cut_sets
from a2r.prices import flops, price
from a2r.profiles import Profile

TOKENS = ("prompt", "cached", "completion")
SYNTHESIZER_TOKENS = tuple(f"synthesizer_{kind}" for kind in TOKENS)
COLUMNS = ["benchmark", "problem_id", "explorer", "synthesizer", "set", "state", "right"]
COLUMNS += ["cost", "seconds", "engine_seconds", *(f"explorer_{kind}" for kind in TOKENS), "method", "correct"]
COLUMNS += SYNTHESIZER_TOKENS
GRADED = ["id", "time", "gold"]  # what a verdict is on
STATES = ("none", "minority", "tie", "majority", "all")


def grade(samples: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The samples with `answer` (None where there is none) and `correct` (bool).

    Verdicts on samples of a store are kept beside them, for this version of the grader: a text is read for one once.
    """
    known = problems.set_index("problem_id").answer
    if len(strange := samples.problem_id[~samples.problem_id.isin(known.index)]):
        said = f"a sample is of problem '{strange.iloc[0]}', which is not among the {len(problems)} to grade it by"
        raise UserError(f"{said}; give the problems that were asked.")
    gold = known.loc[samples.problem_id].astype(str).to_numpy(object)
    answer, correct = np.full(len(samples), None), np.zeros(len(samples), bool)
    todo = (samples.error == "").to_numpy(copy=True)
    stored, place = getattr(samples.text.array, "source", None), f"graded-{answers.version()}"
    if stored and (known := stored.kept(place, GRADED, ["answer", "correct"])):
        for i, key in enumerate(zip(samples.id.to_numpy(object), samples.time, gold, strict=True)):
            if todo[i] and (verdict := known.get(key)):
                (answer[i], correct[i]), todo[i] = verdict, False
    texts = samples.text.array[todo]
    answer[todo] = texts.map(extract) if stored else [extract(text) for text in texts]
    correct[todo] = [equivalent(*pair) for pair in zip(gold[todo], answer[todo], strict=True)]
    if stored and todo.any():
        new = samples.loc[todo, ["id", "time"]].assign(gold=gold[todo], answer=answer[todo], correct=correct[todo])
        stored.keep(place, new[[decided(*pair) for pair in zip(new.gold, answer[todo], strict=True)]])
    return samples.assign(answer=pd.Series(answer, index=samples.index, dtype=object), correct=correct)


def billed_sets(pool: pd.DataFrame, prices: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """`cut_sets` with the `cost` of each path in its set: the first one pays for the whole prompt, with whatever paths
    outside the set it shared that when it was sampled."""
    sets = cut_sets(pool, n_paths, n_sets)
    first = ~sets.duplicated(["benchmark", "problem_id", "set"])
    sets = sets.assign(cached_tokens=sets.cached_tokens.mask(first, 0 * sets.cached_tokens))
    return sets.assign(cost=price(sets, prices))


def baselines(
    problems: pd.DataFrame, pool: pd.DataFrame, prices: pd.DataFrame, n_paths: int, n_sets: int
) -> pd.DataFrame:
    """The outcomes of the explorer alone on the sets of its graded pool: Pass@1, Cons@N, and Pass@N, the unbiased
    estimate from the whole pool."""
    right = pool.groupby("problem_id").correct.agg(["size", "sum"])
    pass_n = pd.Series(pass_at_k(right["size"], right["sum"], n_paths), index=right.index)
    gold = problems.set_index("problem_id").answer
    sets = billed_sets(pool, prices, n_paths, n_sets)
    by_set = sets.groupby(["benchmark", "problem_id", "set"], sort=False)
    votes = by_set.agg(answers=("answer", list), correct=("correct", list))
    ids = votes.index.get_level_values("problem_id")
    states = [explorer_state(c, a) for c, a in zip(votes.correct, votes.answers, strict=True)]
    shared = pd.DataFrame({"state": states, "right": votes.correct.map(sum)}, index=votes.index)
    shared = shared.assign(explorer="+".join(dict.fromkeys(pool.model)), synthesizer="")
    shared = shared.assign(**dict.fromkeys(SYNTHESIZER_TOKENS, 0.0))
    spent = {"cost": "cost", "engine_seconds": "seconds", **{f"explorer_{kind}": f"{kind}_tokens" for kind in TOKENS}}
    alone = sets.assign(cached_tokens=0 * sets.cached_tokens)  # one path shares its prompt with none
    alone = alone.assign(cost=price(alone, prices)).groupby(["benchmark", "problem_id", "set"], sort=False)
    # where a path's tokens are not known, those of its set are not either
    total, mean = by_set[list(spent.values())].sum(skipna=False), alone[list(spent.values())].mean(skipna=False)
    total, mean = total.set_axis(list(spent), axis=1), mean.set_axis(list(spent), axis=1)
    single = shared.join(mean.assign(seconds=mean.engine_seconds))
    whole = shared.join(total.assign(seconds=by_set.seconds.max(skipna=False)))
    cons = [majority(answers, gold[i]) for answers, i in zip(votes.answers, ids, strict=True)]
    methods = [
        single.assign(method="Pass@1", correct=by_set.correct.mean()),
        whole.assign(method=f"Cons@{n_paths}", correct=cons),
        whole.assign(method=f"Pass@{n_paths}", correct=pass_n.loc[ids].to_numpy()),
    ]
    return pd.concat(methods).reset_index()[COLUMNS]


def synthesized(
    base: pd.DataFrame,
    prices: pd.DataFrame,
    syntheses: pd.DataFrame,
    n_paths: int,
    n_sets: int,
    method: str | None = None,
    alone: bool = False,
) -> pd.DataFrame:
    """The outcomes of one synthesizer's graded samples, A2R@N (or `method`), on the sets whose `baselines` are `base`.

    `alone`: without references, so that nothing is paid for the paths. UserError where a set has no synthesis.
    """
    names = {"cost": "cost", "seconds": "seconds", **{f"{k}_tokens": f"synthesizer_{k}" for k in TOKENS}}
    final = syntheses.assign(cost=price(syntheses, prices)).groupby(["problem_id", "set"])
    final = final[["correct", *names]].mean().rename(columns=names).assign(synthesizer=final.model.first())
    base = base[base.method == f"Cons@{n_paths}"].set_index(["problem_id", "set"])
    if len(lacking := base.index.difference(final.index)):
        problem, number = lacking[0]
        needed = f"synthesize all {n_sets} sets of {n_paths} paths"
        raise UserError(f"problem '{problem}' has no synthesis of set {number}; {needed}.")
    if alone:
        paid = ["cost", "seconds", "engine_seconds", *(f"explorer_{kind}" for kind in TOKENS)]
        base = base.assign(**dict.fromkeys(paid, 0.0))
    a2r = base.assign(
        method=method or f"A2R@{n_paths}",
        cost=base.cost + final.cost,
        seconds=base.seconds + final.seconds,
        engine_seconds=base.engine_seconds + final.seconds,
        **{c: final[c] for c in ("synthesizer", "correct", *SYNTHESIZER_TOKENS)},
    )
    return a2r.reset_index()[COLUMNS]


class Score(NamedTuple):
    """What methods choose by: a number a path (the index of the pool's rows), and the samples that telling them took.

    `spent` is a samples frame with the column `set`, and `stage` where it was not asked all at once; None: nothing was.
    """

    values: pd.Series
    spent: pd.DataFrame | None = None


def played(
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    prices: pd.DataFrame,
    n_paths: int,
    n_sets: int,
    scores: dict[str, Score] | None = None,
    syntheses: dict[str, pd.DataFrame] | None = None,
    methods: Mapping[str, Method] = METHODS,
) -> pd.DataFrame:
    """The outcomes of the free methods (`methods.METHODS`, or others) on the sets of a graded pool.

    `scores` by name, beside the log-probabilities that the pool has; `syntheses` (graded, of the same sets) by the
    name under which methods ask for them. Methods that need what is not there are left out. Each row costs what its
    method used: the paths that it drew, the samples of the scores that it needs, the synthesis if it asked for one; a
    score is paid for the whole set.
    """
    own = {name: Score(pool[f"logprob_{name}"]) for name in ("mean", "tail", "lowest")}
    sets = billed_sets(pool, prices, n_paths, n_sets)
    heard = sets.index[sets.answer.notna()]
    scores = {name: s for name, s in {**own, **(scores or {})}.items() if s.values[heard].notna().all()}
    asked = {name: bills(frame, prices, "mean").to_dict("index") for name, frame in (syntheses or {}).items()}
    verdicts = {name: frame.groupby(["problem_id", "set"]).correct.mean() for name, frame in (syntheses or {}).items()}
    told = {name: bills(s.spent, prices).to_dict("index") for name, s in scores.items() if s.spent is not None}
    there = {name: m for name, m in methods.items() if {*m.needs} <= scores.keys() and {*m.asks} <= asked.keys()}
    gold, explorer = problems.set_index("problem_id").answer, "+".join(dict.fromkeys(pool.model))
    known = {name: s.values.loc[sets.index].to_numpy() for name, s in scores.items()}
    paths = sets[["cost", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds"]].to_numpy(float)
    answers, correct, rows = sets.answer.to_numpy(), sets.correct.to_numpy(), []
    places = sets.groupby(["benchmark", "problem_id", "set"], sort=False).indices  # a frame a set would take the time
    for (benchmark, problem_id, number), at in places.items():
        said, right, spent = answers[at].tolist(), correct[at].tolist(), paths[at]
        here = {"benchmark": benchmark, "problem_id": problem_id, "set": number, "explorer": explorer}
        here |= {"state": explorer_state(right, said), "right": sum(right)}
        values = {name: known[name][at].tolist() for name in scores}
        for name, method in there.items():
            choice = chosen(name, method, said, values)
            waves = choice.waves or (len(said),)
            drawn = spent[: sum(waves)]
            bill = dict(zip(("cost", *(f"explorer_{kind}" for kind in TOKENS)), drawn[:, :4].sum(axis=0), strict=True))
            ends = list(itertools.accumulate(waves))
            seconds = sum(drawn[end - wave : end, 4].max() for wave, end in zip(waves, ends, strict=True))
            bill |= {"seconds": seconds, "engine_seconds": drawn[:, 4].sum(), **dict.fromkeys(SYNTHESIZER_TOKENS, 0.0)}
            bill |= {"synthesizer": "", "correct": choice.score(gold[problem_id])}
            extras = [told[need] for need in method.needs if need in told]
            for extra in [*extras, asked[choice.ask]] if choice.ask else extras:
                if more := extra.get((problem_id, number)):  # a tournament of paths that agree asks nothing
                    bill |= {key: bill[key] + more[key] for key in BILL} | {"synthesizer": more["model"]}
            if choice.ask:
                bill["correct"] = verdicts[choice.ask][problem_id, number]
            rows.append({**here, "method": f"{name}@{n_paths}", **bill})
    return pd.DataFrame(rows, columns=COLUMNS).astype({"set": "int32"})


def chosen(name: str, method: Method, answers: list[str | None], scores: dict[str, list[float]]) -> Choice:
    """What a method makes of a set; UserError, with its name, where it fails or what it returns is no sound Choice."""
    try:
        choice = method.choose(answers, scores)
        if not isinstance(choice, Choice):
            raise TypeError(f"it returned {choice!r} and no Choice")
        if not 0 < sum(choice.waves or (1,)) <= len(answers):
            raise ValueError(f"its waves {choice.waves} are of other than 1 to {len(answers)} paths")
    except Exception as error:
        raise UserError(f"method '{name}' failed ({type(error).__name__}: {error}); correct its function.") from error
    return choice


BILL = ("cost", "seconds", "engine_seconds", *SYNTHESIZER_TOKENS)


def bills(samples: pd.DataFrame, prices: pd.DataFrame, how: str = "sum") -> pd.DataFrame:
    """What samples come to by (problem, set): BILL and model. All of them ("sum"), or one of several alike ("mean").

    Of a stage the slowest counts for the seconds, and stages follow one another.
    """
    samples = samples.assign(cost=price(samples, prices), stage=samples.get("stage", 0))
    groups = samples.groupby(["problem_id", "set"])
    billed = groups[["cost", "seconds", *(f"{kind}_tokens" for kind in TOKENS)]]
    totals = billed.sum(skipna=False) if how == "sum" else billed.mean(skipna=False)
    totals = totals.set_axis(["cost", "engine_seconds", *SYNTHESIZER_TOKENS], axis=1)
    stages = samples.groupby(["problem_id", "set", "stage"]).seconds.agg("max" if how == "sum" else how)
    return totals.assign(seconds=stages.groupby(["problem_id", "set"]).sum(), model=groups.model.first())


def matched_votes(problems: pd.DataFrame, pool: pd.DataFrame, prices: pd.DataFrame, cost: float) -> pd.DataFrame:
    """Cons@k on sets of k paths of the pool, with the k whose cost is nearest to `cost` per problem (at most the pool's
    size). No rows where there is no price to match by."""
    size, each = int(pool.groupby("problem_id").size().min()), price(pool, prices).mean()
    if np.isnan(cost / each):
        return baselines(problems, pool, prices, 1, 1).iloc[:0]
    k = min(size, max(1, round(cost / each)))
    return baselines(problems, pool, prices, k, size // k).query(f"method == 'Cons@{k}'")


def collect(
    problems: pd.DataFrame,
    pools: dict[str, pd.DataFrame],
    syntheses: dict[tuple[str, str], pd.DataFrame],
    prices: pd.DataFrame,
    lab: Profile,
) -> pd.DataFrame:
    """Outcomes of several pairs: `pools` by explorer, `syntheses` by (explorer, synthesizer), all graded."""
    frames = []
    for explorer, pool in pools.items():
        base = baselines(problems, pool, prices, lab.n_paths, lab.n_sets)
        mine = [frame for (e, _), frame in syntheses.items() if e == explorer]
        frames += [base, *(synthesized(base, prices, frame, lab.n_paths, lab.n_sets) for frame in mine)]
    table = pd.concat(frames, ignore_index=True)
    return table.assign(flops=flops(table, lab))


def difficulty(problems: pd.DataFrame, pools: dict[str, pd.DataFrame]) -> pd.Series:
    """A group for every problem: its `level` where the benchmark has one, else a third by the mean accuracy of all
    explorers, as an ordered category, easy first."""
    if "level" in problems and problems.level.notna().all():
        return problems.set_index("problem_id").level
    missed = 1 - pd.concat(pools.values()).groupby("problem_id").correct.mean()
    return pd.cut(missed.rank(method="first", pct=True), [0, 1 / 3, 2 / 3, 1], labels=["easy", "medium", "hard"])


def rates(samples: pd.DataFrame) -> dict[str, float]:
    """Shares of graded samples that were cut off, failed, or gave no answer."""
    shares = {"truncated": samples.finish_reason == "length", "failed": samples.error != ""}
    shares["no_answer"] = samples.answer.isna()
    return {name: float(share.mean()) for name, share in shares.items()}
