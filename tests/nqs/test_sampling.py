"""The chains against the exact distribution, in both layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from nqs.layouts import list_layout
from nqs.sampling import (
    Chains,
    chains_at,
    chains_in_lists,
    equilibrate,
    flip_all,
    random_spins,
    sweep_lists,
    sweep_rows,
)
from tests.nqs.oracles import relu_state

CHAINS, RECORDS, BETWEEN = 512, 60, 3


def sparse_network(sites=6, hidden=9, live=25, scale=0.5, seed=5):
    generator = np.random.default_rng(seed)
    indices = np.sort(generator.choice(sites * hidden, live, replace=False)).astype(np.int32)
    weights = np.zeros(sites * hidden)
    weights[indices] = scale * generator.normal(size=live)
    return indices, weights.reshape(sites, hidden)


def visited(sweep, spins):
    """How often each configuration is seen, over chains and thinned records."""
    counts = np.zeros(1 << len(spins))
    place = 1 << np.arange(len(spins))
    for record in range(RECORDS):
        for step in range(BETWEEN):
            spins = sweep(jax.random.fold_in(jax.random.key(11), BETWEEN * record + step), spins)
        counts += np.bincount(place @ (np.asarray(spins) < 0), minlength=len(counts))
    return counts


@pytest.mark.parametrize("layout_name", ["rows", "lists"])
def test_configurations_are_visited_as_often_as_psi_squared_says(layout_name):
    indices, weights = sparse_network()
    layout = jax.tree.map(jnp.asarray, list_layout(weights.shape, indices, 32))
    live = jnp.zeros(32, jnp.float32).at[:25].set(weights.ravel()[indices].astype(np.float32))
    rows = jnp.asarray(weights, jnp.float32)

    @jax.jit
    def sweep(key, spins):
        if layout_name == "rows":
            return sweep_rows(key, chains_at(spins, rows), rows)[0].spins
        return sweep_lists(key, chains_in_lists(spins, live, layout), live, layout)[0].spins

    spins = equilibrate(jax.random.key(2), random_spins(jax.random.key(1), 6, CHAINS), rows, 50)
    counts = visited(sweep, spins)
    expected = CHAINS * RECORDS * relu_state(weights) ** 2
    statistic = ((counts - expected) ** 2 / expected).sum()
    # Thinned records are nearly independent; a chance of 1e-4 below and above.
    assert chi2.ppf(1e-4, 63) < statistic < chi2.ppf(1 - 1e-4, 63)
    # Sampling |ψ| instead of |ψ|² would be far outside.
    other = CHAINS * RECORDS * relu_state(weights / 2) ** 2
    assert ((counts - other) ** 2 / other).sum() > 100 * chi2.ppf(1 - 1e-4, 63)


def test_the_overall_sign_is_drawn_with_the_weights_of_both_configurations():
    """From one configuration s, −s is taken with chance ψ(−s)² / (ψ(s)² + ψ(−s)²)."""
    _, weights = sparse_network(scale=0.07)
    chains = chains_at(jnp.ones((6, 20_000)), jnp.asarray(weights))
    flipped = flip_all(chains, jax.random.logistic(jax.random.key(0), (20_000,)))
    psi = relu_state(weights)
    expected = psi[-1] ** 2 / (psi[-1] ** 2 + psi[0] ** 2)
    assert 0.05 < min(expected, 1 - expected) < 0.4
    taken = float((flipped.spins[0] < 0).mean())
    assert abs(taken - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)
    np.testing.assert_allclose(flipped.theta, weights.T @ flipped.spins, atol=1e-12)


def test_single_flips_alone_keep_the_sign_of_a_ferromagnet():
    """The move is there for a reason: all chains start up, and only it brings both signs equally often."""
    weights = jnp.asarray(np.stack([np.full(9, 1.5), np.full(9, -1.5)], axis=1), jnp.float32)
    up = jnp.ones((9, 400), jnp.float32)
    both = jnp.sign(equilibrate(jax.random.key(4), up, weights, 20).sum(0))
    assert abs(float(both.mean())) < 4 / np.sqrt(400)
    single, weakest = chains_at(up, weights), 9.0
    for sweep in range(20):
        after, _ = sweep_rows(jax.random.fold_in(jax.random.key(4), sweep), single, weights)
        # Undo the overall sign: what is left is single flips alone.
        sign = jnp.sign(after.spins.sum(0))
        single = Chains(after.spins * sign, after.theta * sign)
        weakest = min(weakest, float(jnp.abs(after.spins.sum(0)).min()))
    # Spins do flip, but no chain ever came near the barrier, let alone across it.
    assert 1 < weakest < 9


def test_carried_preactivations_equal_a_fresh_product_after_a_sweep():
    indices, weights = sparse_network()
    layout = jax.tree.map(jnp.asarray, list_layout(weights.shape, indices, 32))
    live = jnp.zeros(32).at[:25].set(weights.ravel()[indices])
    spins = random_spins(jax.random.key(8), 6, 40).astype(float)
    in_rows, _ = sweep_rows(jax.random.key(9), chains_at(spins, jnp.asarray(weights)), jnp.asarray(weights))
    in_lists, _ = sweep_lists(jax.random.key(9), chains_in_lists(spins, live, layout), live, layout)
    np.testing.assert_allclose(in_rows.theta, weights.T @ in_rows.spins, atol=1e-12)
    fresh = chains_in_lists(in_lists.spins, live, layout)
    np.testing.assert_allclose(in_lists.theta, fresh.theta, atol=1e-12)
    # The same keys make the same moves in both layouts.
    np.testing.assert_array_equal(in_rows.spins, in_lists.spins)
    assert np.any(in_rows.spins != spins)
