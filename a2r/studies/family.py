"""The embedded family: how it was trained, and whether it is an instrument on which A2R can be measured."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from a2r.results import stats


def contexts(
    pools: dict[str, pd.DataFrame], conditions: dict[str, dict[str, pd.DataFrame]], n_paths: int = 4
) -> pd.DataFrame:
    """One row a model and benchmark: Pass@1 as explorer and accuracy under each reference context, as Intervals over
    problems."""
    rows = []
    for model, kinds in conditions.items():
        for benchmark, pool in pools[model].groupby("benchmark", sort=False):
            row = {
                "model": model,
                "benchmark": benchmark,
                "Pass@1": stats.interval(pool.groupby("problem_id").correct.mean()),
            }
            for kind, frame in kinds.items():
                row[kind] = stats.interval(frame[frame.benchmark == benchmark].groupby("problem_id").correct.mean())
            rows.append({**row, "n": pool.problem_id.nunique()})
    return pd.DataFrame(rows)


def loss_curves(records: list[dict]) -> Figure:
    """Training loss (nats per taught token) against tokens seen, one panel a stage, one line a width."""
    stages = list(records[0]["stages"])
    figure, panels = plt.subplots(1, len(stages), figsize=(2.7 * len(stages), 2.7))
    colours = sns.color_palette("flare", len(records))
    for axes, stage in zip(panels, stages, strict=True):
        for record, line in zip(records, colours, strict=True):
            curve = pd.DataFrame(record["stages"][stage]["curve"])
            axes.plot(
                curve.tokens / 1e6,
                curve.loss.rolling(3, min_periods=1).mean(),
                color=line,
                linewidth=1.2,
                label=record["name"],
            )
        axes.set(title=stage, xlabel="tokens seen (millions)", yscale="log")
    panels[0].set_ylabel("loss (nats per taught token)")
    panels[0].legend(fontsize="small")
    return figure
