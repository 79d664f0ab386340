"""The paper's claims C1 to C7 as functions of outcomes: each has its rule before the data, and a verdict from an
interval.

    supported       the interval lies where the claim says
    contradicted    it lies on the other side
    not resolved    it does neither, at this number of problems
    not run         the outcomes that the claim needs are not there

What the paper reports stands beside it only where it is known (arXiv 2509.22044, abstract).
"""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from a2r.profiles import Profile
from a2r.results import stats
from a2r.results.stats import Interval
from a2r.studies.grid import decomposition

SUPPORTED, CONTRADICTED, UNRESOLVED, NOT_RUN = "supported", "contradicted", "not resolved", "not run"


@dataclass(frozen=True)
class Claim:
    """A claim, the statistic and the side on which its interval has to lie, the studies it needs, what the paper
    reports."""

    id: str
    claim: str
    statistic: str
    needs: str
    measure: Callable[[pd.DataFrame, Profile], Interval]
    threshold: float = 0.0
    above: bool = True
    paper: str = ""

    @property
    def rule(self) -> str:
        return f"interval {'above' if self.above else 'below'} {self.threshold:g}"

    def verdict(self, value: Interval) -> str:
        """The verdict on an interval; without an interval nothing is resolved."""
        low, high = value.low, value.high
        if np.isnan(low) or np.isnan(high):
            return UNRESOLVED
        above, below = low > self.threshold, high < self.threshold
        return (
            SUPPORTED
            if (above if self.above else below)
            else CONTRADICTED
            if (below if self.above else above)
            else UNRESOLVED
        )


def scores(outcomes: pd.DataFrame, method: str, column: str = "correct", **at: str) -> pd.Series:
    """Mean of `column` per problem under `method`, over the pairs named by `at` (explorer=, synthesizer=)."""
    rows = outcomes[outcomes.method == method]
    for key, value in at.items():
        rows = rows[rows[key] == value]
    if rows.empty:
        raise LookupError(method)
    return rows.groupby(["benchmark", "problem_id"])[column].mean()


def symmetric(outcomes: pd.DataFrame, method: str) -> pd.Series:
    """Mean per problem over all models that were run in both roles."""
    both = outcomes[outcomes.explorer == outcomes.synthesizer].explorer.unique()
    if not len(both):
        raise LookupError(f"model in both roles for {method}")
    synthesizer = {m: m if method.startswith("A2R") else "" for m in both}
    return sum(scores(outcomes, method, explorer=m, synthesizer=synthesizer[m]) for m in both) / len(both)


def gain(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C1: A2R@N - Cons@N, the mean over the models that play both roles."""
    return stats.interval(symmetric(outcomes, f"A2R@{lab.n_paths}") - symmetric(outcomes, f"Cons@{lab.n_paths}"))


def relative(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C1: (A2R@N - Pass@1) / (Cons@N - Pass@1) over the same models; nan where that is undefined."""
    a2r, cons, single = (symmetric(outcomes, m) for m in (f"A2R@{lab.n_paths}", f"Cons@{lab.n_paths}", "Pass@1"))
    return stats.ratio_interval(a2r - single, cons - single)[0]


def bottleneck(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C2: share of the grid's variation (logit) explained by the synthesizer less that explained by the explorer, RL
    left out."""
    outcomes = outcomes[~outcomes.synthesizer.isin(lab.trained)]
    table = decomposition(outcomes, lab.n_paths).set_index("quantity").value
    return table["share of synthesizer - explorer"]


def efficient_accuracy(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C3: A2R@N of the efficient pair less Pass@1 of the large model."""
    explorer, synthesizer, large = lab.efficient
    pair = scores(outcomes, f"A2R@{lab.n_paths}", explorer=explorer, synthesizer=synthesizer)
    return stats.interval(pair - scores(outcomes, "Pass@1", explorer=large))


def efficient_cost(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C3: the pair's cost per problem as a multiple of one path of the large model."""
    explorer, synthesizer, large = lab.efficient
    pair = scores(outcomes, f"A2R@{lab.n_paths}", "cost", explorer=explorer, synthesizer=synthesizer)
    return stats.ratio_interval(pair, scores(outcomes, "Pass@1", "cost", explorer=large))[0]


def difference(one: str, other: str, own: bool | None = None) -> Callable[[pd.DataFrame, Profile], Interval]:
    """The difference of two methods' accuracies; "N" in a name stands for the profile's N.

    The mean over all pairs, over those of one model in both roles (`own`), or over the others (`own=False`).
    """

    def measure(outcomes: pd.DataFrame, lab: Profile) -> Interval:
        rows = outcomes if own is None else outcomes[(outcomes.explorer == outcomes.synthesizer) == own]
        a, b = (scores(rows, name.replace("@N", f"@{lab.n_paths}")) for name in (one, other))
        return stats.interval(a - b)

    return measure


def rl_gain(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C4: A2R@N of the RL synthesizer less that of its base, on the same sets; the mean over the explorers."""
    method, after = f"A2R@{lab.n_paths}", next(iter(lab.trained), "RL synthesizer")
    before = lab.trained.get(after, "")
    return stats.interval(scores(outcomes, method, synthesizer=after) - scores(outcomes, method, synthesizer=before))


def stability(outcomes: pd.DataFrame, lab: Profile) -> Interval:
    """C5: share of stable trainings among on-policy ones at T = 0.7, less that of all other settings.

    Trainings are few and independent, so the interval is Newcombe's for two proportions, from Wilson's of each; n
    counts them.
    """
    ours = outcomes.method == "on-policy, T = 0.7"
    if not ours.any() or ours.all():
        raise LookupError("other settings" if ours.any() else "on-policy training at T = 0.7")
    (p, low, high), (q, other_low, other_high) = (
        (part.mean(), *binomtest(int(part.sum()), len(part)).proportion_ci(method="wilson"))
        for part in (outcomes.correct[ours], outcomes.correct[~ours])
    )
    below, above = np.hypot(p - low, other_high - q), np.hypot(high - p, q - other_low)
    return Interval(p - q, p - q - below, p - q + above, len(outcomes))


CHOOSING, ALONE = "A2R@N − the best it could do by choosing", "A2R@N − synthesizer alone"
# C6 apart for a model's own and for smaller models' paths: their mean over all pairs, as it was first, hid that they
# differ.
CLAIMS = (
    Claim("C1", "A2R beats self-consistency", "A2R@N − Cons@N, mean over symmetric models", "symmetric", gain),
    Claim(
        *(
            "C1",
            "it gains more over Pass@1 than the vote does",
            "(A2R − Pass@1) / (Cons − Pass@1)",
            "symmetric",
            relative,
            1.0,
        ),
        paper="1.75 (one reading of its 75%)",
    ),
    Claim(
        "C2",
        "the synthesizer's capacity is the bottleneck",
        "explained share: synthesizer − explorer",
        "grid",
        bottleneck,
    ),
    Claim(
        "C3",
        "small explorer → middle synthesizer surpasses the large model",
        "A2R@N − Pass@1 of the large",
        "cost",
        efficient_accuracy,
    ),
    Claim(
        *(
            "C3",
            "and costs less than one path of the large",
            "cost of the pair / one path of the large",
            "cost",
            efficient_cost,
            1.0,
        ),
        above=False,
        paper="0.71",
    ),
    Claim(
        "C4", "RL of the synthesizer helps", "A2R@N with − without RL", "rl", rl_gain, paper="+0.9 points (reported)"
    ),
    Claim("C5", "on-policy RL at T = 0.7 trains stably", "stable runs: this arm − all others", "stability", stability),
    Claim(
        "C6",
        "re-reasoning, not selection: on a model's own paths",
        CHOOSING,
        "controls",
        difference("A2R@N", "Selection@N", own=True),
    ),
    Claim(
        "C6",
        "the same: on a smaller model's paths",
        CHOOSING,
        "controls",
        difference("A2R@N", "Selection@N", own=False),
    ),
    Claim(
        "C6",
        "not merely answering last: on a model's own paths",
        ALONE,
        "controls",
        difference("A2R@N", "Alone@1", own=True),
    ),
    Claim("C6", "the same: on a smaller model's paths", ALONE, "controls", difference("A2R@N", "Alone@1", own=False)),
    Claim(
        *("C7", "parallel paths escape the prefix trap", "right after a wrong path: early − late parting", "diversity"),
        difference("early", "late"),
    ),
)


def scorecard(outcomes: dict[str, pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """One row a claim: rule, verdict, statistic, its Interval, n, the paper's value. `outcomes` by study; a lacking one
    is "not run"."""
    rows = []
    for claim in CLAIMS:
        row = {
            "id": claim.id,
            "claim": claim.claim,
            "statistic": claim.statistic,
            "rule": claim.rule,
            "paper": claim.paper,
        }
        value = Interval(np.nan, np.nan, np.nan, 0)
        verdict = f"{NOT_RUN} ({claim.needs})"
        if claim.needs in outcomes:
            try:
                value = claim.measure(outcomes[claim.needs], lab)
                verdict = claim.verdict(value)
            except LookupError as lacking:
                verdict = f"{NOT_RUN} (no {lacking.args[0]} in {claim.needs})"
        rows.append({**row, "value": value, "n": value.n, "verdict": verdict})
    return pd.DataFrame(rows)


VERDICTS = {"supported": "#029e73", "contradicted": "#d55e00", "not resolved": "#8c8c8c"}


def draw_scorecard(table: pd.DataFrame) -> Figure:
    """The claims' scorecard: statistic less its threshold in half widths of its interval, so that all share one axis.

    Beyond `edge` half widths there is an arrow.
    """
    edge = 6
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.32 * len(table)))
    for i, row in enumerate(table.to_dict("records")):
        v, verdict = row["value"], row["verdict"]
        side, threshold = row["rule"].split()[-2:]
        if np.isnan(v.low):
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.annotate(
                verdict.replace("_", " "),
                (0, i),
                fontsize="x-small",
                va="center",
                ha="center",
                color="#666666",
                bbox=box,
            )
            continue
        half = max((v.high - v.low) / 2, 1e-12)
        e, low, high = ((x - float(threshold)) / half * (1 if side == "above" else -1) for x in v[:3])
        if abs(e) > edge:
            axes.plot([np.sign(e) * edge], [i], marker=">" if e > 0 else "<", color=VERDICTS[verdict], markersize=7)
            continue
        axes.plot([low, high], [i, i], color=VERDICTS[verdict], linewidth=2.2, solid_capstyle="butt")
        axes.plot([e], [i], "o", color=VERDICTS[verdict], markersize=5)
    axes.axvline(0, color="#333333", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(table)), [f"{r.id}  {r.claim}" for r in table.itertuples()], fontsize="small")
    axes.set(ylim=(len(table) - 0.5, -0.5), xlim=(-edge - 0.6, edge + 0.6))
    axes.set_xlabel(
        "distance from the rule's threshold, in half widths\nof the 95% interval (right: as the paper claims)",
        fontsize="small",
    )
    axes.grid(axis="x", alpha=0.35)
    axes.grid(axis="y", visible=False)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=c, label=v) for v, c in VERDICTS.items()]
    axes.legend(handles=handles, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    return figure
