"""Counts of bits for all pairs of samples on CPUs whose vectors have no instruction for them: AVX2, NEON.

There XLA counts the bits of every word by a dozen instructions on tables. Here words go through full adders first, as
in Harley and Seal's count: eight words leave one whose bits are worth eight, and that one is counted. A tile of the
matrix keeps its adders in registers while it goes through all words, and the words of four samples lie together, so
that the matrix is written once. Counts are exact, so the numbers of a training do not depend on who counts.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import llvmlite.binding
import numba
import numpy as np
from jax import Array
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nqs.linear_solve import BLOCK
from nqs.xla_calls import FRAME_WORDS, GIVEN, MADE, answers_metadata, matrix, registered, vector, words

# Samples of a vector of 64-bit words; rows of a tile; words that go through the adders together; sets of `_LANES` rows
# that stay in the cache while a column of tiles is made.
_LANES, _ROWS, _GROUP, _SETS = 4, 2, 8, 4
_SETS_OF_BLOCK = BLOCK // _LANES
_LANE_BYTES = 8 * _LANES
_WORD_BYTES = 2 * _LANE_BYTES  # `on` and `up` of one word


@cache
def pays_off() -> bool:
    """Whether this process trains on a CPU that has no instruction to count the bits of a vector's words."""
    features = llvmlite.binding.get_host_cpu_features()
    return jax.default_backend() == "cpu" and not features.get("avx512vpopcntdq", False)


@intrinsic
def _count_tile(typing_context, own, others, count, made, stride):
    """Bits on in both and up in one alone, of `_ROWS` samples with each of `_LANES`: int32 at the address `made`.

    Addresses as integers: `own` of the first row's lane in its set of samples, `others` of the other set; `count` words
    each, a multiple of `_GROUP`; `stride` bytes from a row of the matrix to the next.
    """
    signature = types.void(types.uintp, types.uintp, types.intp, types.uintp, types.intp)

    def code(context, builder, signature, arguments):
        own, others, count, made, stride = arguments
        word, half = ir.IntType(64), ir.IntType(32)
        lanes = ir.VectorType(word, _LANES)
        zeros = ir.Constant(lanes, [0] * _LANES)
        undefined = ir.Constant(lanes, ir.Undefined)
        bits_of = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lanes, [lanes]), f"llvm.ctpop.v{_LANES}i64"
        )

        def at(address, offset, kind):
            pointer = builder.inttoptr(builder.add(address, offset), kind.as_pointer())
            return builder.load(pointer, align=8)

        def in_all_lanes(scalar):
            vector = builder.insert_element(undefined, scalar, ir.Constant(half, 0))
            return builder.shuffle_vector(
                vector, undefined, ir.Constant(ir.VectorType(half, _LANES), [0] * _LANES)
            )

        def full_adder(a, b, c):
            differ = builder.xor(a, b)
            return builder.xor(differ, c), builder.or_(builder.and_(a, b), builder.and_(differ, c))

        before = builder.block
        loop, after = builder.append_basic_block("words"), builder.append_basic_block("sum")
        builder.branch(loop)
        builder.position_at_end(loop)
        first = builder.phi(word)
        first.add_incoming(ir.Constant(word, 0), before)
        # Of each row: words whose bits are worth 1, 2 and 4, and the bits worth 8 so far.
        started = [[builder.phi(lanes) for _ in range(4)] for _ in range(_ROWS)]
        for phi in (phi for row in started for phi in row):
            phi.add_incoming(zeros, before)
        state = [list(row) for row in started]
        start = builder.mul(first, ir.Constant(word, _WORD_BYTES))
        carried = [{} for _ in range(_ROWS)]
        for pair in range(0, _GROUP, 2):
            passed = [[] for _ in range(_ROWS)]
            for index in (pair, pair + 1):
                on_at = builder.add(start, ir.Constant(word, index * _WORD_BYTES))
                up_at = builder.add(on_at, ir.Constant(word, _LANE_BYTES))
                on, up = at(others, on_at, lanes), at(others, up_at, lanes)
                for row in range(_ROWS):
                    lane = ir.Constant(word, 8 * row)
                    own_on = in_all_lanes(at(own, builder.add(on_at, lane), word))
                    own_up = in_all_lanes(at(own, builder.add(up_at, lane), word))
                    passed[row].append(builder.and_(builder.and_(own_on, on), builder.xor(own_up, up)))
            for row in range(_ROWS):
                words_in, worth = passed[row], 0
                while True:
                    state[row][worth], carry = full_adder(state[row][worth], *words_in)
                    worth += 1
                    if worth == 3:
                        state[row][3] = builder.add(state[row][3], builder.call(bits_of, [carry]))
                        break
                    if worth not in carried[row]:
                        carried[row][worth] = carry
                        break
                    words_in = [carried[row].pop(worth), carry]
        following = builder.add(first, ir.Constant(word, _GROUP))
        first.add_incoming(following, builder.block)
        for row in range(_ROWS):
            for phi, value in zip(started[row], state[row], strict=True):
                phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)

        builder.position_at_end(after)
        for row in range(_ROWS):
            *worths, total = state[row]
            total = builder.shl(total, ir.Constant(lanes, [3] * _LANES))
            for power, value in enumerate(worths):
                bits = builder.call(bits_of, [value])
                total = builder.add(total, builder.shl(bits, ir.Constant(lanes, [power] * _LANES)))
            offset = builder.mul(stride, ir.Constant(word, row))
            kind = ir.VectorType(half, _LANES)
            pointer = builder.inttoptr(builder.add(made, offset), kind.as_pointer())
            builder.store(builder.trunc(total, kind), pointer, align=4)
        return context.get_dummy_value()

    return signature, code


@numba.njit(boundscheck=False, cache=True)
def _packed(on, up, rows):
    """The first so many rows of on and up (rows, items) uint32 as (sets, words, 2, lanes) uint64."""
    items = on.shape[1]
    # Two rows make a word; what is left of a group of words has no bit on.
    count = max(1, -(-rows // (2 * _GROUP))) * _GROUP
    packed = np.zeros((-(-items // _LANES), count, 2, _LANES), np.uint64)
    for row in range(rows):
        shift = np.uint64(32 * (row % 2))
        for item in range(items):
            place = packed[item // _LANES, row // 2]
            place[0, item % _LANES] |= np.uint64(on[row, item]) << shift
            place[1, item % _LANES] |= np.uint64(up[row, item]) << shift
    return packed


@numba.njit(boundscheck=False, cache=True)
def _count_differing(packed, counts):
    """Write counts (items, items) int32, each block row from its diagonal block on."""
    sets, count = packed.shape[:2]
    words_at, set_bytes = packed.ctypes.data, count * _WORD_BYTES
    made_at, row_bytes = counts.ctypes.data, 4 * counts.shape[1]
    for first in range(0, sets, _SETS):
        for other in range(first // _SETS_OF_BLOCK * _SETS_OF_BLOCK, sets):
            for own in range(first, min(first + _SETS, sets)):
                for lane in range(0, _LANES, _ROWS):
                    _count_tile(
                        types.uintp(words_at + own * set_bytes + 8 * lane),
                        types.uintp(words_at + other * set_bytes),
                        count,
                        types.uintp(made_at + (own * _LANES + lane) * row_bytes + 4 * other * _LANES),
                        row_bytes,
                    )


def _answer(address):
    frame = words(address, FRAME_WORDS)
    if answers_metadata(frame):
        return 0
    given, made = words(frame[GIVEN], 3), words(frame[MADE], 1)
    on, up, rows = matrix(given, 0, np.uint32), matrix(given, 1, np.uint32), vector(given, 2, np.int32)[0]
    # An argument, since numba frees an array after its last use, and the use of its address is none.
    _count_differing(_packed(on, up, rows), matrix(made, 0, np.int32))
    return 0


@cache
def _target() -> str:
    return registered("nqs_count_differing", _answer)


def count_differing(on: Array, up: Array, rows: Array | int) -> Array:
    """For every pair of items the bits that are on in both and up in one alone.

    Args:
        on, up: (words, items) uint32.
        rows: words that are in use.

    Returns:
        (n, n) int32 with n the number of items, rounded up to a multiple of 4; not defined left of the diagonal blocks of
        `BLOCK` rows.
    """
    size = -(-on.shape[1] // _LANES) * _LANES
    shape = jax.ShapeDtypeStruct((size, size), jnp.int32)
    call = jax.ffi.ffi_call(_target(), shape, vmap_method="sequential")
    return call(on, up, jnp.reshape(jnp.asarray(rows, jnp.int32), 1))
