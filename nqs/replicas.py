"""Which runs one program can train together, and how much device memory a replica takes.

Field strengths, learning rates, shifts, masks, weights and keys are data of a program; what fixes the
shapes of its arrays and the number of its steps is its shape. Arithmetic on configs, without jax.
"""

from __future__ import annotations

import math
from functools import lru_cache

from nqs.config import (
    DenseRun,
    FlaxNetwork,
    Hamiltonian,
    ResidualConvolutional,
    Run,
    TicketRun,
    TrajectoryRun,
)
from nqs.layouts import live_bucket
from nqs.pruning import remaining_by_level

_FLOAT32, _FLOAT64 = 4, 8
# Halves of the matrix as counts, in float32 and in float64, its factor, and what makes one of the other.
_MATRIX_BYTES = 20
# Limits that `nqs.general` keeps: one chunk, and the gradients that it holds at once, three times.
_CHUNK_BYTES, _JACOBIAN_BYTES = 1 << 26, 3 << 30


def program_shape(run: Run, level: int) -> tuple:
    """A hashable key: equal for runs whose training at the level can be one program.

    In it: which terms the Hamiltonian has and on which sites, the network, samples, live weights of each
    set that is pruned by itself, steps, the kind of run, since each kind is measured in its own way, and a user's
    pruning criterion, whose bug would end the others. Not in it, since they are data: strengths of the terms,
    learning rate, diagonal shift, seeds, masks, the other methods and ticket variants.
    """
    dense = run.dense
    live = _live_weights(run, level)
    return (
        (run.kind, run.own_criterion if isinstance(run, TrajectoryRun) else None),
        _terms(dense.hamiltonian),
        dense.network,
        dense.training.samples,
        live,
        run.steps_at(level),
    )


def compiled_program(run: Run, level: int) -> tuple:
    """A hashable key: equal where one replica's training and measurement need no other programs compiled.

    Coarser than `program_shape`: the number of steps is data, and so is the number of live weights, within a
    bucket of them or where full rows are kept.
    """
    dense = run.dense
    layout = live_bucket(run.remaining(level), dense.training.samples)
    return run.kind, _terms(dense.hamiltonian), dense.network, dense.training.samples, layout


@lru_cache(maxsize=1024)  # a plan has few of them and asks for each level
def _terms(hamiltonian: Hamiltonian) -> tuple:
    """What decides the number and the sites of the terms; a strength of 0 leaves terms out."""
    return tuple(
        (name, value != 0 if name in hamiltonian.strengths else value)
        for name, value in hamiltonian.identity().items()
    )


def _live_weights(run: Run, level: int) -> tuple[int, ...]:
    """Of each set of weights that is pruned by itself."""
    sizes = run.dense.prunable_sizes
    if isinstance(run, DenseRun):
        return sizes
    trajectory = run.parent if isinstance(run, TicketRun) else run
    return tuple(remaining_by_level((size,), trajectory.pruning_ratio, level)[level] for size in sizes)


def estimated_bytes(run: Run, level: int) -> int:
    """Device memory of one replica of the step program at a level.

    With n0 weights, n of them live, M hidden units and S samples, solved in samples:

        weights, mask and update         3 · 8 n0
        θ before and after a sweep       2 · 4 S M
        matrix and factor                20 S²
        O as packed bits                 2 · S n0/16  (at most half of all columns are listed)

    Solved in parameters, with n padded to its bucket b: 3 · 8 b, 2 · 4 S b, 20 b², and 8 S b for O. A deep
    network has in addition all gradients, 3 · 8 S n in float64, and the activations of a chunk.
    """
    dense = run.dense
    sites, samples = dense.hamiltonian.sites, dense.training.samples
    if isinstance(dense.network, (FlaxNetwork, ResidualConvolutional)):
        live = run.remaining(level)
        solve = _MATRIX_BYTES * 2 * min(live, samples) ** 2
        return min(3 * _FLOAT64 * samples * live, _JACOBIAN_BYTES) + solve + 4 * _CHUNK_BYTES
    bucket = live_bucket(run.remaining(level), samples)
    if bucket is not None:
        matrix = _MATRIX_BYTES * bucket**2
        return 3 * _FLOAT64 * bucket + (2 * _FLOAT32 + _FLOAT64) * samples * bucket + matrix
    size = dense.initial_parameters
    theta = 2 * _FLOAT32 * samples * dense.network.hidden(sites)
    bits = 2 * samples * math.ceil(size / 16)
    return 3 * _FLOAT64 * size + theta + _MATRIX_BYTES * samples**2 + bits


def members_that_fit(run: Run, level: int, memory_bytes: float) -> int:
    """How many replicas of a run's level fit into so much device memory; 0 where not even one does."""
    return int(memory_bytes // estimated_bytes(run, level))
