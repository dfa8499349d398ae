"""The general path: against the fast one, against NetKet, in chunks, and as a training; float64."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs.config import TransverseFieldIsing
from nqs.full_summation import all_spins
from nqs.general import (
    Chunks,
    choose_chunks,
    equilibrate_general,
    estimated_bytes,
    evaluate_general,
    general_network,
    local_energies,
    padded_live,
    train_general,
)
from nqs.hamiltonians import flip_form
from nqs.layouts import RowLayout, choose_layout
from nqs.moves import joined, moves_of, single_flips
from nqs.networks import FeedForwardModule
from nqs.operators import compile_flip_form, marshall_rotated, netket_operator
from nqs.sampling import random_spins
from nqs.training import Problem, TrainingState, train
from tests.nqs.oracles import (
    ising_matrix,
    netket_strings,
    netket_update,
    square_bonds,
    two_spin_operator,
    xxz_strings,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

SITES, SAMPLES, SHIFT = 9, 101, 1e-3
KEY = jax.random.key(6)
RELU = FeedForwardModule(hidden=18, initial_std=0.3)
# Chunks that divide neither the samples nor the pairs, and gradients made again for each pair of them.
SMALL_CHUNKS = Chunks(forward=64, gradient=30, keep_jacobian=False)


class Convolutions(nn.Module):
    """Two gelu layers on the periodic 3 × 3 lattice: nothing that the fast path can do."""

    features: int = 3
    std: float = 0.2

    @nn.compact
    def __call__(self, spins):
        image = spins.reshape(*spins.shape[:-1], 3, 3, 1)
        for _ in range(2):
            normal = nn.initializers.normal(self.std)
            image = nn.Conv(self.features, (3, 3), padding="CIRCULAR", kernel_init=normal, param_dtype=float)(
                image
            )
            image = jax.nn.gelu(image)
        return image.sum((-3, -2, -1))


def problem_of(form, moves=None):
    problem = Problem(form, moves or single_flips(SITES), jnp.float64(8e-3), jnp.float64(SHIFT))
    return jax.tree.map(jnp.asarray, problem)


def ising_problem(boundary="periodic"):
    return problem_of(flip_form(TransverseFieldIsing(side=3, field=3.04438, boundary=boundary)))


def masked(network, live, scale=0.3, seed=0):
    """Ascending positions of so many live weights, and weights far from convergence, 0 elsewhere."""
    generator = np.random.default_rng(seed)
    indices = np.sort(generator.choice(network.size, live, replace=False)).astype(np.int32)
    weights = np.zeros(network.size)
    weights[indices] = scale * generator.normal(size=live)
    return indices, jnp.asarray(weights)


def state_of(weights, samples=SAMPLES):
    # Copies: a training may overwrite what it is given.
    return TrainingState(jnp.array(weights), random_spins(jax.random.key(3), SITES, samples), jnp.int32(0))


def train_both(problem, indices, weights, layout, steps):
    """The flat weights, the state and the records after some steps of the fast and of the general path."""
    network = general_network(RELU, SITES)
    in_rows = isinstance(layout, RowLayout)
    layout = jax.tree.map(jnp.asarray, layout)
    if in_rows:
        start = weights.reshape(SITES, RELU.hidden)
    else:
        start = jnp.zeros(len(layout.weight_sites)).at[: len(indices)].set(weights[indices])
    fast, fast_records = train(
        jax.random.key(4), problem, layout, state_of(start), 1, steps, dtype=jnp.float64
    )
    fast_weights = fast.weights.ravel() if in_rows else fast.weights[: len(indices)]
    if not in_rows:
        fast_weights = jnp.zeros(network.size).at[indices].set(fast_weights)
    live = jnp.asarray(padded_live(indices, network.size, SAMPLES))
    general, records = train_general(
        jax.random.key(4), problem, network, live, state_of(weights), 1, steps, dtype=jnp.float64
    )
    return (fast_weights, fast, fast_records), (general.weights, general, records)


def assert_same_training(fast, general, weights, steps):
    fast_weights, fast_state, fast_records = fast
    general_weights, general_state, records = general
    np.testing.assert_array_equal(general_state.spins, fast_state.spins)
    moved = np.linalg.norm(fast_weights - weights)
    assert moved > 1e-3
    # Cholesky at a condition number below 1e5 keeps ten of sixteen digits.
    assert np.linalg.norm(general_weights - fast_weights) <= 1e-10 * moved
    for name, expected in fast_records._asdict().items():
        # The fast path averages acceptance in float32.
        tolerance = 1e-6 if name == "acceptance" else 1e-10
        np.testing.assert_allclose(
            getattr(records, name)[:steps], expected[:steps], rtol=tolerance, err_msg=name
        )


# Single flips, plaquettes of the 3 × 3 lattice, and loops around it.
WIDTHS = joined(SITES, [[i] for i in range(SITES)], [[0, 1, 3, 4], [4, 5, 7, 8]], [[0, 1, 2], [0, 3, 6]])


def exchange_problem():
    """XXZ on the open 3 × 3 lattice, rotated on one of its sublattices, with exchanges of its bonds."""
    strings = xxz_strings(square_bonds(3, periodic=False), 0.5, 0.3, SITES)
    form = compile_flip_form(marshall_rotated(netket_strings(strings, SITES), range(0, SITES, 2)))
    moves = moves_of(form, SITES)
    assert moves.exchange == 1
    return problem_of(form, moves)


PROBLEMS = {
    "open": lambda: ising_problem("open"),
    "periodic": ising_problem,
    "two spins": lambda: problem_of(compile_flip_form(two_spin_operator())),
    "exchange": exchange_problem,
    "moves of three widths": lambda: problem_of(compile_flip_form(two_spin_operator()), WIDTHS),
}


@pytest.mark.parametrize(
    "hamiltonian, live",
    [
        ("periodic", 162),
        ("periodic", 130),
        ("open", 40),
        ("two spins", 130),
        ("exchange", 130),
        ("exchange", 40),
        ("moves of three widths", 130),
    ],
)
def test_a_relu_network_is_trained_as_by_the_fast_path(hamiltonian, live):
    """The same chains, energies and weights after three steps: 162 and 130 weights are solved in samples."""
    indices, weights = masked(general_network(RELU, SITES), live)
    layout = choose_layout((SITES, RELU.hidden), indices, SAMPLES, compiled=True)
    assert isinstance(layout, RowLayout) == (live > SAMPLES)
    fast, general = train_both(PROBLEMS[hamiltonian](), indices, weights, layout, 3)
    assert_same_training(fast, general, weights, 3)
    assert not np.delete(general[0], indices).any()


@pytest.mark.parametrize("chunk", [1000_000, 64])
def test_local_energies_equal_the_sum_over_netkets_connected_configurations(chunk):
    """With flips of two spins."""
    operator = two_spin_operator()
    network = general_network(Convolutions(), SITES)
    weights = masked(network, network.size)[1]
    rows = random_spins(jax.random.key(5), SITES, 33).T.astype(float)
    log_psi = network.log_psi(weights, rows)
    energies = local_energies(compile_flip_form(operator), network, weights, rows, log_psi, chunk)

    connected, elements = operator.get_conn_padded(np.asarray(rows))
    log_ratios = network.log_psi(weights, connected.reshape(-1, SITES)).reshape(elements.shape)
    expected = (elements * np.exp(log_ratios - log_psi[:, None])).sum(1)
    np.testing.assert_allclose(energies, expected, rtol=1e-12)


CONVOLUTIONAL = general_network(Convolutions(), SITES)
LIVE = 40
# The length of the padded positions chooses the solve: 64 in parameters, 128 in samples.
IN_PARAMETERS, IN_SAMPLES = 64, 128
KEPT = Chunks(forward=50, gradient=40, keep_jacobian=True)


def arguments(length, seed=0):
    """Of an evaluation of 40 live weights of 114, biases among them."""
    indices, weights = masked(CONVOLUTIONAL, LIVE, seed=seed)
    positions = np.full(length, CONVOLUTIONAL.size, np.int32)
    positions[:LIVE] = indices
    return jnp.asarray(positions), weights, state_of(weights).spins


@cache
def program(length, chunks):
    positions, weights, spins = arguments(length)
    return evaluate_general.lower(
        KEY, ising_problem(), CONVOLUTIONAL, positions, weights, spins, chunks, jnp.float64
    ).compile()


@cache
def evaluated(length, chunks):
    return program(length, chunks)(KEY, ising_problem(), *arguments(length))


@cache
def expected_of_netket(spins):
    indices, weights = masked(CONVOLUTIONAL, LIVE)
    hamiltonian = TransverseFieldIsing(side=3, field=3.04438, boundary="periodic")
    operator = netket_operator(hamiltonian).to_jax_operator()
    return netket_update(operator, weights, indices, np.array(spins), SHIFT, log_psi=CONVOLUTIONAL.log_psi)


@pytest.mark.parametrize("length, chunks", [(IN_PARAMETERS, None), (IN_SAMPLES, KEPT)])
def test_the_direction_of_a_convolutional_network_equals_netkets(length, chunks):
    """Pruned; the biases' O has a large mean, which is to be removed."""
    indices, _ = masked(CONVOLUTIONAL, LIVE)
    spins, info = evaluated(length, chunks)
    # Hashable, so that NetKet, which takes seconds, is asked once for the spins that both have.
    expected, expected_energy = expected_of_netket(tuple(map(tuple, np.asarray(spins))))
    direction = np.asarray(info.update)
    assert float(info.energies.mean()) == pytest.approx(expected_energy, rel=1e-12)
    assert np.linalg.norm(direction[indices] - expected) <= 1e-10 * np.linalg.norm(expected)
    assert not np.delete(direction, indices).any()


@pytest.mark.parametrize("length, other", [(IN_PARAMETERS, None), (IN_SAMPLES, KEPT)])
def test_chunks_change_nothing_but_rounding(length, other):
    """101 samples, divisible by no chunk: a metric of several chunks, a Gram matrix of pairs of tiles."""
    spins, info = evaluated(length, SMALL_CHUNKS)
    other_spins, expected = evaluated(length, other)
    np.testing.assert_array_equal(spins, other_spins)
    np.testing.assert_allclose(info.energies, expected.energies, rtol=1e-11)
    assert np.linalg.norm(info.update - expected.update) <= 1e-10 * np.linalg.norm(expected.update)


@pytest.mark.parametrize("length, chunks", [(IN_PARAMETERS, None), (IN_SAMPLES, KEPT)])
def test_the_estimate_bounds_the_memory_that_the_compiler_takes(length, chunks):
    sizes = []
    for asked in (chunks, SMALL_CHUNKS):
        taken = program(length, asked).memory_analysis().temp_size_in_bytes
        used = asked or choose_chunks(CONVOLUTIONAL, SAMPLES, length, jnp.float64)
        estimate = estimated_bytes(CONVOLUTIONAL, SAMPLES, length, 9, used, jnp.float64)
        # An estimate ten times too large would make chunks that waste a device.
        assert taken <= estimate <= 10 * taken
        sizes.append(taken)
    assert sizes[1] < sizes[0]


def test_a_chunk_grows_with_its_limit_and_is_never_empty():
    network = general_network(Convolutions(), SITES)
    smallest = choose_chunks(network, SAMPLES, 114, jnp.float32, chunk_bytes=1, jacobian_bytes=1)
    assert smallest == Chunks(1, 1, False)
    small, large = (choose_chunks(network, 10**6, 114, jnp.float32, size) for size in (10**6, 10**7))
    # Ten times, up to the remainder that is cut off.
    assert 0 <= large.forward - 10 * small.forward < 10
    assert 0 <= large.gradient - 10 * small.gradient < 10
    # 8 · 10⁶ · 114 bytes are below the default limit, 8 · 10⁷ · 114 above.
    assert small.keep_jacobian
    assert not choose_chunks(network, 10**7, 114, jnp.float32).keep_jacobian


def learner():
    """(network, a training of it as a function of (state, first, count), its start); one program for all."""
    network = general_network(Convolutions(features=4, std=0.1), SITES)
    live = jnp.asarray(padded_live(np.arange(network.size), network.size, 256))
    problem = ising_problem()._replace(learning_rate=jnp.float64(0.03), diagonal_shift=jnp.float64(0.01))
    advance = partial(train_general, jax.random.key(10), problem, network, live)
    return network, advance, state_of(network.initial_weights(jax.random.key(8)), 256)


def test_a_convolutional_network_learns_the_ground_state_and_samples_it():
    """On the periodic 3 × 3 lattice, where all 512 configurations say what the state's energy is."""
    network, advance, start = learner()
    spins = equilibrate_general(
        jax.random.key(9), single_flips(SITES), network, start.spins, start.weights, 20
    )
    state = start._replace(spins=spins)
    state, _ = advance(state, 1, 60)
    assert int(state.diverged_at) == 0

    matrix = ising_matrix(3, 3.04438, periodic=True)
    exact = np.linalg.eigvalsh(matrix)[0]
    psi = np.exp(network.log_psi(state.weights, jnp.asarray(all_spins(SITES).T)))
    psi = psi / np.linalg.norm(psi)
    energy = psi @ matrix @ psi
    assert exact <= energy <= exact + 1e-2 * abs(exact)
    # A step's record is of the weights before its update.
    _, records = advance(state, 61, 1)
    assert abs(float(records.energy[0]) - energy) <= 5 * float(records.energy_error[0])
    assert 0 < float(records.energy_error[0]) < 1e-2 * abs(exact)


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit():
    _, advance, start = learner()
    before = np.asarray(start.weights)
    whole, records = advance(jax.tree.map(jnp.array, start), 1, 5)
    half, first_records = advance(start, 1, 2)
    saved = jax.tree.map(np.asarray, half)
    resumed, last_records = advance(jax.tree.map(jnp.asarray, saved), 3, 3)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    np.testing.assert_array_equal(records.energy[:2], first_records.energy[:2])
    np.testing.assert_array_equal(records.energy[2:5], last_records.energy[:3])
    assert np.linalg.norm(whole.weights - before) > 0


def test_a_diverged_training_says_when_and_leaves_the_weights():
    _, advance, start = learner()
    broken = np.asarray(start.weights.at[0].set(jnp.nan))
    state, records = advance(start._replace(weights=jnp.array(broken)), 7, 2)
    assert int(state.diverged_at) == 7
    np.testing.assert_array_equal(state.weights, broken)
    assert np.isnan(records.energy[:2]).all()


def test_replicas_are_evaluated_by_one_program_each_as_alone():
    spins, alone = evaluated(IN_PARAMETERS, None)
    live, weights, start = arguments(IN_PARAMETERS)
    other_live, other_weights, _ = arguments(IN_PARAMETERS, seed=1)

    def evaluate(live, weights):
        return evaluate_general(KEY, ising_problem(), CONVOLUTIONAL, live, weights, start, None, jnp.float64)

    both_spins, both = jax.vmap(evaluate)(jnp.stack([other_live, live]), jnp.stack([other_weights, weights]))
    np.testing.assert_array_equal(both_spins[1], spins)
    assert np.linalg.norm(both.update[1] - alone.update) <= 1e-10 * np.linalg.norm(alone.update)
    assert np.linalg.norm(both.update[0] - alone.update) > 0.1 * np.linalg.norm(alone.update)


def test_params_come_back_from_the_flat_weights():
    weights = jnp.arange(114.0) / 114
    params = CONVOLUTIONAL.unflatten(weights)
    np.testing.assert_array_equal(CONVOLUTIONAL.flatten(params), weights)
    rows = jnp.ones((2, SITES)).at[0, 3].set(-1)
    np.testing.assert_allclose(
        CONVOLUTIONAL.log_psi(weights, rows), Convolutions().apply({"params": params}, rows), rtol=1e-14
    )
    with pytest.raises(ValueError, match="the network has"):
        CONVOLUTIONAL.flatten({"Conv_0": params["Conv_0"]})


def test_equal_modules_make_one_network():
    """So that a program is compiled once for both."""
    assert general_network(Convolutions(), SITES) == general_network(Convolutions(), SITES)
    assert hash(general_network(Convolutions(), SITES)) == hash(general_network(Convolutions(), SITES))
    assert general_network(Convolutions(4), SITES) != general_network(Convolutions(), SITES)


@pytest.mark.parametrize(
    "live, length", [(0, 1), (5, 8), (64, 64), (65, 101), (101, 101), (102, 128), (150, 162), (162, 162)]
)
def test_live_positions_are_padded_to_few_lengths_and_to_the_same_solve(live, length):
    """Of 162 weights with 101 samples; the padding points past the weights."""
    padded = padded_live(np.arange(live), 162, 101)
    assert len(padded) == length
    np.testing.assert_array_equal(padded[:live], np.arange(live))
    assert (padded[live:] == 162).all()


class Output(nn.Module):
    """One dense layer, of a kind that is refused."""

    kind: str
    widths: object = None

    @nn.compact
    def __call__(self, spins):
        dtype = complex if self.kind == "complex weights" else float
        output = nn.Dense(1, param_dtype=dtype)(spins)
        if self.kind == "statistics":
            output = nn.BatchNorm(use_running_average=False)(output)
        if self.kind == "complex output":
            output = output + 1j
        return output if self.kind == "shape" else output[..., 0].real if dtype is complex else output[..., 0]


@pytest.mark.parametrize(
    "module, sentence",
    [
        (Output("complex output"), "Output has complex128 output; log ψ must be real"),
        (Output("complex weights"), "Output has complex128 weights; they must be real"),
        (Output("shape"), r"Output maps \(3, 9\) to \(3, 1\); log ψ of 3 configurations is \(3,\)"),
        (Output("statistics"), r"collections \['batch_stats', 'params'\]; only 'params' is possible"),
        (Output("good", np.ones(2)), "Output cannot be a static argument"),
    ],
)
def test_a_module_that_the_engine_cannot_hold_is_refused_with_a_sentence(module, sentence):
    assert general_network(Output("good"), SITES).size == 10
    with pytest.raises(ValueError, match=sentence):
        general_network(module, SITES)
