"""Networks as Flax modules, their initial weights, the tied form of a convolution, and NetKet's view."""

import math
from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

from nqs.config import (
    Convolutional,
    FeedForward,
    PauliTerms,
    ResidualConvolutional,
    ToricCode,
    TransverseFieldIsing,
)
from nqs.full_summation import all_spins, expectations, wave_function
from nqs.general import general_network, local_energies
from nqs.hamiltonians import flip_form
from nqs.networks import (
    ConvolutionalModule,
    FeedForwardModule,
    ResidualConvolutionalModule,
    flat_offsets,
    flax_module,
    from_netket,
    from_params,
    initial_weights,
    masked_layer_norm,
    network_of,
    tied_weights,
    to_netket,
    to_params,
)
from nqs.observables import transverse_magnetization
from nqs.operators import netket_operator
from nqs.sampling import amplitude, sweep
from nqs.tasks import LiveWeights
from nqs.tied_layouts import tied_layout

pytestmark = pytest.mark.usefixtures("quick_compilation")

CNN = Convolutional(kernels=3)
RESCNN = ResidualConvolutional(blocks=2, filters=4)
NETWORKS = {
    "ffnn": FeedForward(width_per_spin=2, initial_std=0.3),
    "cnn same": CNN,
    "cnn valid": Convolutional(padding="valid", initial="lecun"),
    "cnn circular": Convolutional(padding="circular"),
    "rescnn": RESCNN,
    "rescnn circular": ResidualConvolutional(blocks=1, filters=3, padding="circular"),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def parameters(shapes):
    return sum(math.prod(shape) for shape in shapes.values())


def random_rows(sites, count=7, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 1.0], (count, sites))


@cache
def random_weights(network, sites):
    """By layer, half of them pruned; the scale of the last layer norm too is not what it starts with."""
    generator = np.random.default_rng(4)
    shapes = network.layers(sites) | network.other_layers(sites)
    return {
        name: generator.normal(size=shape)
        * 0.3
        * (generator.random(shape) < 0.5 if name in network.layers(sites) else 1)
        for name, shape in shapes.items()
    }


def log_psi(network, weights, rows):
    sites = rows.shape[-1]
    return flax_module(network, sites).apply(
        {"params": to_params(network, sites, weights)}, jnp.asarray(rows)
    )


def test_initial_weights_have_the_stated_shape_and_spread():
    weights = initial_weights(jax.random.key(0), FeedForward(width_per_spin=8), 16)["hidden"]
    assert weights.shape == (16, 128) and weights.dtype == jnp.float64
    # 2048 draws: the spread is known to 1.6 %.
    assert float(weights.std()) == pytest.approx(0.01, rel=0.06)


def test_a_feed_forward_network_starts_as_flax_draws_it():
    """To the bit: runs that were recorded can be made again."""
    network = FeedForward(width_per_spin=8)
    params = FeedForwardModule(128, 0.01).init(jax.random.key(3), jnp.ones((1, 16)))["params"]
    weights = initial_weights(jax.random.key(3), network, 16)["hidden"]
    np.testing.assert_array_equal(weights, params["hidden"]["kernel"])


@pytest.mark.parametrize("initial, variance", [("he", 2 / 9), ("lecun", 1 / 9)])
def test_kernels_start_with_the_variance_and_the_cut_of_their_initialiser(initial, variance):
    weights = initial_weights(jax.random.key(0), Convolutional(kernels=500, initial=initial), 16)["kernel"]
    assert weights.shape == (3, 3, 1, 500) and weights.dtype == jnp.float64
    # 4500 draws: the variance is known to 2 %.
    assert float(weights.var()) == pytest.approx(variance, rel=0.08)
    # Cut at two of the normal's own deviations, which then is 1/0.8796 times as wide.
    cut = 2 * math.sqrt(variance) / 0.8796
    assert 0.95 * cut < float(abs(weights).max()) <= cut


def test_a_residual_network_starts_with_lecun_kernels_and_a_scale_of_one():
    weights = initial_weights(jax.random.key(0), ResidualConvolutional(), 16)
    assert list(weights) == [f"block{b}_conv{c}" for b in range(4) for c in range(2)] + [
        "embedding",
        "final_scale",
    ]
    for name, array in weights.items():
        assert array.dtype == jnp.float64
        if name == "final_scale":
            np.testing.assert_array_equal(array, np.ones(16))
        else:
            # 144 draws for the embedding: 12 % is one standard deviation of the variance.
            assert float(array.var()) == pytest.approx(1 / (9 * array.shape[2]), rel=0.4)


def test_the_papers_networks_have_the_papers_parameters():
    """(Table 3) 36 and 18576; the latter counts the embedding and not the scale that log ψ needs."""
    cnn, rescnn = Convolutional(), ResidualConvolutional()
    assert cnn.layers(100) == {"kernel": (3, 3, 1, 4)} and cnn.other_layers(100) == {}
    assert parameters(cnn.layers(100)) == 36
    others = rescnn.other_layers(100)
    assert others == {"embedding": (3, 3, 1, 16), "final_scale": (16,)}
    assert parameters(rescnn.layers(100)) + math.prod(others["embedding"]) == 18576
    assert [network.global_pruning for network in (FeedForward(), cnn, rescnn)] == [False, False, True]


@every_network
def test_the_modules_have_the_layers_of_their_config(network):
    weights = initial_weights(jax.random.key(1), network, 16)
    shapes = network.layers(16) | network.other_layers(16)
    assert [(name, array.shape) for name, array in weights.items()] == list(shapes.items())


@every_network
def test_weights_by_layer_params_and_the_flat_vector_hold_the_same_numbers(network):
    weights = random_weights(network, 9)
    params = to_params(network, 9, weights)
    back = from_params(network, 9, dict(reversed(params.items())))
    assert list(back) == list(weights)
    jax.tree.map(np.testing.assert_array_equal, back, weights)
    vector = general_network(flax_module(network, 9), 9).flatten(params)
    offsets = flat_offsets(network, 9)
    assert list(offsets) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(vector[offsets[name] : offsets[name] + array.size], array.ravel())


def test_layers_of_ten_blocks_lie_in_the_flat_vector_where_the_offsets_say():
    """ "block10" comes before "block2" there."""
    network = ResidualConvolutional(blocks=11, filters=2, kernel_side=1)
    weights = random_weights(network, 4)
    vector = general_network(flax_module(network, 4), 4).flatten(to_params(network, 4, weights))
    start = flat_offsets(network, 4)["block10_conv1"]
    np.testing.assert_array_equal(vector[start : start + 4], weights["block10_conv1"].ravel())


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def convolved(image, kernel, padding):
    """(L, L, out) from (L, L, in), pixel by pixel; a kernel of side 3 centred on its position."""
    side = len(image)
    result = np.zeros((side, side, kernel.shape[3]))
    for x, y, dx, dy in np.ndindex(side, side, 3, 3):
        column, row = x + dx - 1, y + dy - 1
        if padding == "circular":
            column, row = column % side, row % side
        if 0 <= column < side and 0 <= row < side:
            result[x, y] += image[column, row] @ kernel[dx, dy]
    return result


def normalised(features):
    """Layer norm of the non-zero entries of each pixel, one after another."""
    result = np.zeros_like(features)
    for x, y in np.ndindex(features.shape[:2]):
        present = features[x, y] != 0
        if present.any():
            values = features[x, y][present]
            result[x, y][present] = (values - values.mean()) / np.sqrt(values.var() + 1e-6)
    return result


@pytest.mark.parametrize("padding", ["same", "circular"])
@pytest.mark.parametrize("pruned", ["nothing", "a filter", "a block"])
def test_a_residual_network_is_what_its_formula_says(padding, pruned):
    """Pixel by pixel in numpy."""
    network = ResidualConvolutional(blocks=2, filters=4, padding=padding)
    weights = dict(random_weights(network, 9))
    if pruned == "a filter":
        weights["block0_conv0"] = weights["block0_conv0"] * np.array([1.0, 0.0, 1.0, 1.0])
    if pruned == "a block":
        weights |= {name: np.zeros_like(weights[name]) for name in ("block1_conv0", "block1_conv1")}
    rows = random_rows(9)
    expected = []
    for row in rows:
        features = convolved(row.reshape(3, 3, 1), weights["embedding"], padding)
        for block in range(2):
            inner = features
            for conv in range(2):
                inner = convolved(gelu(normalised(inner)), weights[f"block{block}_conv{conv}"], padding)
            features = features + inner
        expected.append((normalised(features) * weights["final_scale"]).sum())
    np.testing.assert_allclose(log_psi(network, weights, rows), expected, rtol=1e-10, atol=1e-12)
    assert np.std(expected) > 0.01


def test_a_layer_norm_takes_mean_and_variance_of_non_zero_entries_and_leaves_zeros():
    features = jnp.asarray([[1.0, 0.0, 3.0, 0.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    one = 1 / math.sqrt(1 + 1e-6)
    np.testing.assert_allclose(masked_layer_norm(features), [[-one, 0, one, 0], [0] * 4, [0] * 4], rtol=1e-14)


def test_a_residual_network_whose_last_scale_is_uniform_says_nothing():
    """Why it needs one: without it |ψ(s)| is the same for every s."""
    weights = dict(random_weights(RESCNN, 9)) | {"final_scale": np.ones(4)}
    np.testing.assert_allclose(log_psi(RESCNN, weights, random_rows(9)), 0, atol=1e-12)


def test_a_residual_network_without_any_block_weight_still_has_a_finite_gradient():
    """Global pruning may empty layers."""
    weights = dict(random_weights(RESCNN, 9))
    weights |= {name: np.zeros(shape) for name, shape in RESCNN.layers(9).items()}
    rows = random_rows(9)
    gradient = jax.grad(lambda weights: log_psi(RESCNN, weights, rows).sum())(weights)
    assert all(np.isfinite(array).all() for array in gradient.values())
    assert np.any(gradient["embedding"] != 0)
    assert np.std(log_psi(RESCNN, weights, rows)) > 0.01


@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
@pytest.mark.parametrize("live", [36, 11])
def test_the_tied_form_of_a_convolution_has_the_modules_log_psi(padding, live):
    """θ, and changes of log ψ with every single flip."""
    network, side = Convolutional(padding=padding), 4
    indices = np.sort(np.random.default_rng(1).choice(36, live, replace=False)).astype(np.int32)
    kernel = np.zeros(36)
    kernel[indices] = 0.4 * np.random.default_rng(2).normal(size=live)
    layout = jax.tree.map(jnp.asarray, tied_layout(tied_weights(network, side), indices, 64, "gelu"))
    values = jnp.zeros(len(layout.parameter_sites)).at[:live].set(kernel[indices])
    rows = random_rows(side**2)
    flips = np.arange(side**2, dtype=np.int32)[:, None]
    result = jax.jit(sweep)(None, jnp.asarray(rows.T), values, layout, flips)
    weights = {"kernel": kernel.reshape(3, 3, 1, 4)}
    expected = log_psi(network, weights, rows)
    own = jax.nn.gelu(result.chains.theta).sum(0)
    np.testing.assert_allclose(own, expected, rtol=1e-12)
    signs = 1 - 2 * np.eye(side**2)
    flipped = log_psi(network, weights, signs[:, None] * rows)
    np.testing.assert_allclose(result.log_ratios, flipped - expected, atol=1e-12)


def test_only_a_convolution_has_a_tied_form():
    with pytest.raises(ValueError, match="kind 'rescnn' has no tied weights"):
        tied_weights(RESCNN, 4)


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


@pytest.mark.parametrize(
    "hamiltonian",
    [
        PauliTerms(
            name="xxz ring",
            sites=6,
            side=6,
            terms=[(c, f"{a}{i} {a}{(i + 1) % 6}") for i in range(6) for a, c in zip("XYZ", (-1, -1, 0.5))],
        ),
        ToricCode(side=2),
    ],
    ids=["xxz ring", "toric code"],
)
def test_netkets_state_of_any_hamiltonian_has_our_energy(hamiltonian):
    """Over all its configurations: of the ring those with Σσz = 0, where its samples are, too."""
    sites, network = hamiltonian.sites, FeedForward(width_per_spin=2, initial_std=0.3)
    weights = np.asarray(initial_weights(jax.random.key(1), network, sites)["hidden"])
    state = to_netket(hamiltonian, network, {"hidden": weights}, samples=16)
    psi, ours = state.to_array(), wave_function(weights)
    if sites == 6:
        assert len(psi) == 20 and not np.any(np.asarray(state.samples).sum(-1))
        ours = np.where(all_spins(6).sum(0) == 0, ours, 0) / np.linalg.norm(ours[all_spins(6).sum(0) == 0])
    expected = expectations(flip_form(hamiltonian), transverse_magnetization(sites), ours).energy
    assert float(psi @ netket_operator(hamiltonian).to_dense() @ psi) == pytest.approx(expected, rel=1e-10)
    assert np.isfinite(state.expect(netket_operator(hamiltonian)).mean)


@every_network
def test_the_energy_of_netkets_state_is_ours_and_the_weights_come_back_to_the_bit(network):
    """Over all 512 configurations: NetKet's dense operator against our local energies."""
    hamiltonian, weights = TransverseFieldIsing(side=3, field=2.0), random_weights(network, 9)
    state = to_netket(hamiltonian, network, weights, samples=16)
    psi = np.exp(state.log_value(state.hilbert.all_states()))
    expected = float(psi @ netket_operator(hamiltonian).to_dense() @ psi / (psi @ psi))

    general = general_network(flax_module(network, 9), 9)
    vector = general.flatten(to_params(network, 9, weights))
    rows = jnp.asarray(all_spins(9).T)
    ours = general.log_psi(vector, rows)
    energies = local_energies(flip_form(hamiltonian), general, vector, rows, ours, 10**4)
    energy = jax.nn.softmax(2 * ours) @ energies
    assert float(energy) == pytest.approx(expected, rel=1e-12)
    assert np.std(ours) > 0.01

    back = from_netket(state, network)
    assert list(back) == list(weights)
    jax.tree.map(np.testing.assert_array_equal, back, weights)


class ComplexModule(nn.Module):
    """A feed-forward network with a phase."""

    @nn.compact
    def __call__(self, spins):
        return nn.Dense(18, use_bias=False, param_dtype=float, name="hidden")(spins).sum(-1) + 1j


class Biased(nn.Module):
    """One dense layer with a bias."""

    @nn.compact
    def __call__(self, spins):
        return nn.Dense(2, param_dtype=float)(spins).sum(-1)


def netket_state(module):
    return nk.vqs.FullSumState(nk.hilbert.Spin(0.5, 9), module, seed=0)


@pytest.mark.parametrize(
    "module, network, sentence",
    [
        (ComplexModule(), NETWORKS["ffnn"], "the state's log ψ is complex128; it must be real"),
        (ConvolutionalModule(3, 3, "VALID", "he"), CNN, "not that of a 'cnn' network"),
        (
            ConvolutionalModule(2, 3, "SAME", "he"),
            CNN,
            r"shape \(3, 3, 1, 2\); the network has \(3, 3, 1, 3\)",
        ),
        (FeedForwardModule(18, 0.3), CNN, r"lack the layers \['kernel'\] and have the unknown layers"),
        (
            Biased(),
            CNN,
            r"\['Dense_0'\] have a number of arrays",
        ),
    ],
)
def test_a_netket_state_of_another_network_is_refused_with_a_sentence(module, network, sentence):
    assert list(from_netket(netket_state(FeedForwardModule(18, 0.3)), NETWORKS["ffnn"])) == ["hidden"]
    with pytest.raises(ValueError, match=sentence):
        from_netket(netket_state(module), network)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"embedding": np.ones((3, 3, 1, 5))}, r"'embedding' has shape \(3, 3, 1, 5\); the network has"),
        ({"bias": np.ones(4)}, r"lack the layers \[\] and have the unknown layers \['bias'\]"),
        ({"final_scale": np.ones(4) + 1j}, "'final_scale' is complex; weights must be real"),
    ],
)
def test_weights_that_are_not_the_networks_are_refused_with_a_sentence(change, sentence):
    weights = random_weights(RESCNN, 9)
    with pytest.raises(ValueError, match=sentence):
        to_netket(TransverseFieldIsing(side=3, field=2.0), RESCNN, weights | change, 16)


def test_a_missing_layer_is_named():
    weights = dict(random_weights(RESCNN, 9))
    del weights["block1_conv0"]
    with pytest.raises(ValueError, match=r"weights lack the layers \['block1_conv0'\]"):
        to_params(RESCNN, 9, weights)


def test_live_weights_become_full_arrays_with_zeros_where_pruned():
    live = {
        "kernel": LiveWeights((2, 2, 1, 2), np.array([1, 4], np.int32), np.array([0.5, -2.0])),
        "empty": LiveWeights((3,), np.array([], np.int32), np.array([])),
    }
    full = network_of(live)
    assert list(full) == ["kernel", "empty"]
    np.testing.assert_array_equal(full["kernel"], np.array([0, 0.5, 0, 0, -2, 0, 0, 0]).reshape(2, 2, 1, 2))
    np.testing.assert_array_equal(full["empty"], np.zeros(3))
    assert full["kernel"].dtype == np.float64


@pytest.mark.parametrize(
    "indices, values, sentence",
    [
        ([0, 1], [1.0], "'kernel' has 2 indices and 1 values"),
        ([0, 8], [1.0, 2.0], r"'kernel' has indices outside of its shape \(2, 4\)"),
        ([-1, 7], [1.0, 2.0], r"'kernel' has indices outside of its shape \(2, 4\)"),
    ],
)
def test_live_weights_that_fit_no_layer_are_refused(indices, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        network_of({"kernel": LiveWeights((2, 4), np.array(indices), np.array(values))})


def test_a_width_that_gives_no_whole_number_of_units_is_refused():
    with pytest.raises(ValueError, match="22.5 hidden units on 9 sites"):
        FeedForward(width_per_spin=2.5).check_fits(9)


@pytest.mark.parametrize(
    "network, sites, sentence",
    [
        (Convolutional(), 18, "18 sites; it needs a square lattice"),
        (ResidualConvolutional(), 18, "18 sites; it needs a square lattice"),
        (
            Convolutional(padding="valid"),
            4,
            "kernel_side is 3; with padding 'valid' a 2 × 2 lattice takes at most 2",
        ),
        (
            Convolutional(kernel_side=4),
            4,
            "kernel_side is 4; with padding 'same' a 2 × 2 lattice takes at most 3",
        ),
        (ResidualConvolutional(padding="circular"), 4, "with padding 'circular'"),
    ],
)
def test_a_lattice_that_a_convolution_does_not_fit_is_refused(network, sites, sentence):
    Convolutional().check_fits(4)
    network.check_fits(16)
    with pytest.raises(ValueError, match=sentence):
        network.check_fits(sites)
    with pytest.raises(ValueError, match=sentence):
        flax_module(network, sites)


@pytest.mark.parametrize("network", [Convolutional(), ResidualConvolutional()], ids=["cnn", "rescnn"])
def test_equal_configs_make_equal_modules(network):
    """So that a program is compiled once for both."""
    module = flax_module(network, 16)
    assert isinstance(module, ConvolutionalModule | ResidualConvolutionalModule)
    assert module == flax_module(type(network)(), 16) and hash(module) == hash(flax_module(network, 16))
    other = flax_module(type(network)(padding="circular"), 16)
    assert module != other
