"""What A2R is compared with besides the vote: other reference contexts for the same sets, choosing only, more votes for the money.

A reference context is a `components` argument of `a2r.synthesize`: it takes the paths of one set (samples
rows) and returns the texts that are shown as references.
"""

from collections.abc import Callable

import pandas as pd

from a2r.answers import answer_component, extract
from a2r.cost import price
from a2r.methods import majority
from a2r.outcomes import grade
from a2r.outcomes import outcomes as baselines
from a2r.pipeline import Context, cut_sets, derive_seed, explore, synthesize_all
from a2r.profiles import Profile

Components = Callable[[pd.DataFrame], list[str]]


def none(paths: pd.DataFrame) -> list[str]:
    """No references: the synthesizer's own accuracy in its own prompt."""
    return []


def repeated(paths: pd.DataFrame) -> list[str]:
    """The first path N times: N references that agree without knowing more than one."""
    return [answer_component(paths.text.iloc[0])] * len(paths)


def finals(paths: pd.DataFrame) -> list[str]:
    """Final answers without their work."""
    return [f"\\boxed{{{answer}}}" if (answer := extract(text)) is not None else "" for text in paths.text]


def traces(paths: pd.DataFrame) -> list[str]:
    """Whole outputs, thinking included, instead of answer components."""
    return [text.replace("<think>", "").replace("</think>", "").strip() for text in paths.text]


def shuffled(paths: pd.DataFrame) -> list[str]:
    """The same references rotated by a place that the problem decides: another order than A2R's."""
    texts = [answer_component(text) for text in paths.text]
    turn = 1 + derive_seed(paths.problem_id.iloc[0], "shuffled") % max(1, len(texts) - 1)
    return texts[turn:] + texts[:turn]


def foreign(pool: pd.DataFrame, n_paths: int, n_sets: int) -> Components:
    """References of the next problem of the same benchmark: what misleading references cost."""
    sets = {key: paths for key, paths in cut_sets(pool, n_paths, n_sets).groupby(["problem_id", "set"], sort=False)}
    other = {}
    for _, ids in pool.groupby("benchmark", sort=False).problem_id:
        order = ids.drop_duplicates().tolist()
        other.update(zip(order, order[1:] + order[:1], strict=True))

    def components(paths: pd.DataFrame) -> list[str]:
        first = paths.iloc[0]
        return [answer_component(text) for text in sets[other[first.problem_id], first["set"]].text]

    return components


# Method names of the contexts in outcomes.
CONTEXTS = {
    "references": "A2R",
    "none": "Alone",
    "shuffled": "Shuffled",
    "repeated": "Repeated",
    "foreign": "Foreign",
    "finals": "Finals",
    "traces": "Traces",
}


def contexts(
    lab: Profile, model: str, problems: pd.DataFrame, pool: pd.DataFrame, kinds: tuple[str, ...] = tuple(CONTEXTS)
) -> dict[str, pd.DataFrame]:
    """Graded syntheses of `model` on the sets of `pool`, by reference context: as A2R has it ("references"), and under each control."""
    make = {"none": none, "shuffled": shuffled, "repeated": repeated, "finals": finals, "traces": traces}
    make["foreign"] = foreign(pool, lab.n_paths, lab.n_sets)
    made = synthesize_all(lab, model, problems, [Context(pool, kind * (kind != "references"), make.get(kind)) for kind in kinds])
    return {kind: grade(frame, problems) for kind, frame in zip(kinds, made, strict=True)}


def pairs(lab: Profile) -> list[tuple[str, str]]:
    """The pairs that are studied unless others are named: every symmetric model, and the profile's A2R-Efficient."""
    return list(dict.fromkeys([*((m, m) for m in lab.symmetric), lab.efficient[:2]]))


def pool(lab: Profile, explorer: str, problems: pd.DataFrame) -> pd.DataFrame:
    """The explorer's graded pool: at least twice N paths a problem, so that there are enough for the votes that A2R's cost buys."""
    return grade(explore(lab, explorer, problems, lab.n_paths * max(2, lab.n_sets)), problems)


def at_synthesis_temperature(lab: Profile, explorer: str, problems: pd.DataFrame) -> pd.DataFrame | None:
    """The explorer's graded pool at the temperature of the syntheses (None where it is its own): A2R's baselines have the same choice."""
    temperature = lab.sampling_of(explorer, "synthesizer").temperature
    if temperature == lab.sampling_of(explorer).temperature:
        return None
    return grade(explore(lab.with_(temperature=temperature), explorer, problems, lab.n_paths * lab.n_sets), problems)


def outcomes(
    lab: Profile,
    problems: pd.DataFrame,
    pool: pd.DataFrame,
    kinds: dict[str, pd.DataFrame],
    moves: pd.DataFrame,
    prices: pd.DataFrame,
    cooler: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The controls of one pair as outcomes (benchmark, problem_id, explorer, synthesizer, set, method, correct, cost).

    Methods: one a context ("A2R@4", "Alone@1", "Foreign@4", ...), "Selection@N" (`transitions.selection`: what the same
    syntheses score if they may only choose among their references), "Cons@k" with the k whose cost is nearest to A2R's, and, given
    the pool `at_synthesis_temperature`, "Pass@1 at T=..." and "Cons@N at T=..." of it.
    """
    n, explorer = lab.n_paths, "+".join(dict.fromkeys(pool.model))
    paid = cut_sets(pool.assign(cost=price(pool, prices)), n, lab.n_sets).groupby(["problem_id", "set"]).cost.sum()
    frames = []
    for kind, graded in kinds.items():
        name = "Alone@1" if kind == "none" else f"{CONTEXTS[kind]}@{n}"
        at = pd.MultiIndex.from_frame(graded[["problem_id", "set"]])
        cost = price(graded, prices).to_numpy() + (0 if kind == "none" else paid.loc[at].to_numpy())
        frames.append(graded.assign(method=name, cost=cost, synthesizer=graded.model))
    frames.append(moves.assign(method=f"Selection@{n}", cost=frames[0].cost.to_numpy(), correct=moves.selection, synthesizer=moves.model))
    table = pd.concat(frames, ignore_index=True).assign(explorer=explorer)
    columns = ["benchmark", "problem_id", "explorer", "synthesizer", "set", "method", "correct", "cost"]
    table = table.astype({"correct": float})[columns]
    votes = matched_votes(lab, problems, pool, table[table.method == f"A2R@{n}"].cost.mean(), prices)
    if cooler is not None:
        suffix = f" at T={lab.sampling_of(explorer, 'synthesizer').temperature:g}"
        base = baselines(problems, cooler, prices, n_paths=n, n_sets=lab.n_sets)
        votes = pd.concat([votes, base[base.method.isin(["Pass@1", f"Cons@{n}"])].assign(method=lambda b: b.method + suffix)])
    return pd.concat([table, votes.assign(synthesizer=table.synthesizer.iloc[0])], ignore_index=True)[columns]


def matched_votes(lab: Profile, problems: pd.DataFrame, pool: pd.DataFrame, cost: float, prices: pd.DataFrame) -> pd.DataFrame:
    """Cons@k on sets of k paths of the pool, with the k whose cost is nearest to `cost` per problem (at most the pool's size)."""
    pool = pool.assign(cost=price(pool, prices))
    size = int(pool.groupby("problem_id").size().min())
    k = min(size, max(1, round(cost / pool.cost.mean())))
    gold = problems.set_index("problem_id").answer
    rows = [
        {
            **{"benchmark": benchmark, "problem_id": problem_id, "set": number, "explorer": paths.model.iloc[0]},
            **{"method": f"Cons@{k}", "correct": majority(paths.answer.tolist(), gold[problem_id]), "cost": paths.cost.sum()},
        }
        for (benchmark, problem_id, number), paths in cut_sets(pool, k, size // k).groupby(["benchmark", "problem_id", "set"], sort=False)
    ]
    return pd.DataFrame(rows)
