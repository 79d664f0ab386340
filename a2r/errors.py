"""One exception for everything a user can put right; its message is one sentence: what, where, what to do."""


class UserError(ValueError):
    """Bad input. The command line prints the sentence and exits with 2."""
