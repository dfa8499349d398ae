"""Calls of XLA that numba answers: what its foreign function interface hands over, read in compiled code.

The structs of XLA's ffi/api/c_api.h are read as 64-bit words. Of a call frame, word 1 are the extensions, word 9 the
arguments' buffers, word 14 the results'; of a buffer, word 3 is the data, word 5 the dimensions.

numba's cache does not see a change of this file: remove nqs/__pycache__ after one.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numba
import numpy as np
from numba import carray, types
from numba.extending import intrinsic

FRAME_WORDS, GIVEN, MADE = 15, 9, 14


@intrinsic
def pointer(typing_context, address):
    """An address (int64) as a pointer that carray takes."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), code


@numba.njit(cache=True)
def words(address, count):
    return carray(pointer(address), (count,), np.int64)


@numba.njit(cache=True)
def answers_metadata(frame):
    """Fill in the version of the interface where XLA asks for it, once before the first call."""
    if frame[1] == 0:
        return False
    metadata = words(words(frame[1], 4)[3], 6)
    metadata[3] = 1 << 32  # major version 0 in the low half, minor version 1 in the high one
    metadata[4] = 0  # no traits
    return True


@numba.njit(cache=True)
def matrix(buffers, index, kind):
    buffer = words(buffers[index], 6)
    shape = words(buffer[5], 2)
    return carray(pointer(buffer[3]), (shape[0], shape[1]), kind)


@numba.njit(cache=True)
def vector(buffers, index, kind):
    buffer = words(buffers[index], 6)
    return carray(pointer(buffer[3]), (words(buffer[5], 1)[0],), kind)


def registered(name: str, answer: Callable) -> str:
    """A target's name, once its answer (of a call frame's address) is compiled and known to XLA."""
    handler = numba.cfunc(types.int64(types.int64), cache=True)(answer)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler.ctypes), platform="cpu")
    return name
