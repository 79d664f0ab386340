"""From references to synthesis: what a synthesizer did with a set, whether it copied, and real examples.

rescues    right although no reference is
selects    right where the right answer does not win the vote alone (a minority, or a tie)
keeps      right where it does
loses      wrong although at least one reference is right
misses     wrong, as all references are
"""

import random

import pandas as pd

from a2r import stats
from a2r.answers import answer_component
from a2r.methods import ballot, explorer_state, majority
from a2r.outcomes import STATES
from a2r.pipeline import cut_sets

MOVES = ("rescues", "selects", "keeps", "loses", "misses")


def transitions(pool: pd.DataFrame, syntheses: pd.DataFrame, problems: pd.DataFrame, n_paths: int, n_sets: int) -> pd.DataFrame:
    """One row a graded synthesis over the sets of a graded pool.

    Columns beside the sample's own: `state` of the set, `right` references, `move`, `copies` (its answer component is a
    reference's), `in references` (its answer is one of theirs), `selection` (0..1, correct if it may only choose: its own
    answer where a reference has it too, else the vote).
    """
    gold = problems.set_index("problem_id").answer
    sets = {
        key: (
            explorer_state(s.correct.tolist(), s.answer.tolist()),
            int(s.correct.sum()),
            s.answer.tolist(),
            {answer_component(t) for t in s.text},
        )
        for key, s in cut_sets(pool, n_paths, n_sets).groupby(["problem_id", "set"], sort=False)
    }
    rows = []
    for s in syntheses.itertuples():
        state, right, answers, components = sets[s.problem_id, s.set]
        said = answer_component(s.text)
        joined = ballot([*answers, s.answer])
        own = next((voters for voters in joined.values() if len(answers) in voters), [])
        known = len(own) > 1
        rows.append(
            {
                **{"state": state, "right": right, "move": move(state, bool(s.correct)), "copies": said != "" and said in components},
                **{"in references": known, "selection": float(s.correct) if known else majority(answers, gold[s.problem_id])},
            }
        )
    return syntheses.reset_index(drop=True).join(pd.DataFrame(rows))


def move(state: str, correct: bool) -> str:
    """What a synthesis did, from its set's explorer state and whether it is right."""
    if correct:
        return {"none": "rescues", "minority": "selects", "tie": "selects"}.get(state, "keeps")
    return "misses" if state == "none" else "loses"


def by_state(table: pd.DataFrame) -> pd.DataFrame:
    """One row a (explorer, synthesizer, state): accuracy, copy rate and the rate of copied wrong answers, as Intervals over problems."""
    rows = []
    for (explorer, model), pair in table.groupby(["explorer", "model"], sort=False):
        for state in STATES:
            if len(part := pair[pair.state == state]):
                per = part.assign(wrong_copy=part.copies & ~part.correct).groupby(["benchmark", "problem_id"])
                means = per[["correct", "copies", "wrong_copy", "in references"]].mean()
                rows.append(
                    {
                        **{"explorer": explorer, "synthesizer": model, "state": state, "sets": len(part), "n": len(means)},
                        **{"right": stats.interval(means.correct), "copies a reference": stats.interval(means["copies"])},
                        "copies a wrong one": stats.interval(means.wrong_copy),
                        "answer among the references": stats.interval(means["in references"]),
                    }
                )
    return pd.DataFrame(rows)


def moves(table: pd.DataFrame) -> pd.DataFrame:
    """Share of every move among all syntheses of a pair, as Intervals over problems; one row a (explorer, synthesizer)."""
    rows = []
    for (explorer, model), pair in table.groupby(["explorer", "model"], sort=False):
        dummies = pd.get_dummies(pd.Categorical(pair.move, categories=MOVES)).astype(float).set_index(pair.index)
        means = dummies.groupby([pair.benchmark, pair.problem_id]).mean()
        rows.append({"explorer": explorer, "synthesizer": model, **{m: stats.interval(means[m]) for m in MOVES}, "n": len(means)})
    return pd.DataFrame(rows)


def gallery(table: pd.DataFrame, pool: pd.DataFrame, problems: pd.DataFrame, n_paths: int, n_sets: int, seed: int = 0) -> str:
    """One real synthesis of every move that occurs, drawn by `seed`, with its problem and references, as text."""
    sets = cut_sets(pool, n_paths, n_sets)
    shown = []
    for m in MOVES:
        found = table[table.move == m]
        if found.empty:
            continue
        s = found.iloc[random.Random(f"gallery/{seed}/{m}").randrange(len(found))]
        problem = problems[problems.problem_id == s.problem_id].iloc[0]
        paths = sets[(sets.problem_id == s.problem_id) & (sets["set"] == s["set"])]
        references = "\n".join(
            f"[{k}] {'right' if right else 'wrong'}: {' '.join(answer_component(text).split())}"
            for k, (text, right) in enumerate(zip(paths.text, paths.correct, strict=True), 1)
        )
        shown.append(
            f"=== {m}: {s.explorer} -> {s.model}, state '{s.state}'{', copies a reference' if s.copies else ''}\n"
            f"{problem.question}\nanswer {problem.answer}\n--- references\n{references}\n--- synthesis\n{s.text.strip()}\n"
        )
    return "\n".join(shown)
