"""How different the paths of a set are, in their answers and in their words, and what that is worth to a synthesizer.

Everything here is computed from graded samples (outcomes do not hold texts). The unit of every interval is the problem.
"""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy.stats import entropy, rankdata

from a2r.methods import ballot, majority
from a2r.outcomes import grade
from a2r.pipeline import Context, cut_sets, explore, synthesize_all
from a2r.profiles import Profile
from a2r.results import stats

MEASURES = {
    "answers": "distinct final answers",
    "effective answers": "exp of the answers' entropy",
    "disagreement": "share of pairs with different answers",
    "distinct-2": "distinct bigrams / bigrams",
    "self-BLEU": "mean BLEU of a path against the others, 0 to 100 (low is diverse)",
    "Vendi": "effective number of paths, cosine similarity of bigram counts",
    "parting": "words two paths share before they part, as a share of the shorter",
}


def of_sets(pool: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """One row a set of a graded pool: the measures above, `pass1` (share of right paths), `cons` (its vote), problem
    and set.

    A path without an answer disagrees with every other and adds no distinct answer. Words are what whitespace
    separates. self-BLEU: Zhu et al. 2018 (arXiv 1802.01886), by sacrebleu; Vendi score: Friedman & Dieng 2022 (arXiv
    2210.02410).
    """
    import sacrebleu

    bleu = sacrebleu.BLEU(effective_order=True, tokenize="none")
    rows = []
    for (benchmark, problem_id, number), paths in cut_sets(pool, n_paths, n_sets).groupby(
        ["benchmark", "problem_id", "set"], sort=False
    ):
        answers = paths.answer.tolist()
        groups = ballot(answers)
        # as good as the problem's own
        gold = next((a for a, right in zip(answers, paths.correct, strict=True) if right), None)
        votes = [len(voters) for voters in groups.values()]
        entropy_ = float(entropy(votes)) if votes else 0.0
        words = [text.split() for text in paths.text]
        texts = [" ".join(w) for w in words]
        bigrams = [Counter(pairwise(w)) for w in words]
        total = sum(bigrams, Counter())
        agreeing = sum(v * (v - 1) / 2 for v in votes)
        pairs = n_paths * (n_paths - 1) / 2
        rows.append(
            {
                **{"benchmark": benchmark, "problem_id": problem_id, "set": number},
                **{
                    "pass1": paths.correct.mean(),
                    "cons": majority(answers, gold) if gold else 0.0,
                    "answers": len(votes),
                    "effective answers": np.exp(entropy_),
                },
                "disagreement": 1 - agreeing / pairs if pairs else 0.0,
                "distinct-2": len(total) / max(1, total.total()),
                "self-BLEU": np.mean(
                    [bleu.sentence_score(t, texts[:i] + texts[i + 1 :]).score for i, t in enumerate(texts)]
                )
                if n_paths > 1
                else np.nan,
                "Vendi": vendi(bigrams),
                "parting": np.mean([parting(a, b) for a, b in combinations(words, 2)]) if n_paths > 1 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def vendi(counts: list[Counter]) -> float:
    """Vendi score of count vectors under cosine similarity: exp of the entropy of the eigenvalues of K / n, in 1..n."""
    norms = [np.sqrt(sum(v * v for v in c.values())) or 1.0 for c in counts]
    kernel = np.eye(len(counts))
    for i, j in combinations(range(len(counts)), 2):
        dot = sum(v * counts[j][k] for k, v in counts[i].items())
        kernel[i, j] = kernel[j, i] = dot / (norms[i] * norms[j])
    values = np.linalg.eigvalsh(kernel / len(counts)).clip(min=0)
    return float(np.exp(entropy(values)))


def parting(a: list[str], b: list[str]) -> float:
    """Share of the shorter of two word lists before the first word that differs: 0 from the start, 1 if one continues
    the other."""
    shorter = min(len(a), len(b))
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), shorter)
    return same / shorter if shorter else 0.0


def escapes(pool: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """One row an ordered pair (a wrong path, another path of its set): `parting` of the two, and whether the other is
    right (`escaped`).

    The prefix trap (claim C7) says that an early error derails a chain for good. If it holds, a path that
    leaves a wrong one early is right more often than one that shares most of its words.
    """
    rows = []
    for (benchmark, problem_id, number), paths in cut_sets(pool, n_paths, n_sets).groupby(
        ["benchmark", "problem_id", "set"], sort=False
    ):
        members = [(text.split(), right) for text, right in zip(paths.text, paths.correct, strict=True)]
        for i, (words, right) in enumerate(members):
            if not right:
                for other, escaped in members[:i] + members[i + 1 :]:
                    rows.append(
                        [benchmark, problem_id, number, paths.model.iloc[0], parting(words, other), bool(escaped)]
                    )
    return pd.DataFrame(rows, columns=["benchmark", "problem_id", "set", "explorer", "parting", "escaped"])


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

    return stats.interval([*columns, *sums, count], statistic)


def relation(table: pd.DataFrame, measures: list[str], gains: list[str], control: str = "pass1") -> pd.DataFrame:
    """Spearman of every measure with every gain, plain and at equal Pass@1 (partial), as Intervals; one row a measure
    and gain."""
    return pd.DataFrame(
        [
            {
                **{
                    "measure": m,
                    "gain": g,
                    "spearman": spearman(table, m, g),
                    "at equal Pass@1": spearman(table, m, g, control),
                },
                **{"sets": len(table), "n": table.problem_id.nunique()},
            }
            for m in measures
            for g in gains
        ]
    )


def by_answers(table: pd.DataFrame, gain: str) -> pd.DataFrame:
    """The gain by number of distinct answers in the set, as Intervals over problems; one row a number."""
    rows = []
    for k, part in table.groupby("answers"):
        value = stats.interval(part.groupby(["benchmark", "problem_id"])[gain].mean())
        rows.append({"distinct answers": int(k), gain: value, "sets": len(part), "n": value.n})
    return pd.DataFrame(rows)


def least(table: pd.DataFrame, gain: str) -> str:
    """In words: the fewest distinct answers at which the gain's interval lies above 0, or that the data cannot tell."""
    rows = by_answers(table, gain)
    for k, value in zip(rows["distinct answers"], rows[gain], strict=True):
        if value.low > 0:
            interval = (
                f"{100 * value.estimate:+.1f} points [{100 * value.low:+.1f}, {100 * value.high:+.1f}], n = {value.n}"
            )
            return f"From {k} distinct answers on: {interval}."
    return (
        f"At no number of distinct answers does the interval of '{gain}' lie above 0: "
        f"these {len(table)} sets cannot tell."
    )


def pools(lab: Profile, problems: pd.DataFrame, temperatures: list[float]) -> dict[tuple[str, float], pd.DataFrame]:
    """Graded pools of `n_sets` sets by (explorer, temperature), and of sets mixed from all explorers at the profile's
    temperature."""
    made = {}
    for explorer in lab.explorers:
        for temperature in temperatures:
            at = lab.with_(temperature=temperature)
            made[explorer, temperature] = grade(explore(at, explorer, problems, lab.n_paths * lab.n_sets), problems)
    own = {e: grade(explore(lab, e, problems, lab.n_paths * lab.n_sets), problems) for e in lab.explorers}
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
    """`of_sets` of every pool with its explorer and temperature, the vote, A2R's accuracy on each set, and both
    gains."""
    frames = []
    for (explorer, temperature), pool in pools.items():
        sets = (
            of_sets(pool, lab.n_paths, lab.n_sets)
            .assign(explorer=explorer, temperature=temperature)
            .set_index(["problem_id", "set"])
        )
        read = syntheses[explorer, temperature].groupby(["problem_id", "set"]).correct.mean()
        frames.append(sets.assign(A2R=read.loc[sets.index].astype(float)).reset_index())
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(**{"A2R − Pass@1": joined.A2R - joined.pass1, "A2R − Cons": joined.A2R - joined.cons})


def means(sets: pd.DataFrame) -> pd.DataFrame:
    """One row an explorer and temperature: Pass@1, A2R, both gains and every measure as Intervals over problems."""
    columns = ["pass1", "cons", "A2R", "A2R − Pass@1", "A2R − Cons", *MEASURES]
    rows = []
    for (explorer, temperature), part in sets.groupby(["explorer", "temperature"], sort=False):
        per = part.groupby(["benchmark", "problem_id"])[columns].mean()
        rows.append(
            {
                "explorer": explorer,
                "temperature": temperature,
                **{c: stats.interval(per[c]) for c in columns},
                "sets": len(part),
                "n": len(per),
            }
        )
    return pd.DataFrame(rows)


def trap(pools: dict[tuple[str, float], pd.DataFrame], lab: Profile) -> pd.DataFrame:
    """`escapes` of every unmixed pool as outcomes: method "early" or "late" by the median parting of its explorer and
    temperature."""
    frames = []
    for (explorer, temperature), pool in pools.items():
        pairs = escapes(pool, lab.n_paths, lab.n_sets)
        if explorer != "mixed" and len(pairs):
            middle = pairs.parting.median()
            frames.append(pairs.assign(explorer=explorer, temperature=temperature, late=pairs.parting > middle))
    pairs = pd.concat(frames, ignore_index=True)
    # pairs of one problem are compared with pairs of that problem: hard problems part early and fail anyway
    both = pairs.groupby(["benchmark", "problem_id"]).late.transform("nunique") == 2
    method = pairs.late.map({True: "late", False: "early"})
    return (
        pairs[both]
        .assign(method=method[both], synthesizer="", correct=pairs.escaped[both].astype(float))
        .drop(columns=["late", "escaped"])
    )


def trap_table(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row an explorer and one for all: share of right ones among early and late leavers of a wrong path, and the
    difference."""
    rows = []
    for explorer, part in [("all", outcomes), *outcomes.groupby("explorer", sort=False)]:
        wide = part.pivot_table(
            index=["benchmark", "problem_id"], columns="method", values="correct", aggfunc="mean"
        ).dropna()
        if len(wide) and {"early", "late"} <= set(wide):
            difference = stats.interval(wide.early - wide.late)
            rows.append(
                {
                    **{"explorer": explorer, "early": stats.interval(wide.early), "late": stats.interval(wide.late)},
                    **{"early − late": difference, "pairs": len(part), "n": len(wide)},
                }
            )
    return pd.DataFrame(rows)
