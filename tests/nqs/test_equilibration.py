"""Chains after a rewind: far from equilibrium at first, in it after the sweeps that a level starts with."""

import numpy as np
import pytest

from nqs import full_summation, runs
from nqs.config import DenseRun, FeedForward, Measurement, Training, TrajectoryRun, TransverseFieldIsing
from nqs.hamiltonians import flip_form
from nqs.tasks import LiveWeights, Task

SITES, HIDDEN, SAMPLES = 9, 6, 16 * 1024
HAMILTONIAN = TransverseFieldIsing(side=3, field=1.0)
MEASUREMENT = Measurement(sweeps=4, equilibration_sweeps=0)


def two_orders(uniform, staggered):
    """|ψ|² = exp(2 u |Σ_i s_i| + 2 v |Σ_i (−1)^i s_i|): four relu units, the others dead; (sites, hidden).

    Random spins fall into the two orders about equally often, and getting from one to the other takes time.
    """
    pattern = uniform * np.ones(SITES), staggered * (-1.0) ** np.arange(SITES)
    weights = np.zeros((SITES, HIDDEN))
    weights[:, :4] = np.stack([pattern[0], -pattern[0], pattern[1], -pattern[1]], axis=1)
    return weights


@pytest.fixture(scope="module")
def disordered():
    """A dense run of one step: its chains end where all configurations are about equally likely."""
    run = DenseRun(
        hamiltonian=HAMILTONIAN,
        network=FeedForward(width_per_spin=HIDDEN / SITES),
        training=Training(samples=SAMPLES),
        steps=1,
        replicate=0,
    )
    return run, runs.advance(Task(run, 0, MEASUREMENT), 1e9).checkpoint


def deviation(disordered, target, replicate):
    """(Energy of a level's first step − full summation) / error; the level rewinds to the target network."""
    run, checkpoint = disordered
    parent = run.model_copy(update={"replicate": replicate})  # other random numbers
    every, live = np.arange(target.size, dtype=np.int32), np.count_nonzero(target)
    # Pruning by magnitude leaves exactly the live weights of the target.
    weights = {"hidden": LiveWeights(target.shape, every, target.ravel())}
    trajectory = TrajectoryRun(
        parent=parent, method="imp_wr", pruning_ratio=1 - live / target.size, steps_per_level=1, levels=1
    )
    task = Task(trajectory, 1, MEASUREMENT, rewind=weights, previous=weights, checkpoint=checkpoint)
    first = runs.advance(task, 1e9).steps_rows
    psi = full_summation.wave_function(target)
    exact = psi @ full_summation.apply(flip_form(HAMILTONIAN), psi)
    return (first["energy"][0] - exact) / first["energy_error"][0]


def test_a_level_starts_in_equilibrium_with_its_network(disordered):
    deviations = [deviation(disordered, two_orders(1, 0.95), replicate) for replicate in range(4)]
    # Chi-square of four: above 18.5 with a chance of 1e-3; the seeds are fixed.
    assert np.square(deviations).sum() < 18.5, deviations


def test_without_sweeps_after_the_rewind_the_first_energy_is_far_off(disordered, monkeypatch):
    """The step's own sweep is not enough: the test above would see a level that starts without others."""
    monkeypatch.setattr(runs, "REWIND_SWEEPS", 0)
    assert deviation(disordered, two_orders(1, 0.95), 0) < -10
