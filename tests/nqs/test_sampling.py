"""The chains against the exact distribution, in every engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from nqs.general import general_network
from nqs.general import sweep as general_sweep
from nqs.moves import joined, pair_exchanges, single_flips
from nqs.networks import FeedForwardModule
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
from tests.nqs.oracles import relu_state, ring_bonds

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
        return sweep(
            draw_proposals(key, single_flips(6), CHAINS, jnp.float32), spins, values, layout
        ).chains.spins

    start = random_spins(jax.random.key(1), 6, CHAINS)
    counts = visited(swept, equilibrate(jax.random.key(2), single_flips(6), start, values, layout, 50))
    expected = CHAINS * RECORDS * relu_state(weights) ** 2
    statistic = ((counts - expected) ** 2 / expected).sum()
    # Thinned records are nearly independent; a chance of 1e-4 below and above.
    assert chi2.ppf(1e-4, 63) < statistic < chi2.ppf(1 - 1e-4, 63)
    # Sampling |ψ| instead of |ψ|² would be far outside.
    other = CHAINS * RECORDS * relu_state(weights / 2) ** 2
    assert ((counts - other) ** 2 / other).sum() > 100 * chi2.ppf(1 - 1e-4, 63)


def chi_square(counts, expected):
    """Whether counts fit: the statistic lies outside with a chance of 2e-4; nothing is where none may be."""
    possible = expected > 0
    assert not counts[~possible].any()
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    degrees = possible.sum() - 1
    return chi2.ppf(1e-4, degrees) < statistic < chi2.ppf(1 - 1e-4, degrees)


# Pairs alone would leave the parity of down spins as it is, and flips of 4 and 6 as well.
MIXED = joined(6, [[i] for i in range(6)], [[0, 1, 2, 3], [2, 3, 4, 5]], [[0, 2, 4], [0, 1, 2, 3, 4, 5]])
GENERAL = "general"


@pytest.mark.parametrize("engine", [*ENGINES, GENERAL])
@pytest.mark.parametrize("name", ["exchange", "mixed"])
def test_other_moves_visit_configurations_as_often_as_psi_squared_says(name, engine):
    """Exchanges within Σσz = 0, which they never leave; flips of one, three, four and six spins everywhere."""
    indices, weights = sparse_network()
    moves = pair_exchanges(ring_bonds(6)) if name == "exchange" else MIXED
    psi_squared = relu_state(weights) ** 2
    if name == "exchange":
        downs = np.array([x.bit_count() for x in range(64)])
        psi_squared = np.where(downs == 3, psi_squared, 0) / psi_squared[downs == 3].sum()

    if engine == GENERAL:
        network = general_network(FeedForwardModule(9, 0.1), 6)
        flat = jnp.asarray(weights.ravel(), jnp.float32)

        @jax.jit
        def swept(key, spins):
            return general_sweep(key, moves, network, flat, spins.T, 10**6)[0].T
    else:
        layout, values = laid_out(engine, weights, indices, jnp.float32)

        @jax.jit
        def swept(key, spins):
            proposals = draw_proposals(key, moves, CHAINS, jnp.float32)
            return sweep(proposals, spins, values, layout).chains.spins

    start = random_spins(jax.random.key(1), 6, CHAINS, balanced=name == "exchange")
    for number in range(50):
        start = swept(jax.random.fold_in(jax.random.key(2), number), start)
    assert chi_square(visited(swept, start), CHAINS * RECORDS * psi_squared)


@pytest.mark.parametrize("engine", ENGINES)
def test_exchanges_keep_every_magnetization_and_moves_of_one_spin_are_none(engine):
    """From chains of all Σσz, without the draw of the overall sign."""
    indices, weights = sparse_network()
    layout, values = laid_out(engine, weights, indices, jnp.float32)
    start = spins = random_spins(jax.random.key(1), 6, CHAINS)
    moves = joined(6, ring_bonds(6), [[2]], [[0, 1, 3, 4]])._replace(exchange=np.int32(1))
    tried, signs = 0.0, jnp.full(CHAINS, jnp.inf, jnp.float32)
    swept = jax.jit(sweep)
    for number in range(10):
        proposals = draw_proposals(jax.random.key(number), moves, CHAINS, jnp.float32)
        result = swept(proposals._replace(signs=signs), spins, values, layout)
        spins, tried = result.chains.spins, tried + float(result.accepted)
        np.testing.assert_array_equal(spins.sum(0), start.sum(0))
    assert (spins != start).any(0).mean() > 0.5
    # At most about half of the six pairs of eight moves are opposed, and heat bath takes half of them.
    assert 0.05 < tried / 10 < 0.3


@pytest.mark.parametrize("name", ["single", "exchange", "mixed"])
@pytest.mark.parametrize("chains", [1, 70, 300])
def test_every_engine_makes_the_same_moves_and_carries_theta_along(chains, name):
    """300 chains are more than a block of the compiled loops, 70 end in a short one."""
    indices, weights = sparse_network(sites=9, hidden=700, live=2000, scale=0.05)
    moves = {
        "single": single_flips(9),
        "exchange": pair_exchanges(ring_bonds(9)),
        "mixed": joined(
            9, [[0], [7]], [[1, 2, 4, 5], [3, 4, 6, 7]], [[2, 5, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
        ),
    }[name]
    proposals = draw_proposals(jax.random.key(9), moves, chains, float)
    flips = jnp.asarray([[0, 9], [3, 9], [8, 2]], jnp.int32)
    spins = random_spins(jax.random.key(8), 9, chains).astype(float)
    results = {}
    for engine in ENGINES:
        layout, values = laid_out(engine, weights, indices)
        results[engine] = sweep(proposals, spins, values, layout, flips)
    first = results["rows jax"]
    # One chain may have no exchange that is taken.
    assert chains == 1 or np.any(first.chains.spins != spins)
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
        after = sweep(Proposals(pairs, thresholds, signs, jnp.int32(0)), after, values, layout).chains.spins
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
    both = jnp.sign(equilibrate(jax.random.key(4), single_flips(9), up, values, layout, 20).sum(0))
    assert abs(float(both.mean())) < 4 / np.sqrt(400)
    single, weakest = up, 9.0
    for number in range(20):
        key = jax.random.fold_in(jax.random.key(4), number)
        proposals = draw_proposals(key, single_flips(9), 400, jnp.float32)
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
    orders = [
        draw_proposals(jax.random.key(seed), single_flips(9), 2, jnp.float32).sites[:, 0] for seed in range(2)
    ]
    for order in orders:
        assert sorted(order.tolist()) == list(range(9))
    assert orders[0].tolist() != orders[1].tolist()


def test_single_flips_draw_the_numbers_that_a_permutation_of_the_sites_draws():
    """What is trained stays the same to the bit: the order is a permutation of the sites by the first key."""
    key = jax.random.key(3)
    drawn = draw_proposals(key, single_flips(9), 2, jnp.float32)
    for_order, for_thresholds = jax.random.split(key)
    order = jax.random.permutation(for_order, jnp.arange(9, dtype=jnp.int32))
    np.testing.assert_array_equal(drawn.sites, order[:, None])
    thresholds = logistic(for_thresholds, (10, 2), jnp.float32)
    np.testing.assert_array_equal(jnp.vstack([drawn.thresholds, drawn.signs]), thresholds)


def test_balanced_spins_are_each_configuration_of_magnetization_0_equally_often():
    spins = np.asarray(random_spins(jax.random.key(0), 6, 20_000, balanced=True))
    counts = np.bincount((1 << np.arange(6)) @ (spins < 0), minlength=64)
    downs = np.array([x.bit_count() for x in range(64)])
    assert chi_square(counts, np.where(downs == 3, 20_000 / 20, 0))
    with pytest.raises(ValueError, match="^7 spins cannot be balanced"):
        random_spins(jax.random.key(0), 7, 3, balanced=True)


@pytest.mark.parametrize("sets", [[[]], [[0, 0]], [[6]], [[-1]]])
def test_a_move_that_is_no_set_of_sites_is_refused(sets):
    with pytest.raises(ValueError, match="allowed: some of 0 … 5, each once"):
        joined(6, sets)


def test_an_exchange_of_anything_but_two_sites_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\); \(bonds, 2\) is needed"):
        pair_exchanges([[0, 1, 2], [1, 2, 3]])


def test_not_a_number_is_not_taken_for_one_by_the_compiled_loops():
    """A diverged network has to show: NaN in a weight reaches the ratios and moves no chain."""
    indices, weights = sparse_network()
    weights.ravel()[indices[3]] = np.nan
    layout, values = laid_out("lists compiled", weights, indices)
    spins = random_spins(jax.random.key(3), 6, 50).astype(float)
    every = jnp.arange(6, dtype=jnp.int32)[:, None]
    proposals = draw_proposals(jax.random.key(1), single_flips(6), 50, float)
    result = sweep(proposals, spins, values, layout, every)
    assert np.isnan(np.asarray(result.log_ratios)).any()
