"""The embedded family: how it was trained, and whether it is an instrument on which A2R can be measured."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from a2r.results import stats, tables
from a2r.results.figures import captioned, looks, narrow, panels


def domains(outcomes: pd.DataFrame, problems: pd.DataFrame, n_paths: int = 4) -> pd.DataFrame:
    """Every model on every benchmark, with what naming a candidate at random would score there (`chance`)."""
    table = tables.by_benchmark(outcomes, n_paths)
    table.insert(1, "chance", table.benchmark.map(problems.groupby("benchmark").chance.mean()))
    return table


def contexts(
    pools: dict[str, pd.DataFrame], conditions: dict[str, dict[str, pd.DataFrame]], n_paths: int = 4
) -> pd.DataFrame:
    """One row a model and benchmark: Pass@1 as explorer and accuracy under each reference context, as Intervals over
    problems."""
    rows = []
    for model, kinds in conditions.items():
        for benchmark, pool in pools[model].groupby("benchmark", sort=False):
            parts = {"Pass@1": pool} | {kind: frame[frame.benchmark == benchmark] for kind, frame in kinds.items()}
            found = {kind: stats.interval(part.groupby("problem_id").correct.mean()) for kind, part in parts.items()}
            rows.append({"model": model, "benchmark": benchmark, **found, "n": pool.problem_id.nunique()})
    return pd.DataFrame(rows)


def loss_curves(records: list[dict]) -> Figure:
    """Training loss (nats per taught token) against tokens seen, one panel a stage, one line a width."""
    stages, look = list(records[0]["stages"]), looks([record["name"] for record in records])
    figure, axes = panels(2.2, len(stages), wide=3, sharey=True)
    for panel, stage in zip(axes, stages, strict=True):
        for record in records:
            curve = pd.DataFrame(record["stages"][stage]["curve"])
            loss = curve.loss.rolling(3, min_periods=1).mean()
            marks = {**look[record["name"]], "markersize": 3, "markevery": max(1, len(curve) // 5)}
            panel.plot(curve.tokens / 1e6, loss, label=record["name"], **marks)
        panel.set(title=f"stage: {stage}", xlabel="tokens seen (millions)", yscale="log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("loss (nats per taught token)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=3 if narrow() else len(records), loc="outside upper center")
    last = {record["name"]: record["stages"][stages[-1]]["curve"][-1]["loss"] for record in records}
    ends = ", ".join(f"{name} {loss:.3f}" for name, loss in last.items())
    says = f"Training loss by stage; at the end of the last {ends}"
    return captioned(figure, says, f"{len(records)} models, one training each", "smoothed over 3 records; no interval")
