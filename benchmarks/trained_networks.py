"""Short trainings that stand for a study's networks: dense, and pruned to a few weights per spin."""

from __future__ import annotations

import time
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqs.config import FeedForward, TransverseFieldIsing
from nqs.hamiltonians import FlipForm, flip_form
from nqs.layouts import ListLayout, RowLayout, choose_layout, row_layout
from nqs.moves import Moves, single_flips
from nqs.networks import initial_weights
from nqs.pruning import survivors
from nqs.runs import FRESH_SWEEPS, REWIND_SWEEPS
from nqs.sampling import equilibrate, random_spins
from nqs.training import RECORD_CAPACITY, Problem, TrainingState, train

SAMPLES, WIDTH = 1024, 8
LAST_WEIGHTS_PER_SPIN = 4


class Network:
    """A network (sites, hidden) with zeros where pruned, on its Hamiltonian, and chains that follow it.

    Attributes:
        hamiltonian, form: what it was trained on.
        indices, values: (live,) positions in the flattened layer, and weights.
        spins: (sites, SAMPLES) the persistent chains that ended its training.
        rewind: (sites · hidden,) w*, the weights that ended the dense training.
        steps: training steps made of its level; 0 in the dense network: random initial weights.
    """

    def __init__(
        self,
        hamiltonian: TransverseFieldIsing,
        form: FlipForm,
        indices,
        values,
        spins,
        rewind,
        steps: int = 0,
    ):
        self.hamiltonian, self.form = hamiltonian, form
        self.indices, self.values = np.asarray(indices), np.asarray(values)
        self.spins, self.rewind, self.steps = spins, rewind, steps

    @property
    def sites(self) -> int:
        return self.hamiltonian.sites

    @property
    def moves(self) -> Moves:
        return single_flips(self.sites)

    @property
    def shape(self) -> tuple[int, int]:
        return self.sites, WIDTH * self.sites

    @property
    def weights_per_spin(self) -> str:
        return f"{len(self.indices) / self.sites:.3g}"

    @cached_property
    def weights(self) -> np.ndarray:
        full = np.zeros(self.shape[0] * self.shape[1])
        full[self.indices] = self.values
        return full.reshape(self.shape)

    @cached_property
    def rows(self) -> RowLayout:
        """The layout of chains outside of training."""
        return _on_device(row_layout(self.shape, self.indices, compiled=True))

    def rewound(self, ratio: float) -> Network:
        """What the next level starts from when this one is pruned by a ratio: mask · w*."""
        kept = survivors(self.indices, np.abs(self.values), ratio)
        return self.followed_by(kept, self.rewind[kept], self.spins)

    def followed_by(self, indices, values, spins, steps: int = 0) -> Network:
        """Another network of the same history."""
        return Network(self.hamiltonian, self.form, indices, values, spins, self.rewind, steps)


class Placed(NamedTuple):
    """A network in the layout that it is trained in."""

    layout: RowLayout | ListLayout
    weights: jax.Array


def placed(network: Network) -> Placed:
    """The network as the training program takes it."""
    layout = _on_device(choose_layout(network.shape, network.indices, SAMPLES, compiled=True))
    if isinstance(layout, RowLayout):
        return Placed(layout, jnp.asarray(network.weights))
    live = jnp.zeros(len(layout.weight_sites)).at[: len(network.indices)].set(network.values)
    return Placed(layout, live)


def untrained(side: int, field: float, seed: int) -> Network:
    """A dense network with random initial weights, and random spins brought into equilibrium with it."""
    hamiltonian, key = TransverseFieldIsing(side=side, field=field), jax.random.key(seed)
    for_weights, for_spins, for_sweeps = jax.random.split(key, 3)
    weights = initial_weights(for_weights, FeedForward(width_per_spin=WIDTH), hamiltonian.sites)["hidden"]
    values = np.asarray(weights, float).ravel()
    spins = random_spins(for_spins, hamiltonian.sites, SAMPLES)
    form = _on_device(flip_form(hamiltonian))
    network = Network(hamiltonian, form, np.arange(len(values)), values, spins, values)
    network.spins = equilibrate(
        for_sweeps, network.moves, spins, jnp.asarray(weights), network.rows, FRESH_SWEEPS
    )
    return network


def trained_levels(side: int, field: float, steps: int, levels: int, seed: int) -> list[Network]:
    """The dense network after so many steps, and pruned ones, each trained for a third of that.

    They are pruned faster than the paper's 12 % a level, to LAST_WEIGHTS_PER_SPIN, each level from w*.
    """
    keys = jax.random.split(jax.random.key(seed + 1), levels + 1)
    dense = _trained(keys[0], untrained(side, field, seed), steps)
    dense.rewind = dense.values
    ratio = 1 - (LAST_WEIGHTS_PER_SPIN / dense.shape[1]) ** (1 / levels)
    networks = [dense]
    for key in keys[1:]:
        for_sweeps, for_steps = jax.random.split(key)
        start = networks[-1].rewound(ratio)
        start.spins = equilibrate(
            for_sweeps, start.moves, start.spins, jnp.asarray(start.weights), start.rows, REWIND_SWEEPS
        )
        networks.append(_trained(for_steps, start, steps // 3))
    return networks


def _trained(key, network: Network, steps: int) -> Network:
    layout, weights = placed(network)
    # The program takes its state's memory, and the network keeps its own chains.
    state = TrainingState(weights.copy(), jnp.array(network.spins), jnp.int32(0))
    for first in range(1, steps + 1, RECORD_CAPACITY):
        count = min(RECORD_CAPACITY, steps + 1 - first)
        state, _ = train(key, _problem(network), layout, state, jnp.int32(first), jnp.int32(count))
    values = np.asarray(state.weights)
    in_rows = isinstance(layout, RowLayout)
    values = values.ravel()[network.indices] if in_rows else values[: len(network.indices)]
    if not np.isfinite(values).all():
        raise SystemExit(
            f"{network.hamiltonian.label} diverged with {network.weights_per_spin} weights per spin"
        )
    return network.followed_by(network.indices, values, state.spins, steps)


def _problem(network: Network) -> Problem:
    return Problem(network.form, network.moves, jnp.float64(8e-3), jnp.float64(1e-4))


def step_seconds(network: Network, repeats: int = 3, count: int = 5) -> float:
    """Median processor time of one training step from this network, everything included."""
    layout, weights = placed(network)
    key, times = jax.random.key(0), []
    for repeat in range(repeats + 1):
        state = TrainingState(weights.copy(), jnp.array(network.spins), jnp.int32(0))
        started = time.process_time()
        jax.block_until_ready(train(key, _problem(network), layout, state, jnp.int32(1), jnp.int32(count)))
        times.append((time.process_time() - started) / count)
    return float(np.median(times[1:]))


def sweep_seconds(network: Network, repeats: int = 3, count: int = 10) -> float:
    """Median processor time of one sweep of the SAMPLES chains in the layout of training."""
    layout, weights = placed(network)
    times = []
    for repeat in range(repeats + 1):
        started = time.process_time()
        spins = equilibrate(jax.random.key(repeat), network.moves, network.spins, weights, layout, count)
        jax.block_until_ready(spins)
        times.append((time.process_time() - started) / count)
    return float(np.median(times[1:]))


def _on_device(arrays):
    return jax.tree.map(jnp.asarray, arrays)
