"""The fast path, the general path and NetKet make the same step at every density of a trajectory; float64."""

from functools import cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs.config import TransverseFieldIsing
from nqs.general import evaluate_general, general_network
from nqs.hamiltonians import constant_form
from nqs.layouts import LIVE_BUCKETS
from nqs.moves import single_flips
from nqs.networks import FeedForwardModule
from nqs.operators import compile_flip_form, netket_operator
from nqs.pruning import remaining_by_level, survivors
from nqs.sampling import random_spins
from nqs.training import Problem, TrainingState, evaluate
from tests.nqs.engines import ENGINES, laid_out, live_values
from tests.nqs.oracles import netket_update, two_spin_operator

pytestmark = pytest.mark.usefixtures("quick_compilation")

SITES, HIDDEN, SAMPLES, SHIFT = 9, 36, 300, 1e-3
RATIO, LEVELS = 0.3, 12
KEY = jax.random.key(4)
NETWORK = general_network(FeedForwardModule(HIDDEN, 0.3), SITES)
# 324, 227, … weights: more than the samples, less than them, less than the sites.
COUNTS = remaining_by_level((NETWORK.size,), RATIO, LEVELS)
# Of list layouts, as long as the dense network needs: one program for all levels of a bucket.
BUCKETS, DEGREE = (64, *LIVE_BUCKETS[1:4]), 64
OPERATORS = {
    "open": lambda: netket_operator(TransverseFieldIsing(side=3, field=3.04438)),
    "periodic": lambda: netket_operator(TransverseFieldIsing(side=3, field=3.04438, boundary="periodic")),
    "two spins": two_spin_operator,
}


@cache
def trajectory():
    """(indices, weights (sites, hidden)) of each level: the smallest of random weights go, level by level."""
    full = 0.3 * np.random.default_rng(0).normal(size=NETWORK.size)
    indices, levels = np.arange(NETWORK.size, dtype=np.int32), []
    for level in range(LEVELS + 1):
        if level:
            indices = survivors(indices, np.abs(full[indices]), RATIO)
        weights = np.zeros(NETWORK.size)
        weights[indices] = full[indices]
        levels.append((indices, weights.reshape(SITES, HIDDEN)))
    return levels


@cache
def problem_of(name):
    """All Hamiltonians in arrays of the same shape, so that they share programs."""
    form = compile_flip_form(OPERATORS[name]())
    # A term of coefficient 0 that multiplies, or flips, nothing.
    diagonal, flips = (np.full((24, 2), SITES, np.int32) for _ in range(2))
    diagonal[: len(form.diagonal_sites)] = form.diagonal_sites
    flips[: len(form.flip_sites), : form.flip_sites.shape[1]] = form.flip_sites
    form = constant_form(
        np.pad(form.diagonal_coefficients, (0, 24 - len(form.diagonal_coefficients))),
        diagonal,
        np.pad(form.flip_coefficients, (0, 24 - len(form.flip_coefficients))),
        flips,
    )
    return jax.tree.map(
        jnp.asarray, Problem(form, single_flips(SITES), jnp.float64(8e-3), jnp.float64(SHIFT))
    )


def start():
    return random_spins(jax.random.key(3), SITES, SAMPLES)


@partial(jax.jit, static_argnames="dtype")
def fast_program(problem, layout, values, dtype=jnp.float64):
    return evaluate(KEY, problem, layout, TrainingState(values, start(), jnp.int32(0)), dtype)


@cache
def general_step(name, level):
    """(spins, δ of the live weights, local energies) of the general path."""
    indices, weights = trajectory()[level]
    # Few live weights are solved in parameters, more in samples.
    positions = np.full(128 if len(indices) <= 128 else NETWORK.size, NETWORK.size)
    positions[: len(indices)] = indices
    positions, weights = jnp.asarray(positions), jnp.asarray(weights).ravel()
    spins, info = evaluate_general(
        KEY, problem_of(name), NETWORK, positions, weights, start(), None, jnp.float64
    )
    update = np.asarray(info.update)
    assert not np.delete(update, indices).any()
    return np.asarray(spins), update[indices], np.asarray(info.energies)


def fast_step(engine, name, level):
    """The same of the fast path."""
    indices, weights = trajectory()[level]
    bucket = next(bucket for bucket in BUCKETS if bucket >= len(indices))
    layout, values = laid_out(engine, weights, indices, bucket=bucket, degree=DEGREE)
    spins, info = fast_program(problem_of(name), layout, values)
    return np.asarray(spins), live_values(info.update, layout, indices), np.asarray(info.energies)


@pytest.mark.parametrize("level", range(LEVELS + 1))
@pytest.mark.parametrize("name", OPERATORS)
def test_the_fast_path_makes_the_step_of_the_general_path(name, level):
    """One sweep, the local energies of its samples and the direction, in every engine."""
    spins, update, energies = general_step(name, level)
    assert len(update) == COUNTS[level]
    assert (spins != start()).any()
    for engine in ENGINES:
        fast_spins, fast_update, fast_energies = fast_step(engine, name, level)
        np.testing.assert_array_equal(fast_spins, spins, err_msg=engine)
        np.testing.assert_allclose(fast_energies, energies, rtol=1e-10, err_msg=engine)
        # A condition number below 1e5 leaves ten of sixteen digits.
        assert np.linalg.norm(fast_update - update) <= 1e-10 * np.linalg.norm(update), engine


@pytest.mark.parametrize("name, level", [("open", 0), ("periodic", 4), ("two spins", 10)])
def test_the_general_path_makes_the_step_of_netket(name, level):
    """And so does the fast one; dense, at a quarter of the weights, and at one weight a spin.

    NetKet, which takes seconds to compile, gets the weights and the samples alone.
    """
    indices, weights = trajectory()[level]
    spins, update, energies = general_step(name, level)
    expected, energy = netket_update(OPERATORS[name](), weights, indices, spins, SHIFT)
    assert energies.mean() == pytest.approx(energy, rel=1e-12)
    assert np.linalg.norm(update - expected) <= 1e-10 * np.linalg.norm(expected)


def test_the_trajectory_reaches_from_more_weights_than_samples_to_fewer_than_sites():
    assert COUNTS[0] > SAMPLES > COUNTS[1] and COUNTS[10] <= SITES and COUNTS[-1] >= 2
    # Half of the weights are pruned between two levels: columns are subtracted before, added after.
    assert any(before > NETWORK.size / 2 > after for before, after in pairwise(COUNTS))
    flips = [(np.asarray(problem_of(name).form.flip_sites) < SITES).sum(1) for name in OPERATORS]
    assert [own.max() for own in flips] == [1, 1, 2]
