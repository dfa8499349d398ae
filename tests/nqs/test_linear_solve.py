"""The mixed solve: float64 to the last digits, redone where float32 fails, and alone in what fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs import linear_solve
from nqs.linear_solve import DIRECT_SIZE, solve, upper_blocks

# Three blocks of the factor, the last one short; more than what is solved directly.
SIZE, SHIFT = 300, 1e-4
assert SIZE > DIRECT_SIZE


def matrix_of(spectrum, seed=0):
    """A symmetric matrix of these eigenvalues, with random eigenvectors."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))[0]
    matrix = (basis * spectrum) @ basis.T
    return (matrix + matrix.T) / 2


SPECTRA = {
    "good": np.logspace(0, -5, SIZE),
    "below float32's rounding": np.where(np.arange(SIZE) % 2, 1.0, 1e-7 - SHIFT),
    "above float32's range": 1e39 * np.logspace(0, -3, SIZE),
    "indefinite": np.where(np.arange(SIZE) == 7, -1.0, 1.0),
    "not a number": np.full(SIZE, np.nan),
}
SOLUTION = np.random.default_rng(1).normal(size=SIZE)


def arguments(name, seed=0):
    matrix = matrix_of(SPECTRA[name], seed)
    right = (matrix + SHIFT * np.eye(SIZE)) @ SOLUTION
    return upper_blocks(jnp.asarray(matrix)), SHIFT, jnp.asarray(right)


@jax.jit
def mixed(blocks, shift, right):
    return solve(blocks, shift, right, jnp.float32)


@jax.jit
def factor32(blocks, shift):
    return linear_solve.factorise([block.astype(jnp.float32) for block in blocks], jnp.float32(shift))


def relative_error(solved):
    return np.linalg.norm(solved - SOLUTION) / np.linalg.norm(SOLUTION)


@pytest.mark.parametrize(
    "name, tolerance",
    # Backward stable: a condition number of 1e4 times the residual 1e-11 that ends the iteration; after a
    # float64 factor 1e7 and 1e3 times 1e-16, and a digit of room.
    [("good", 1e-7), ("below float32's rounding", 2e-8), ("above float32's range", 1e-12)],
)
def test_the_mixed_solve_is_the_float64_one_also_where_float32_has_no_factor(name, tolerance):
    solved = mixed(*arguments(name))
    assert solved.dtype == jnp.float64
    assert relative_error(solved) <= tolerance
    if name == "good":
        return
    # It is the float64 factor's own answer, and float32 alone would have been none.
    np.testing.assert_array_equal(solved, jax.jit(linear_solve._direct)(*arguments(name)))
    alone = linear_solve.substitute(factor32(*arguments(name)[:2]), arguments(name)[2])
    assert not relative_error(np.asarray(alone)) < 0.1


def test_an_iteration_that_does_not_end_is_redone_in_float64(monkeypatch):
    """One iteration of the forty leaves a residual far above the tolerance."""
    blocks, shift, right = arguments("good")
    monkeypatch.setattr(linear_solve, "MOST_ITERATIONS", 1)
    _, residual = linear_solve._conjugate_gradients(
        lambda vector: linear_solve.multiply(*linear_solve._split(blocks, shift), vector),
        factor32(blocks, shift),
        right,
    )
    assert 1e-9 < residual / jnp.linalg.norm(right) < 1
    # Another function, lest jax take the program that was made with forty.
    redone = jax.jit(lambda *given: solve(*given, jnp.float32))(blocks, shift, right)
    assert relative_error(redone) <= 1e-10


@pytest.mark.parametrize("name", ["indefinite", "not a number"])
def test_a_matrix_without_a_float64_factor_gives_nan_and_nothing_that_looks_solved(name):
    assert np.isnan(np.asarray(mixed(*arguments(name)))).all()


@pytest.fixture(scope="module")
def batches():
    """Solutions of three systems as one program; the second is another one in each batch."""
    program = jax.jit(jax.vmap(mixed))

    def solved(second):
        members = [arguments("good"), second, arguments("good", seed=3)]
        return np.asarray(program(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)))

    return {name: solved(arguments(name, seed=2)) for name in SPECTRA}


@pytest.mark.parametrize("failing", [name for name in SPECTRA if name != "good"])
def test_a_member_whose_solve_fails_changes_no_bit_of_the_others(batches, failing):
    usual, result = batches["good"], batches[failing]
    np.testing.assert_array_equal(result[[0, 2]], usual[[0, 2]])
    # They were solved with the float32 factor, not with the failing one's float64 factor.
    direct = jax.jit(linear_solve._direct)(*arguments("good"))
    assert 0 < np.linalg.norm(result[0] - direct)
    if failing in ("indefinite", "not a number"):
        assert np.isnan(result[1]).all()
    else:
        assert relative_error(result[1]) <= 2e-8
