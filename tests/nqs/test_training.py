"""Many steps in one program: batches, resumption, divergence, and mixed against pure float64 training."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqs import full_summation
from nqs.config import TransverseFieldIsing
from nqs.hamiltonians import flip_form
from nqs.layouts import list_layout, padded_degree, row_layout
from nqs.moves import single_flips
from nqs.sampling import random_spins
from nqs.training import Problem, TrainingState, train, train_batch
from tests.nqs.engines import ENGINES, live_values, sparse_network

SHAPE, LIVE, SAMPLES = (9, 18), 40, 101
FIELDS, RATES, FIRSTS = (2.0, 3.04438, 4.0), (8e-3, 3e-3, 1e-3), (1, 41, 7)


@cache
def compiled_form(field):
    return jax.tree.map(jnp.asarray, flip_form(TransverseFieldIsing(side=3, field=field)))


@cache
def member(engine, number, rate=None):
    """Arguments of one network's training: field, rate, shift, mask, weights, key and first step its own."""
    networks = [sparse_network(*SHAPE, LIVE, scale=0.3, seed=seed) for seed in range(3)]
    kind, backend = engine.split()
    indices, weights = networks[number]
    compiled = backend == "compiled"
    if kind == "rows":
        layout, values = row_layout(SHAPE, indices, compiled), weights
    else:
        degree = max(padded_degree(SHAPE, own) for own, _ in networks)
        layout = list_layout(SHAPE, indices, 64, compiled, degree)
        values = np.zeros(64)
        values[:LIVE] = weights.ravel()[indices]
    problem = Problem(
        compiled_form(FIELDS[number]),
        single_flips(SHAPE[0]),
        jnp.float64(RATES[number] if rate is None else rate),
        jnp.float64(1e-3 * (1 + number)),
    )
    spins = random_spins(jax.random.key(20 + number), SHAPE[0], SAMPLES)
    state = TrainingState(jnp.asarray(values), spins, jnp.int32(0))
    layout = jax.tree.map(jnp.asarray, layout)
    return indices, (jax.random.key(number), problem, layout, state)


def batch_of(engine, steps, states=None, done=0, rates=(None, None, None)):
    """(states, records) of the three members after so many steps more; states None: from the start."""
    arguments = [member(engine, number, rate)[1] for number, rate in enumerate(rates)]
    arguments = [
        (*given, jnp.int32(first + done), jnp.int32(steps))
        for given, first in zip(arguments, FIRSTS, strict=True)
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)
    if states is not None:
        stacked = (*stacked[:3], jax.tree.map(jnp.asarray, states), *stacked[4:])
    states, records = train_batch(*stacked, dtype=jnp.float64)
    return jax.tree.map(np.asarray, states), jax.tree.map(np.asarray, records)


def one(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_member_of_a_batch_is_trained_as_alone(engine):
    """Other fields, rates, shifts, masks, keys and step numbers; also as a GPU holds them."""
    states, records = batch_of(engine, 3)
    for number, first in enumerate(FIRSTS):
        indices, (key, problem, layout, start) = member(engine, number)
        given = jax.tree.map(jnp.array, start)
        alone, own = train(key, problem, layout, given, jnp.int32(first), jnp.int32(3), dtype=jnp.float64)
        before = live_values(start.weights, layout, indices)
        moved = live_values(alone.weights, layout, indices) - before
        together = live_values(states.weights[number], layout, indices) - before
        assert np.linalg.norm(moved) > 1e-3
        np.testing.assert_array_equal(states.spins[number], alone.spins)
        # A condition number below 1e5 leaves ten of sixteen digits.
        assert np.linalg.norm(together - moved) <= 1e-10 * np.linalg.norm(moved)
        np.testing.assert_allclose(records.energy[number][:3], own.energy[:3], rtol=1e-12)
    assert len(set(records.energy[:, 0])) == 3


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_saved_and_restored_equals_an_undisturbed_one_bit_for_bit(engine):
    whole, records = batch_of(engine, 5)
    half, first_records = batch_of(engine, 2)
    resumed, last_records = batch_of(engine, 3, half, done=2)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    for name in records._fields:
        joined = np.concatenate(
            [getattr(first_records, name)[:, :2], getattr(last_records, name)[:, :3]], axis=1
        )
        np.testing.assert_array_equal(joined, getattr(records, name)[:, :5], err_msg=name)


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_member_that_diverges_changes_no_bit_of_the_others(engine):
    usual, usual_records = batch_of(engine, 5)
    states, records = batch_of(engine, 5, rates=(None, 1e300, None))
    np.testing.assert_array_equal(states.diverged_at > 0, [False, True, False])
    assert FIRSTS[1] <= states.diverged_at[1] <= FIRSTS[1] + 2
    # Its weights stand still from that step on: they are what the steps before made of them.
    made = states.diverged_at[1] - FIRSTS[1]
    before, _ = batch_of(engine, made, rates=(None, 1e300, None))
    assert np.isfinite(states.weights[1]).all()
    np.testing.assert_array_equal(states.weights[1], before.weights[1])
    for number in (0, 2):
        jax.tree.map(np.testing.assert_array_equal, one(states, number), one(usual, number))
        jax.tree.map(np.testing.assert_array_equal, one(records, number), one(usual_records, number))


SEEDS, STEPS = 6, 300


@cache
def trained_energies(dtype):
    """Relative errors of the exact energies of ten networks of other seeds after their training."""
    shape = (9, 36)
    problem = Problem(compiled_form(3.04438), single_flips(9), jnp.float64(8e-3), jnp.float64(1e-4))
    layout = row_layout(shape, np.arange(324), compiled=True)
    errors = []
    # One after the other: on a CPU ten in one program take several times as long.
    for key in map(jax.random.key, range(SEEDS)):
        spins = random_spins(jax.random.fold_in(key, 1), 9, 300)
        state = TrainingState(0.01 * jax.random.normal(key, shape), spins, jnp.int32(0))
        for first in range(1, STEPS, 100):
            state, _ = train(key, problem, layout, state, jnp.int32(first), jnp.int32(100), dtype=dtype)
        psi = full_summation.wave_function(np.asarray(state.weights))
        # Ground state by exact diagonalisation, tests/nqs/test_exact_diagonalization.py.
        errors.append((psi @ full_summation.apply(problem.form, psi)) / 28.455559567670 + 1)
    return np.array(errors)


def test_mixed_training_ends_where_pure_float64_training_ends():
    """The means over the seeds agree within their errors.

    A factor of float32 without its refinement ends there as well: each step corrects the one before. What
    the refinement is worth is tested on the direction, in test_reconfiguration.py.
    """
    mixed, pure = trained_energies("float32"), trained_energies("float64")
    difference = np.hypot(mixed.std(ddof=1), pure.std(ddof=1)) / np.sqrt(SEEDS)
    assert abs(mixed.mean() - pure.mean()) <= 3 * difference
    for errors in (mixed, pure):
        # Between 4e-8 and 3e-7 were seen.
        assert 0 < errors.min() and errors.max() < 1e-6
