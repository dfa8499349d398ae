"""What a unit of work costs: arithmetic on configs, scaled by the times that were measured.

Seconds of a training step with n live of n0 weights, N sites, M hidden units and S samples, terms as
measured on one core with AVX-512 (docs/performance.md); elsewhere only their ratios matter:

    sweep and flip ratios      1.2e-10 S n + 5e-9 S N
    SR in samples              4.8e-12 S³ + 1.2e-12 S² min(n, n0 − n) + 7e-11 S N M
    SR in parameters           4.8e-12 n³ + 2.5e-12 S n² + 1e-9 S n

A convolution by lists touches its live kernel entries at every site; a deep network makes 3 N + 2 forwards of
all samples and their gradients, of n0 products and F features a site (fitted to residual networks of 288 and 18432
weights on 4 × 4, 50 ms and 2.3 s a step):

    convolution                4e-9 S N n + SR in parameters
    deep network               S (3 N + 5) N (4e-11 n0 + 1.2e-8 F) + 1e-11 S² min(S, n)

Seconds of a unit come from measured times of the same shape, else of any shape, else from these.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Literal

import polars as pl

from nqs.config import (
    FULL_SUMMATION_SITES,
    Convolutional,
    DenseRun,
    FlaxNetwork,
    Measurement,
    ReferenceJob,
    ResidualConvolutional,
    Run,
    ToricCode,
    TransverseFieldIsing,
)
from orchestrator.plan import Job, Plan
from orchestrator.schedule import Unit

SECONDS_PER_STEP = 5e-5
# Dispatch, measurement set-up and a share of compilation.
SECONDS_PER_LEVEL = 1.0
# Lanczos: 60 products with 2^(N−1) amplitudes and N flips; 5 × 5 takes about 20 s.
LANCZOS_ITERATIONS = 60
LANCZOS_FLIPS_PER_SECOND = 1.25e9
# In the whole space, where flips are gathers and a second pass makes the vector: a chain of 20 spins takes 5 to 20 s.
WHOLE_SPACE_FLIPS_PER_SECOND = 1.25e8
# Two-site DMRG, ten sweeps a bond dimension: what a site costs in a sweep, and each multiplication of a cubed
# bond dimension and the lattice's width; 10 × 10 takes 5 s a sweep at 64 on one core.
DMRG_SWEEPS = 10
DMRG_SECONDS_PER_SITE = 0.03
DMRG_SECONDS_PER_ELEMENT = 8e-9

Source = Literal["measured", "default rates"]


def step_seconds(run: Run, level: int) -> float:
    """Estimated seconds of one training step of a run at a level, on one core."""
    dense = run.dense
    sites, samples, live = dense.hamiltonian.sites, dense.training.samples, run.remaining(level)
    if isinstance(dense.network, (FlaxNetwork, ResidualConvolutional)):
        forwards = (3 * sites + 5) * _forward_seconds(dense)
        return SECONDS_PER_STEP + forwards + 1e-11 * samples**2 * min(samples, live)
    in_parameters = 4.8e-12 * live**3 + 2.5e-12 * samples * live**2 + 1e-9 * samples * live
    solve = in_parameters
    if live >= samples:
        listed = min(live, dense.initial_parameters - live)
        solve = (
            4.8e-12 * samples**3
            + 1.2e-12 * samples**2 * listed
            + 7e-11 * samples * sites * dense.network.hidden(sites)
        )
    return SECONDS_PER_STEP + sweep_seconds(run, level) + solve


def sweep_seconds(run: Run, level: int) -> float:
    """Estimated seconds of one sweep of all chains with the ratios of all flips, on one core."""
    dense, live = run.dense, run.remaining(level)
    sites, samples = dense.hamiltonian.sites, dense.training.samples
    if isinstance(dense.network, (FlaxNetwork, ResidualConvolutional)):
        return (2 * sites + 2) * _forward_seconds(dense)
    if isinstance(dense.network, Convolutional):
        return 4e-9 * samples * sites * live
    return samples * (1.2e-10 * live + 5e-9 * sites)


def _forward_seconds(dense: DenseRun) -> float:
    """Estimated seconds of log ψ of all samples by a deep network."""
    sites = dense.hamiltonian.sites
    layers = dense.network.layers(sites) | dense.network.other_layers(sites)
    features = sum(shape[-1] for shape in layers.values())
    return dense.training.samples * sites * (4e-11 * dense.initial_parameters + 1.2e-8 * features)


def measurement_seconds(run: Run, level: int, measurement: Measurement) -> float:
    """Estimated seconds of measuring a trained network, on one core."""
    dense = run.dense
    sites = dense.hamiltonian.sites
    sweeps = 2 * (measurement.sweeps + measurement.equilibration_sweeps)
    # Full rows of W are used for every network, and sums over all states where they are possible.
    exact = 1e-11 * 2**sites * dense.initial_parameters if sites <= FULL_SUMMATION_SITES else 0
    if isinstance(dense.network, (Convolutional, FlaxNetwork, ResidualConvolutional)):
        return sweeps * sweep_seconds(run, level) + 10 * sites * exact
    rows = 7e-11 * dense.training.samples * sites * dense.network.hidden(sites)
    return sweeps * (sweep_seconds(run, level) + rows) + exact


class CostModel:
    """Estimated seconds of units, better with every unit that was measured."""

    def __init__(self, measurement: Measurement):
        self._measurement = measurement
        self._ratios: dict[tuple, list[float]] = defaultdict(list)

    @classmethod
    def of(cls, plan: Plan, states: pl.DataFrame) -> CostModel:
        """The model with all times that a study has measured."""
        model = cls(plan.measurement)
        for run_id, level, seconds in states.select("run_id", "level", "wall_seconds").iter_rows():
            job = plan.jobs.get(run_id)
            if job is not None and seconds is not None and level <= job.last_level:
                model.observe(Unit(run_id, level), job, seconds)
        return model

    def observe(self, unit: Unit, job: Job, seconds: float) -> None:
        """Learn from the time that a unit took."""
        self._ratios[_shape(unit, job)].append(seconds / self._default_seconds(unit, job))

    def seconds(self, unit: Unit, job: Job) -> float:
        """Estimated time of a unit on one slot."""
        ratios = self._ratios.get(_shape(unit, job)) or self._ratios_of_trainings(job)
        return self._default_seconds(unit, job) * (statistics.median(ratios) if ratios else 1.0)

    def source(self, job: Job) -> Source:
        """What the estimate of a job's units rests on."""
        return "measured" if self._ratios_of_trainings(job) else "default rates"

    def _ratios_of_trainings(self, job: Job) -> list[float]:
        # What diagonalising takes says nothing about training, and the other way round.
        if isinstance(job, ReferenceJob):
            return []
        return [ratio for ratios in self._ratios.values() for ratio in ratios]

    def _default_seconds(self, unit: Unit, job: Job) -> float:
        if isinstance(job, ReferenceJob):
            sites = job.hamiltonian.sites
            if isinstance(job.hamiltonian, ToricCode):
                return SECONDS_PER_LEVEL
            if job.method == "dmrg":
                return SECONDS_PER_LEVEL + DMRG_SWEEPS * _dmrg_sweep_seconds(job, unit.level)
            flips = LANCZOS_ITERATIONS * 2**sites * sites
            if isinstance(job.hamiltonian, TransverseFieldIsing):
                return SECONDS_PER_LEVEL + flips / 2 / LANCZOS_FLIPS_PER_SECOND
            return SECONDS_PER_LEVEL + flips / WHOLE_SPACE_FLIPS_PER_SECOND
        training = job.steps_at(unit.level) * step_seconds(job, unit.level)
        return SECONDS_PER_LEVEL + training + measurement_seconds(job, unit.level, self._measurement)


def _dmrg_sweep_seconds(job: ReferenceJob, level: int) -> float:
    sites, side = job.hamiltonian.sites, job.hamiltonian.side
    elements = side * job.bond_dimension(level) ** 3
    return sites * (DMRG_SECONDS_PER_SITE + DMRG_SECONDS_PER_ELEMENT * elements)


def _shape(unit: Unit, job: Job) -> tuple:
    """What decides the rate: units of one shape take times in proportion to their operations."""
    if isinstance(job, ReferenceJob):
        return ("reference", job.hamiltonian.kind, job.method)
    dense = job.dense
    in_samples = job.remaining(unit.level) >= dense.training.samples
    return (dense.hamiltonian.kind, dense.hamiltonian.side, dense.network, dense.training.samples, in_samples)
