"""Tied weights: a convolution by its expanded W against Flax's, the general path, and plain numpy; float64."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

from nqs.activations import ACTIVATIONS, slopes
from nqs.config import TransverseFieldIsing
from nqs.general import choose_chunks, general_network, padded_live, train_general
from nqs.general import local_energies as general_local_energies
from nqs.general import update as general_update
from nqs.hamiltonians import flip_form
from nqs.layouts import list_layout
from nqs.local_energies import local_energies
from nqs.moves import single_flips
from nqs.operators import compile_flip_form
from nqs.pruning import remaining_by_level
from nqs.reconfiguration import update_in_parameters, update_of_tied
from nqs.sampling import draw_proposals, random_spins, sweep
from nqs.tied_layouts import TiedWeights, convolution, tied_degree, tied_layout
from nqs.training import Problem, TrainingState, train, train_batch
from tests.nqs.engines import sparse_network
from tests.nqs.oracles import square_bonds

SIDE, SITES, SAMPLES, SHIFT = 4, 16, 101, 1e-3
KEY = jax.random.key(6)
PADDINGS = ("SAME", "VALID", "CIRCULAR")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These programs run for milliseconds: what takes time is to optimise them."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


class Convolution(nn.Module):
    """log ψ = Σ gelu(kernels * s), as Flax does it."""

    padding: str
    side: int = SIDE
    kernel_side: int = 3
    channels: int = 4

    @nn.compact
    def __call__(self, spins):
        return nn.gelu(self.theta(spins)).sum((-3, -2, -1))

    @nn.compact
    def theta(self, spins):
        image = spins.reshape(*spins.shape[:-1], self.side, self.side, 1)
        kernels = (self.kernel_side, self.kernel_side)
        return nn.Conv(self.channels, kernels, padding=self.padding, use_bias=False, param_dtype=float)(image)

    def tied(self) -> TiedWeights:
        return convolution(self.side, self.kernel_side, self.channels, self.padding)


def pruned(size, live, scale=0.3, seed=0):
    """Ascending positions of so many live parameters, and all parameters, far from convergence."""
    generator = np.random.default_rng(seed)
    indices = np.sort(generator.choice(size, live, replace=False)).astype(np.int32)
    weights = np.zeros(size)
    weights[indices] = scale * generator.normal(size=live)
    return indices, weights


def laid_out(tied, indices, weights, activation="gelu", samples=SAMPLES, degree=None):
    """The layout and the live vector in it."""
    layout = jax.tree.map(jnp.asarray, tied_layout(tied, indices, samples, activation, degree))
    live = jnp.zeros(len(layout.parameter_sites)).at[: len(indices)].set(weights[indices])
    return layout, live


def problem_of(form, field_factor=1.0):
    form = form._replace(flip_coefficients=field_factor * form.flip_coefficients)
    problem = Problem(form, single_flips(SITES), jnp.float64(8e-3), jnp.float64(SHIFT))
    return jax.tree.map(jnp.asarray, problem)


def ising_form(boundary):
    return flip_form(TransverseFieldIsing(side=SIDE, field=3.04438, boundary=boundary))


def two_spin_form():
    """−½ Σ σx σx + 0.3 Σ σz σz − 0.7 Σ σx on the open lattice: flips of one and of two spins."""
    terms = [(-0.7, "X", (site,)) for site in range(SITES)]
    for bond in square_bonds(SIDE, periodic=False):
        terms += [(-0.5, "X", bond), (0.3, "Z", bond)]
    strings = ["".join(letter if i in chosen else "I" for i in range(SITES)) for _, letter, chosen in terms]
    weights = [coefficient for coefficient, _, _ in terms]
    return compile_flip_form(nk.operator.PauliStringsJax(nk.hilbert.Spin(0.5, SITES), strings, weights))


FORMS = {
    "open": partial(ising_form, "open"),
    "periodic": partial(ising_form, "periodic"),
    "two spins": two_spin_form,
}


def state_of(weights, samples=SAMPLES):
    # Copies: a training may overwrite what it is given.
    return TrainingState(jnp.array(weights), random_spins(jax.random.key(3), SITES, samples), jnp.int32(0))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("kernel_side, channels, live", [(3, 4, 36), (2, 3, 5), (4, 1, 16)])
def test_theta_and_flip_ratios_are_those_of_flaxs_convolution(padding, kernel_side, channels, live):
    """Flips of one, two and four spins; kernels of even side, which have no centre; the largest that fits."""
    module = Convolution(padding, kernel_side=kernel_side, channels=channels)
    network = general_network(module, SITES)
    indices, weights = pruned(network.size, live)
    layout, values = laid_out(module.tied(), indices, weights)
    spins = random_spins(jax.random.key(3), SITES, 20).astype(float)
    sets = [[site] for site in range(SITES)] + [[0, 1], [5, 15], [1, 2, 6, 9]]
    padded = jnp.asarray([chosen + [SITES] * (4 - len(chosen)) for chosen in sets], jnp.int32)
    result = jax.jit(sweep)(None, spins, values, layout, padded)

    params = {"params": network.unflatten(jnp.asarray(weights))}
    theta = module.apply(params, spins.T, method="theta").reshape(20, -1).T
    np.testing.assert_allclose(result.chains.theta[:-1], theta, atol=1e-13)
    assert not np.any(result.chains.theta[-1])
    signs = np.ones((len(sets), SITES))
    for row, chosen in zip(signs, sets, strict=True):
        row[chosen] = -1
    flipped = module.apply(params, jnp.asarray(signs)[:, None] * spins.T)
    np.testing.assert_allclose(result.log_ratios, flipped - module.apply(params, spins.T), atol=1e-12)


def gelu(theta, erf):
    if erf:
        return theta / 2 * (1 + math.erf(theta / math.sqrt(2)))
    return theta / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (theta + 0.044715 * theta**3)))


def enumerated_log_psi(kernel, padding, erf):
    """Σ gelu(kernels * s) of all configurations of the 3 × 3 lattice, pixel by pixel.

    Args:
        kernel: (3, 3, channels).
    """
    centres = [(1, 1)] if padding == "VALID" else [(x, y) for x in range(3) for y in range(3)]
    values = np.zeros(512)
    for configuration in range(512):
        spins = {(x, y): 1 - 2 * (configuration >> (3 * x + y) & 1) for x in range(3) for y in range(3)}
        for x, y in centres:
            for channel in range(kernel.shape[2]):
                theta = 0.0
                for dx in (-1, 0, 1):
                    for dy in (-1, 0, 1):
                        pixel = (x + dx, y + dy)
                        if padding == "CIRCULAR":
                            pixel = (pixel[0] % 3, pixel[1] % 3)
                        theta += kernel[dx + 1, dy + 1, channel] * spins.get(pixel, 0)
                values[configuration] += gelu(theta, erf)
    return values


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_flip_ratios_of_all_configurations_are_exact(padding, activation):
    indices, weights = pruned(18, 14)
    layout, values = laid_out(convolution(3, 3, 2, padding), indices, weights, activation, samples=512)
    spins = jnp.asarray(1.0 - 2 * ((np.arange(512)[None] >> np.arange(9)[:, None]) & 1))
    sets = np.array([[site, 9] for site in range(9)] + [[0, 4], [3, 8]], np.int32)
    log_ratios = jax.jit(sweep)(None, spins, values, layout, jnp.asarray(sets)).log_ratios
    log_psi = enumerated_log_psi(weights.reshape(3, 3, 2), padding, activation == "gelu_erf")
    for row, chosen in zip(log_ratios, sets, strict=True):
        there = np.arange(512) ^ sum(1 << site for site in chosen if site < 9)
        np.testing.assert_allclose(row, log_psi[there] - log_psi, atol=1e-12)


@pytest.mark.parametrize("padding, live, hamiltonian", [("SAME", 36, "two spins")])
def test_energies_and_update_equal_the_general_paths_on_the_same_spins(padding, live, hamiltonian):
    module = Convolution(padding)
    network = general_network(module, SITES)
    indices, weights = pruned(network.size, live)
    layout, values = laid_out(module.tied(), indices, weights)
    form = jax.tree.map(jnp.asarray, FORMS[hamiltonian]())
    spins = random_spins(jax.random.key(3), SITES, SAMPLES).astype(float)

    @jax.jit
    def expected(weights, rows, positions):
        energies = general_local_energies(form, network, weights, rows, network.log_psi(weights, rows), 10**6)
        chunks = choose_chunks(network, SAMPLES, len(positions), float)
        return energies, general_update(network, weights, rows, energies, positions, SHIFT, chunks)

    positions = jnp.asarray(padded_live(indices, network.size, SAMPLES))
    energies, direction = expected(jnp.asarray(weights), spins.T, positions)

    @partial(jax.jit, static_argnames="dtype")
    def tied(values, spins, dtype):
        swept = sweep(None, spins.astype(dtype), values.astype(dtype), layout, form.flip_sites)
        energies = local_energies(form, swept.chains.spins, swept.log_ratios)
        return energies, update_of_tied(swept.chains, energies, layout, SHIFT, dtype)

    for dtype, tolerance in ((jnp.float64, 1e-10), (jnp.float32, 1e-3)):
        own, update = map(np.asarray, tied(values, spins, dtype))
        np.testing.assert_allclose(own, energies, rtol=1e-12 if dtype == jnp.float64 else 1e-5)
        distance = np.linalg.norm(update[:live] - direction[indices])
        assert distance <= tolerance * np.linalg.norm(direction)
        assert update.dtype == np.float64 and not update[live:].any()


@pytest.mark.parametrize(
    "padding, live, hamiltonian",
    [("SAME", 36, "open"), ("VALID", 20, "two spins"), ("CIRCULAR", 5, "periodic")],
)
def test_a_convolution_is_trained_as_by_the_general_path(padding, live, hamiltonian):
    """The same spins, energies and weights after three steps."""
    module = Convolution(padding)
    network = general_network(module, SITES)
    # Larger weights diverge within the three steps.
    indices, weights = pruned(network.size, live, scale=0.1)
    layout, values = laid_out(module.tied(), indices, weights)
    problem = problem_of(FORMS[hamiltonian]())
    tied, records = train(KEY, problem, layout, state_of(values), 1, 3, dtype=jnp.float64)
    positions = jnp.asarray(padded_live(indices, network.size, SAMPLES))
    general, expected = train_general(
        KEY, problem, network, positions, state_of(weights), 1, 3, dtype=jnp.float64
    )
    assert tied.diverged_at == general.diverged_at == 0
    np.testing.assert_array_equal(tied.spins, general.spins)
    assert np.any(tied.spins != state_of(weights).spins)
    moved = np.linalg.norm(general.weights - weights)
    assert moved > 1e-3
    assert np.linalg.norm(tied.weights[:live] - general.weights[indices]) <= 1e-9 * moved
    for name, values in expected._asdict().items():
        np.testing.assert_allclose(getattr(records, name)[:3], values[:3], rtol=1e-9, err_msg=name)


def test_where_each_entry_is_its_own_parameter_a_relu_layer_is_that_of_the_fast_path():
    """One sweep, flips of two spins and the update, against the compiled loops over untied lists."""
    indices, weights = sparse_network(sites=9, hidden=30, live=60)
    lists = jax.tree.map(jnp.asarray, list_layout(weights.shape, indices, 64, compiled=True))
    tied = TiedWeights(9, 30, 60, *np.divmod(indices, 30), np.arange(60))
    layout, values = laid_out(tied, np.arange(60), weights.ravel()[indices], "relu")
    spins = random_spins(jax.random.key(8), 9, SAMPLES).astype(float)
    proposals = draw_proposals(jax.random.key(9), single_flips(9), SAMPLES, float)
    flips = jnp.asarray([[0, 9], [3, 9], [8, 2]], jnp.int32)
    swept = jax.jit(sweep)
    fast, own = (swept(proposals, spins, values, kind, flips) for kind in (lists, layout))
    assert np.any(own.chains.spins != spins)
    np.testing.assert_array_equal(own.chains.spins, fast.chains.spins)
    used = np.unique(indices % 30)
    np.testing.assert_allclose(own.chains.theta[used], fast.chains.theta[: len(used)], atol=1e-12)
    np.testing.assert_allclose(own.log_ratios, fast.log_ratios, atol=1e-12)
    energies = jax.random.normal(jax.random.key(10), (SAMPLES,))
    expected, update = (
        jax.jit(make, static_argnames="dtype")(result.chains, energies, kind, SHIFT, dtype=jnp.float64)
        for make, result, kind in ((update_in_parameters, fast, lists), (update_of_tied, own, layout))
    )
    assert np.linalg.norm(update - expected) <= 1e-10 * np.linalg.norm(expected)


def test_replicas_with_other_masks_and_fields_train_in_a_batch_as_alone():
    tied = Convolution("SAME").tied()
    degree = tied_degree(tied, np.arange(20))
    members = []
    for replica, field_factor in enumerate((1.0, 0.5)):
        layout, values = laid_out(tied, *pruned(36, 20, seed=replica), degree=degree)
        key = jax.random.fold_in(KEY, replica)
        problem = problem_of(ising_form("open"), field_factor)
        members.append((key, problem, layout, state_of(values), jnp.int32(1), jnp.int32(2)))
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *members)
    batch, _ = train_batch(*stacked, dtype=jnp.float64)
    for replica, member in enumerate(members):
        alone, _ = train(*member, dtype=jnp.float64)
        np.testing.assert_array_equal(batch.spins[replica], alone.spins)
        # Vmapped solves may round differently.
        np.testing.assert_allclose(batch.weights[replica], alone.weights, rtol=0, atol=1e-10)


def test_entries_of_pruned_parameters_leave_the_lists():
    tied = convolution(10, 3, 4, "SAME")
    assert (tied.sites, tied.units, tied.parameters) == (100, 400, 36)
    # 3 × 3 neighbours, fewer at the rim: (3 · 10 − 2)² pairs of sites and positions.
    assert len(tied.entry_sites) == 4 * 28**2
    degrees = []
    for live in (36, 20, 5, 1):
        indices, _ = pruned(36, live)
        layout = tied_layout(tied, indices, SAMPLES, "gelu")
        entries = np.isin(tied.entry_parameters, indices).sum()
        assert np.sum(layout.padded.units < 400) == np.sum(layout.parameter_units < 400) == entries
        assert np.all(layout.padded.units[100] == 400)
        degrees.append(layout.padded.units.shape[1])
    assert degrees == [36, 20, 8, 4]


def test_a_whole_trajectory_of_the_paper_needs_fewer_than_ten_programs():
    tied = convolution(10, 3, 4, "SAME")
    shapes = set()
    for live in remaining_by_level((36,), 0.05, 31):
        layout = tied_layout(tied, pruned(36, live)[0], 1024, "gelu")
        shapes.add(tuple(np.shape(array) for array in jax.tree.leaves(layout)))
    assert 2 < len(shapes) < 10


def test_the_live_vector_is_never_longer_than_the_samples():
    """36 parameters would be padded to 64, more than 48 samples."""
    layout = tied_layout(convolution(4, 3, 4, "SAME"), np.arange(36), 48, "gelu")
    assert len(layout.parameter_sites) == 48


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_what_the_engine_takes_them_for(activation):
    """f(0) = 0 and f(−x) = f(x) − x, exactly what padding and the overall sign need."""
    theta = jnp.linspace(-6, 6, 201)
    function = ACTIVATIONS[activation]
    assert float(function(jnp.zeros(()))) == 0
    np.testing.assert_allclose(function(-theta), function(theta) - theta, atol=1e-14)
    theta = theta + 0.01  # relu has no slope at 0
    quotient = (function(theta + 1e-6) - function(theta - 1e-6)) / 2e-6
    # Rounding 1e-15 over the distance, and the third derivative times its square.
    np.testing.assert_allclose(slopes(activation, theta), quotient, atol=1e-8)


def test_misuse_is_refused_with_a_sentence():
    tied = convolution(4, 3, 4, "SAME")
    with pytest.raises(ValueError, match="36 live parameters are more than 35 samples"):
        tied_layout(tied, np.arange(36), 35, "gelu")
    with pytest.raises(ValueError, match="activation is 'silu'; allowed: 'relu', 'gelu', 'gelu_erf'"):
        tied_layout(tied, np.arange(36), 101, "silu")
    with pytest.raises(ValueError, match="an entry of W has several parameters"):
        tied_layout(TiedWeights(2, 1, 2, *np.array([[0, 0], [0, 0], [0, 1]])), np.arange(2), 101, "gelu")
    with pytest.raises(ValueError, match="padding is 'REFLECT'"):
        convolution(4, 3, 4, "REFLECT")
    with pytest.raises(ValueError, match="kernels of side 3 do not fit a lattice of side 2"):
        convolution(2, 3, 4, "CIRCULAR")
