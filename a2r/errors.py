"""The exceptions whose message is one sentence for the user: what, where, what to do."""

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input that a user can put right. The command line prints the sentence and exits with 2."""


class StudyFailed(RuntimeError):
    """A cell failed; the executed notebook so far was kept. The command line exits with 1."""


def first_line(error: BaseException) -> str:
    """What an exception says in one line: its first, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, to go behind a name that is not known; nothing where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f" (did you mean '{near[0]}'?)" if near else ""
