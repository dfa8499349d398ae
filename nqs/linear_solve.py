"""Solving (A + shift) x = b for a symmetric positive A: a float32 factor, then float64 to the last digit.

The factorisation is blocked, left-looking and made of matrix products: LAPACK's, called through jax, runs
at a seventh of their speed on matrices of 1024. A factor of float32 has about three digits for the
condition numbers of SR; as the preconditioner of conjugate gradients it needs a handful of iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

# Rows of a block. One block is LAPACK's own factorisation.
BLOCK = 128
# Relative residual at which the iteration ends, and the iterations after which float32 has failed.
TOLERANCE, MOST_ITERATIONS = 1e-11, 40
# Below this size a float64 factorisation is as fast as a float32 one with its refinement.
DIRECT_SIZE = 256


class Factor(NamedTuple):
    """A = Uᵀ U of an upper triangular U.

    Attributes:
        inverses: of the transposed diagonal blocks of U, lower triangular.
        rest: what is right of each diagonal block of U.
    """

    inverses: list[Array]
    rest: list[Array]


def upper_blocks(matrix: Array) -> list[Array]:
    """The block rows of the upper half of a symmetric matrix, each from its diagonal block on."""
    return [matrix[first : first + BLOCK, first:] for first in range(0, len(matrix), BLOCK)]


def _split(blocks: list[Array], shift: Array) -> tuple[list[Array], list[Array]]:
    """The blocks on the diagonal of A + shift, and what is right of each."""
    heights = [len(block) for block in blocks]
    diagonal = [
        block[:, :height] + shift * jnp.eye(height, dtype=block.dtype)
        for block, height in zip(blocks, heights, strict=True)
    ]
    return diagonal, [block[:, height:] for block, height in zip(blocks, heights, strict=True)]


def factorise(blocks: list[Array], shift: Array) -> Factor:
    """Cholesky factor of A + shift, in the blocks' type; NaN where it has none.

    Args:
        blocks: block rows of the upper half of A, see `upper_blocks`.
    """
    inverses, done = [], []
    for diagonal, rest in zip(*_split(blocks, shift), strict=True):
        height, width = rest.shape
        if done:
            above = jnp.concatenate([row[:, row.shape[1] - width - height :] for row in done])
            own = above[:, :height].T
            diagonal, rest = diagonal - own @ above[:, :height], rest - own @ above[:, height:]
        lower = jax.lax.linalg.cholesky(diagonal, symmetrize_input=False)
        identity = jnp.eye(height, dtype=lower.dtype)
        inverse = jax.lax.linalg.triangular_solve(lower, identity, left_side=True, lower=True)
        inverses.append(inverse)
        done.append(inverse @ rest)
    return Factor(inverses, done)


def substitute(factor: Factor, right: Array) -> Array:
    """x of Uᵀ U x = right, in the factor's type."""
    remaining, forward = right.astype(factor.inverses[0].dtype), []
    for inverse, rest in zip(*factor, strict=True):
        height = len(inverse)
        part = inverse @ remaining[:height]
        remaining = remaining[height:] - part @ rest
        forward.append(part)
    solved = remaining
    for inverse, rest, part in zip(
        reversed(factor.inverses), reversed(factor.rest), reversed(forward), strict=True
    ):
        solved = jnp.concatenate([(part - rest @ solved) @ inverse, solved])
    return solved


def multiply(diagonal: list[Array], rest: list[Array], vector: Array) -> Array:
    """A times a vector, of the blocks on A's diagonal and what is right of each."""
    # What the rows above give to those below, by symmetry.
    parts, given = [], jnp.zeros_like(vector)
    for block, others in zip(diagonal, rest, strict=True):
        own, vector = jnp.split(vector, [len(block)])
        parts.append(given[: len(block)] + block @ own + others @ vector)
        given = given[len(block) :] + own @ others
    return jnp.concatenate(parts)


def solve(blocks: list[Array], shift: Array, right: Array, dtype) -> Array:
    """x of (A + shift) x = right, float64.

    Where the float32 factor is not finite or its iteration does not end, LAPACK's float64 factor is taken:
    only a matrix that has none gives NaN, which ends a training as diverged.

    Args:
        blocks: block rows of the upper half of A, symmetric and positive, float64, see `upper_blocks`.
        shift: added to the diagonal.
        right: (n,) float64.
        dtype: float32 for the mixed solve, float64 for a direct one.
    """

    if jnp.dtype(dtype) == jnp.float64 or len(right) <= DIRECT_SIZE:
        return _direct(blocks, shift, right)
    factor = factorise([block.astype(dtype) for block in blocks], jnp.asarray(shift, dtype))
    diagonal, rest = _split(blocks, shift)
    solved, residual = _conjugate_gradients(partial(multiply, diagonal, rest), factor, right)
    return _again_where(~(residual <= TOLERANCE * jnp.linalg.norm(right)), blocks, shift, right, solved)


@custom_vmap
def _again_where(failed: Array, blocks: list[Array], shift: Array, right: Array, solved: Array) -> Array:
    """The solution, made again in float64 if it failed."""
    return jax.lax.cond(failed, lambda: _direct(blocks, shift, right), lambda: solved)


@_again_where.def_vmap
def _batch_again_where(size, batched, failed, blocks, shift, right, solved):
    # The plain rule of a cond makes both branches for all members; here it is for none, or for all.
    axes = jax.tree.map(lambda member: 0 if member else None, batched[1:4])
    direct = jax.vmap(_direct, in_axes=tuple(axes))

    def again():
        return jnp.where(failed[:, None], direct(blocks, shift, right), solved)

    solved = jax.lax.cond(failed.any(), again, lambda: solved)
    return solved, True


def _direct(blocks: list[Array], shift: Array, right: Array) -> Array:
    size = len(right)
    upper = jnp.concatenate([jnp.pad(block, ((0, 0), (size - block.shape[1], 0))) for block in blocks])
    lower = jax.lax.linalg.cholesky(upper.T + shift * jnp.eye(size), symmetrize_input=False)
    return jax.scipy.linalg.cho_solve((lower, True), right)


def _conjugate_gradients(
    multiplied: Callable[[Array], Array], factor: Factor, right: Array
) -> tuple[Array, Array]:
    """x and the norm of its residual, by conjugate gradients with a rounded factor of the matrix."""
    target = TOLERANCE * jnp.linalg.norm(right)

    def step(carry):
        count, solved, residual, direction, product = carry
        # The substitution stands here alone: a second one before the loop is 50 kernels more to compile.
        correction = substitute(factor, residual).astype(right.dtype)
        new_product = residual @ correction
        kept = jnp.where(count == 0, 0, new_product / product)
        direction = correction + kept * direction
        image = multiplied(direction)
        length = new_product / (direction @ image)
        return count + 1, solved + length * direction, residual - length * image, direction, new_product

    def unfinished(carry):
        count, _, residual, *_ = carry
        # NaN compares as false: a factor that failed ends here at once.
        return (count < MOST_ITERATIONS) & (jnp.linalg.norm(residual) > target)

    zeros = jnp.zeros_like(right)
    _, solved, residual, *_ = jax.lax.while_loop(
        unfinished, step, (0, zeros, right, zeros, jnp.ones((), right.dtype))
    )
    return solved, jnp.linalg.norm(residual)
