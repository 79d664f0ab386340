"""Outcomes: the third table, one row per problem x set x method, computed from samples alone.

Columns: benchmark, problem_id, explorer, synthesizer ("" for methods without one), set, method,
correct (0..1), cost, prompt, cached and completion tokens by role, seconds (critical path: the slowest
path, then the synthesis), engine_seconds (all of it), flops, state (how many of the set's paths are right and how they
would vote).
"""

import numpy as np
import pandas as pd

from a2r import answers
from a2r.answers import decided, equivalent, extract
from a2r.errors import UserError
from a2r.methods import explorer_state, majority
from a2r.metrics import pass_at_k
from a2r.pipeline import cut_sets
from a2r.prices import flops, price
from a2r.profiles import Profile

TOKENS = ("prompt", "cached", "completion")
SYNTHESIZER_TOKENS = tuple(f"synthesizer_{kind}" for kind in TOKENS)
COLUMNS = (
    *(
        "benchmark",
        "problem_id",
        "explorer",
        "synthesizer",
        "set",
        "state",
        "right",
        "cost",
        "seconds",
        "engine_seconds",
    ),
    *("explorer_prompt", "explorer_cached", "explorer_completion", "method", "correct", *SYNTHESIZER_TOKENS),
)
STATES = ("none", "minority", "tie", "majority", "all")


def grade(samples: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The samples with `answer` (None where there is none) and `correct` (bool).

    Verdicts on samples of a store are kept beside them, for this version of the grader: a text is read for one once.
    """
    gold = problems.set_index("problem_id").answer.loc[samples.problem_id].astype(str).to_numpy(object)
    answer, correct, todo = np.full(len(samples), None), np.zeros(len(samples), bool), (samples.error == "").to_numpy()
    stored, place = getattr(samples.text.array, "source", None), f"graded-{answers.version()}"
    if stored and len(known := stored.kept(place)):
        keys = samples[["id", "time"]].assign(gold=gold)
        found = keys.merge(known.drop_duplicates(list(keys)), how="left")
        hit = found.correct.notna().to_numpy()
        answer[hit] = found.answer[hit].astype(object).where(found.answer[hit].notna(), None)
        correct[hit], todo = found.correct[hit].astype(bool), todo & ~hit
    texts = samples.text.array[todo]
    answer[todo] = texts.map(extract) if stored else [extract(text) for text in texts]
    correct[todo] = [equivalent(*pair) for pair in zip(gold[todo], answer[todo], strict=True)]
    if stored and todo.any():
        new = samples.loc[todo, ["id", "time"]].assign(gold=gold[todo], answer=answer[todo], correct=correct[todo])
        stored.keep(place, new[[decided(*pair) for pair in zip(new.gold, answer[todo], strict=True)]])
    return samples.assign(answer=pd.Series(answer, index=samples.index, dtype=object), correct=correct)


def outcomes(
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    prices: pd.DataFrame,
    syntheses: pd.DataFrame | None = None,
    n_paths: int = 4,
    n_sets: int = 4,
) -> pd.DataFrame:
    """All methods on the same sets of one explorer: Pass@1, Cons@N, Pass@N, and A2R@N where syntheses are given.

    `pool` and `syntheses` are samples frames (graded or not) of one explorer and one synthesizer. Pass@N
    is the unbiased estimate from the whole pool; everything else is per set.
    """
    table = baselines(problems, pool, prices, n_paths, n_sets)
    if syntheses is None:
        return table
    return pd.concat([table, synthesized(problems, table, prices, syntheses, n_paths, n_sets)], ignore_index=True)


def baselines(
    problems: pd.DataFrame, pool: pd.DataFrame, prices: pd.DataFrame, n_paths: int, n_sets: int
) -> pd.DataFrame:
    """The outcomes of the explorer alone: Pass@1, Cons@N, Pass@N."""
    pool = pool if "correct" in pool else grade(pool, problems)
    pool = pool.assign(cost=price(pool, prices))
    right = pool.groupby("problem_id").correct.agg(["size", "sum"])
    pass_n = pd.Series(pass_at_k(right["size"], right["sum"], n_paths), index=right.index)
    gold = problems.set_index("problem_id").answer
    by_set = cut_sets(pool, n_paths, n_sets).groupby(["benchmark", "problem_id", "set"], sort=False)
    votes = by_set.agg(answers=("answer", list), correct=("correct", list))
    ids = votes.index.get_level_values("problem_id")
    shared = pd.DataFrame(
        {
            **{
                "explorer": "+".join(dict.fromkeys(pool.model)),
                "synthesizer": "",
                **dict.fromkeys(SYNTHESIZER_TOKENS, 0.0),
            },
            "state": [explorer_state(c, a) for c, a in zip(votes.correct, votes.answers, strict=True)],
            "right": votes.correct.map(sum),
        },
        index=votes.index,
    )
    spent = {"cost": "cost", "engine_seconds": "seconds", **{f"explorer_{kind}": f"{kind}_tokens" for kind in TOKENS}}
    total, mean = (by_set.agg(**{name: (column, how) for name, column in spent.items()}) for how in ("sum", "mean"))
    single = shared.join(mean.assign(seconds=mean.engine_seconds))
    whole = shared.join(total.assign(seconds=by_set.seconds.max()))
    cons = [majority(answers, gold[i]) for answers, i in zip(votes.answers, ids, strict=True)]
    methods = [
        single.assign(method="Pass@1", correct=by_set.correct.mean()),
        whole.assign(method=f"Cons@{n_paths}", correct=cons),
        whole.assign(method=f"Pass@{n_paths}", correct=pass_n.loc[ids].to_numpy()),
    ]
    return pd.concat(methods).reset_index()[list(COLUMNS)]


def synthesized(
    problems: pd.DataFrame, base: pd.DataFrame, prices: pd.DataFrame, syntheses: pd.DataFrame, n_paths: int, n_sets: int
) -> pd.DataFrame:
    """The outcomes of one synthesizer, A2R@N, on the sets whose `baselines` are `base`; UserError where a set has no
    synthesis."""
    graded = syntheses if "correct" in syntheses else grade(syntheses, problems)
    final = graded.assign(cost=price(graded, prices)).groupby(["problem_id", "set"])
    final = final.agg(
        synthesizer=("model", "first"),
        correct=("correct", "mean"),
        cost=("cost", "mean"),
        seconds=("seconds", "mean"),
        synthesizer_prompt=("prompt_tokens", "mean"),
        synthesizer_cached=("cached_tokens", "mean"),
        synthesizer_completion=("completion_tokens", "mean"),
    )
    base = base[base.method == f"Cons@{n_paths}"].set_index(["problem_id", "set"])
    if len(lacking := base.index.difference(final.index)):
        raise UserError(
            f"problem '{lacking[0][0]}' has no synthesis of set {lacking[0][1]}; "
            f"synthesize all {n_sets} sets of {n_paths} paths."
        )
    a2r = base.assign(
        method=f"A2R@{n_paths}",
        cost=base.cost + final.cost,
        seconds=base.seconds + final.seconds,
        engine_seconds=base.engine_seconds + final.seconds,
        **{c: final[c] for c in ("synthesizer", "correct", *SYNTHESIZER_TOKENS)},
    )
    return a2r.reset_index()[list(COLUMNS)]


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
        frames += [base, *(synthesized(problems, base, prices, frame, lab.n_paths, lab.n_sets) for frame in mine)]
    table = pd.concat(frames, ignore_index=True)
    return table.assign(flops=flops(table, lab))


def difficulty(problems: pd.DataFrame, pools: dict[str, pd.DataFrame]) -> pd.Series:
    """A group for every problem: its `level` where the benchmark has one, else a third by the mean accuracy of all
    explorers."""
    if "level" in problems and problems.level.notna().all():
        return problems.set_index("problem_id").level
    solved = pd.concat(pools.values()).groupby("problem_id").correct.mean()
    return pd.cut(
        solved.rank(method="first", pct=True), [0, 1 / 3, 2 / 3, 1], labels=["hard", "medium", "easy"]
    ).astype(str)


def rates(samples: pd.DataFrame) -> dict[str, float]:
    """Shares of graded samples that were cut off, failed, or gave no answer."""
    return {
        "truncated": float((samples.finish_reason == "length").mean()),
        "failed": float((samples.error != "").mean()),
        "no_answer": float(samples.answer.isna().mean()),
    }
