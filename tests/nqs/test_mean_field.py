"""The lowest product state against the mean-field formula, the exact ground state, and as a network."""

import numpy as np
import pytest

from nqs.config import TransverseFieldIsing
from nqs.exact_diagonalization import ground_state_energy
from nqs.full_summation import expectations, wave_function
from nqs.hamiltonians import flip_form
from nqs.mean_field import lowest_product_state
from nqs.observables import transverse_magnetization


@pytest.mark.parametrize("field, coupling", [(1.0, 1.0), (3.04438, 1.0), (3.04438, 0.8), (5.0, 1.0)])
def test_on_a_periodic_lattice_it_is_the_textbook_s(field, coupling):
    """cos θ = h / 4J below 4 J, and all spins along x above."""
    state = lowest_product_state(
        TransverseFieldIsing(side=5, field=field, coupling=coupling, boundary="periodic")
    )
    x = min(1.0, field / (4 * coupling))
    np.testing.assert_allclose(state.magnetization_x, x, atol=1e-6)
    assert state.energy / 25 == pytest.approx(-2 * coupling * (1 - x**2) - field * x, abs=1e-10)


def test_a_network_with_one_weight_a_spin_is_the_state():
    """Energy and magnetisations by full summation; it lies above the ground state and below all spins along x."""
    hamiltonian = TransverseFieldIsing(side=3, field=2.0)
    state = lowest_product_state(hamiltonian)
    assert np.count_nonzero(state.weights) == 9 and state.magnetization_z.min() > 0.5
    form = flip_form(hamiltonian)
    exact = expectations(form, transverse_magnetization(9), wave_function(state.weights))
    assert exact.energy == pytest.approx(state.energy, abs=1e-9)
    assert exact.magnetization_x == pytest.approx(state.magnetization_x.mean(), abs=1e-6)
    assert exact.magnetization_z == pytest.approx(state.magnetization_z.mean(), abs=1e-6)
    assert ground_state_energy(form, 9)[0] + 0.1 < state.energy < -2.0 * 9 - 0.1
