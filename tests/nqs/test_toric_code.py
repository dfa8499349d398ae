"""The toric code against stabiliser arguments, NetKet's matrices and the closed form of its exact solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from nqs import full_summation, runs
from nqs.config import DenseRun, Measurement, OddParity, ToricCode, Training
from nqs.moves import single_flips
from nqs.operators import compile_flip_form, netket_operator
from nqs.sampling import draw_proposals, equilibrate, random_spins, sweep
from nqs.statistics import estimate
from nqs.tasks import Task
from nqs.toric_code import (
    WilsonLoops,
    classify_filters,
    flip_loops,
    ground_state_weight,
    mean_plaquette,
    moves,
    odd_parity_energy,
    odd_parity_weights,
    plaquettes,
    sampled_observables,
    sector_weights,
    sign_loops,
    solved_plaquettes,
    stars,
    toric_code_form,
)
from tests.nqs.engines import laid_out

SIDES = [2, 3, 5]


def overlaps(one, other):
    return np.array([[len(set(a) & set(b)) for b in other.tolist()] for a in one.tolist()])


@pytest.mark.parametrize("side", SIDES)
def test_every_edge_is_in_two_stars_and_two_plaquettes_and_all_terms_commute(side):
    for sets in (stars(side), plaquettes(side)):
        assert sets.shape == (side**2, 4)
        assert np.all(np.bincount(sets.ravel(), minlength=2 * side**2) == 2)
        assert all(len(set(edges)) == 4 for edges in sets.tolist())
    assert not np.any(overlaps(stars(side), plaquettes(side)) % 2)


@pytest.mark.parametrize("side", SIDES)
def test_loops_commute_with_all_terms_and_change_one_winding_each(side):
    assert not np.any(overlaps(flip_loops(side), plaquettes(side)) % 2)
    assert not np.any(overlaps(sign_loops(side), stars(side)) % 2)
    crossing = overlaps(flip_loops(side), sign_loops(side)) % 2
    assert {tuple(row) for row in crossing[:side]} == {(1, 0)}
    assert {tuple(row) for row in crossing[side:]} == {(0, 1)}


@pytest.mark.parametrize("side", [2, 3])
def test_the_form_is_the_one_compiled_from_netkets_strings(side):
    own, compiled = toric_code_form(side), compile_flip_form(netket_operator(ToricCode(side=side)))

    def terms(coefficients, sets):
        return sorted(
            (tuple(sorted(chosen)), c) for c, chosen in zip(coefficients, sets.tolist(), strict=True)
        )

    assert terms(own.diagonal_coefficients, own.diagonal_sites) == terms(
        compiled.diagonal_coefficients, compiled.diagonal_sites
    )
    assert terms(own.flip_coefficients, own.flip_sites) == terms(
        compiled.flip_coefficients, compiled.flip_sites
    )


def test_the_spectrum_starts_with_four_levels_at_minus_two_n_and_a_gap_of_four():
    form = toric_code_form(2)
    matrix = np.stack([full_summation.apply(form, column) for column in np.eye(256)], axis=1)
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix)[:5], [-8, -8, -8, -8, -4], atol=1e-10)


def ground_states(side):
    """The four, as orbits of the stars from one configuration of each sector."""
    configurations = np.arange(1 << (2 * side**2))
    loops = flip_loops(side)
    states = []
    for first in (0, 1):
        for second in (0, 1):
            at = sum(1 << int(e) for e in loops[0]) * first ^ sum(1 << int(e) for e in loops[side]) * second
            psi = np.zeros(len(configurations))
            psi[at] = 1
            for edges in stars(side):
                psi = psi + psi[configurations ^ sum(1 << int(edge) for edge in edges)]
            states.append(psi / np.linalg.norm(psi))
    return states


def test_ground_states_are_found_with_their_sectors_and_weights():
    side, states = 3, ground_states(3)
    spins = full_summation.all_spins(18)
    for number, psi in enumerate(states):
        energy = psi @ full_summation.apply(toric_code_form(side), psi)
        assert energy == pytest.approx(-18, rel=1e-12)
        np.testing.assert_allclose(sector_weights(side, spins, psi**2), np.eye(4)[number], atol=1e-12)
        assert ground_state_weight(side, psi) == pytest.approx(1, rel=1e-12)
    mixed = (states[0] + 2 * states[3]) / np.sqrt(5)
    np.testing.assert_allclose(sector_weights(side, spins, mixed**2), [0.2, 0, 0, 0.8], atol=1e-12)
    broken = np.sqrt(0.7) * mixed + np.sqrt(0.3) * mixed[np.arange(1 << 18) ^ 1]
    assert ground_state_weight(side, broken) == pytest.approx(0.7, rel=1e-12)
    assert broken**2 @ mean_plaquette(side, spins) == pytest.approx(1 - 0.3 * 4 / 9, rel=1e-12)


@pytest.mark.parametrize("filters", [4, 8])
@pytest.mark.parametrize("side, magnitudes", [(2, np.arange(1, 17) / 10), (3, [0.1, 0.4, 0.9, 1.6])])
def test_the_exact_solution_has_the_energy_and_variance_of_its_closed_form(side, magnitudes, filters):
    form = toric_code_form(side)
    for magnitude in magnitudes:
        psi = full_summation.wave_function(odd_parity_weights(side, magnitude, filters))
        h_psi = full_summation.apply(form, psi)
        energy = psi @ h_psi
        expected = odd_parity_energy(side, magnitude, filters)
        assert energy == pytest.approx(expected.energy, rel=1e-12)
        residual = h_psi - energy * psi
        assert residual @ residual == pytest.approx(expected.variance, rel=1e-8, abs=1e-14)


def test_the_closed_form_keeps_its_digits_where_the_error_is_tiny():
    """→ (n − 1) e^(−16 a): at a = 2.5 that is 8 · 4e-18, far below the rounding of E."""
    error = odd_parity_energy(3, 2.5, 8).relative_error
    assert error == pytest.approx(8 * np.exp(-40), rel=1e-6)
    assert odd_parity_energy(3, 2.5, 8).variance == pytest.approx(4 * 9 * 8 * 2 * np.exp(-40), rel=1e-6)


def network_of_signed_strengths(strengths):
    """3 × 3 network whose plaquette p has a filter of signed strength [p, j] with its odd weight at edge j."""
    weights = np.zeros((18, 9, 4))
    for p, edges in enumerate(plaquettes(3)):
        weights[edges, p] = np.asarray(strengths[p], float) * (1 - 2 * np.eye(4))
    weights = weights.reshape(18, -1)
    return weights[:, np.any(weights != 0, axis=0)]


def energy_of(weights):
    psi = full_summation.wave_function(weights)
    return psi @ full_summation.apply(toric_code_form(3), psi)


def test_four_filters_on_all_plaquettes_but_one_become_exact_at_an_odd_side():
    """(docs/toric_code.md, 4) Eight plaquettes are broken on their own, the bare one makes the number even."""
    edges = plaquettes(3).tolist()
    strengths = np.zeros((9, 4))
    for first, second in [(1, 2), (3, 6), (4, 5), (7, 8)]:
        (shared,) = set(edges[first]) & set(edges[second])
        strengths[first] = 1 - 2 * (np.array(edges[first]) == shared)
        strengths[second] = 2 * (np.array(edges[second]) == shared) - 1
    weights = network_of_signed_strengths(strengths)
    assert weights.shape == (18, 32)
    for magnitude in (0.4, 1.6):
        chance = 1 / (1 + np.exp(4 * magnitude))
        broken = 8 * chance + (1 - (1 - 2 * chance) ** 8) / 2
        assert energy_of(magnitude * weights) == pytest.approx(-18 + 2 * broken, rel=1e-12)


def test_three_filters_a_plaquette_of_unequal_magnitude_become_exact_at_an_odd_side():
    """(docs/toric_code.md, 7) 108 weights, 6 a spin."""
    quarters = [
        [-2, -2, 0, -2], [0, -4, -2, 4], [4, 4, -2, 0], [-2, -2, 2, 0], [2, 0, -2, -2],
        [-2, 4, 0, -4], [2, 0, 3, -3], [-3, -3, 2, 0], [0, 4, 3, 3],
    ]  # fmt: skip
    weights = network_of_signed_strengths(quarters) / 4
    assert np.count_nonzero(weights) == 6 * 18
    errors = [1 + energy_of(scale * weights) / 18 for scale in (3.2, 6.4)]
    # A pair of broken plaquettes costs |ψ|² at least exp(−2 · 2 · a / 2), so 6.4 / 3.2 at least e^6.4.
    assert 0 < errors[1] < errors[0] * np.exp(-6)
    assert errors[1] < 2e-5


@pytest.mark.parametrize("strengths", [[1, -1, 0, 0], [1, 1, 1, 1]])
def test_two_filters_a_plaquette_or_a_linear_part_do_not_become_exact(strengths):
    """(docs/toric_code.md, 2 and 5)"""
    weights = network_of_signed_strengths([strengths] * 9)
    assert min(energy_of(scale * weights) for scale in (0.4, 1.6, 3.2)) > -10


def squares(side, k):
    """The 4 k edges around each k × k square of plaquettes, by walking its sides from each vertex."""

    def h(x, y):
        return side * (x % side) + y % side

    def v(x, y):
        return side**2 + h(x, y)

    for x, y in np.ndindex(side, side):
        across = [h(x, y + step) for step in range(k)] + [h(x + k, y + step) for step in range(k)]
        down = [v(x + step, y) for step in range(k)] + [v(x + step, y + k) for step in range(k)]
        yield across + down


def brute_force_loops(side, psi):
    """[⟨Π σz around k × k squares⟩] over all positions and configurations, the product around each."""
    spins = full_summation.all_spins(2 * side**2)
    return [np.mean([psi**2 @ spins[edges].prod(0) for edges in squares(side, k)]) for k in range(1, side)]


def odd_parity_loops(side, magnitude):
    """[⟨product of k² plaquettes⟩] of the eight-filter network: |ψ|² is x to the number of broken ones, which is even.

    Over all signs with product +1 the mean of m of n plaquettes is (r^m + r^(n−m))/(1 + r^n), r = (1 − x)/(1 + x).
    """
    n, r = side**2, np.tanh(4 * magnitude)
    return [(r ** (k * k) + r ** (n - k * k)) / (1 + r**n) for k in range(1, side)]


@pytest.mark.parametrize("side", [2, 3])
def test_exact_wilson_loops_are_products_around_squares_over_all_configurations(side):
    """A random ψ, so that all squares and configurations differ."""
    psi = np.random.default_rng(4).random(2 ** (2 * side**2)) ** 4
    psi /= np.linalg.norm(psi)
    found = full_summation.mean_products(psi, WilsonLoops(side))
    assert len(found) == side - 1
    np.testing.assert_allclose([mean for mean, _ in found], brute_force_loops(side, psi), atol=1e-13)
    plaquette = psi**2 @ mean_plaquette(side, full_summation.all_spins(2 * side**2))
    assert found[0].mean == pytest.approx(plaquette, rel=1e-12)


def test_wilson_loops_see_single_flips_and_not_stars_or_loops():
    """4 × 4: one flipped edge breaks two neighbours, which a k × k square parts at 2 k of 16 positions."""
    spins = np.ones((32, 4))
    spins[5, 1] = -1
    spins[stars(4)[6], 2] = -1
    spins[flip_loops(4)[1], 3] = -1
    for loops in (WilsonLoops(4)(spins), jax.jit(WilsonLoops(4))(spins)):
        np.testing.assert_array_equal(np.array(loops), [[16, 16 - 4 * k, 16, 16] for k in (1, 2, 3)])


def test_all_wilson_loops_of_the_exact_solution_are_1_as_its_weights_grow():
    """3 × 3: brute force over its ψ, its closed form, and 1 from a = 1.6 on."""
    for magnitude in (0.1, 0.4, 1.6):
        psi = full_summation.wave_function(odd_parity_weights(3, magnitude, 8))
        found = [mean for mean, _ in full_summation.mean_products(psi, WilsonLoops(3))]
        np.testing.assert_allclose(found, odd_parity_loops(3, magnitude), rtol=1e-10)
        np.testing.assert_allclose(found, brute_force_loops(3, psi), rtol=1e-10)
    # 36 pairs of plaquettes at e^(−25.6), of which a square of four parts 20 of 36.
    np.testing.assert_allclose(found, 1, atol=1e-9)
    assert np.all(np.array(odd_parity_loops(3, 0.1)) < 0.5)


def test_a_built_network_is_measured_as_a_run_without_steps():
    """3 × 3 by full summation, 4 × 4 from samples, 8 × 8 with the bound where nothing broken is seen."""
    for side, magnitude, sampled in ((3, 0.3, False), (4, 0.3, True), (8, 1.0, True)):
        run = DenseRun(
            hamiltonian=ToricCode(side=side),
            network=OddParity(magnitude=magnitude),
            training=Training(samples=256),
            steps=0,
            replicate=0,
        )
        state = runs.advance(Task(run, 0, Measurement(sweeps=10, equilibration_sweeps=20)), 1e9).state
        expected = odd_parity_energy(side, magnitude, 8)
        assert state["estimator"] == ("sampling" if sampled else "full_summation")
        assert state["steps"] == 0
        if not sampled:
            assert state["energy"] == pytest.approx(expected.energy, rel=1e-12)
            assert state["variance"] == pytest.approx(expected.variance, rel=1e-8)
            assert state["star"] == pytest.approx(1, rel=1e-10)
            assert state["plaquette"] == pytest.approx(-1 - expected.energy / side**2, rel=1e-10)
            assert sum(state["sector_weights"]) <= 1
            loops = odd_parity_loops(side, magnitude)
            np.testing.assert_allclose(state["wilson_loops"], loops, rtol=1e-10)
            assert state["wilson_loops_error"] == [0.0, 0.0]
            continue
        assert 0 < state["energy_error"]
        assert abs(state["energy"] - expected.energy) < 4 * state["energy_error"]
        if magnitude == 1.0:
            # n (n − 1) / 2 · e^(−16 a) = 2e-4: no sample is broken, and the error is a bound by 256 chains.
            assert abs(state["energy"] - expected.energy) < state["energy_error"]
            assert state["plaquette"] == 1 and state["plaquette_error"] == pytest.approx(3 / 256 * 4 / 64)
            assert state["energy_error"] == pytest.approx(2 * 64 * state["plaquette_error"])
            # Two broken plaquettes of three unseen chains turn 2 k² of 64 squares, at most all of them.
            assert state["wilson_loops"] == [1.0] * 7
            bounds = [3 / 256 * 2 * share for share in (2 / 64, 8 / 64, 18 / 64, 0.5, 50 / 64, 1, 1)]
            assert state["wilson_loops_error"] == pytest.approx(bounds)
        else:
            errors = np.array(state["wilson_loops_error"])
            assert np.all((errors > 1e-4) & (errors < 0.04))
            apart = np.abs(state["wilson_loops"] - np.array(odd_parity_loops(side, magnitude)))
            assert np.all(apart < 4 * errors)
            assert state["wilson_loops"][0] == pytest.approx(state["plaquette"], rel=1e-12)
            # Stars are 1 of the built network: no error of theirs, and E = −16 (1 + plaquette).
            assert state["energy_error"] == pytest.approx(16 * state["plaquette_error"], rel=1e-9)
            assert state["energy_error"] < 0.02 * abs(expected.energy)


def test_the_bound_where_nothing_broken_is_seen_does_not_shrink_with_the_sweeps():
    """8 × 8, a = 0.8: with a chance of 1/4 none of 256 chains shows its pairs, which outlive the records."""
    side, magnitude, chains = 8, 0.8, 256
    deviation = odd_parity_energy(side, magnitude, 8).energy + 2 * side**2
    assert (1 - deviation / 4) ** chains == pytest.approx(0.25, abs=0.05)
    for sweeps in (10, 1000):
        diagonal, spins = np.full((sweeps, chains), -64.0), np.ones((2 * side**2, chains))
        found = sampled_observables(side, diagonal, 2 * diagonal, spins, [])
        assert found["energy_error"] == pytest.approx(2 * 64 * 3 / chains * 4 / 64)
        assert deviation < found["energy_error"]


def test_the_energys_error_is_its_own_spread_where_a_broken_plaquette_is_seen():
    """Stars at 1, as in the built network: the energy varies by the plaquettes alone."""
    diagonal = -16.0 + 4 * np.random.default_rng(0).integers(0, 3, (10, 64))
    energies, spins = diagonal - 16, np.ones((32, 64))
    found = sampled_observables(4, diagonal, energies, spins, [])
    assert found["energy_error"] == estimate(energies).error
    assert found["energy_error"] == pytest.approx(16 * found["plaquette_error"], rel=1e-12)


def test_without_the_loops_chains_stay_in_their_sectors():
    """A converged network has all four with weight ¼; star flips and single flips alone keep what they start with."""
    layout, weights = laid_out(
        "rows compiled", odd_parity_weights(3, 1.6, 8), np.arange(18 * 72), jnp.float32
    )
    start = jnp.ones((18, 512), jnp.float32)
    shares = {}
    for name in ("with loops", "without"):
        made = moves(3)
        if name == "without":
            keep = np.array(
                [len(set(row) - {18}) == 4 or set(row[1:]) == {18} for row in made.sites.tolist()]
            )
            made = made._replace(sites=made.sites[keep])
            assert len(made.sites) == 18 + 18
        spins = np.asarray(equilibrate(jax.random.key(0), made, start, weights, layout, 30))
        shares[name] = sector_weights(3, spins, np.full(512, 1 / 512))
    # Chi-square of 512 chains over four sectors, a chance of 1e-4.
    assert 512 * np.sum((shares["with loops"] - 0.25) ** 2 / 0.25) < chi2.ppf(1 - 1e-4, 3)
    # The draw of the overall sign flips three edges of each loop: ++ and −− mix, the others stay empty.
    assert shares["without"][1] == shares["without"][2] == 0


def test_sampled_observables_of_chains_cover_the_exact_ones():
    side, magnitude = 3, 0.25
    weights = odd_parity_weights(side, magnitude, 8)
    layout, values = laid_out("rows compiled", weights, np.arange(weights.size))
    form, made = toric_code_form(side), moves(side)
    spins = random_spins(jax.random.key(1), 18, 1024).astype(float)
    spins = equilibrate(jax.random.key(2), made, spins, values, layout, 30)
    diagonal, energies, products = [], [], []
    for number in range(8):
        proposals = draw_proposals(jax.random.fold_in(jax.random.key(3), number), made, 1024, float)
        swept = sweep(proposals, spins, values, layout, form.flip_sites)
        spins = swept.chains.spins
        diagonal.append(-9 * mean_plaquette(side, np.asarray(spins)))
        products.append(WilsonLoops(side)(np.asarray(spins)))
        energies.append(diagonal[-1] - np.exp(np.asarray(swept.log_ratios)).sum(0))
    loops = [estimate(np.array(sums) / 9) for sums in zip(*products, strict=True)]
    found = sampled_observables(side, np.array(diagonal), np.array(energies), np.asarray(spins), loops)
    expected = -1 - odd_parity_energy(side, magnitude, 8).energy / 9
    assert abs(found["plaquette"] - expected) < 4 * found["plaquette_error"] < 0.1
    assert found["star"] == pytest.approx(1, abs=1e-10)
    apart = np.array(found["wilson_loops"]) - odd_parity_loops(side, magnitude)
    # Something is broken, so that errors are spreads and no bounds.
    assert np.all(np.abs(apart) < 4 * np.array(found["wilson_loops_error"]))
    assert found["wilson_loops_error"] == [loop.error for loop in loops]


def test_single_flips_alone_are_the_moves_of_other_lattices():
    assert len(moves(3).sites) == 18 + 18 + 6 and moves(3).sites.shape[1] == 4
    assert moves(5).sites.shape == (50 + 50 + 10, 5)
    np.testing.assert_array_equal(moves(3).sites[:18, 0], single_flips(18).sites[:, 0])


def test_filters_are_classified_by_place_parity_and_cleanness():
    side = 3
    generator = np.random.default_rng(0)
    weights = odd_parity_weights(side, 1.0, 4)
    weights += 0.05 * generator.normal(size=weights.shape) * (weights != 0)
    filters = classify_filters(side, weights)
    np.testing.assert_array_equal(filters.place, np.repeat(np.arange(9), 4))
    np.testing.assert_array_equal(filters.odd_edge, np.tile(np.arange(4), 9))
    assert filters.clean.all() and filters.odd.all()
    np.testing.assert_allclose(filters.share, 1, rtol=1e-12)
    assert solved_plaquettes(side, filters) == 1

    spoiled = weights.copy()
    spoiled[plaquettes(side)[0][2], 0] = 0  # pruned: not clean
    spoiled[plaquettes(side)[1][1], 5] *= -1  # even
    spoiled[:, 8] = 0
    spoiled[stars(side)[4], 8] = [1, 1, 1, -1]  # an odd star
    spoiled[:, 12] += 0.3  # spread over the lattice
    spoiled[:, 35] = 0  # dead
    filters = classify_filters(side, spoiled)
    assert 35 not in filters.unit and len(filters.unit) == 35
    assert (filters.ratio[0], filters.clean[0]) == (0, False)
    assert (filters.odd[5], filters.clean[5], filters.place[5]) == (False, True, 1)
    assert (filters.place[8], filters.odd[8], filters.clean[8]) == (9 + 4, True, True)
    assert filters.place[12] == 3 and not filters.clean[12]
    # Plaquettes 0, 1, 2, 3 and 8 lack a filter.
    assert solved_plaquettes(side, filters) == pytest.approx(4 / 9)


def test_other_numbers_of_filters_are_refused():
    with pytest.raises(ValueError, match="5 filters a plaquette; 4 or 8"):
        odd_parity_weights(3, 1.0, 5)
