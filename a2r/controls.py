"""Other reference contexts for the same sets: what a synthesizer makes of them tells reading from copying.

Each is a `components` argument of `a2r.synthesize`: it takes the paths of one set (samples rows) and
returns the texts that are shown as references.
"""

from collections.abc import Callable

import pandas as pd

from a2r.answers import answer_component, extract
from a2r.outcomes import grade
from a2r.pipeline import cut_sets, synthesize
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
    return [text.replace("<think>", "").replace("</think>", "") for text in paths.text]


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


def contexts(lab: Profile, model: str, problems: pd.DataFrame, pool: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Graded syntheses of `model` on the sets of `pool`, by reference context: as A2R has it ("references"), and under each control."""
    kinds = {"references": None, "none": none, "repeated": repeated, "foreign": foreign(pool, lab.n_paths, lab.n_sets), "finals": finals}
    return {
        name: grade(synthesize(lab, model, problems, pool, condition="" if make is None else name, components=make), problems)
        for name, make in kinds.items()
    }
