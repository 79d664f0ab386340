"""The paper's claims C1 to C7, and C8, as functions of outcomes: rule and protocol before the data, then a verdict.

    supported       the 95% interval lies where the claim says, and the exact test agrees (p <= .05)
    contradicted    it lies on the other side, and the test agrees
    equivalent      the 90% interval lies within the margin d: both one-sided tests reject more (Schuirmann 1987)
    not resolved    none of these at this number of problems, which is no sign of equality
    not run         the outcomes that the claim needs are not there, or do not pair; it says which

The rules themselves are data/claims.yaml. What the paper reports stands beside it where it is known (arXiv 2509.22044).
"""

import textwrap
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from scipy.stats import t

from a2r.profiles import ROOT, Profile, available, load_profile
from a2r.references import ALONE
from a2r.results import stats
from a2r.results.figures import DARK, MUTED, bars, captioned, narrow, panels, points, said, sideways, small
from a2r.results.stats import DIFFERENCE, KEYS, TOLERANCE, Interval
from a2r.results.study import read_outcomes

MARGIN = 0.02  # d, in accuracy
LEVEL = 0.05
NEAR, NEARER = 1.5, 1.15  # costs whose ratio is beyond this are not called equal; of votes, as many as are wanted
SUPPORTED, CONTRADICTED, UNRESOLVED, NOT_RUN = "supported", "contradicted", "not resolved", "not run"
SEED = "seed-"  # names of profiles with other trainings of nano's family begin with it
EQUIVALENT = f"equivalent within {100 * MARGIN:g} points"


class Evidence(NamedTuple):
    """A statistic's 95% and 90% intervals over problems, the two-sided p-value of its being at the threshold, and what
    it was measured against, where the data decide that."""

    value: Interval
    narrow: Interval
    p: float
    against: str = ""


NONE = Evidence(*[Interval(np.nan, np.nan, np.nan, 0)] * 2, np.nan)


@dataclass(frozen=True)
class Protocol:
    """On what a claim is measured, fixed together with its rule; None where it does not apply."""

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
        asked = asdict(self)
        other = [name for name in found if asked[name] is not None and found[name] not in (None, asked[name])]
        words = [f"{name} {found[name]} instead of {asked[name]}" for name in other]
        if failed := outcomes.attrs.get("failed"):
            words.append(f"{failed} failed and count as wrong")
        return ", ".join(words)


@dataclass(frozen=True)
class Claim:
    """A claim of data/claims.yaml; `measure` is a function of this module with what it gets beside outcomes and lab."""

    id: str
    claim: str
    statistic: str
    needs: str
    protocol: Protocol
    measure: list[str]
    fixed: str
    threshold: float = 0.0
    above: bool = True
    margin: float | None = MARGIN
    by_test: bool = False
    paper: str = ""
    history: str = ""

    def profile(self, lab: Profile) -> str:
        """The name of the profile that it is measured on: `lab`, or the one that stands beside it for this claim
        (nano-dial beside nano, nano-dial-1 beside seed-1)."""
        if (other := self.protocol.profile) == Protocol.profile:
            return lab.name
        return f"{other}-{lab.name.removeprefix(SEED)}" if lab.name.startswith(SEED) else other

    def source(self, lab: Profile) -> str:
        """The study whose outcomes it needs, and of which profile where that is not `lab` ("rl of nano-dial")."""
        profile = self.profile(lab)
        return self.needs if profile == lab.name else f"{self.needs} of {profile}"

    @property
    def rule(self) -> str:
        what = "estimate" if self.by_test else "95% interval"
        side = f"{what} {'above' if self.above else 'below'} {self.threshold:g} and p ≤ {LEVEL:g}"
        return side if self.margin is None else f"{side}; equivalent: 90% interval within ±{self.margin:g}"

    def verdict(self, evidence: Evidence) -> str:
        """The verdict on the evidence; without an interval, or against its own test, nothing is resolved."""
        value, narrow, p, _ = evidence
        if np.isnan([value.low, value.high, p]).any() or value.high - value.low <= TOLERANCE:
            return UNRESOLVED
        low, high = (value.estimate, value.estimate) if self.by_test else (value.low, value.high)
        above, below = low > self.threshold + TOLERANCE, high < self.threshold - TOLERANCE
        if p <= LEVEL and (above or below):
            return SUPPORTED if above == self.above else CONTRADICTED
        farthest = max(self.threshold - narrow.low, narrow.high - self.threshold)
        return EQUIVALENT if self.margin is not None and farthest < self.margin else UNRESOLVED


RULES = yaml.safe_load((ROOT / "data" / "claims.yaml").read_text(encoding="utf-8"))
CLAIMS = [
    Claim(**{"fixed": RULES["fixed"], **claim, "protocol": Protocol(**claim["protocol"])}) for claim in RULES["claims"]
]


def paired(a: pd.Series, b: pd.Series, bounds: tuple[float, float] = DIFFERENCE) -> Evidence:
    """Evidence on the mean of a - b, one number a problem of either; LookupError where problems differ."""
    values = a - aligned(a, b)
    wide, narrow = (stats.interval(values, bounds, confidence) for confidence in (0.95, 0.90))
    return Evidence(wide, narrow, stats.paired_test(values, 0 * values))


def quotient(a: pd.Series, b: pd.Series) -> Evidence:
    """Evidence on the ratio of the means of a and b, its threshold 1; none where b's mean may be 0, or is below: of two
    losses the larger would look like the larger gain."""
    b = aligned(a, b)
    if b.mean() < 0:
        return NONE._replace(value=Interval(*[np.nan] * 3, len(b)))
    return Evidence(stats.ratio_interval(a, b), stats.ratio_interval(a, b, 0.90), stats.paired_test(a, b))


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
    for pair in wide.columns[wide.isna().any()]:
        name = " → ".join(filter(None, pair))
        if column == "cost" and wide[pair].isna().all():
            raise LookupError(f"price for {name}")
        problem = wide.index[wide[pair].isna()][0][1]
        raise LookupError(f"problem {problem} of {name} under {method}, which other models have")
    return wide.mean(axis=1)


def both_roles(outcomes: pd.DataFrame, method: str) -> pd.Series:
    """`scores` of a method, with a synthesizer or without, over all models that were run in both roles."""
    both = outcomes[outcomes.explorer == outcomes.synthesizer]
    models = both.explorer.unique()
    single = outcomes[outcomes.explorer.isin(models) & outcomes.synthesizer.eq("")]
    own = both if method in both.method.unique() else single
    if both.empty:
        raise LookupError(f"model in both roles for {method}")
    if lacking := {*models} - {*own.explorer[own.method == method].unique()}:
        raise LookupError(f"{method} of {min(lacking)}")
    return scores(own, method)


def gain(outcomes: pd.DataFrame, lab: Profile, over: str, temperature: str = "") -> Evidence:
    """A2R@N less `over`, mean of the models that play both roles; "N" is the profile's.

    `over` "Alone": as `alone` has it; "Cons, same cost": the vote of as many paths as A2R costs (Cons@k of controls).
    `temperature` "same": of syntheses at that of the paths, which is all of them where the profile has one.
    """
    other = any(lab.sampling_of(m, "synthesizer").temperature != lab.sampling_of(m).temperature for m in lab.symmetric)
    a2r = f"A2R@{lab.n_paths}" + ", one temperature" * (temperature == "same" and other)
    if over == "Cons, same cost":
        outcomes = outcomes.assign(method=outcomes.method.str.replace(r"^Cons@\d+$", over, regex=True))
    control = alone(outcomes) if over == "Alone" else over.replace("@N", f"@{lab.n_paths}")
    found = paired(both_roles(outcomes, a2r), both_roles(outcomes, control))
    if over == "Cons, same cost":  # the nearest whole number of paths costs a little more or less
        own = outcomes[outcomes.explorer == outcomes.synthesizer].groupby(["explorer", "method"]).cost.mean().unstack()
        if not 1 / NEARER < (share := (own[over] / own[a2r]).mean()) < NEARER:
            raise LookupError(f"vote at a cost near A2R's, but at {share:.0%} of it")
        return found._replace(against=f"votes at {share:.0%} of A2R's cost")
    return found._replace(against=control * (over == "Alone"))


def alone(outcomes: pd.DataFrame) -> str:
    """The control without references that does better here, models in both roles counting alike: Alone@1, or where that
    was run with as many tests as the syntheses made."""
    own = outcomes[outcomes.explorer.eq(outcomes.synthesizer) & outcomes.method.isin(ALONE.values())]
    means = own.groupby(["method", "explorer"]).correct.mean().groupby("method").mean()
    return means.idxmax() if len(means) else "Alone@1"


def relative(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """(A2R@N - Pass@1) / (Cons@N - Pass@1) over the models that play both roles; nan where that is undefined."""
    a2r, cons, single = (both_roles(outcomes, m) for m in (f"A2R@{lab.n_paths}", f"Cons@{lab.n_paths}", "Pass@1"))
    return quotient(a2r - single, cons - single)


def bottleneck(outcomes: pd.DataFrame, lab: Profile, without: int = 0) -> Evidence:
    """Rise of A2R@N from the smallest to the largest synthesizer less that from the smallest to the largest explorer,
    among the models that play both roles, so that both rises are over the same sizes; `without` some of the smallest.

    A synthesizer that ignores its references rises all the same, as it does alone. So where the largest synthesizer
    does not beat itself alone, its A2R@N - Alone@1 is the evidence instead, which then cannot support the claim.
    """
    a2r, pairs = f"A2R@{lab.n_paths}", outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    models = lab.by_size(pairs.explorer[pairs.explorer.isin(pairs.synthesizer)])[without:]
    if len(models) < 2:
        raise LookupError("two models that both explore and synthesize")
    explorers = synthesizers = models
    low, high = (scores(outcomes, a2r, explorer=explorers, synthesizer=synthesizers[end]) for end in (0, -1))
    reading = paired(high, scores(outcomes, "Alone@1", synthesizer=synthesizers[-1]))
    if reading.value.low <= TOLERANCE or reading.p > LEVEL:
        return reading
    first, last = (scores(outcomes, a2r, explorer=explorers[end], synthesizer=synthesizers) for end in (0, -1))
    return paired(high - low, last - first, (-2.0, 2.0))


def efficient(outcomes: pd.DataFrame, lab: Profile, column: str) -> Evidence:
    """A2R@N of the efficient pair against one path of its large model: difference if "correct", ratio if "cost"."""
    explorer, synthesizer, large = lab.efficient
    pair = scores(outcomes, f"A2R@{lab.n_paths}", column, explorer=explorer, synthesizer=synthesizer)
    return (quotient if column == "cost" else paired)(pair, scores(outcomes, "Pass@1", column, explorer=large))


def rl_gain(outcomes: pd.DataFrame, lab: Profile, kept: str = "") -> Evidence:
    """A2R@N of the RL synthesizer less that of its base, on the same sets; the mean over the explorers. `kept` ends the
    method's name where more tests than a problem allows are wrong."""
    after = next(iter(lab.trained), "RL synthesizer")
    names = (after, lab.trained.get(after, ""))
    return paired(*(scores(outcomes, f"A2R@{lab.n_paths}{kept}", synthesizer=name) for name in names))


def stability(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """Whether on-policy training at T = 0.7 is stable, less the share of stable trainings among the other arms of its
    seed.

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
    return paired(wide[arm], wide.drop(columns=arm).mean(axis=1))._replace(p=float(p))


def rescue(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """A2R@N less the same model without references on the sets of its own paths none of which is right: the mean over
    models of each one's mean, so that a weak model, which has most of such sets, counts as any other."""
    if "right" not in outcomes:
        raise LookupError("number of right references")
    own = outcomes[(outcomes.explorer == outcomes.synthesizer) & (outcomes.right == 0)]
    methods = (f"A2R@{lab.n_paths}", alone(own))
    a2r, single = (own[own.method == m].groupby([*KEYS, "explorer", "set"]).correct.mean() for m in methods)
    if a2r.empty or not a2r.index.equals(single.index):
        raise LookupError(f"set without a right reference that has both {' and '.join(methods)}")
    gains = (a2r - single).groupby([*KEYS, "explorer"]).mean().unstack("explorer")  # nan: a model has no such set
    columns = [column for model in gains for column in (gains[model].fillna(0), gains[model].notna())]

    def mean(*means: np.ndarray) -> np.ndarray:
        return np.mean([total / share for total, share in zip(means[::2], means[1::2], strict=True)], axis=0)

    wide, narrow = (stats.bootstrap(columns, mean, confidence=confidence) for confidence in (0.95, 0.90))
    weighted = (gains / gains.count()).sum(axis=1)
    return Evidence(wide, narrow, stats.paired_test(weighted, 0 * weighted), methods[1])


def prefix_trap(outcomes: pd.DataFrame, lab: Profile) -> Evidence:
    """Paths that leave a wrong one early are right, less those that leave it late; of one problem, explorer and T."""
    early, late = (outcomes[outcomes.method == m].groupby(KEYS).correct.mean() for m in ("early", "late"))
    if early.empty:
        raise LookupError("pair of a wrong path with another")
    return paired(early, late)


def turned(outcomes: pd.DataFrame, lab: Profile, other: str, without: int = 0) -> Evidence:
    """A2R@N of the smallest explorer with the largest synthesizer, less what the same money buys the other way round;
    `without` some of the smallest models.

    `other` "A2R": the largest explores and the smallest synthesizes; "Cons": the largest votes. Of the numbers of paths
    that were run the one whose cost is nearest.
    """
    a2r = outcomes[outcomes.method == f"A2R@{lab.n_paths}"]
    small, large = lab.by_size(a2r.explorer)[without : without + 1], lab.by_size(a2r.synthesizer)[-1:]
    if not small or small == large:
        raise LookupError("explorer smaller than a synthesizer")
    ours = {"explorer": small[0], "synthesizer": large[0]}
    theirs = {"explorer": large[0], "synthesizer": small[0] if other == "A2R" else ""}
    rows = outcomes[(outcomes.explorer == large[0]) & (outcomes.synthesizer == theirs["synthesizer"])]
    rows, name = rows[rows.method.str.fullmatch(rf"{other}@\d+")], " → ".join(filter(None, theirs.values()))
    if rows.empty:
        raise LookupError(f"{other} of {name}")
    spent = scores(outcomes, f"A2R@{lab.n_paths}", "cost", **ours).mean()
    costs = rows.groupby("method").cost.mean()
    nearest = (costs - spent).abs().idxmin()
    if not spent / NEAR < costs[nearest] < spent * NEAR:
        raise LookupError(f"{other} of {name} at a cost near that")
    found = paired(scores(outcomes, f"A2R@{lab.n_paths}", **ours), scores(outcomes, nearest, **theirs))
    as_one = ", which scores as Pass@1" * (nearest in ("Cons@1", "Cons@2"))  # the two tie where they differ
    return found._replace(against=f"{nearest} of {name}{as_one}")


def scorecard(outcomes: dict[str, pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """One row a claim: statistic, rule, protocol, when they were fixed, what the paper reports, Interval, n, p,
    verdict, note.

    `outcomes` by study (`Claim.source`); a claim whose study is lacking, or lacks a pair or a problem, is "not run" and
    says so, and the others go on. `p_holm` is Holm's over all rows that were run. `note`: what it was measured against
    where the data decide that, where the run departs from the protocol, and where rule or protocol were changed after
    data were seen.
    """
    rows = []
    for claim in CLAIMS:
        evidence, verdict, departed = NONE, f"{NOT_RUN} ({claim.source(lab)})", ""
        if (found := outcomes.get(claim.source(lab))) is not None:
            at = lab if (profile := claim.profile(lab)) == lab.name else load_profile(profile)
            try:
                name, *arguments = claim.measure
                evidence = globals()[name](found, at, *arguments)
                verdict = claim.verdict(evidence)
                departed = claim.protocol.departures(at, found)
            except LookupError as lacking:
                verdict = f"{NOT_RUN} (no {lacking.args[0]} in {claim.source(lab)})"
        told = {
            name: getattr(claim, name) for name in ("id", "claim", "statistic", "rule", "protocol", "fixed", "paper")
        }
        found = {"value": evidence.value, "n": evidence.value.n, "p": evidence.p, "p_holm": np.nan, "verdict": verdict}
        parts = [departed and f"not by protocol: {departed}", evidence.against and f"against {evidence.against}"]
        note = "; ".join(filter(None, [*parts, claim.history]))
        rows.append({**told, "protocol": str(claim.protocol), **found, "note": note})
    table = pd.DataFrame(rows)
    tested = table.p.notna()
    table.loc[tested, "p_holm"] = stats.holm(table.p[tested])
    return table


def beside(lab: Profile) -> dict[str, pd.DataFrame]:
    """Outcomes that claims need of other profiles than `lab`, by `Claim.source`: of those that share the training of
    nano or of a seed."""
    ours = lab.name == Protocol.profile or lab.name.startswith(SEED)
    others = [claim for claim in CLAIMS if ours and claim.profile(lab) in {*available()} - {lab.name}]
    read = {c.source(lab): read_outcomes(load_profile(c.profile(lab))).get(c.needs) for c in others}
    return {source: rows for source, rows in read.items() if rows is not None}


FOUND = ["id", "claim", "statistic", "value", "n", "p", "p_holm", "verdict", "paper"]  # what a reader wants first
FIXED_BEFORE = ["id", "statistic", "rule", "protocol", "fixed", "note"]


def family(lab: Profile, others: list[str] | None = None) -> dict[str, Profile]:
    """The profile and those with other trainings of its family, by name: `others`, or the seed-* beside nano."""
    seeds = [name for name in available() if name.startswith(SEED)] if lab.name == "nano" else []
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
        found = pd.Series([v.estimate for v in values.values()]).dropna()
        half = t.ppf(0.975, len(found) - 1) * found.sem() if len(found) > 1 else np.nan
        half, mean = half if half > TOLERANCE else np.nan, found.mean()
        over = Interval(mean, mean - half, mean + half, len(found))
        rows.append({"id": claim.id, "claim": claim.claim, **values, "over seeds": over, "seeds": len(found)})
    return pd.DataFrame(rows)


VERDICTS = {SUPPORTED: "#029e73", CONTRADICTED: "#d55e00", EQUIVALENT: "#0173b2", UNRESOLVED: "#8c8c8c"}


def draw_scorecard(table: pd.DataFrame) -> Figure:
    """The claims' scorecard in the claims' own units: differences in points above, ratios below, each with its verdict.

    The tinted side is the one on which the claim lies; at the right stand the numbers.
    """
    rows = list(zip(CLAIMS, table.to_dict("records"), strict=True))
    differences, ratios = [r for r in rows if not r[0].threshold], [r for r in rows if r[0].threshold]
    figure, axes = panels(
        0.5 + (0.23 if narrow() else 0.17) * len(rows), 2, wide=1, height_ratios=[len(differences), len(ratios)]
    )
    beside = {"xycoords": ("axes fraction", "data"), "fontsize": small(), "va": "center", "color": DARK}
    for panel, part, scale, form in zip(axes, (differences, ratios), (100, 1), ("+.1f", ".2f"), strict=True):
        names = [textwrap.fill(f"{c.id}  {c.claim}", 26 if narrow() else 44) for c, _ in part]
        sideways(panel, names, part[0][0].threshold)
        panel.set_xlabel("difference (points)" if scale == 100 else "ratio")
        for i, (_, row) in enumerate(part):
            v, verdict = row["value"], row["verdict"].split(" (")[0]
            words = row["verdict"]
            if not np.isnan(v.estimate):
                (shown,) = points([v], scale)
                look = {"fmt": "o", "color": VERDICTS.get(verdict, MUTED), "linewidth": 1.8}
                panel.errorbar([shown.estimate], [i], xerr=bars([shown]), **look)
                words = f"{verdict}, n = {v.n}" if narrow() else f"{said(v, form, scale)}  {verdict}, n = {v.n}"
            panel.annotate(textwrap.shorten(words, 44, placeholder=" …"), (1.02, i), annotation_clip=False, **beside)
        low, high = panel.get_xlim()
        for i, (claim, _) in enumerate(part):
            side = (claim.threshold, high) if claim.above else (low, claim.threshold)
            panel.fill_betweenx([i - 0.4, i + 0.4], *side, color="#000000", alpha=0.05, linewidth=0, zorder=0)
        panel.set_xlim(low, high)
    found = table.verdict.str.partition(" (")[0].value_counts()
    says = "The claims: " + ", ".join(f"{count} {verdict}" for verdict, count in found.items())
    note = "bars: 95% intervals over problems (C5: over seeds); tinted: the side of the claim"
    return captioned(figure, says, f"{len(table)} statistics, n at the right", note)
