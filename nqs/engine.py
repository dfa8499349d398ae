"""The engine's one door: training, sweeps and ratios of a network in whatever layout it has.

Networks of one hidden layer have layouts of their own, which make a step from counts of bits or from the
lists of live weights; every other Flax network has `GeneralLayout` and is made of forwards and gradients.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from nqs import general, sampling, training
from nqs.general import GeneralLayout
from nqs.hamiltonians import FlipForm
from nqs.layouts import ListLayout, RowLayout
from nqs.moves import Moves
from nqs.tied_layouts import TiedLayout
from nqs.training import Problem, StepRecords, TrainingState

Layout = RowLayout | ListLayout | TiedLayout | GeneralLayout


def train(
    key: Array, problem: Problem, layout: Layout, state: TrainingState, first: Array, count: Array
) -> tuple[TrainingState, StepRecords]:
    """`nqs.training.train` in the network's layout."""
    if isinstance(layout, GeneralLayout):
        return general.train_general(key, problem, layout.network, layout.live, state, first, count)
    return training.train(key, problem, layout, state, first, count)


def train_batch(
    key: Array, problem: Problem, layout: Layout, state: TrainingState, first: Array, count: Array
) -> tuple[TrainingState, StepRecords]:
    """`train` of several networks as one program; each array of each argument has a leading replica axis."""
    if isinstance(layout, GeneralLayout):
        return jax.vmap(train)(key, problem, layout, state, first, count)
    return training.train_batch(key, problem, layout, state, first, count)


def equilibrate(key: Array, moves: Moves, spins: Array, weights: Array, layout: Layout, sweeps: int) -> Array:
    """Spins (sites, chains) after so many sweeps at fixed weights; the number is not compiled in."""
    if isinstance(layout, GeneralLayout):
        return general.equilibrate_general(key, moves, layout.network, spins, weights, sweeps)
    return sampling.equilibrate(key, moves, spins, weights, layout, sweeps)


def swept(key: Array, moves: Moves, spins: Array, weights: Array, layout: Layout) -> tuple[Array, Array]:
    """Spins (sites, chains) after one sweep, and the fraction of moves accepted; in the spins' type."""
    weights = weights.astype(spins.dtype)
    if isinstance(layout, GeneralLayout):
        chunk = general.forward_chunk(layout.network, spins.dtype)
        rows, _, accepted = general.sweep(key, moves, layout.network, weights, spins.T, chunk)
        return rows.T, accepted
    proposals = sampling.draw_proposals(key, moves, spins.shape[1], spins.dtype)
    after = sampling.sweep(proposals, spins, weights, layout)
    return after.chains.spins, after.accepted


def log_psi(weights: Array, layout: Layout, spins: Array) -> Array:
    """log ψ of each chain, (chains,), in the type of the weights."""
    if isinstance(layout, GeneralLayout):
        return general.log_psi_of(layout.network, weights, spins.T)
    return sampling.log_psi(weights, layout, spins)


def flip_ratios(form: FlipForm, weights: Array, layout: Layout, spins: Array) -> tuple[Array, Array]:
    """log ψ(s) of each chain, (chains,), and ψ(X_F s) / ψ(s) of the form's flips, (flips, chains)."""
    if isinstance(layout, GeneralLayout):
        own = general.log_psi_of(layout.network, weights, spins.T)
        chunk = general.forward_chunk(layout.network, weights.dtype)
        return own, general.flip_ratios(form, layout.network, weights, spins.T, own, chunk)
    chains, log_ratios, _ = sampling.sweep(None, spins, weights, layout, form.flip_sites)
    return sampling.amplitude_of(chains, layout), jnp.exp(log_ratios)


compiled_log_psi = jax.jit(log_psi)
