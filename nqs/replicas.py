"""Which runs one program can train together, and how much device memory a replica takes.

Field strengths, learning rates, shifts, masks, weights and keys are data of a program; what fixes the
shapes of its arrays and the number of its steps is its shape. Arithmetic on configs, without jax.
"""

from __future__ import annotations

import math

from nqs.config import DenseRun, Hamiltonian, Run, TicketRun
from nqs.pruning import remaining_by_level

# Networks with more live weights than this, or than samples, are solved in samples. It is the largest
# bucket of nqs.layouts, which imports jax; a test holds them equal.
MOST_SOLVED_WEIGHTS = 1024

_FLOAT32, _FLOAT64 = 4, 8
# The matrix in float32, its float32 factor, and the matrix in float64 for the refinement.
_MATRIX_BYTES = _FLOAT32 + _FLOAT32 + _FLOAT64


def program_shape(run: Run, level: int) -> tuple:
    """A hashable key: equal for runs whose training at the level can be one program.

    In it: which terms the Hamiltonian has and on which sites, the network, samples, live weights of each
    layer, steps, and the kind of run, since each kind is measured in its own way. Not in it, since they
    are data: strengths of the terms, learning rate, diagonal shift, seeds, masks and ticket variants.
    """
    dense = run.dense
    live = _live_by_layer(run, level)
    return (
        run.kind,
        _terms(dense.hamiltonian),
        dense.network,
        dense.training.samples,
        live,
        run.steps_at(level),
    )


def _terms(hamiltonian: Hamiltonian) -> tuple:
    """What decides the number and the sites of the terms; a strength of 0 leaves terms out."""
    return tuple(
        (name, value != 0 if name in hamiltonian.strengths else value)
        for name, value in hamiltonian.identity().items()
    )


def _live_by_layer(run: Run, level: int) -> tuple[int, ...]:
    sizes = [math.prod(shape) for shape in run.dense.network.layers(run.dense.hamiltonian.sites).values()]
    if isinstance(run, DenseRun):
        return tuple(sizes)
    trajectory = run.parent if isinstance(run, TicketRun) else run
    return tuple(remaining_by_level((size,), trajectory.pruning_ratio, level)[level] for size in sizes)


def estimated_bytes(run: Run, level: int) -> int:
    """Device memory of one replica of the step program at a level.

    With n0 weights, n of them live, M hidden units and S samples, solved in samples:

        weights, mask and update      3 · 8 n0
        θ before and after a sweep    2 · 4 S M
        Gram matrix and factor        (4 + 4 + 8) S²
        O as packed bits, two copies  2 S n/8

    Solved in parameters, n takes the place of n0, min(M, n) that of M (dead units are dropped), and n that
    of S in the matrix.
    """
    dense = run.dense
    sites, samples, live = dense.hamiltonian.sites, dense.training.samples, run.remaining(level)
    stored, units, side = dense.initial_parameters, dense.network.hidden(sites), samples
    if live <= min(samples, MOST_SOLVED_WEIGHTS):
        stored, units, side = live, min(units, live), live
    weights = 3 * _FLOAT64 * stored
    theta = 2 * _FLOAT32 * samples * units
    bits = 2 * samples * math.ceil(live / 8)
    return weights + theta + _MATRIX_BYTES * side**2 + bits


def members_that_fit(run: Run, level: int, memory_bytes: float) -> int:
    """How many replicas of a run's level fit into so much device memory; 0 where not even one does."""
    return int(memory_bytes // estimated_bytes(run, level))
