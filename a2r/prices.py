"""Money and FLOPs of samples, from a dated price table (data/prices.csv).

Columns of the table: model, input, cached_input, output (per million tokens; an empty cached_input is charged as
input), currency, source, date. Every token that was spent counts, those of failed and truncated samples too.
"""

import logging
from functools import cache
from pathlib import Path

import pandas as pd

from a2r.errors import UserError
from a2r.profiles import ROOT, Profile

log = logging.getLogger(__name__)

COLUMNS = ["model", "input", "cached_input", "output", "currency", "source", "date"]


def read_prices(path: str | Path) -> pd.DataFrame:
    """The price table, one row a model. Raises UserError for a missing file or column, or a model priced twice."""
    path = ROOT / path
    if not path.exists():
        raise UserError(f"there is no price table {path}; make one with the columns {', '.join(COLUMNS)}.")
    prices = pd.read_csv(path, comment="#")
    if missing := [c for c in COLUMNS if c not in prices]:
        raise UserError(f"the price table {path} has no column '{missing[0]}'; it needs {', '.join(COLUMNS)}.")
    for model in prices.model[prices.model.duplicated()]:
        raise UserError(f"the price table {path} prices {model} twice; keep one row.")
    for column in ("input", "output"):
        for model in prices.model[pd.to_numeric(prices[column], errors="coerce").isna()]:
            what = f"no number under '{column}' for {model}"
            raise UserError(f"the price table {path} has {what}; fill it in (0 if it is free).")
    return prices.set_index("model").assign(cached_input=lambda p: p.cached_input.fillna(p.input))


def price(samples: pd.DataFrame, prices: pd.DataFrame) -> pd.Series:
    """Cost of each sample in the table's currency; nan for a model that has no price, which is said once."""
    for model in sorted(set(samples.model) - set(prices.index)):
        say_unpriced(model)
    p = prices.reindex(samples.model).reset_index(drop=True)
    s = samples.reset_index(drop=True)
    fresh = s.prompt_tokens - s.cached_tokens
    cost = (fresh * p.input + s.cached_tokens * p.cached_input + s.completion_tokens * p.output) / 1e6
    return pd.Series(cost.to_numpy(float), index=samples.index, name="cost")


@cache
def say_unpriced(model: str) -> None:
    """Once a process."""
    log.warning("The price table has no row for %s: its costs stay blank. Add one, or set another 'prices'.", model)


def flops(outcomes: pd.DataFrame, lab: Profile) -> pd.Series:
    """2 x active parameters x computed tokens of each row of outcomes; nan where the profile gives no parameter
    count."""
    parameters = {m.name: m.parameters for m in lab.models} | {"": 0.0}
    total = 0.0
    for role in ("explorer", "synthesizer"):
        tokens = outcomes[f"{role}_prompt"] - outcomes[f"{role}_cached"] + outcomes[f"{role}_completion"]
        total = total + 2 * outcomes[role].map(parameters).astype(float) * tokens
    return total
