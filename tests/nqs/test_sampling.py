"""The chains against the exact distribution, in every engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from nqs.sampling import (
    Chains,
    Proposals,
    draw_proposals,
    draw_signs,
    equilibrate,
    logistic,
    random_spins,
    sweep,
)
from tests.nqs.engines import ENGINES, laid_out, sparse_network
from tests.nqs.oracles import relu_state

CHAINS, RECORDS, BETWEEN = 512, 60, 3


def visited(sweep, spins):
    """How often each configuration is seen, over chains and thinned records."""
    counts = np.zeros(1 << len(spins))
    place = 1 << np.arange(len(spins))
    for record in range(RECORDS):
        for step in range(BETWEEN):
            spins = sweep(jax.random.fold_in(jax.random.key(11), BETWEEN * record + step), spins)
        counts += np.bincount(place @ (np.asarray(spins) < 0), minlength=len(counts))
    return counts


@pytest.mark.parametrize("engine", ENGINES)
def test_configurations_are_visited_as_often_as_psi_squared_says(engine):
    indices, weights = sparse_network()
    layout, values = laid_out(engine, weights, indices, jnp.float32)

    @jax.jit
    def swept(key, spins):
        return sweep(draw_proposals(key, 6, CHAINS, jnp.float32), spins, values, layout).chains.spins

    start = random_spins(jax.random.key(1), 6, CHAINS)
    counts = visited(swept, equilibrate(jax.random.key(2), start, values, layout, 50))
    expected = CHAINS * RECORDS * relu_state(weights) ** 2
    statistic = ((counts - expected) ** 2 / expected).sum()
    # Thinned records are nearly independent; a chance of 1e-4 below and above.
    assert chi2.ppf(1e-4, 63) < statistic < chi2.ppf(1 - 1e-4, 63)
    # Sampling |ψ| instead of |ψ|² would be far outside.
    other = CHAINS * RECORDS * relu_state(weights / 2) ** 2
    assert ((counts - other) ** 2 / other).sum() > 100 * chi2.ppf(1 - 1e-4, 63)


@pytest.mark.parametrize("chains", [1, 70, 300])
def test_every_engine_makes_the_same_moves_and_carries_theta_along(chains):
    """300 chains are more than a block of the compiled loops, 70 end in a short one."""
    indices, weights = sparse_network(sites=9, hidden=700, live=2000, scale=0.05)
    proposals = draw_proposals(jax.random.key(9), 9, chains, float)
    flips = jnp.asarray([[0, 9], [3, 9], [8, 2]], jnp.int32)
    spins = random_spins(jax.random.key(8), 9, chains).astype(float)
    results = {}
    for engine in ENGINES:
        layout, values = laid_out(engine, weights, indices)
        results[engine] = sweep(proposals, spins, values, layout, flips)
    first = results["rows jax"]
    assert np.any(first.chains.spins != spins)
    np.testing.assert_allclose(first.chains.theta, weights.T @ first.chains.spins, atol=1e-12)
    used = np.unique(indices % 700)
    for engine, result in results.items():
        np.testing.assert_array_equal(result.chains.spins, first.chains.spins)
        own = np.arange(700) if engine.startswith("rows") else used
        theta = np.asarray(result.chains.theta)
        np.testing.assert_allclose(theta[: len(own)], np.asarray(first.chains.theta)[own], atol=1e-12)
        assert not theta[len(own) :].any()
        np.testing.assert_allclose(result.log_ratios, first.log_ratios, atol=1e-12)
        assert float(result.accepted) == pytest.approx(float(first.accepted), rel=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_log_ratios_are_those_of_the_network_itself(engine):
    indices, weights = sparse_network()
    layout, values = laid_out(engine, weights, indices)
    spins = random_spins(jax.random.key(3), 6, 50).astype(float)
    sets = [[4], [0, 5], [1, 2, 3, 4]]
    padded = jnp.asarray([s + [6] * (4 - len(s)) for s in sets], jnp.int32)
    result = sweep(None, spins, values, layout, padded)
    np.testing.assert_array_equal(result.chains.spins, spins)
    psi = np.log(relu_state(weights))
    place = 1 << np.arange(6)
    here = (place @ (np.asarray(spins) < 0)).astype(int)
    for row, flipped in zip(result.log_ratios, sets):
        there = here ^ sum(1 << site for site in flipped)
        np.testing.assert_allclose(row, psi[there] - psi[here], atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_proposals_of_several_spins_keep_psi_squared(engine):
    """Pairs alone: a sweep of them from exact samples leaves the distribution as it was."""
    indices, weights = sparse_network()
    layout, values = laid_out(engine, weights, indices, jnp.float32)
    psi_squared = relu_state(weights) ** 2
    generator = np.random.default_rng(2)
    drawn = generator.choice(64, size=40_000, p=psi_squared)
    spins = jnp.asarray(1.0 - 2 * ((drawn[None] >> np.arange(6)[:, None]) & 1), jnp.float32)
    pairs = jnp.asarray([[0, 1], [2, 5], [3, 4], [1, 2]], jnp.int32)
    signs = jnp.full(40_000, jnp.inf, jnp.float32)  # the overall sign stays
    after = spins
    for number in range(12):
        thresholds = logistic(jax.random.key(number), (4, 40_000), jnp.float32)
        after = sweep(Proposals(pairs, thresholds, signs), after, values, layout).chains.spins
    assert 0.03 < float((after != spins).mean())
    counts = np.bincount((1 << np.arange(6)) @ (np.asarray(after) < 0), minlength=64)
    statistic = ((counts - 40_000 * psi_squared) ** 2 / (40_000 * psi_squared)).sum()
    assert chi2.ppf(1e-4, 63) < statistic < chi2.ppf(1 - 1e-4, 63)


def test_the_overall_sign_is_drawn_with_the_weights_of_both_configurations():
    """From one configuration s, −s is taken with chance ψ(−s)² / (ψ(s)² + ψ(−s)²)."""
    _, weights = sparse_network(scale=0.07)
    spins = jnp.ones((6, 20_000))
    flipped = draw_signs(Chains(spins, weights.T @ spins), logistic(jax.random.key(0), (20_000,), float))
    psi = relu_state(weights)
    expected = psi[-1] ** 2 / (psi[-1] ** 2 + psi[0] ** 2)
    assert 0.05 < min(expected, 1 - expected) < 0.4
    taken = float((flipped.spins[0] < 0).mean())
    assert abs(taken - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)
    np.testing.assert_allclose(flipped.theta, weights.T @ flipped.spins, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_single_flips_alone_keep_the_sign_of_a_ferromagnet(engine):
    """The move is there for a reason: all chains start up, and only it brings both signs equally often."""
    weights = np.stack([np.full(9, 1.5), np.full(9, -1.5)], axis=1)
    layout, values = laid_out(engine, weights, np.arange(18), jnp.float32)
    up = jnp.ones((9, 400), jnp.float32)
    both = jnp.sign(equilibrate(jax.random.key(4), up, values, layout, 20).sum(0))
    assert abs(float(both.mean())) < 4 / np.sqrt(400)
    single, weakest = up, 9.0
    for number in range(20):
        proposals = draw_proposals(jax.random.fold_in(jax.random.key(4), number), 9, 400, jnp.float32)
        proposals = proposals._replace(signs=jnp.full(400, jnp.inf, jnp.float32))
        single = sweep(proposals, single, values, layout).chains.spins
        weakest = min(weakest, float(single.sum(0).min()))
    # Spins do flip, but no chain ever came near the barrier, let alone across it.
    assert 1 < weakest < 9


def test_thresholds_are_logistic_and_none_accepts_everything():
    """A float32 uniform is 0 once in 8 million, and its logistic number −87 would be below any Δ log ψ."""
    thresholds = np.asarray(logistic(jax.random.key(0), (1 << 25,), jnp.float32))
    assert thresholds.min() == -16 and np.isfinite(thresholds).all()
    for at in (-9.0, -2.0, 0.5, 3.0):
        chance = 1 / (1 + np.exp(-at))
        error = np.sqrt(chance * (1 - chance) / len(thresholds))
        assert abs((thresholds < at).mean() - chance) < 4 * error


def test_a_sweep_tries_each_site_once_in_an_order_of_its_own():
    orders = [draw_proposals(jax.random.key(seed), 9, 2, jnp.float32).sites[:, 0] for seed in range(2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(9))
    assert orders[0].tolist() != orders[1].tolist()


def test_not_a_number_is_not_taken_for_one_by_the_compiled_loops():
    """A diverged network has to show: NaN in a weight reaches the ratios and moves no chain."""
    indices, weights = sparse_network()
    weights.ravel()[indices[3]] = np.nan
    layout, values = laid_out("lists compiled", weights, indices)
    spins = random_spins(jax.random.key(3), 6, 50).astype(float)
    every = jnp.arange(6, dtype=jnp.int32)[:, None]
    result = sweep(draw_proposals(jax.random.key(1), 6, 50, float), spins, values, layout, every)
    assert np.isnan(np.asarray(result.log_ratios)).any()
