"""Voting over the final answers of one set of explorer paths (self-consistency, Wang et al. 2022, arXiv 2203.11171).

A set's answers are a list of str, or None for a path without an answer. None does not vote.
"""

from collections.abc import Sequence

from a2r.answers import canonical, equivalent, is_integer

Answers = Sequence[str | None]


def ballot(answers: Answers) -> dict[str, list[int]]:
    """Groups of equivalent answers: key of the group -> positions of its votes in `answers`.

    Answers with the same canonical key are one group; groups whose keys are equivalent are merged (so the relation is
    made transitive). Independent of the order of the answers. A group goes by its most frequent key, then the first.
    """
    positions: dict[str, list[int]] = {}
    for i, answer in enumerate(answers):
        # nan: a missing answer in a frame
        if answer is not None and answer == answer and (key := canonical(str(answer))):
            positions.setdefault(key, []).append(i)
    if all(map(is_integer, positions)):
        return dict(sorted(positions.items()))
    groups: list[list[str]] = []
    for key in sorted(positions):
        same = [group for group in groups if any(equivalent(other, key) for other in group)]
        groups = [group for group in groups if group not in same] + [
            [*(other for group in same for other in group), key]
        ]
    named = {min(group, key=lambda key: (-len(positions[key]), key)): group for group in groups}
    return {name: sorted(i for key in named[name] for i in positions[key]) for name in sorted(named)}


def vote(answers: Answers) -> list[str]:
    """The answers with most votes, as canonical keys: one, several when tied (sorted), none when nobody voted."""
    groups = ballot(answers)
    most = max(map(len, groups.values()), default=0)
    return [name for name, voters in groups.items() if len(voters) == most]


def majority(answers: Answers, gold: str) -> float:
    """Cons@N of one set: 1.0 if the winning answer is right, the share of right ones among tied winners, 0.0 if nobody
    voted."""
    winners = vote(answers)
    return sum(equivalent(gold, winner) for winner in winners) / len(winners) if winners else 0.0


def explorer_state(correct: Sequence[bool], answers: Answers) -> str:
    """How a set stands before the synthesizer reads it, from each path's correctness and answer (same length N).

    "none"      no path is right
    "minority"  the right answer has fewer votes than the winner
    "tie"       it shares first place
    "majority"  it wins alone, but not every path is right
    "all"       every path is right

    ValueError if the lengths differ or a path without an answer is marked right.
    """
    if len(correct) != len(answers) or not len(answers):
        raise ValueError(
            f"explorer_state: {len(correct)} verdicts for {len(answers)} answers; "
            "give one of each per path, at least one."
        )
    if not any(correct):
        return "none"
    if all(correct):
        return "all"
    groups = ballot(answers)
    top = max(map(len, groups.values()), default=0)
    right = {name for name, voters in groups.items() if any(correct[i] for i in voters)}
    if not right:
        raise ValueError(
            "explorer_state: a path without an answer is marked correct; grade the set again with a2r.answers."
        )
    if max(len(groups[name]) for name in right) < top:
        return "minority"
    return "tie" if any(len(groups[name]) == top for name in groups if name not in right) else "majority"
