"""The asymmetric grid: every explorer x every synthesizer on the same sets, and what each side's size explains.

    pools, syntheses = run(lab, problems, explorers, synthesizers)

An E x S grid costs E pools and E*S syntheses of every set, never E*S pools (`generations`).
"""

import numpy as np
import pandas as pd

from a2r import stats
from a2r.outcomes import grade
from a2r.pipeline import Context, explore, synthesize_all
from a2r.profiles import Profile

Pools = dict[str, pd.DataFrame]
Syntheses = dict[tuple[str, str], pd.DataFrame]


def run(
    lab: Profile, problems: pd.DataFrame, explorers: list[str], synthesizers: list[str], alone: tuple[str, ...] = ()
) -> tuple[Pools, Syntheses]:
    """Graded pools by explorer and graded syntheses by (explorer, synthesizer), read from the store or sampled.

    Models named in `alone` have a pool too, which nobody reads: single models that pairs are compared with.
    """
    pools = {e: grade(explore(lab, e, problems, lab.n_paths * lab.n_sets), problems) for e in dict.fromkeys([*explorers, *alone])}
    # synthesizer by synthesizer and the last explorer first, so that a server loads a model for each role at most once
    in_turn = sorted(synthesizers, key=lambda s: s != list(pools)[-1])
    pairs = {}
    for s in in_turn:
        made = synthesize_all(lab, s, problems, [Context(pools[e]) for e in explorers])
        pairs |= {(e, s): grade(frame, problems) for e, frame in zip(explorers, made, strict=True)}
    return pools, {(e, s): pairs[e, s] for e in explorers for s in synthesizers}


def generations(pools: Pools, syntheses: Syntheses, lab: Profile, n_problems: int) -> pd.DataFrame:
    """Samples that the grid used (distinct ids) beside the least that it can: E pools and E*S*sets*syntheses."""
    each_set = lab.n_sets * lab.n_syntheses
    return pd.DataFrame(
        {
            "role": ["explorer", "synthesizer"],
            "used": [pd.concat(list(frames.values())).id.nunique() for frames in (pools, syntheses)],
            "minimum": [len(pools) * n_problems * lab.n_paths * lab.n_sets, len(syntheses) * n_problems * each_set],
        }
    )


def decomposition(outcomes: pd.DataFrame, n_paths: int = 4, method: str = "A2R") -> pd.DataFrame:
    """How much of A2R@N's variation over the grid each side explains (claim C2), as Intervals over problems.

    A two-way decomposition of the cells' accuracies on the logit scale, logit(y_es) = m + a_e + b_s + r_es with effects
    that sum to zero: the share of the sum of squares of each part, the difference of the two shares, and the mean rise in
    points from the smallest to the largest model of either role. Cells are shrunk by half a problem, so that 0 and 1 have
    a logit. The rows and columns are in the order of the outcomes, which is that of the profile: smallest first.
    """
    cells = outcomes[outcomes.method == f"{method}@{n_paths}"]
    wide = cells.pivot_table(index=["benchmark", "problem_id"], columns=["explorer", "synthesizer"], values="correct", sort=False)
    explorers, synthesizers = cells.explorer.unique(), cells.synthesizer.unique()
    wide = wide.reindex(columns=pd.MultiIndex.from_product([explorers, synthesizers]))
    if wide.isna().any(axis=None):
        raise ValueError("decomposition: the grid has empty cells; run every explorer with every synthesizer on the same problems.")
    n, shape = len(wide), (len(explorers), len(synthesizers))

    def parts(*means: np.ndarray) -> dict[str, np.ndarray]:
        y = np.stack(np.broadcast_arrays(*means), axis=-1)
        y = y.reshape(*y.shape[:-1], *shape)
        shrunk = (y * n + 0.5) / (n + 1)
        z = np.log(shrunk / (1 - shrunk))
        z = z - z.mean(axis=(-2, -1), keepdims=True)
        a, b = z.mean(axis=-1, keepdims=True), z.mean(axis=-2, keepdims=True)
        square = {
            "explorer": shape[1] * (a**2).sum(axis=(-2, -1)),
            "synthesizer": shape[0] * (b**2).sum(axis=(-2, -1)),
            "interaction": ((z - a - b) ** 2).sum(axis=(-2, -1)),
        }
        total = sum(square.values())
        share = {f"share of {name}": value / np.where(total > 0, total, np.nan) for name, value in square.items()}
        rise = {
            "rise with explorer": (y[..., -1, :] - y[..., 0, :]).mean(axis=-1),
            "rise with synthesizer": (y[..., :, -1] - y[..., :, 0]).mean(axis=-1),
        }
        return {
            **share,
            "share of synthesizer - explorer": share["share of synthesizer"] - share["share of explorer"],
            **rise,
            "rise with synthesizer - explorer": rise["rise with synthesizer"] - rise["rise with explorer"],
        }

    columns = [wide[c] for c in wide]
    names = parts(*[np.zeros(1)] * len(columns))
    rows = [{"quantity": name, "value": stats.interval(columns, lambda *m, name=name: parts(*m)[name]), "n": n} for name in names]
    return pd.DataFrame(rows)
