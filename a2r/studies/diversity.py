"""How different the paths of a set are, in their answers and in their words, and what that is worth to a synthesizer.

Everything here is computed from graded samples (outcomes do not hold texts). The unit of every interval is the problem.
"""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import entr
from scipy.stats import rankdata

from a2r.methods import ballot, majority
from a2r.outcomes import grade
from a2r.pipeline import Context, cut_sets, explore, in_memory, synthesize_all
from a2r.profiles import Profile
from a2r.results import stats, tables
from a2r.results.figures import DARK, captioned, counted, lines, panels, points, said
from a2r.results.stats import DIFFERENCE, KEYS, SHARE, TOLERANCE

MEASURES = {
    "answers": "distinct final answers",
    "effective answers": "exp of the answers' entropy",
    "disagreement": "share of pairs with different answers",
    "distinct-2": "distinct bigrams / bigrams",
    "self-BLEU": "mean BLEU of a path against the others, 0 to 100 (low is diverse)",
    "Vendi": "effective number of paths, cosine similarity of bigram counts",
    "parting": "words that two paths share before they part",
}


def of_sets(pool: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """One row a set of a graded pool: the measures above, `pass1` (share of right paths), `cons` (its vote), problem
    and set.

    A path without an answer disagrees with every other and adds no distinct answer. Words are what whitespace
    separates. self-BLEU: Zhu et al. 2018 (arXiv 1802.01886), by sacrebleu; Vendi score: Friedman & Dieng 2022 (arXiv
    2210.02410).
    """
    import sacrebleu

    bleu, rows = sacrebleu.BLEU(effective_order=True, tokenize="none"), []
    for key, paths in cut_sets(in_memory(pool), n_paths, n_sets).groupby([*KEYS, "set"], sort=False):
        answers, words = paths.answer.tolist(), [text.split() for text in paths.text]
        votes = [len(voters) for voters in ballot(answers).values()]
        gold = next(iter(paths.answer[paths.correct]), None)  # as good as the problem's own
        row = dict(zip([*KEYS, "set"], key, strict=True)) | {"pass1": paths.correct.mean(), "answers": len(votes)}
        row |= {"cons": majority(answers, gold) if gold else 0.0, "disagreement": 0.0}
        row["effective answers"] = np.exp(entr(np.divide(votes, sum(votes))).sum()) if votes else 0.0
        bigrams = [Counter(pairwise(w)) for w in words]
        total = sum(bigrams, Counter())
        row |= {"distinct-2": len(total) / max(1, total.total()), "Vendi": vendi(bigrams)}
        if n_paths > 1:
            texts = [" ".join(w) for w in words]
            scores = [bleu.sentence_score(t, texts[:i] + texts[i + 1 :]).score for i, t in enumerate(texts)]
            row["disagreement"] = 1 - sum(v * (v - 1) for v in votes) / (n_paths * (n_paths - 1))
            row["self-BLEU"] = np.mean(scores)
            row["parting"] = np.mean([parting(a, b) for a, b in combinations(words, 2)])
        rows.append(row)
    return pd.DataFrame(rows, columns=[*KEYS, "set", "pass1", "cons", *MEASURES])


def vendi(counts: list[Counter]) -> float:
    """Vendi score of count vectors under cosine similarity: exp of the entropy of the eigenvalues of K / n, in 1..n."""
    norms = [np.sqrt(sum(v * v for v in c.values())) or 1.0 for c in counts]
    kernel = np.eye(len(counts))
    for i, j in combinations(range(len(counts)), 2):
        dot = sum(v * counts[j][k] for k, v in counts[i].items())
        kernel[i, j] = kernel[j, i] = dot / (norms[i] * norms[j])
    values = np.linalg.eigvalsh(kernel / len(counts)).clip(min=0)
    return float(np.exp(entr(values / values.sum()).sum()))


def parting(a: list[str], b: list[str]) -> int:
    """Words before the first that differs; all of the shorter list if the other continues it.

    A number and no share: as a share of a length it would tell right from wrong by itself, as a path that has found the
    answer ends.
    """
    differ = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differ, min(len(a), len(b)))


def escapes(pool: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """One row an ordered pair (a wrong path, another path of its set): `parting` of the two, and whether the other is
    right (`escaped`).

    The prefix trap (claim C7) says that an early error derails a chain for good. If it holds, a path that
    leaves a wrong one early is right more often than one that goes along with it for longer. A path with the very text
    of the wrong one is left out: it is wrong by that, and nothing to escape from.
    """
    rows = []
    for key, paths in cut_sets(in_memory(pool), n_paths, n_sets).groupby([*KEYS, "set"], sort=False):
        members = [(text.split(), right) for text, right in zip(paths.text, paths.correct, strict=True)]
        for words in (words for words, right in members if not right):
            others = [(parting(words, other), bool(right)) for other, right in members if other != words]
            rows += [[*key, paths.model.iloc[0], *other] for other in others]
    return pd.DataFrame(rows, columns=[*KEYS, "set", "explorer", "parting", "escaped"])


def mixed(pools: dict[str, pd.DataFrame], n_paths: int, n_sets: int) -> pd.DataFrame:
    """A pool whose sets hold paths of several explorers in turn: path k of problem i comes from explorer k + i modulo
    their number."""
    names = list(pools)
    order = {p: i for i, p in enumerate(next(iter(pools.values())).problem_id.unique())}
    parts = []
    for name, pool in pools.items():
        cut = cut_sets(pool.reset_index(drop=True), n_paths, n_sets)
        cut["position"] = cut.groupby(["problem_id", "set"], sort=False).cumcount()
        parts.append(cut[(cut.position + cut.problem_id.map(order)) % len(names) == names.index(name)])
    joined = pd.concat(parts).sort_values(["set", "position"], kind="stable")
    return joined.sort_values("problem_id", key=lambda ids: ids.map(order), kind="stable").drop(
        columns=["set", "position"]
    )


def spearman(table: pd.DataFrame, x: str, y: str, control: str | None = None) -> stats.Interval:
    """Rank correlation of two columns of a table of sets, its interval over problems; with `control` the partial one.

    Ranks are those of the whole table in every resample, which is what makes 10,000 resamples a matrix product. nan
    where a column is constant.
    """
    ranks = {c: rankdata(table[c]) - (len(table) + 1) / 2 for c in (x, y, *([control] if control else []))}
    keys = [table.benchmark, table.problem_id]
    names = list(ranks)
    products = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    columns = [pd.Series(ranks[a] * ranks[b], index=table.index).groupby(keys, sort=False).sum() for a, b in products]
    sums = [pd.Series(ranks[a], index=table.index).groupby(keys, sort=False).sum() for a in names]
    count = table.groupby(keys, sort=False).size().astype(float)

    def statistic(*means: np.ndarray) -> np.ndarray:
        second, first, n = means[: len(products)], dict(zip(names, means[len(products) : -1], strict=True)), means[-1]
        cov = {(a, b): m / n - first[a] * first[b] / n**2 for (a, b), m in zip(products, second, strict=True)}

        def r(a: str, b: str) -> np.ndarray:
            scale = np.sqrt(np.maximum(cov[a, a] * cov[b, b], 0))
            return cov[a, b] / np.where(scale > 1e-12, scale, np.nan)

        if not control:
            return r(x, y)
        xy, xz, yz = r(x, y), r(x, control), r(y, control)
        return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))

    return stats.bootstrap([*columns, *sums, count], statistic)


def relation(table: pd.DataFrame, measures: list[str], gains: list[str], control: str = "pass1") -> pd.DataFrame:
    """Spearman of every measure with every gain, plain and at equal Pass@1 (partial), as Intervals; one row a measure
    and gain."""
    rows = [
        {"measure": m, "gain": g, "spearman": spearman(table, m, g), "at equal Pass@1": spearman(table, m, g, control)}
        for m in measures
        for g in gains
    ]
    return pd.DataFrame(rows).assign(sets=len(table), n=table.problem_id.nunique())


def by_answers(table: pd.DataFrame, gain: str) -> pd.DataFrame:
    """The gain by number of distinct answers in the set, as Intervals over problems; one row a number."""
    found = tables.means(table.sort_values("answers", kind="stable"), ["answers"], {gain: DIFFERENCE})
    return found.rename(columns={"answers": "distinct answers"})


def least(table: pd.DataFrame, gain: str) -> str:
    """In words: the fewest distinct answers from which on every interval of the gain lies above 0, or that there is
    none."""
    rows = by_answers(table, gain)
    above = [value.low > TOLERANCE for value in rows[gain]]
    if not above[-1]:
        return f"There is no number of distinct answers from which on '{gain}' lies above 0 in these {len(table)} sets."
    first = max((i + 1 for i, good in enumerate(above) if not good), default=0)
    shown = [f"{100 * v.estimate:+.1f} [{100 * v.low:+.1f}, {100 * v.high:+.1f}]" for v in rows[gain][first:]]
    return f"From {rows['distinct answers'][first]} distinct answers on: {', '.join(shown)} points."


# Of one problem; counts and scores without bounds of their own get a bootstrap.
BOUNDS = {
    **dict.fromkeys(("pass1", "cons", "A2R", "disagreement", "distinct-2"), SHARE),
    **dict.fromkeys(("A2R − Pass@1", "A2R − Cons"), DIFFERENCE),
}


def pools(lab: Profile, problems: pd.DataFrame, temperatures: list[float]) -> dict[tuple[str, float], pd.DataFrame]:
    """Graded pools of `n_sets` sets by (explorer, temperature), and of sets mixed from all explorers at the profile's
    temperature."""
    paths = lab.n_paths * lab.n_sets
    made = {
        (e, t): grade(explore(lab.with_(temperature=t), e, problems, paths), problems)
        for e in lab.explorers
        for t in temperatures
    }
    own = {e: grade(explore(lab, e, problems, paths), problems) for e in lab.explorers}
    return {**made, ("mixed", lab.sampling.temperature): mixed(own, lab.n_paths, lab.n_sets)}


def syntheses(
    lab: Profile, synthesizer: str, problems: pd.DataFrame, pools: dict[tuple[str, float], pd.DataFrame]
) -> dict:
    """Graded syntheses of the sets of every pool, by its key."""
    made = synthesize_all(lab, synthesizer, problems, [Context(pool) for pool in pools.values()])
    return {key: grade(frame, problems) for key, frame in zip(pools, made, strict=True)}


def table(
    pools: dict[tuple[str, float], pd.DataFrame], syntheses: dict[tuple[str, float], pd.DataFrame], lab: Profile
) -> pd.DataFrame:
    """`of_sets` of every pool with its explorer and temperature, the vote, A2R's accuracy on it, and both gains."""
    frames = []
    for (explorer, temperature), pool in pools.items():
        sets = of_sets(pool, lab.n_paths, lab.n_sets).assign(explorer=explorer, temperature=temperature)
        read = syntheses[explorer, temperature].groupby(["problem_id", "set"]).correct.mean().astype(float)
        frames.append(sets.join(read.rename("A2R"), on=["problem_id", "set"]))
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(**{"A2R − Pass@1": joined.A2R - joined.pass1, "A2R − Cons": joined.A2R - joined.cons})


def means(sets: pd.DataFrame) -> pd.DataFrame:
    """One row an explorer and temperature: Pass@1, A2R, both gains and every measure as Intervals over problems."""
    columns = ["pass1", "cons", "A2R", "A2R − Pass@1", "A2R − Cons", *MEASURES]
    return tables.means(sets, ["explorer", "temperature"], {c: BOUNDS.get(c) for c in columns})


def trap(pools: dict[tuple[str, float], pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """`escapes` of every unmixed pool as outcomes, two rows a stratum: the share that escaped (`correct`) among pairs
    that part earlier than the stratum's mean (method "early") and later ("late"), and the number of `pairs`.

    A stratum is a problem, explorer and temperature, so that neither hard problems, which part early and fail anyway,
    nor weak explorers are what is compared. Strata whose pairs all part at one place are left out.
    """
    frames = [
        escapes(pool, lab.n_paths, lab.n_sets).assign(explorer=explorer, temperature=temperature)
        for (explorer, temperature), pool in pools.items()
        if explorer != "mixed"
    ]
    stratum = [*KEYS, "explorer", "temperature"]
    pairs = pd.concat(frames, ignore_index=True)
    middle = pairs.groupby(stratum).parting.transform("mean")
    pairs = pairs.assign(method=np.where(pairs.parting < middle, "early", "late"), synthesizer="")
    pairs = pairs[pairs.groupby(stratum).method.transform("nunique") == 2]
    made = pairs.groupby([*stratum, "synthesizer", "method"], as_index=False)
    return made.agg(correct=("escaped", "mean"), pairs=("escaped", "size"))


def trap_table(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row an explorer and one for all: share of right ones among early and late leavers of a wrong path, and the
    difference."""
    rows = []
    for explorer, part in [("all", outcomes), *outcomes.groupby("explorer", sort=False)]:
        wide = part.pivot_table(index=KEYS, columns="method", values="correct", aggfunc="mean").dropna()
        if len(wide) and {"early", "late"} <= set(wide):
            row = {"explorer": explorer, "early": stats.interval(wide.early), "late": stats.interval(wide.late)}
            row["early − late"] = stats.difference(wide.early, wide.late)
            rows.append({**row, "pairs": int(part.pairs.sum()), "n": len(wide)})
    return pd.DataFrame(rows)


def draw(means: pd.DataFrame, synthesizer: str) -> Figure:
    """`means` by temperature, one line an explorer: how many answers its sets hold, and what `synthesizer` gained on
    them over the vote."""
    own = means[means.explorer != "mixed"].assign(gain=lambda m: points(list(m["A2R − Cons"])))
    figure, (left, right) = panels(2.5, 2, wide=2)
    right.axhline(0, color=DARK, linewidth=0.8)
    lines(left, own, "temperature", "effective answers", "explorer")
    lines(right, own, "temperature", "gain", "explorer")
    for axes in (left, right):
        axes.set_xlabel("temperature of the explorer")
    left.set(ylabel="effective number of answers", title="what the sets hold")
    right.set(ylabel="A2R − Cons (points)", title=f"read by {synthesizer}")
    most = own.loc[own["effective answers"].map(lambda v: v.estimate).idxmax()]
    says = (
        f"Most different answers: {most.explorer} at T = {most.temperature:g}, {said(most['effective answers'])} "
        f"effective ones in a set; all sets at the right are read by {synthesizer}, also those of larger models"
    )
    return captioned(figure, says, counted(own["effective answers"]))
