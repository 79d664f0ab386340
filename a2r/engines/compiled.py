"""Loops over numbers that numba compiles when they are imported, and keeps on disk where it may write."""

from collections.abc import Callable

from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic


def compiled(signature: str) -> Callable[[Callable], Callable]:
    """A decorator: the function for arguments of `signature`, with sums in whatever order is fastest."""

    def decorate(function: Callable) -> Callable:
        try:
            return njit(signature, fastmath=True, cache=True)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written to: compile it each time
            return njit(signature, fastmath=True)(function)

    return decorate


LINE = 16  # float32 of a cache line


@intrinsic
def fetch(typing, array, position):
    """Ask for the cache line of `array`, as it lies in memory, at `position`, which will be read a while later.

    A loop over many short pieces of memory spends a third of its time on waiting for the beginnings of the pieces.
    """

    def code(context, builder, signature, arguments):
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(builder.gep(held.data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, *[number] * 3])
        ask = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(ask, [place, number(0), number(3), number(1)])  # to read, into the nearest cache, data
        return context.get_dummy_value()

    return types.void(array, types.int64), code
