"""One SR step against NetKet, dense and masked, in samples and in parameters; float64, to 1e-10."""

from functools import cache

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

from nqs.config import FeedForward, TransverseFieldIsing
from nqs.hamiltonians import flip_form
from nqs.layouts import RowLayout, choose_layout
from nqs.linear_solve import upper_blocks
from nqs.local_energies import local_energies
from nqs.moves import single_flips
from nqs.operators import compile_flip_form, netket_operator
from nqs.reconfiguration import (
    _centred,
    count_pairs,
    gram_blocks,
    update_in_parameters,
    update_in_samples,
)
from nqs.sampling import random_spins, sweep
from nqs.training import Problem, TrainingState, train
from tests.nqs.engines import ENGINES, laid_out, live_values, sparse_network
from tests.nqs.oracles import netket_update

HAMILTONIAN = TransverseFieldIsing(side=3, field=3.04438)
NETWORK = FeedForward(width_per_spin=2)
SHIFT = 1e-3


def network_of(live):
    """Far from convergence, where the update is large against rounding."""
    return sparse_network(*NETWORK.layers(9)["hidden"], live, scale=0.3, seed=0)


def expected_update(weights, indices, spins):
    return netket_update(netket_operator(HAMILTONIAN), weights, indices, spins, SHIFT)


def ours(engine, weights, indices, spins, dtype=jnp.float64):
    form = jax.tree.map(jnp.asarray, flip_form(HAMILTONIAN))
    layout, values = laid_out(engine, weights, indices)
    chains, log_ratios, _ = sweep(None, jnp.asarray(spins, float), values, layout, form.flip_sites)
    energies = local_energies(form, chains.spins, log_ratios)
    update = update_in_samples if isinstance(layout, RowLayout) else update_in_parameters
    update = update(chains, energies, layout, SHIFT, dtype)
    return live_values(update, layout, indices), float(energies.mean())


@cache
def netkets_step(live, samples):
    """A network, its samples, and NetKet's update and energy."""
    indices, weights = network_of(live)
    spins = np.asarray(random_spins(jax.random.key(3), 9, samples))
    return indices, weights, spins, *expected_update(weights, indices, spins)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("live, samples", [(162, 300), (130, 300), (40, 300), (7, 300), (130, 101)])
def test_one_step_equals_netkets_on_the_same_samples(live, samples, engine):
    """At 162, 130 and 40 of 162 weights the Gram matrix is full, subtracted from and added up.

    300 samples make three blocks of the matrix, the last one short.
    """
    indices, weights, spins, expected, expected_energy = netkets_step(live, samples)
    update, energy = ours(engine, weights, indices, spins)
    assert energy == pytest.approx(expected_energy, rel=1e-12)
    assert np.linalg.norm(update - expected) <= 1e-10 * np.linalg.norm(expected)
    # NetKet's convention has the factor 2 of the energy gradient: a half would be far off.
    assert np.linalg.norm(update - expected / 2) > 0.1 * np.linalg.norm(expected)


@pytest.mark.parametrize("live", [162, 130, 40])
def test_the_mixed_solve_gives_the_same_direction(live):
    """The float32 factor is a preconditioner: what is solved is float64 to the last digits."""
    indices, weights = network_of(live)
    spins = np.asarray(random_spins(jax.random.key(3), 9, 300))
    pure, _ = ours("rows compiled", weights, indices, spins)
    mixed, _ = ours("rows compiled", weights, indices, spins, jnp.float32)
    assert np.linalg.norm(mixed - pure) <= 1e-9 * np.linalg.norm(pure)


@pytest.mark.parametrize("live, dtype, tolerance", [(30, "float64", 1e-10), (162, "float32", 1e-3)])
def test_a_training_step_moves_the_weights_by_the_learning_rate_times_netkets_direction(
    live, dtype, tolerance
):
    """At the spins that the step ends with: its sweep comes before its update."""
    indices, weights = network_of(live)
    layout = jax.tree.map(jnp.asarray, choose_layout(weights.shape, indices, 101, compiled=True))
    in_rows = isinstance(layout, RowLayout)
    assert in_rows == (live > 101)
    flat = jnp.asarray(weights.ravel()[indices])
    start = jnp.asarray(weights) if in_rows else jnp.zeros(len(layout.weight_sites)).at[:live].set(flat)
    problem = Problem(flip_form(HAMILTONIAN), single_flips(9), jnp.float64(8e-3), jnp.float64(SHIFT))
    problem = jax.tree.map(jnp.asarray, problem)
    spins = random_spins(jax.random.key(3), 9, 101)
    state = TrainingState(start + 0, spins, jnp.int32(0))
    state, _ = train(jax.random.key(4), problem, layout, state, 1, 1, dtype=jnp.dtype(dtype))
    after = np.asarray(state.weights)
    after = after.ravel()[indices] if in_rows else after[:live]
    expected = 8e-3 * expected_update(weights, indices, np.asarray(state.spins))[0]
    moved = weights.ravel()[indices] - after
    assert np.linalg.norm(moved - expected) <= tolerance * np.linalg.norm(expected)


def test_a_small_shift_on_a_trained_dense_network_leaves_the_mixed_direction_the_float64_one():
    """L = 4 with 1024 samples and the paper's shift of 1e-4: most samples are alike, few directions large."""
    shape, form = (16, 128), flip_form(TransverseFieldIsing(side=4, field=3.04438))
    layout = jax.tree.map(jnp.asarray, choose_layout(shape, np.arange(2048), 1024, compiled=True))
    problem = Problem(form, single_flips(16), jnp.float64(8e-3), jnp.float64(1e-4))
    problem = jax.tree.map(jnp.asarray, problem)
    weights = 0.01 * jax.random.normal(jax.random.key(0), shape)
    state = TrainingState(weights, random_spins(jax.random.key(1), 16, 1024), jnp.int32(0))
    state, records = train(jax.random.key(2), problem, layout, state, 1, 60)
    # It did learn: the ground state has −50.858, and the start −48.4.
    assert -50.95 < float(records.energy[59]) < -50.75

    @jax.jit
    def directions(weights, spins):
        chains, log_ratios, _ = sweep(None, spins.astype(float), weights, layout, problem.form.flip_sites)
        energies = local_energies(problem.form, chains.spins, log_ratios)
        kernel = _centred(gram_blocks(chains, layout))
        return kernel, *(
            update_in_samples(chains, energies, layout, 1e-4, dtype) for dtype in ("float32", "float64")
        )

    kernel, mixed, pure = directions(state.weights, state.spins)
    upper = np.concatenate([np.pad(block, ((0, 0), (1024 - block.shape[1], 0))) for block in kernel])
    eigenvalues = np.linalg.eigvalsh(upper, UPLO="U")
    # Centred, it has one direction of no length at least; the shift is all that it has there.
    assert abs(eigenvalues[0]) < 1e-9 and eigenvalues[-1] / 1e-4 > 1e5
    assert np.linalg.norm(mixed - pure) <= 1e-9 * np.linalg.norm(pure)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_unit_at_exactly_zero_has_slope_zero_and_not_one_half(engine):
    """θ = w (s_0 − s_1) is exactly 0 in half of the samples; another unit has no live weight at all."""
    weights = np.zeros((4, 5))
    weights[0, 0], weights[1, 0] = 0.5, -0.5
    weights[:, 1], weights[2:, 3] = [0.3, -0.2, 0.7, 0.4], [0.6, 0.1]
    indices = np.flatnonzero(weights)
    operator = nk.operator.Ising(nk.hilbert.Spin(0.5, 4), nk.graph.Grid([2, 2], pbc=False), h=2.0, J=-1.0)
    form = jax.tree.map(jnp.asarray, compile_flip_form(operator))
    spins = random_spins(jax.random.key(5), 4, 60).astype(float)
    layout, values = laid_out(engine, weights, indices)
    chains, log_ratios, _ = sweep(None, spins, values, layout, form.flip_sites)
    energies = local_energies(form, spins, log_ratios)
    update = update_in_samples if isinstance(layout, RowLayout) else update_in_parameters
    update = live_values(update(chains, energies, layout, SHIFT, jnp.float64), layout, indices)

    def direction(relu):
        """By the definition, with the Jacobian of autodiff."""

        def log_psi(live, row):
            full = jnp.zeros(20).at[indices].set(live).reshape(4, 5)
            return relu(row @ full).sum()

        live = jnp.asarray(weights.ravel()[indices])
        jacobian = np.asarray(jax.vmap(lambda row: jax.grad(log_psi)(live, row))(spins.T))
        centred = jacobian - jacobian.mean(0)
        metric = centred.T @ centred / 60 + SHIFT * np.eye(len(indices))
        forces = 2 * (np.asarray(energies) - energies.mean()) / 60
        return np.linalg.solve(metric, jacobian.T @ forces), jacobian

    theta = weights.T @ np.asarray(spins)
    assert 15 < (theta[0] == 0).sum() < 45
    expected, jacobian = direction(jax.nn.relu)
    assert np.linalg.norm(update - expected) <= 1e-10 * np.linalg.norm(expected)
    half, other_jacobian = direction(lambda theta: jnp.maximum(theta, 0))
    assert np.linalg.norm(half - expected) > 0.01 * np.linalg.norm(expected)
    if isinstance(layout, RowLayout):
        gram = np.asarray(gram_blocks(chains, layout)[0])
        np.testing.assert_array_equal(gram, jacobian @ jacobian.T)
        assert not np.array_equal(gram, other_jacobian @ other_jacobian.T)


def test_counts_are_exact_where_float32_would_round():
    """2²⁴ + 1 is no float32; sums of such counts over the samples are beyond int32 as well."""
    items = 200
    bits = np.random.default_rng(0).integers(0, 2**32, (8, items), dtype=np.uint32)
    start = upper_blocks(jnp.full((items, items), 1 << 24, jnp.int32))
    blocks = count_pairs(lambda own, other: own[0] & other[0], (jnp.asarray(bits),), 1, start)
    booleans = ((bits[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None]) & 1).reshape(256, items)
    expected = (1 << 24) + booleans.T.astype(np.int64) @ booleans
    for first, block in zip((0, 128), blocks, strict=True):
        np.testing.assert_array_equal(block, expected[first : first + 128, first:])
    assert (expected.astype(np.float32).astype(np.int64) != expected).any()

    large = expected + (1 << 27)
    assert large.sum(0).max() > 2**31
    mean = large.mean(0)
    centred = (large - mean[None] - mean[:, None] + mean.mean()) / items
    for first, block in zip((0, 128), _centred(upper_blocks(jnp.asarray(large, jnp.int32))), strict=True):
        # Numbers of 1e8 have 1e-8 left in float64, and are divided by the samples.
        np.testing.assert_allclose(block, centred[first : first + 128, first:], rtol=0, atol=1e-8)
