"""Local energies of flips whose coefficients depend on spins, in every engine and on the general path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs import general
from nqs.full_summation import all_spins
from nqs.local_energies import local_energies
from nqs.moves import moves_of
from nqs.networks import FeedForwardModule
from nqs.observables import measured_form, record
from nqs.operators import compile_flip_form, marshall_rotated
from nqs.sampling import random_spins, sweep
from tests.nqs.engines import ENGINES, laid_out, sparse_network
from tests.nqs.oracles import (
    SIGMA_X,
    netket_strings,
    pauli_matrix,
    relu_state,
    ring_bonds,
    site_operator,
    xxz_strings,
)

SITES = 6
XXZ = xxz_strings(ring_bonds(SITES), 0.5, 0.3, SITES)
# Flips of one, two and three spins, with up to two terms that depend on spins outside of the flip or on it.
MIXED = [(-1.0, "X", (1,)), (-0.6, "ZX", (0, 1)), (0.3, "ZXZ", (0, 1, 2)), (0.4, "ZZ", (2, 5))] + [
    (-0.5, "XX", (3, 4)),
    (0.2, "YYZ", (3, 4, 5)),
    (-0.7, "XXX", (0, 2, 4)),
]


def form_and_matrix(name):
    """The form, and H by Kronecker products; of XXZ as it is after the rotation of every other site."""
    if name == "mixed":
        return compile_flip_form(netket_strings(MIXED, SITES)), pauli_matrix(MIXED, SITES).real
    turned = np.eye(2**SITES)
    for site in range(0, SITES, 2):
        turned = turned @ site_operator(np.diag([1.0, -1.0]), site, SITES)
    operator = marshall_rotated(netket_strings(XXZ, SITES), range(0, SITES, 2))
    return compile_flip_form(operator), (turned @ pauli_matrix(XXZ, SITES) @ turned).real


def expected_energies(matrix, weights):
    psi = relu_state(weights)
    return matrix @ psi / psi


@pytest.mark.parametrize("name", ["XXZ", "mixed"])
@pytest.mark.parametrize("engine", ENGINES)
def test_local_energies_of_all_configurations_are_h_psi_over_psi(engine, name):
    form, matrix = form_and_matrix(name)
    indices, weights = sparse_network()
    layout, values = laid_out(engine, weights, indices)
    spins = jnp.asarray(all_spins(SITES))
    swept = sweep(None, spins, values, layout, jnp.asarray(form.flip_sites))
    energies = local_energies(form, spins, swept.log_ratios)
    np.testing.assert_allclose(energies, expected_energies(matrix, weights), atol=1e-11)


@pytest.mark.parametrize("chunk", [10**6, 50])
@pytest.mark.parametrize("name", ["XXZ", "mixed"])
def test_the_general_path_has_them_too(name, chunk):
    form, matrix = form_and_matrix(name)
    _, weights = sparse_network()
    network = general.general_network(FeedForwardModule(9, 0.1), SITES)
    rows, flat = jnp.asarray(all_spins(SITES).T), jnp.asarray(weights.ravel())
    energies = general.local_energies(form, network, flat, rows, network.log_psi(flat, rows), chunk)
    np.testing.assert_allclose(energies, expected_energies(matrix, weights), atol=1e-11)


@pytest.mark.parametrize("name", ["XXZ", "mixed"])
def test_records_have_them_beside_the_transverse_magnetization(name):
    form, matrix = form_and_matrix(name)
    indices, weights = sparse_network()
    layout, values = laid_out("rows compiled", weights, indices)
    spins = random_spins(jax.random.key(0), SITES, 50, balanced=True)
    measured = jax.tree.map(jnp.asarray, measured_form(form, SITES))
    key, moves = jax.random.key(1), moves_of(form, SITES)
    last, records = record(key, measured, moves, spins, values, layout, values, layout, 3)
    here = (1 << np.arange(SITES)) @ (np.asarray(last) < 0)
    np.testing.assert_allclose(
        records.local_energies[-1], expected_energies(matrix, weights)[here], atol=1e-11
    )
    flips = sum(site_operator(SIGMA_X, site, SITES) for site in range(SITES))
    np.testing.assert_allclose(records.flip_ratios[-1], expected_energies(flips, weights)[here], atol=1e-11)
    if name == "XXZ":
        assert not np.any(records.magnetizations)


def test_a_flip_that_is_not_there_costs_nothing_even_where_its_ratio_is_infinite():
    """Equal spins are not exchanged; ψ of other Σσz is never trained and may be of any size."""
    form = form_and_matrix("XXZ")[0]
    spins = jnp.asarray(all_spins(SITES), jnp.float32)
    left, right = spins[form.flip_sites].swapaxes(0, 1)
    log_ratios = jnp.where(left == right, 1000.0, 0.0).astype(jnp.float32)
    assert np.isfinite(local_energies(form, spins, log_ratios)).all()
