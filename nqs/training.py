"""The training loop: many SR steps in one program, resumable at any step, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nqs.hamiltonians import FlipForm
from nqs.layouts import ListLayout, RowLayout
from nqs.local_energies import local_energies
from nqs.moves import Moves
from nqs.reconfiguration import update_in_parameters, update_in_samples, update_of_tied
from nqs.sampling import draw_proposals, sweep
from nqs.tied_layouts import TiedLayout

# Steps that one call of the program can record; the number it makes is data, not compiled in.
RECORD_CAPACITY = 100
# How the SR direction is made in each layout.
UPDATES = {RowLayout: update_in_samples, ListLayout: update_in_parameters, TiedLayout: update_of_tied}


class Problem(NamedTuple):
    """What is minimised and how: data, so that another field or rate needs no other program.

    Attributes:
        form: the Hamiltonian in flip form.
        moves: of a sweep.
        learning_rate, diagonal_shift: of the SR step.
    """

    form: FlipForm
    moves: Moves
    learning_rate: Array
    diagonal_shift: Array


class TrainingState(NamedTuple):
    """What a step carries along.

    Attributes:
        weights: float64; (sites, hidden) in the row layout, (bucket,) in the others.
        spins: (sites, chains) float32 ±1.
        diverged_at: int32, the first step with a non-finite energy or update, 0 before; from then on
            the weights stand still.
    """

    weights: Array
    spins: Array
    diverged_at: Array


class StepRecords(NamedTuple):
    """One entry a step; energies are those before the step's update, totals in units of J."""

    energy: Array
    energy_error: Array
    variance: Array
    acceptance: Array
    update_norm: Array


class StepInfo(NamedTuple):
    """What one evaluation of the network on its samples gives: the SR direction and the energies."""

    update: Array
    energies: Array
    acceptance: Array


@partial(jax.jit, static_argnames="dtype", donate_argnames="state")
def train(
    key: Array,
    problem: Problem,
    layout: RowLayout | ListLayout | TiedLayout,
    state: TrainingState,
    first: Array,
    count: Array,
    dtype=jnp.float32,
) -> tuple[TrainingState, StepRecords]:
    """Make `count` ≤ RECORD_CAPACITY steps, numbered from `first`.

    Step t uses fold_in(key, t) alone, so that the result does not depend on where a call ends.

    Args:
        key: of this level's training.
        dtype: of θ, of the products of ±1 and of the factor that preconditions the solve; what is solved
            and what is recorded is float64.

    Returns:
        The state, and the records with `count` valid entries.
    """
    return make_steps(
        lambda key, state: evaluate(key, problem, layout, state, dtype), key, problem, state, first, count
    )


@partial(jax.jit, static_argnames="dtype", donate_argnames="state")
def train_batch(
    key: Array,
    problem: Problem,
    layout: RowLayout | ListLayout | TiedLayout,
    state: TrainingState,
    first: Array,
    count: Array,
    dtype=jnp.float32,
) -> tuple[TrainingState, StepRecords]:
    """`train` of several networks as one program; each array of each argument has a leading replica axis.

    Weights, masks, keys, fields, rates and step numbers may all differ. A replica that diverges stands
    still; no arithmetic mixes replicas, so its NaN stays its own.
    """
    return jax.vmap(partial(train, dtype=dtype))(key, problem, layout, state, first, count)


def make_steps(
    evaluate_step: Callable[[Array, TrainingState], tuple[Array, StepInfo]],
    key: Array,
    problem: Problem,
    state: TrainingState,
    first: Array,
    count: Array,
) -> tuple[TrainingState, StepRecords]:
    """The steps of `train` for any way of evaluating a network: (key, state) → (spins, info)."""

    def step(index, carry):
        state, records = carry
        number = first + index
        spins, info = evaluate_step(jax.random.fold_in(key, number), state)
        mean, variance = info.energies.mean(), info.energies.var()
        change = problem.learning_rate * info.update
        finite = jnp.isfinite(mean) & jnp.all(jnp.isfinite(change)) & (state.diverged_at == 0)
        entry = StepRecords(
            mean,
            jnp.sqrt(variance / len(info.energies)),
            variance,
            info.acceptance,
            jnp.sqrt(jnp.sum(change**2)),
        )
        records = jax.tree.map(lambda array, value: array.at[index].set(value), records, entry)
        diverged_at = jnp.where(finite | (state.diverged_at > 0), state.diverged_at, number)
        weights = jnp.where(finite, state.weights - change, state.weights)
        return TrainingState(weights, spins, diverged_at), records

    records = StepRecords(*(jnp.zeros(RECORD_CAPACITY) for _ in StepRecords._fields))
    return jax.lax.fori_loop(0, count, step, (state, records))


def evaluate(
    key: Array, problem: Problem, layout: RowLayout | ListLayout | TiedLayout, state: TrainingState, dtype
) -> tuple[Array, StepInfo]:
    """One sweep of the chains, then the SR direction at the state's weights: (spins, info)."""
    spins, weights = state.spins.astype(dtype), state.weights.astype(dtype)
    proposals = draw_proposals(key, problem.moves, spins.shape[1], dtype)
    chains, log_ratios, accepted = sweep(proposals, spins, weights, layout, problem.form.flip_sites)
    energies = local_energies(problem.form, chains.spins, log_ratios)
    direction = UPDATES[type(layout)](chains, energies, layout, problem.diagonal_shift, dtype)
    # The energies' float32 rounding is random from sample to sample; their sums are float64.
    return chains.spins.astype(jnp.float32), StepInfo(direction, energies.astype(float), accepted)
