"""Loops over numbers that numba compiles when they are imported, and keeps on disk where it may write."""

from collections.abc import Callable

from numba import njit


def compiled(signature: str) -> Callable[[Callable], Callable]:
    """A decorator: the function for arguments of `signature`, with sums in whatever order is fastest."""

    def decorate(function: Callable) -> Callable:
        try:
            return njit(signature, fastmath=True, cache=True)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written to: compile it each time
            return njit(signature, fastmath=True)(function)

    return decorate
