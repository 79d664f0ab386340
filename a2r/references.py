"""What a synthesizer is shown: its references, and in their place whatever tells what they are worth.

A reference context is the `components` of a `pipeline.Context`: it takes the paths of one set (samples rows) and
returns the texts that are shown as references.
"""

from collections.abc import Callable

import pandas as pd

from a2r.answers import answer_component, extract
from a2r.errors import UserError, nearest
from a2r.outcomes import grade
from a2r.pipeline import Ask, Context, ask, cut_sets, derive_seed, in_memory, synthesize_all
from a2r.problems import dial_of, made_tests, with_tests
from a2r.profiles import Profile
from a2r.prompts import synthesizer_messages

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
    cut = cut_sets(in_memory(pool), n_paths, n_sets).groupby(["problem_id", "set"], sort=False)
    sets = {key: [answer_component(text) for text in paths.text] for key, paths in cut}
    other = {}
    for _, ids in pool.groupby("benchmark", sort=False).problem_id:
        order = ids.drop_duplicates().tolist()
        other.update(zip(order, order[1:] + order[:1], strict=True))

    def components(paths: pd.DataFrame) -> list[str]:
        return sets[other[paths.problem_id.iloc[0]], paths["set"].iloc[0]]

    return components


MOST_TESTS = 8  # what models have been trained on


def same_tests(lab: Profile, model: str, problems: pd.DataFrame, read: pd.DataFrame) -> pd.DataFrame | None:
    """Graded outputs of `model` without references, one a synthesis in `read`, each allowed as many tests as that one
    made.

    None where not every question has the dial. Reading references costs tests and saves tests; this is what they are
    worth beyond their number.
    """
    questions = problems.set_index("problem_id").question
    if questions.map(dial_of).isna().any():
        return None
    asks = []
    for s in read.to_dict("records"):
        question = with_tests(questions[s["problem_id"]], min(MOST_TESTS, max(1, made_tests(s["text"]))))
        at = s["set"] * lab.n_syntheses + s["index"]  # two sets may ask the same: each gets a sample of its own
        messages = tuple(synthesizer_messages(question, [], None, lab.prompt("synthesizer")))
        asks.append(Ask(s["benchmark"], s["problem_id"], messages, range(at, at + 1), s["set"], s["explorer"], "tests"))
    return grade(ask(lab, model, "synthesizer", asks), problems)


# Method names of the contexts in outcomes.
CONTEXTS = {"references": "A2R", "none": "Alone", "shuffled": "Shuffled", "repeated": "Repeated", "foreign": "Foreign"}
CONTEXTS |= {"finals": "Finals", "traces": "Traces"}
CLAIMED = ("references", "none", "repeated", "foreign")  # what claims and checking errors need
ALONE = {"none": "Alone@1", "tests": "Alone, as many tests"}  # without references: nothing is paid for paths


def read(
    lab: Profile, model: str, problems: pd.DataFrame, pool: pd.DataFrame, kinds: tuple[str, ...] = tuple(CONTEXTS)
) -> dict[str, pd.DataFrame]:
    """Graded syntheses of `model` on the sets of `pool`, by reference context: as A2R has it ("references"), and under
    each control.

    "tests" comes with "references", where the problems have the dial (`same_tests`).
    """
    make = {"none": none, "shuffled": shuffled, "repeated": repeated, "finals": finals, "traces": traces}
    make["foreign"] = foreign(pool, lab.n_paths, lab.n_sets)
    shown = [Context(pool, kind * (kind != "references"), make.get(kind)) for kind in kinds]
    made = synthesize_all(lab, model, problems, shown)
    graded = {kind: grade(frame, problems) for kind, frame in zip(kinds, made, strict=True)}
    tests = same_tests(lab, model, problems, graded["references"]) if "references" in graded else None
    return graded if tests is None else {**graded, "tests": tests}


def kinds(lab: Profile, explorer: str, synthesizer: str, wanted: list[str] | None = None) -> tuple[str, ...]:
    """The contexts of a pair: those `wanted`, else CLAIMED, and all where the synthesizer of the profile's
    A2R-Efficient, or its base, reads its explorer's paths.

    UserError for a context that there is not; "references" is always among them.
    """
    if strange := set(wanted or ()) - set(CONTEXTS):
        near = nearest(min(strange), CONTEXTS)
        raise UserError(f"there is no reference context '{min(strange)}'{near}; choose {', '.join(CONTEXTS)}.")
    small, middle = lab.efficient[:2]
    efficient = explorer == small and synthesizer in (middle, lab.base_of(middle))
    chosen = wanted or (CONTEXTS if efficient else CLAIMED)
    return tuple(kind for kind in CONTEXTS if kind in chosen or kind == "references")
