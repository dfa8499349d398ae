"""One SR step against NetKet, dense and masked, in samples and in parameters; float64, to 1e-10."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

from nqs.config import FeedForward, TransverseFieldIsing
from nqs.hamiltonians import flip_form, netket_operator
from nqs.layouts import RowLayout, choose_layout
from nqs.local_energies import local_energies
from nqs.networks import flax_module
from nqs.reconfiguration import update_in_parameters, update_in_samples
from nqs.sampling import random_spins, sweep
from nqs.training import Problem, TrainingState, train
from tests.nqs.engines import ENGINES, laid_out, live_values, sparse_network

HAMILTONIAN = TransverseFieldIsing(side=3, field=3.04438)
NETWORK = FeedForward(width_per_spin=2)
SHIFT = 1e-3


def network_of(live):
    """Far from convergence, where the update is large against rounding."""
    return sparse_network(*NETWORK.layers(9)["hidden"], live, scale=0.3, seed=0)


def netket_update(weights, indices, spins):
    """δ of the live weights from NetKet's own SR pieces on the same samples."""
    sites, hidden = weights.shape
    module = flax_module(NETWORK, sites)
    mask = np.zeros(weights.size)
    mask[indices] = 1

    def apply(variables, samples):
        full = jnp.zeros(weights.size).at[indices].set(variables["params"]["live"])
        return module.apply({"params": {"hidden": {"kernel": full.reshape(sites, hidden)}}}, samples)

    sampler = nk.sampler.MetropolisLocal(nk.hilbert.Spin(0.5, sites), n_chains=spins.shape[1])
    state = nk.vqs.MCState(
        sampler,
        apply_fun=apply,
        variables={"params": {"live": jnp.asarray(weights.ravel()[indices])}},
        n_samples=spins.shape[1],
        n_discard_per_chain=0,
    )
    # NetKet is handed our samples: (chains, 1, sites).
    state._samples = jnp.asarray(spins.T, state.samples.dtype).reshape(-1, 1, sites)
    driver = nk.driver.VMC_SR(
        netket_operator(HAMILTONIAN),
        nk.optimizer.Sgd(1.0),
        diag_shift=SHIFT,
        variational_state=state,
        use_ntk=False,
        mode="real",
    )
    state.reset = lambda: None
    energy, update = driver.compute_loss_and_update()
    return np.asarray(update["live"]), float(energy.mean.real)


def ours(engine, weights, indices, spins, dtype=jnp.float64):
    form = jax.tree.map(jnp.asarray, flip_form(HAMILTONIAN))
    layout, values = laid_out(engine, weights, indices)
    chains, log_ratios, _ = sweep(None, jnp.asarray(spins, float), values, layout, form.flip_sites)
    energies = local_energies(form, chains.spins, log_ratios)
    update = update_in_samples if isinstance(layout, RowLayout) else update_in_parameters
    update = update(chains, energies, layout, SHIFT, dtype)
    return live_values(update, layout, indices), float(energies.mean())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("samples", [101, 300])
@pytest.mark.parametrize("live", [162, 130, 40, 7])
def test_one_step_equals_netkets_on_the_same_samples(live, samples, engine):
    """At 162, 130 and 40 of 162 weights the Gram matrix is full, subtracted from and added up.

    300 samples make three blocks of the matrix, the last one short.
    """
    indices, weights = network_of(live)
    spins = np.asarray(random_spins(jax.random.key(3), 9, samples))
    expected, expected_energy = netket_update(weights, indices, spins)
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


@pytest.mark.parametrize(
    "live, dtype, tolerance", [(162, "float64", 1e-10), (30, "float64", 1e-10), (162, "float32", 1e-3)]
)
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
    problem = Problem(
        jax.tree.map(jnp.asarray, flip_form(HAMILTONIAN)), jnp.float64(8e-3), jnp.float64(SHIFT)
    )
    spins = random_spins(jax.random.key(3), 9, 101)
    state = TrainingState(start + 0, spins, jnp.int32(0))
    state, _ = train(jax.random.key(4), problem, layout, state, 1, 1, dtype=jnp.dtype(dtype))
    after = np.asarray(state.weights)
    after = after.ravel()[indices] if in_rows else after[:live]
    expected = 8e-3 * netket_update(weights, indices, np.asarray(state.spins))[0]
    moved = weights.ravel()[indices] - after
    assert np.linalg.norm(moved - expected) <= tolerance * np.linalg.norm(expected)
