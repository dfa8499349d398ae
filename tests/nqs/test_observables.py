"""What is recorded against sums over all configurations; exact sums against Kronecker products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs import full_summation
from nqs.config import TransverseFieldIsing
from nqs.hamiltonians import flip_form
from nqs.moves import single_flips
from nqs.observables import (
    measured_form,
    record,
    record_log_ratios,
    sampled_log_fidelity,
    sampled_magnetizations,
    transverse_magnetization,
)
from nqs.sampling import equilibrate, random_spins
from nqs.statistics import estimate
from tests.nqs.engines import laid_out
from tests.nqs.oracles import SIGMA_X, SIGMA_Z, ising_matrix, relu_state, site_operator

HAMILTONIAN = TransverseFieldIsing(side=3, field=1.7)


def networks():
    generator = np.random.default_rng(12)
    weights = 0.25 * generator.normal(size=(9, 14)) * (generator.random((9, 14)) < 0.6)
    return weights, weights + 0.06 * generator.normal(size=(9, 14))


def exact(weights):
    flips = transverse_magnetization(9)
    psi = full_summation.wave_function(weights)
    return full_summation.expectations(flip_form(HAMILTONIAN), flips, psi)


def test_exact_sums_equal_kronecker_products():
    weights, other = networks()
    psi, state = relu_state(weights), exact(weights)
    matrix = ising_matrix(3, 1.7)
    z = sum(np.diag(site_operator(SIGMA_Z, site, 9)) for site in range(9)) / 9
    x = sum(site_operator(SIGMA_X, site, 9) for site in range(9)) / 9
    assert state.energy == pytest.approx(psi @ matrix @ psi, rel=1e-12)
    assert state.variance == pytest.approx(psi @ matrix @ matrix @ psi - state.energy**2, rel=1e-9)
    assert state.magnetization_x == pytest.approx(psi @ x @ psi, rel=1e-12)
    assert state.magnetization_z == pytest.approx(psi**2 @ z, rel=1e-10)
    assert state.abs_magnetization_z == pytest.approx(psi**2 @ np.abs(z), rel=1e-12)
    assert state.magnetization_z_squared == pytest.approx(psi**2 @ z**2, rel=1e-12)
    fidelity = full_summation.log_fidelity(
        full_summation.wave_function(weights), full_summation.wave_function(other)
    )
    assert fidelity == pytest.approx(2 * np.log(psi @ relu_state(other)), rel=1e-9)


@pytest.mark.parametrize("engine", ["rows compiled", "rows jax"])
def test_sampled_values_cover_the_exact_ones_and_their_errors_are_not_too_large(engine):
    """24 independent measurements of five observables and ln F: pulls have unit spread."""
    weights, other = networks()
    form = jax.tree.map(jnp.asarray, flip_form(HAMILTONIAN))
    form = jax.tree.map(jnp.asarray, measured_form(form, 9))
    truth = exact(weights)
    log_fidelity = 2 * np.log(relu_state(weights) @ relu_state(other))
    (of_a, a), (of_b, b) = (
        laid_out(engine, weights, np.flatnonzero(weights)),
        laid_out(engine, other, np.arange(126)),
    )
    pulls, moves = [], single_flips(9)
    for number in range(24):
        keys = jax.random.split(jax.random.key(number), 5)
        start = random_spins(keys[0], 9, 128)
        chains_of_a = equilibrate(keys[2], moves, start, a, of_a, 30)
        chains_of_b = equilibrate(keys[4], moves, start, b, of_b, 30)
        _, own = record(keys[1], form, moves, chains_of_a, a, of_a, b, of_b, 20)
        others = record_log_ratios(keys[3], moves, chains_of_b, b, of_b, a, of_a, 20)
        magnetizations = sampled_magnetizations(own, 9)
        estimates = [
            (estimate(np.asarray(own.local_energies)), truth.energy),
            (magnetizations.x, truth.magnetization_x),
            (magnetizations.z, truth.magnetization_z),
            (magnetizations.abs_z, truth.abs_magnetization_z),
            (magnetizations.z_squared, truth.magnetization_z_squared),
            (sampled_log_fidelity(own.log_ratios, others), log_fidelity),
        ]
        pulls.append([(value.mean - expected) / value.error for value, expected in estimates])
    pulls = np.array(pulls)
    # Mean 0 ± 0.204 and spread 1 ± 0.147 each; four of these.
    assert np.all(np.abs(pulls.mean(0)) < 4 / np.sqrt(24)), pulls.mean(0)
    assert np.all(np.abs(pulls.std(0, ddof=1) - 1) < 4 / np.sqrt(2 * 23)), pulls.std(0, ddof=1)
    # The exact variance is what the local energies scatter with.
    assert np.asarray(own.local_energies).var() == pytest.approx(truth.variance, rel=0.15)


def test_an_eigenstate_has_one_local_energy_everywhere():
    """No field-coupling bonds: without J the ground state is uniform, and E_loc = −hN at every sample."""
    form = flip_form(TransverseFieldIsing(side=3, field=2.0, coupling=1e-300))
    layout, weights = laid_out("rows compiled", np.zeros((9, 4)), np.arange(36))
    spins = random_spins(jax.random.key(0), 9, 50)
    form = measured_form(form, 9)
    _, records = record(jax.random.key(1), form, single_flips(9), spins, weights, layout, weights, layout, 4)
    np.testing.assert_allclose(records.local_energies, -18.0, rtol=1e-13)
    np.testing.assert_allclose(records.flip_ratios, 9.0, rtol=1e-13)


def test_full_summation_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at most 18"):
        full_summation.all_spins(19)
