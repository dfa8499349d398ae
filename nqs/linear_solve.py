"""Solving (A + shift) x = b for a symmetric positive A: a float32 factor, then float64 to the last digit.

The factorisation is blocked, left-looking and made of matrix products: LAPACK's, called through jax, runs
at a seventh of their speed on matrices of 1024. A factor of float32 has about three digits for the
condition numbers of SR; as the preconditioner of conjugate gradients it needs a handful of iterations.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Rows of a block. One block is LAPACK's own factorisation.
BLOCK = 128
# Relative residual at which the iteration ends, and the iterations after which float32 has failed.
TOLERANCE, MOST_ITERATIONS = 1e-11, 40
# Below this size a float64 factorisation is as fast as a float32 one with its refinement.
DIRECT_SIZE = 256


class Factor(NamedTuple):
    """A = Uᵀ U of an upper triangular U.

    Attributes:
        rows: block rows of U, each from its diagonal block on.
        inverses: of the transposed diagonal blocks, lower triangular.
    """

    rows: list[Array]
    inverses: list[Array]


def upper_blocks(matrix: Array) -> list[Array]:
    """The block rows of the upper half of a symmetric matrix, each from its diagonal block on."""
    return [matrix[first : first + BLOCK, first:] for first in range(0, len(matrix), BLOCK)]


def factorise(blocks: list[Array]) -> Factor:
    """Cholesky factor of a matrix given by the block rows of its upper half; NaN where it has none."""
    size = blocks[0].shape[1]
    rows, inverses = [], []
    for block in blocks:
        first, height = size - block.shape[1], block.shape[0]
        if rows:
            above = jnp.concatenate([row[:, first - size :] for row in rows])
            block = block - above[:, :height].T @ above
        lower = jax.lax.linalg.cholesky(block[:, :height], symmetrize_input=False)
        inverse = jax.lax.linalg.triangular_solve(
            lower, jnp.eye(height, dtype=block.dtype), left_side=True, lower=True
        )
        rows.append(jnp.concatenate([lower.T, inverse @ block[:, height:]], axis=1))
        inverses.append(inverse)
    return Factor(rows, inverses)


def substitute(factor: Factor, right: Array) -> Array:
    """x of Uᵀ U x = right, in the factor's type."""
    rest, forward = right.astype(factor.rows[0].dtype), []
    for row, inverse in zip(factor.rows, factor.inverses, strict=True):
        height = row.shape[0]
        part = inverse @ rest[:height]
        rest = rest[height:] - part @ row[:, height:]
        forward.append(part)
    solved = jnp.zeros(0, rest.dtype)
    for row, inverse, part in zip(
        reversed(factor.rows), reversed(factor.inverses), reversed(forward), strict=True
    ):
        solved = jnp.concatenate([(part - row[:, row.shape[0] :] @ solved) @ inverse, solved])
    return solved


def multiply(blocks: list[Array], vector: Array) -> Array:
    """The symmetric matrix of the block rows times a vector."""
    size = len(vector)
    result = jnp.zeros_like(vector)
    for block in blocks:
        first, height = size - block.shape[1], block.shape[0]
        result = result.at[first : first + height].add(block @ vector[first:])
        result = result.at[first + height :].add(vector[first : first + height] @ block[:, height:])
    return result


def solve(blocks: list[Array], right: Array, dtype) -> Array:
    """x of A x = right, float64.

    Where the float32 factor is not finite or its iteration does not end, LAPACK's float64 factor is taken:
    only a matrix that has none gives NaN, which ends a training as diverged.

    Args:
        blocks: block rows of the upper half of A, symmetric and positive, float64.
        right: (n,) float64.
        dtype: float32 for the mixed solve, float64 for a direct one.
    """

    def direct():
        size = len(right)
        upper = jnp.concatenate([jnp.pad(block, ((0, 0), (size - block.shape[1], 0))) for block in blocks])
        lower = jax.lax.linalg.cholesky(upper.T, symmetrize_input=False)
        return jax.scipy.linalg.cho_solve((lower, True), right)

    if jnp.dtype(dtype) == jnp.float64 or len(right) <= DIRECT_SIZE:
        return direct()
    # Made once: XLA would fuse what makes the blocks into each of their uses.
    blocks = jax.lax.optimization_barrier(blocks)
    factor = factorise([block.astype(dtype) for block in blocks])
    solved, residual = _conjugate_gradients(blocks, factor, right)
    return jax.lax.cond(residual <= TOLERANCE * jnp.linalg.norm(right), lambda: solved, direct)


def _conjugate_gradients(blocks: list[Array], factor: Factor, right: Array) -> tuple[Array, Array]:
    """x and the norm of its residual, by conjugate gradients with a rounded factor of the matrix."""
    target = TOLERANCE * jnp.linalg.norm(right)

    def precondition(residual):
        return substitute(factor, residual).astype(right.dtype)

    def step(carry):
        count, solved, residual, direction, product = carry
        image = multiply(blocks, direction)
        length = product / (direction @ image)
        solved, residual = solved + length * direction, residual - length * image
        correction = precondition(residual)
        new_product = residual @ correction
        return count + 1, solved, residual, correction + new_product / product * direction, new_product

    def unfinished(carry):
        count, _, residual, *_ = carry
        # NaN compares as false: a factor that failed ends here at once.
        return (count < MOST_ITERATIONS) & (jnp.linalg.norm(residual) > target)

    first = precondition(right)
    start = (0, jnp.zeros_like(right), right, first, right @ first)
    _, solved, residual, *_ = jax.lax.while_loop(unfinished, step, start)
    return solved, jnp.linalg.norm(residual)
