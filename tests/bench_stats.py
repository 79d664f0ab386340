"""Times the whole analysis: 1,000 problems x 64 samples x 10 methods, every metric, 10,000 resamples, every paired
test.

Run `python tests/bench_stats.py`. The target is about 5 s on 2 cores.
"""

import time
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from a2r.answers import equivalent
from a2r.methods import explorer_state, majority
from a2r.metrics import pass_at_k
from a2r.results import stats

PROBLEMS, SAMPLES, METHODS, N = 1000, 64, 10, 4


def main() -> None:
    rng = np.random.default_rng(0)
    golds = [str(g) for g in rng.integers(1000, size=PROBLEMS)]
    ability = rng.beta(1, 1, PROBLEMS)
    pools = {}
    for m in range(METHODS):
        right = rng.random((PROBLEMS, SAMPLES)) < np.clip(ability + 0.02 * m, 0, 1)[:, None]
        wrong = rng.integers(12, size=right.shape)
        pools[m] = [
            [gold if ok else f"{int(gold) + 1 + w}" for ok, w in zip(*row, strict=True)]
            for gold, row in zip(golds, zip(right, wrong, strict=True), strict=True)
        ]

    clock = [("start", time.perf_counter())]

    def lap(name):
        clock.append((name, time.perf_counter()))

    correct = {
        m: np.array([[equivalent(g, a) for a in row] for g, row in zip(golds, pool, strict=True)])
        for m, pool in pools.items()
    }
    lap("grade 640,000 answers")
    cuts = [slice(i, i + N) for i in range(0, SAMPLES, N)]
    outcomes = {}
    for m, pool in pools.items():
        outcomes["pass@1", m] = correct[m].mean(axis=1)
        outcomes[f"pass@{N}", m] = pass_at_k(SAMPLES, correct[m].sum(axis=1), N)
        outcomes[f"cons@{N}", m] = [
            np.mean([majority(row[cut], gold) for cut in cuts]) for gold, row in zip(golds, pool, strict=True)
        ]
    lap("Pass@1, Pass@4, Cons@4 of 160,000 sets")
    for m, pool in pools.items():
        for row, verdicts in zip(pool, correct[m], strict=True):
            for cut in cuts:
                explorer_state(verdicts[cut], row[cut])
    lap("explorer states of 160,000 sets")
    table = pd.DataFrame(outcomes)
    for name in table:
        stats.interval(table[name])
    lap(f"{table.shape[1]} intervals")
    best = table["cons@4", METHODS - 1]
    for m in range(METHODS - 1):
        pass1, cons, pass_n = (table[metric, m] for metric in ("pass@1", "cons@4", "pass@4"))
        stats.difference(best, cons)
        stats.ratio_interval(best - pass1, cons - pass1)
        stats.ratio_interval(best - cons, pass_n - cons)
    lap(f"{3 * (METHODS - 1)} gains and ratios")
    pvalues = [stats.paired_test(table["cons@4", a], table["cons@4", b]) for a, b in combinations(range(METHODS), 2)]
    stats.holm(pvalues)
    lap(f"{len(pvalues)} paired tests")
    for (_, before), (name, now) in pairwise(clock):
        print(f"{now - before:6.2f} s  {name}")
    print(f"{clock[-1][1] - clock[0][1]:6.2f} s  in all")


if __name__ == "__main__":
    main()
