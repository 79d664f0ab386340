"""Money and FLOPs of samples, from a dated price table (data/prices.csv).

Columns of the table: model, input, cached_input, output (per million tokens; an empty cached_input is
charged as input), currency, source, date. Every token that was spent counts, those of failed and
truncated samples too.
"""

from pathlib import Path

import pandas as pd

from a2r import stats
from a2r.errors import UserError
from a2r.profiles import ROOT, Profile

COLUMNS = ["model", "input", "cached_input", "output", "currency", "source", "date"]


def read_prices(path: str | Path) -> pd.DataFrame:
    """The price table, one row a model. Raises UserError for a missing file or column, or a model priced twice."""
    path = ROOT / path
    if not path.exists():
        raise UserError(f"there is no price table {path}; make one with the columns {', '.join(COLUMNS)}.")
    prices = pd.read_csv(path, comment="#")
    if missing := [c for c in COLUMNS if c not in prices]:
        raise UserError(f"the price table {path} has no column '{missing[0]}'; it needs {', '.join(COLUMNS)}.")
    if prices.model.duplicated().any():
        raise UserError(f"the price table {path} prices {prices.model[prices.model.duplicated()].iloc[0]} twice; keep one row.")
    for column in ("input", "output"):
        if len(bad := prices[pd.to_numeric(prices[column], errors="coerce").isna()]):
            raise UserError(f"the price table {path} has no number under '{column}' for {bad.model.iloc[0]}; fill it in (0 if it is free).")
    return prices.set_index("model").assign(cached_input=lambda p: p.cached_input.fillna(p.input))


def price(samples: pd.DataFrame, prices: pd.DataFrame) -> pd.Series:
    """Cost of each sample in the table's currency. Raises UserError for a model that has no price."""
    if missing := sorted(set(samples.model) - set(prices.index)):
        raise UserError(f"the price table has no row for {missing[0]}; add one, or set another table with 'prices'.")
    p = prices.loc[samples.model].reset_index(drop=True)
    s = samples.reset_index(drop=True)
    fresh = s.prompt_tokens - s.cached_tokens
    cost = (fresh * p.input + s.cached_tokens * p.cached_input + s.completion_tokens * p.output) / 1e6
    return pd.Series(cost.to_numpy(float), index=samples.index, name="cost")


def flops(outcomes: pd.DataFrame, lab: Profile) -> pd.Series:
    """2 x active parameters x computed tokens of each row of outcomes; nan where the profile gives no parameter count."""
    parameters = {m.name: m.parameters for m in lab.models} | {"": 0.0}
    total = 0.0
    for role in ("explorer", "synthesizer"):
        tokens = outcomes[f"{role}_prompt"] - outcomes[f"{role}_cached"] + outcomes[f"{role}_completion"]
        total = total + 2 * outcomes[role].map(parameters).astype(float) * tokens
    return total


def front(points: pd.DataFrame, cost: str = "cost", value: str = "correct") -> pd.Series:
    """Whether each row is on the non-dominated front: no other is at least as good and as cheap, and better in one of the two."""
    c, v = points[cost].to_numpy(), points[value].to_numpy()
    no_worse = (v[:, None] >= v) & (c[:, None] <= c)
    better = (v[:, None] > v) | (c[:, None] < c)
    return pd.Series(~(no_worse & better).any(axis=0), index=points.index)


def efficiency(outcomes: pd.DataFrame, lab: Profile, prices: pd.DataFrame) -> pd.DataFrame:
    """A2R pairs against single models (claim C3): one row a pair and a model at least as large as its synthesizer, and method.

    Columns: accuracy difference (A2R@N - the model's Pass@1 or Cons@N) and cost ratio as Intervals over problems, paired;
    p of the difference; and the break-evens at which the pair costs as much as the model: `tokens` written per synthesis, and
    `price` of the synthesizer as a multiple of its own ("never" where the explorer alone costs more).
    """
    size = {m.name: m.parameters or 0.0 for m in lab.models}
    a2r = f"A2R@{lab.n_paths}"
    keys = ["benchmark", "problem_id"]
    rows = []
    for (explorer, synthesizer), pair in outcomes[outcomes.method == a2r].groupby(["explorer", "synthesizer"], sort=False):
        ours = pair.groupby(keys)[["correct", "cost", "synthesizer_completion"]].mean()
        mine = outcomes[(outcomes.explorer == explorer) & (outcomes.method == f"Cons@{lab.n_paths}")]
        explored = mine.groupby(keys).cost.mean().mean()  # what the paths cost; the rest of the pair's cost is the synthesis
        for (model, method), single in outcomes[outcomes.synthesizer == ""].groupby(["explorer", "method"], sort=False):
            if method == f"Pass@{lab.n_paths}" or size.get(model, 0) < size.get(synthesizer, 0):
                continue
            theirs = single.groupby(keys)[["correct", "cost"]].mean().loc[ours.index]
            spare = theirs.cost.mean() - explored
            synthesis = ours.cost.mean() - explored
            tokens = ours.synthesizer_completion.mean() + (spare - synthesis) * 1e6 / prices.output[synthesizer]
            rows.append(
                {
                    **{"explorer": explorer, "synthesizer": synthesizer, "against": f"{model} {method}"},
                    "difference": stats.interval(ours.correct - theirs.correct),
                    "p": stats.paired_test(ours.correct, theirs.correct),
                    "cost ratio": stats.ratio_interval(ours.cost, theirs.cost)[0],
                    "tokens per synthesis": ours.synthesizer_completion.mean(),
                    "break-even tokens": tokens if tokens > 0 else "never",
                    "break-even price": spare / synthesis if spare > 0 else "never",
                    "n": len(ours),
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table.p)) if len(table) else table


def points(outcomes: pd.DataFrame, lab: Profile) -> pd.DataFrame:
    """One row a method and pair for `plots.cost_front`: label, family, correct and cost (of 1,000 problems) as Intervals, front."""
    rows = []
    kept = outcomes[outcomes.method != f"Pass@{lab.n_paths}"]  # an oracle, nobody can buy it
    for (explorer, synthesizer, method), part in kept.groupby(["explorer", "synthesizer", "method"], sort=False):
        means = part.groupby(["benchmark", "problem_id"])[["correct", "cost"]].mean()
        single = f"{explorer} {method}"
        rows.append(
            {
                "label": f"{explorer} → {synthesizer}" if synthesizer else single,
                "family": method if method == "Pass@1" else method.split("@")[0],
                "correct": stats.interval(means.correct),
                "cost": stats.interval(1000 * means.cost),
                "n": len(means),
            }
        )
    table = pd.DataFrame(rows)
    estimates = pd.DataFrame({c: [v.estimate for v in table[c]] for c in ("correct", "cost")})
    return table.assign(front=front(estimates))
