"""The paper's claims C1 to C7, and C8, as functions of outcomes: rule and protocol before the data, then a verdict.

    supported       the 95% interval lies where the claim says, and the exact test agrees (p <= .05)
    contradicted    it lies on the other side, and the test agrees
    equivalent      the 90% interval lies within the margin d: both one-sided tests reject more (Schuirmann 1987)
    not resolved    none of these at this number of problems, which is no sign of equality
    not run         the outcomes that the claim needs are not there, or do not pair; it says which

What the paper reports stands beside it only where it is known (arXiv 2509.22044, abstract).
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from a2r.profiles import Profile, available, load_profile
from a2r.results import stats
from a2r.results.figures import DARK, MUTED, bars, captioned, narrow, panels, said, sideways, small
from a2r.results.stats import DIFFERENCE, KEYS, TOLERANCE, Interval
from a2r.studies import controls

MARGIN = 0.02  # d, in accuracy
LEVEL = 0.05
NEAR = 1.5  # costs whose ratio is beyond this are not called equal
SUPPORTED, CONTRADICTED, UNRESOLVED, NOT_RUN = "supported", "contradicted", "not resolved", "not run"
EQUIVALENT = f"equivalent within {100 * MARGIN:g} points"


class Evidence(NamedTuple):
    """A statistic with its 95% and 90% intervals over problems, and the two-sided p-value of its being at the
    threshold."""

    value: Interval
    narrow: Interval
    p: float


@dataclass(frozen=True)
class Protocol:
    """On what a claim is measured: fixed together with its rule, before the problems were sampled. None: it does not
    apply."""

    models: str
    problems: int | None = 200
    domain: str | None = "numbers"
    n_sets: int | None = 1
    profile: str = "nano"
    n_paths: int = 4
    temperature: float = 1.0
    synthesizer_temperature: float = 1.0

    def __str__(self) -> str:
        on = f", {self.problems} problems of {self.domain}" if self.problems else ""
        sets = f", {self.n_sets} set{'s' * (self.n_sets > 1)} a problem" if self.n_sets else ""
        temperatures = f"T = {self.temperature:g} for paths and {self.synthesizer_temperature:g} for syntheses"
        return f"{self.profile}{on}{sets}, N = {self.n_paths}, {temperatures}; {self.models}"

    def departures(self, lab: Profile, outcomes: pd.DataFrame) -> str:
        """In words, how what was run differs from the protocol; "" where it does not."""
        read = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]  # votes at equal cost are cut into other sets
        found = {
            "profile": lab.name,
            "problems": len(read[KEYS].drop_duplicates()),
            "domain": "+".join(name.removeprefix("nano-") for name in read.benchmark.unique()),
            "n_paths": lab.n_paths,
            "n_sets": read["set"].nunique() if "set" in read else None,
            "temperature": lab.sampling.temperature,
            "synthesizer_temperature": lab.synthesis.get("temperature", lab.sampling.temperature),
        }
        asked = {f.name: getattr(self, f.name) for f in fields(self)}
        other = [name for name in found if asked[name] is not None and found[name] not in (None, asked[name])]
        return ", ".join(f"{name} {found[name]} instead of {asked[name]}" for name in other)


@dataclass(frozen=True)
class Claim:
    """A claim: its statistic, the side of the threshold on which it has to lie, the study and protocol that it is
    measured on.

    `margin` is d of equivalence (None where a difference of that size means nothing), `history` what was changed when.
    `by_test`: the exact test decides, and the estimate says on which side.
    """

    id: str
    claim: str
    statistic: str
    needs: str
    protocol: Protocol
    measure: Callable[[pd.DataFrame, Profile], Evidence]
    threshold: float = 0.0
    above: bool = True
    margin: float | None = MARGIN
    by_test: bool = False  # few units, whose exact test knows more than an interval over them
    paper: str = ""
    history: str = ""

    @property
    def rule(self) -> str:
        what = "estimate" if self.by_test else "95% interval"
        side = f"{what} {'above' if self.above else 'below'} {self.threshold:g} and p ≤ {LEVEL:g}"
        return side if self.margin is None else f"{side}; equivalent: 90% interval within ±{self.margin:g}"

    def verdict(self, evidence: Evidence) -> str:
        """The verdict on the evidence; without an interval, or against its own test, nothing is resolved."""
        value, narrow, p = evidence
        if np.isnan([value.low, value.high, p]).any() or value.high - value.low <= TOLERANCE:
            return UNRESOLVED
        low, high = (value.estimate, value.estimate) if self.by_test else (value.low, value.high)
        above, below = low > self.threshold + TOLERANCE, high < self.threshold - TOLERANCE
        if p <= LEVEL and (above or below):
            return SUPPORTED if above == self.above else CONTRADICTED
        within = (
            self.margin is not None and max(self.threshold - narrow.low, narrow.high - self.threshold) < self.margin
        )
        return EQUIVALENT if within else UNRESOLVED


def paired(a: pd.Series, b: pd.Series, bounds: tuple[float, float] = DIFFERENCE) -> Evidence:
    """Evidence on the mean of a - b, one number a problem of either; LookupError where problems differ."""
    values = a - aligned(a, b)
    return Evidence(
        stats.interval(values, bounds), stats.interval(values, bounds, 0.90), stats.paired_test(values, 0 * values)
    )


def quotient(a: pd.Series, b: pd.Series) -> Evidence:
    """Evidence on the ratio of the means of a and b, its threshold 1; no interval where b's mean may be 0."""
    b = aligned(a, b)
    return Evidence(stats.ratio_interval(a, b)[0], stats.ratio_interval(a, b, 0.90)[0], stats.paired_test(a, b))


def aligned(a: pd.Series, b: pd.Series) -> pd.Series:
    """b in the order of a; LookupError where they are not of the same problems."""
    if len(odd := a.index.symmetric_difference(b.index)):
        raise LookupError(f"problem {odd[0][1]} on both sides of the comparison")
    return b.loc[a.index]


def scores(outcomes: pd.DataFrame, method: str, column: str = "correct", **at: str | list[str]) -> pd.Series:
    """Mean of `column` per problem under `method`, over the pairs named by `at` (explorer=, synthesizer=), each
    counting alike.

    LookupError if there is no such pair, or if one of them lacks a problem that another has.
    """
    rows = outcomes[outcomes.method == method]
    for key, value in at.items():
        rows = rows[rows[key].isin([value] if isinstance(value, str) else value)]
    if rows.empty:
        raise LookupError(f"{method}{''.join(f' of {v}' for v in at.values() if isinstance(v, str) and v)}")
    wide = rows.pivot_table(index=KEYS, columns=["explorer", "synthesizer"], values=column, aggfunc="mean")
    if column == "cost" and wide.isna().all().any():
        raise LookupError(f"price for {' → '.join(filter(None, next(c for c in wide if wide[c].isna().all())))}")
    if wide.isna().any(axis=None):
        pair = next(c for c in wide if wide[c].isna().any())
        problem = wide.index[wide[pair].isna()][0][1]
        raise LookupError(
            f"problem {problem} of {' → '.join(filter(None, pair))} under {method}, which other models have"
        )
    return wide.mean(axis=1)


def both_roles(outcomes: pd.DataFrame, method: str) -> pd.Series:
    """`scores` of a method, with a synthesizer or without, over all models that were run in both roles."""
    both = outcomes[outcomes.explorer == outcomes.synthesizer]
    own = outcomes[outcomes.explorer.isin(both.explorer) & outcomes.synthesizer.eq("")]
    own = both if method in set(both.method) else own
    if both.empty:
        raise LookupError(f"model in both roles for {method}")
    if lacking := set(both.explorer) - set(own.explorer[own.method == method]):
        raise LookupError(f"{method} of {min(lacking)}")
    return scores(own, method)


def gain(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C1: A2R@N - Cons@N, the mean over the models that play both roles."""
    return paired(both_roles(outcomes, f"A2R@{lab.n_paths}"), both_roles(outcomes, f"Cons@{lab.n_paths}"))


def gain_at_one_temperature(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C1 with the syntheses at the temperature of the paths, which is the default where the profile has one
    temperature."""
    same = all(lab.sampling_of(m, "synthesizer").temperature == lab.sampling_of(m).temperature for m in lab.symmetric)
    method = f"A2R@{lab.n_paths}" if same else f"A2R@{lab.n_paths}, one temperature"
    return paired(both_roles(outcomes, method), both_roles(outcomes, f"Cons@{lab.n_paths}"))


def relative(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C1: (A2R@N - Pass@1) / (Cons@N - Pass@1) over the same models; nan where that is undefined."""
    a2r, cons, single = (both_roles(outcomes, m) for m in (f"A2R@{lab.n_paths}", f"Cons@{lab.n_paths}", "Pass@1"))
    return quotient(a2r - single, cons - single)


def bottleneck(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C2: rise of A2R@N from the smallest to the largest synthesizer less that from the smallest to the largest
    explorer.

    A synthesizer that ignores its references rises all the same, as it does alone. So where the largest synthesizer
    does not beat itself alone, its A2R@N - Alone@1 is the evidence instead, which then cannot support the claim.
    """
    a2r, pairs = f"A2R@{lab.n_paths}", outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    explorers, synthesizers = lab.by_size(pairs.explorer), lab.by_size(pairs.synthesizer)
    if min(len(explorers), len(synthesizers)) < 2:
        raise LookupError("two explorers and two synthesizers")
    read = {s: scores(outcomes, a2r, explorer=explorers, synthesizer=s) for s in (synthesizers[0], synthesizers[-1])}
    reading = paired(read[synthesizers[-1]], scores(outcomes, "Alone@1", synthesizer=synthesizers[-1]))
    if reading.value.low <= TOLERANCE or reading.p > LEVEL:
        return reading
    last, first = (scores(outcomes, a2r, explorer=e, synthesizer=synthesizers) for e in (explorers[-1], explorers[0]))
    return paired(read[synthesizers[-1]] - read[synthesizers[0]], last - first, (-2.0, 2.0))


def efficient_accuracy(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C3: A2R@N of the efficient pair less Pass@1 of the large model."""
    explorer, synthesizer, large = lab.efficient
    pair = scores(outcomes, f"A2R@{lab.n_paths}", explorer=explorer, synthesizer=synthesizer)
    return paired(pair, scores(outcomes, "Pass@1", explorer=large))


def efficient_cost(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C3: the pair's cost per problem as a multiple of one path of the large model."""
    explorer, synthesizer, large = lab.efficient
    pair = scores(outcomes, f"A2R@{lab.n_paths}", "cost", explorer=explorer, synthesizer=synthesizer)
    return quotient(pair, scores(outcomes, "Pass@1", "cost", explorer=large))


def rl_gain(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C4: A2R@N of the RL synthesizer less that of its base, on the same sets; the mean over the explorers."""
    method, after = f"A2R@{lab.n_paths}", next(iter(lab.trained), "RL synthesizer")
    before = lab.trained.get(after, "")
    return paired(scores(outcomes, method, synthesizer=after), scores(outcomes, method, synthesizer=before))


def stability(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C5: whether on-policy training at T = 0.7 is stable, less the share of stable trainings among the other arms of
    its seed.

    The arms of a seed share their batches, so the seed is the unit. Exact test: were the arms alike, each seed's stable
    trainings would fall on this arm as often as on any other, so their number is a sum of independent chances.
    """
    wide = outcomes.pivot_table(index=KEYS, columns="method", values="correct")
    arm = "on-policy, T = 0.7"
    if arm not in wide or wide.shape[1] < 2:
        raise LookupError("other settings" if arm in wide else "on-policy training at T = 0.7")
    wide = wide[wide[arm].notna() & wide.drop(columns=arm).notna().any(axis=1)]
    chances = np.ones(1)
    for share in wide.mean(axis=1):
        chances = np.convolve(chances, [1 - share, share])
    stable = round(wide[arm].sum())
    p = min(1.0, 2 * min(chances[stable:].sum(), chances[: stable + 1].sum()))
    values = wide[arm] - wide.drop(columns=arm).mean(axis=1)
    return Evidence(stats.interval(values, DIFFERENCE), stats.interval(values, DIFFERENCE, 0.90), float(p))


def against(control: str) -> Callable[[pd.DataFrame, Profile], Evidence]:
    """C6: A2R@N less a control, both with the same synthesizer, the mean over the models in both roles; "N" is the
    profile's."""

    def measure(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
        named = control.replace("N", str(lab.n_paths))
        if named == "Alone@1" and SAME_TESTS in set(outcomes.method):
            named = SAME_TESTS
        return paired(both_roles(outcomes, f"A2R@{lab.n_paths}"), both_roles(outcomes, named))

    return measure


def rescue(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C6: A2R@N - Alone@1 on the sets of a model's own paths none of which is right; a problem's mean over its models
    and sets."""
    if "right" not in outcomes:
        raise LookupError("number of right references")
    own = outcomes[(outcomes.explorer == outcomes.synthesizer) & (outcomes.right == 0)]
    alone = SAME_TESTS if SAME_TESTS in set(outcomes.method) else "Alone@1"
    sides = [
        own[own.method == m].groupby([*KEYS, "explorer", "set"]).correct.mean() for m in (f"A2R@{lab.n_paths}", alone)
    ]
    if sides[0].empty or not sides[0].index.equals(sides[1].index):
        raise LookupError(f"set without a right reference that has both A2R@{lab.n_paths} and {alone}")
    a2r, single = (side.groupby(KEYS).mean() for side in sides)
    return paired(a2r, single)


def prefix_trap(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """C7: paths that leave a wrong one early are right, less those that leave it late; of the same problem, explorer
    and T."""
    early, late = (outcomes[outcomes.method == m].groupby(KEYS).correct.mean() for m in ("early", "late"))
    if early.empty:
        raise LookupError("pair of a wrong path with another")
    return paired(early, late)


def turned(other: str) -> Callable[[pd.DataFrame, Profile], Evidence]:
    """C8: A2R@N of the smallest explorer with the largest synthesizer, less what the same money buys the other way
    round.

    `other` "A2R": the largest explores and the smallest synthesizes; "Cons": the largest votes. Of the numbers of paths
    that were run the one whose cost is nearest.
    """

    def measure(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
        a2r = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
        small, large = lab.by_size(a2r.explorer)[:1], lab.by_size(a2r.synthesizer)[-1:]
        if not small or small == large:
            raise LookupError("explorer smaller than a synthesizer")
        ours = {"explorer": small[0], "synthesizer": large[0]}
        theirs = {"explorer": large[0], "synthesizer": small[0] if other == "A2R" else ""}
        rows = outcomes[(outcomes.explorer == large[0]) & (outcomes.synthesizer == theirs["synthesizer"])]
        rows = rows[rows.method.str.fullmatch(rf"{other}@\d+")]
        if rows.empty:
            raise LookupError(f"{other} of {' → '.join(filter(None, theirs.values()))}")
        spent = scores(outcomes, f"A2R@{lab.n_paths}", "cost", **ours).mean()
        costs = rows.groupby("method").cost.mean()
        nearest = (costs - spent).abs().idxmin()
        if not spent / NEAR < costs[nearest] < spent * NEAR:
            raise LookupError(f"{other} of {' → '.join(filter(None, theirs.values()))} at a cost near that")
        return paired(scores(outcomes, f"A2R@{lab.n_paths}", **ours), scores(outcomes, nearest, **theirs))

    return measure


SAME_TESTS = controls.ALONE["tests"]
SYMMETRIC = "every model in both roles, RL's left out"
OWN, GRID = Protocol(SYMMETRIC, problems=400), Protocol("every explorer with every synthesizer, RL's left out")
PAIR = Protocol("the profile's `efficient`: explorer, synthesizer, large model")
ENDS = Protocol("the smallest and the largest model, paths of the latter until the cost is nearest")
CLAIMS = (
    Claim(
        "C1",
        "A2R beats self-consistency, both roles at one temperature",
        "A2R@N − Cons@N, mean over models",
        "symmetric",
        OWN,
        gain_at_one_temperature,
        history="first family: the verdict was 'not resolved' with T = 1 in both roles (9d14213) and 'supported' after "
        "syntheses went to T = 0.3 (9d91db9) on the same test problems; now one temperature comes first",
    ),
    Claim(
        "C1",
        "the same at the profile's own temperatures",
        "A2R@N − Cons@N, mean over models",
        "symmetric",
        OWN,
        gain,
    ),
    Claim(
        "C1",
        "it gains more over Pass@1 than the vote does",
        "(A2R − Pass@1) / (Cons − Pass@1)",
        "symmetric",
        OWN,
        relative,
        threshold=1.0,
        margin=None,
        paper="1.75 (one reading of its 75%)",
    ),
    Claim(
        "C2",
        "the synthesizer's capacity is the bottleneck",
        "rise with the synthesizer − rise with the explorer; A2R − Alone where that is not above 0",
        "grid",
        GRID,
        bottleneck,
        history="first family: share of the grid's logit variation, RL left out after it was seen (0957b65); "
        "a synthesizer that ignores its references supported that",
    ),
    Claim(
        "C3",
        "small explorer → middle synthesizer surpasses the large model",
        "A2R@N − Pass@1 of the large",
        "cost",
        PAIR,
        efficient_accuracy,
    ),
    Claim(
        "C3",
        "and costs less than one path of the large",
        "cost of the pair / one path of the large",
        "cost",
        PAIR,
        efficient_cost,
        threshold=1.0,
        above=False,
        margin=None,
        paper="0.71",
    ),
    Claim(
        "C4",
        "RL of the synthesizer helps",
        "A2R@N with − without RL",
        "rl",
        Protocol("the profile's RL synthesizer and its base, on every explorer"),
        rl_gain,
        paper="+0.9 points (reported)",
    ),
    Claim(
        "C5",
        "on-policy RL at T = 0.7 trains stably",
        "stable: this arm − the other arms of its seed",
        "stability",
        Protocol("the profile's RL recipe in four arms, n counts seeds", None, None, None),
        stability,
        margin=None,
        by_test=True,
        history="first family: two proportions of independent runs, changed once (0957b65)",
    ),
    Claim(
        "C6",
        "references are worth more than answering alone",
        "A2R@N − Alone with as many tests",
        "controls",
        OWN,
        against("Alone@1"),
        history="first family: two rows against choosing (Selection) and two against Alone, split after they were seen",
    ),
    Claim(
        "C6",
        "and it is these references",
        "A2R@N − Foreign@N (references of another problem)",
        "controls",
        OWN,
        against("Foreign@N"),
    ),
    Claim(
        "C6",
        "re-reasoning: also where no reference is right",
        "A2R@N − Alone on the sets without a right reference",
        "controls",
        OWN,
        rescue,
    ),
    Claim(
        "C7",
        "parallel paths escape the prefix trap",
        "right after a wrong path: early − late parting",
        "diversity",
        Protocol("200 problems of numbers, every explorer at every temperature of the study", None, None, None),
        prefix_trap,
        history="first family: identical texts counted, explorers and temperatures pooled; once 'supported' (6974831)",
    ),
    Claim(
        "C8",
        "small → large is better than large → small at equal cost",
        "A2R of either pair, difference",
        "cost",
        ENDS,
        turned("A2R"),
        paper="not in the paper; Squeeze-Evolve (arXiv 2604.07725) says the opposite",
    ),
    Claim(
        "C8",
        "and better than the vote of the large at equal cost",
        "A2R of small → large − Cons of the large",
        "cost",
        ENDS,
        turned("Cons"),
    ),
)
FIXED = dict.fromkeys((f"C{k}" for k in range(1, 9)), ("2026-11-24", "f10473c"))  # date and commit of each rule


def scorecard(outcomes: dict[str, pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """One row a claim: statistic, rule, protocol, when they were fixed, what the paper reports, Interval, n, p,
    verdict, note.

    `outcomes` by study; a claim whose study is lacking, or lacks a pair or a problem, is "not run" and says so, and the
    others go on. `p_holm` is Holm's over all rows that were run. `note`: where the run departs from the protocol, and
    where rule or protocol were changed after data had been seen.
    """
    rows = []
    for claim in CLAIMS:
        none = Interval(np.nan, np.nan, np.nan, 0)
        evidence, verdict, notes = Evidence(none, none, np.nan), f"{NOT_RUN} ({claim.needs})", [claim.history]
        if claim.needs in outcomes:
            try:
                evidence = claim.measure(outcomes[claim.needs], lab)
                verdict = claim.verdict(evidence)
                if departed := claim.protocol.departures(lab, outcomes[claim.needs]):
                    notes.insert(0, f"not by protocol: {departed}")
            except LookupError as lacking:
                verdict = f"{NOT_RUN} (no {lacking.args[0]} in {claim.needs})"
        rows.append(
            {
                **{"id": claim.id, "claim": claim.claim, "statistic": claim.statistic, "rule": claim.rule},
                **{
                    "protocol": str(claim.protocol),
                    "fixed": " ".join(FIXED.get(claim.id, ("not yet",))),
                    "paper": claim.paper,
                },
                **{"value": evidence.value, "n": evidence.value.n, "p": evidence.p, "verdict": verdict},
                "note": "; ".join(filter(None, notes)),
            }
        )
    table = pd.DataFrame(rows)
    tested = table.p.notna()
    table.insert(table.columns.get_loc("verdict"), "p_holm", np.nan)
    table.loc[tested, "p_holm"] = stats.holm(table.p[tested])
    return table


FOUND = ["id", "claim", "statistic", "value", "n", "p", "p_holm", "verdict", "paper"]  # what a reader wants first
FIXED_BEFORE = ["id", "statistic", "rule", "protocol", "fixed", "note"]


def family(lab: Profile, others: list[str] | None = None) -> dict[str, Profile]:
    """The profile and those with other trainings of its family, by name: `others`, or the seed-* beside nano."""
    seeds = [name for name in available() if name.startswith("seed-")] if lab.name == "nano" else []
    return {lab.name: lab, **{name: load_profile(name) for name in (seeds if others is None else others)}}


def over_seeds(cards: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The scorecards of several trainings of one family side by side, one row a claim: each one's Interval, and their
    mean.

    Models of one training seed share it, so for "families like these" the seed is the unit: `over seeds` is Student's
    interval over the trainings' estimates, n their number; there is none over fewer than two.
    """
    rows = []
    for k, claim in enumerate(CLAIMS):
        values = {name: card.value[k] for name, card in cards.items()}
        found = np.array([v.estimate for v in values.values() if not np.isnan(v.estimate)])
        n, mean = len(found), found.mean() if len(found) else np.nan
        half = t.ppf(0.975, n - 1) * found.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        half = half if half > TOLERANCE else np.nan
        over = Interval(mean, mean - half, mean + half, n)
        rows.append({"id": claim.id, "claim": claim.claim, **values, "over seeds": over, "seeds": n})
    return pd.DataFrame(rows)


VERDICTS = {SUPPORTED: "#029e73", CONTRADICTED: "#d55e00", EQUIVALENT: "#0173b2", UNRESOLVED: "#8c8c8c"}


def draw_scorecard(table: pd.DataFrame) -> Figure:
    """The claims' scorecard in the claims' own units: differences in points above, ratios below, each with its verdict.

    The tinted side is the one on which the claim lies; at the right stand the numbers.
    """
    rows = list(zip(CLAIMS, table.to_dict("records"), strict=True))
    parts = [[r for r in rows if not r[0].threshold], [r for r in rows if r[0].threshold]]
    labels = 26 if narrow() else 44  # characters a line of the claims' names
    counts = [len(part) for part in parts]
    figure, axes = panels(0.5 + 0.17 * len(rows), 2, wide=1, height_ratios=counts)
    for panel, part, scale, form, unit in zip(
        axes, parts, (100, 1), ("+.1f", ".2f"), ("difference (points)", "ratio"), strict=True
    ):
        sideways(panel, [textwrap.fill(f"{c.id}  {c.claim}", labels) for c, _ in part], part[0][0].threshold)
        panel.set_xlabel(unit)
        for i, (_, row) in enumerate(part):
            v, verdict = row["value"], row["verdict"].split(" (")[0]
            shade = VERDICTS.get(verdict, MUTED)
            if np.isnan(v.estimate):
                words = row["verdict"]
            else:
                scaled = stats.Interval(*(scale * x for x in v[:3]), v.n)
                panel.errorbar([scaled.estimate], [i], xerr=bars([scaled]), fmt="o", color=shade, linewidth=1.8)
                words = f"{verdict}, n = {v.n}" if narrow() else f"{said(v, form, scale)}  {verdict}, n = {v.n}"
            place = {"xycoords": ("axes fraction", "data"), "fontsize": small(), "va": "center", "color": DARK}
            panel.annotate(textwrap.shorten(words, 60, placeholder=" …"), (1.02, i), annotation_clip=False, **place)
        low, high = panel.get_xlim()
        for i, (claim, _) in enumerate(part):
            side = (claim.threshold, high) if claim.above else (low, claim.threshold)
            panel.fill_betweenx([i - 0.4, i + 0.4], *side, color="#000000", alpha=0.05, linewidth=0, zorder=0)
        panel.set_xlim(low, high)
    found = table.verdict.str.partition(" (")[0].value_counts()
    says = "The claims: " + ", ".join(f"{count} {verdict}" for verdict, count in found.items())
    note = "bars: 95% intervals over problems; tinted: the side of the claim"
    return captioned(figure, says, f"n at the right, of {len(table)} statistics", note)
