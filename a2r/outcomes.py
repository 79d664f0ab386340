"""Outcomes: the third table, one row per problem x set x method, computed from samples alone.

Columns: benchmark, problem_id, explorer, synthesizer ("" for methods without one), set, method,
correct (0..1), cost, prompt, cached and completion tokens by role, seconds (critical path: the slowest
path, then the synthesis), engine_seconds (all of it), flops, state (how many of the set's paths are right and how they would vote).
"""

import pandas as pd

from a2r.answers import equivalent, extract
from a2r.cost import flops, price
from a2r.errors import UserError
from a2r.methods import explorer_state, majority
from a2r.metrics import pass_at_k
from a2r.pipeline import cut_sets
from a2r.profiles import Profile

SYNTHESIZER_TOKENS = ("synthesizer_prompt", "synthesizer_cached", "synthesizer_completion")
STATES = ("none", "minority", "tie", "majority", "all")


def grade(samples: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The samples with `answer` (None where there is none) and `correct` (bool)."""
    gold = problems.set_index("problem_id").answer
    answers = [extract(text) if not error else None for text, error in zip(samples.text, samples.error, strict=True)]
    correct = [a is not None and equivalent(gold[p], a) for p, a in zip(samples.problem_id, answers, strict=True)]
    return samples.assign(answer=pd.Series(answers, index=samples.index, dtype=object), correct=correct)


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
    pool = pool if "correct" in pool else grade(pool, problems)
    pool = pool.assign(cost=price(pool, prices))
    right = pool.groupby("problem_id").correct.agg(["size", "sum"])
    pass_n = pd.Series(pass_at_k(right["size"], right["sum"], n_paths), index=right.index)
    paths = cut_sets(pool, n_paths, n_sets)
    gold = problems.set_index("problem_id").answer
    explorer = "+".join(dict.fromkeys(pool.model))
    rows = []
    for (benchmark, problem_id, number), members in paths.groupby(["benchmark", "problem_id", "set"], sort=False):
        answers = members.answer.tolist()
        shared = {
            **{"benchmark": benchmark, "problem_id": problem_id, "explorer": explorer, "synthesizer": "", "set": number},
            **{"state": explorer_state(members.correct.tolist(), answers), "right": int(members.correct.sum())},
        }
        whole = {
            **{"cost": members.cost.sum(), "seconds": members.seconds.max(), "engine_seconds": members.seconds.sum()},
            **{"explorer_prompt": members.prompt_tokens.sum(), "explorer_cached": members.cached_tokens.sum()},
            "explorer_completion": members.completion_tokens.sum(),
        }
        single = {
            **{"cost": members.cost.mean(), "seconds": members.seconds.mean(), "engine_seconds": members.seconds.mean()},
            **{"explorer_prompt": members.prompt_tokens.mean(), "explorer_cached": members.cached_tokens.mean()},
            "explorer_completion": members.completion_tokens.mean(),
        }
        rows.append({**shared, **single, "method": "Pass@1", "correct": members.correct.mean()})
        rows.append({**shared, **whole, "method": f"Cons@{n_paths}", "correct": majority(answers, gold[problem_id])})
        rows.append({**shared, **whole, "method": f"Pass@{n_paths}", "correct": pass_n[problem_id]})
    table = pd.DataFrame(rows).assign(**dict.fromkeys(SYNTHESIZER_TOKENS, 0.0))
    if syntheses is None:
        return table
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
    base = table[table.method == f"Cons@{n_paths}"].set_index(["problem_id", "set"])
    if len(lacking := base.index.difference(final.index)):
        raise UserError(
            f"problem '{lacking[0][0]}' has no synthesis of set {lacking[0][1]}; synthesize all {n_sets} sets of {n_paths} paths."
        )
    a2r = base.assign(
        method=f"A2R@{n_paths}",
        cost=base.cost + final.cost,
        seconds=base.seconds + final.seconds,
        engine_seconds=base.engine_seconds + final.seconds,
        **{c: final[c] for c in ("synthesizer", "correct", *SYNTHESIZER_TOKENS)},
    )
    return pd.concat([table, a2r.reset_index()], ignore_index=True)[table.columns]


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
        mine = {s: frame for (e, s), frame in syntheses.items() if e == explorer} or {"": None}
        for k, frame in enumerate(mine.values()):
            table = outcomes(problems, pool, prices, frame, lab.n_paths, lab.n_sets)
            frames.append(table if k == 0 else table[table.synthesizer != ""])  # the explorer's own methods once
    table = pd.concat(frames, ignore_index=True)
    return table.assign(flops=flops(table, lab))


def difficulty(problems: pd.DataFrame, pools: dict[str, pd.DataFrame]) -> pd.Series:
    """A group for every problem: its `level` where the benchmark has one, else a third by the mean accuracy of all explorers."""
    if "level" in problems and problems.level.notna().all():
        return problems.set_index("problem_id").level
    solved = pd.concat(pools.values()).groupby("problem_id").correct.mean()
    return pd.cut(solved.rank(method="first", pct=True), [0, 1 / 3, 2 / 3, 1], labels=["hard", "medium", "easy"]).astype(str)


def rates(samples: pd.DataFrame) -> dict[str, float]:
    """Shares of graded samples that were cut off, failed, or gave no answer."""
    return {
        "truncated": float((samples.finish_reason == "length").mean()),
        "failed": float((samples.error != "").mean()),
        "no_answer": float(samples.answer.isna().mean()),
    }
