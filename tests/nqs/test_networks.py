"""Networks as Flax modules, their initial weights, and NetKet's view of a trained one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs.config import FeedForward, TransverseFieldIsing
from nqs.full_summation import expectations, wave_function
from nqs.hamiltonians import flip_form, netket_operator
from nqs.networks import initial_weights, to_netket
from nqs.observables import transverse_magnetization
from nqs.sampling import amplitude


def test_initial_weights_have_the_stated_shape_and_spread():
    weights = initial_weights(jax.random.key(0), FeedForward(width_per_spin=8), 16)["hidden"]
    assert weights.shape == (16, 128) and weights.dtype == jnp.float64
    # 2048 draws: the spread is known to 1.6 %.
    assert float(weights.std()) == pytest.approx(0.01, rel=0.06)


def test_netkets_state_has_our_amplitudes_and_energy():
    hamiltonian, network = TransverseFieldIsing(side=2, field=1.2), FeedForward(width_per_spin=3)
    weights = np.asarray(initial_weights(jax.random.key(1), network, 4)["hidden"]) * 40
    state = to_netket(hamiltonian, network, {"hidden": weights}, samples=16)
    spins = jnp.asarray(state.hilbert.all_states(), float)
    np.testing.assert_allclose(state.log_value(spins), amplitude(weights.T @ spins.T), rtol=1e-12)
    psi = state.to_array()
    energy = psi @ netket_operator(hamiltonian).to_dense() @ psi
    exact = expectations(flip_form(hamiltonian), transverse_magnetization(4), wave_function(weights))
    assert exact.energy == pytest.approx(float(energy.real), rel=1e-12)


def test_a_width_that_gives_no_whole_number_of_units_is_refused():
    with pytest.raises(ValueError, match="22.5 hidden units on 9 sites"):
        FeedForward(width_per_spin=2.5).check_fits(9)
