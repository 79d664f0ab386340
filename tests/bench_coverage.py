"""How often intervals contain the truth and tests reject it, simulated at 30, 100 and 400 problems.

Run `python tests/bench_coverage.py [simulations]`; 1,000 take a minute of one core and leave a standard error of 0.7%.
Shares of whole answers have steps: no interval of theirs covers 95% at every n.
"""

import sys

import numpy as np

from a2r.results import stats
from a2r.results.stats import DIFFERENCE, SHARE

SIZES = (30, 100, 400)


def cells(plus: float, minus: float):
    """Differences of two methods' single answers."""
    return lambda rng, n: rng.choice([1.0, -1.0, 0.0], n, p=[plus, minus, 1 - plus - minus])


def sets(rng: np.random.Generator, n: int, gain: float = 0.0, k: int = 4) -> np.ndarray:
    """Differences of two methods over k sets, of problems from impossible to trivial."""
    p = rng.beta(0.5, 0.5, n)
    return (rng.binomial(k, p + 4 * gain * p * (1 - p)) - rng.binomial(k, p)) / k


def gains(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A2R - Pass@1 and Cons - Pass@1, means .3 and .15: their ratio is 2."""
    p = rng.beta(1, 1, n)
    single, vote = rng.binomial(4, 0.6 * p) / 4, rng.binomial(1, 0.6 * p + 0.15)
    return rng.binomial(1, 0.6 * p + 0.3) - single, vote - single


MEANS = {  # name: (draw, truth, bounds)
    "share .5": (lambda rng, n: rng.binomial(1, 0.5, n), 0.5, SHARE),
    "share .9": (lambda rng, n: rng.binomial(1, 0.9, n), 0.9, SHARE),
    "share, 4 sets": (lambda rng, n: rng.binomial(4, rng.beta(0.5, 0.25, n)) / 4, 2 / 3, SHARE),
    "difference, 40% of problems differ": (cells(0.3, 0.1), 0.2, DIFFERENCE),
    "difference, 15% differ": (cells(0.1, 0.05), 0.05, DIFFERENCE),
    "difference, 15% differ, all one way": (cells(0.15, 0.0), 0.15, DIFFERENCE),
    "difference, 4 sets": (lambda rng, n: sets(rng, n, 0.05), 4 * 0.05 / 8, DIFFERENCE),
}
NULLS = {
    "sign-flip, 15% differ": cells(0.075, 0.075),
    "sign-flip, 40% differ": cells(0.2, 0.2),
    "sign-flip, 4 sets": sets,
}


def contains(interval: stats.Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def main(simulations: int = 1_000) -> None:
    rng = np.random.default_rng(0)

    def row(name: str, hit) -> None:
        shares = [100 * np.nanmean([hit(n) for _ in range(simulations)]) for n in SIZES]
        print(f"{name:46}" + "".join(f"{share:7.1f}" for share in shares), flush=True)

    print(f"{'covers the truth, % (95 asked for)':46}" + "".join(f"{n:7}" for n in SIZES))
    for name, (draw, truth, bounds) in MEANS.items():
        row(name, lambda n: contains(stats.interval(draw(rng, n), bounds), truth))  # noqa: B023
    row("ratio of two costs (Fieller)", lambda n: contains(stats.ratio_interval(*rng.gamma(4, 1, (2, n))), 1))
    row("ratio of two gains, where defined", lambda n: covered_or_undefined(*gains(rng, n)))  # which is a selection
    row("bootstrap of a mean cost", lambda n: contains(stats.interval(rng.gamma(4, 1, n), None), 4))
    print("\nrejects at p <= .05 where nothing differs, %")
    for name, draw in NULLS.items():
        row(name, lambda n: stats.paired_test(draw(rng, n), np.zeros(n)) <= 0.05)  # noqa: B023
    row("interval above or below 0 and sign-flip, 15%", lambda n: decided(cells(0.075, 0.075)(rng, n)))
    print("\nsays equivalent within 2 points, %")
    row("where the difference is 2 points, 15% differ", lambda n: equivalent(cells(0.085, 0.065)(rng, n)))
    row("where there is none, 4% differ", lambda n: equivalent(cells(0.02, 0.02)(rng, n)))


def covered_or_undefined(numerator: np.ndarray, denominator: np.ndarray) -> float:
    value = stats.ratio_interval(numerator, denominator)
    return np.nan if np.isnan(value.estimate) else contains(value, 2)


def decided(values: np.ndarray) -> bool:
    found = stats.interval(values, DIFFERENCE)
    return (found.low > 0 or found.high < 0) and stats.paired_test(values, 0 * values) <= 0.05


def equivalent(values: np.ndarray) -> bool:
    found = stats.interval(values, DIFFERENCE, 0.90)
    return found.low > -0.02 and found.high < 0.02


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
