"""What a unit of work costs: arithmetic on configs, scaled by the times that were measured.

Operations of a training step with n live of n0 weights, N sites, M hidden units and S samples:

    sampling and local energies   7 S n     (N flips a chain and N ratios, each touching its site's weights)
    SR in samples                 2 S² (N + M) + S³ / 3   (two thin products, Cholesky)
    SR in parameters              2 S n² + n³ / 3         (the cheaper of the two is done)

Seconds come from measured times of the same shape, else of any shape, else from the default rate.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Literal

import polars as pl

from nqs.config import FULL_SUMMATION_SITES, Measurement, ReferenceJob, Run
from orchestrator.plan import Job, Plan
from orchestrator.schedule import Unit

# One core of a laptop: 45e9 operations a second reproduce 15 ms (4 × 4) and 63 ms (10 × 10) a dense
# step of 1024 samples, and 0.25 ms and 4 ms at 4 weights per spin.
OPERATIONS_PER_SECOND = 45e9
SECONDS_PER_STEP = 1e-4
# Dispatch, measurement set-up and a share of compilation.
SECONDS_PER_LEVEL = 1.0
# Lanczos: 60 products with 2^(N−1) amplitudes and N flips; 5 × 5 takes about 20 s.
LANCZOS_ITERATIONS = 60
LANCZOS_FLIPS_PER_SECOND = 1.25e9

Source = Literal["measured", "default rates"]


def step_operations(run: Run, level: int) -> float:
    """Floating-point operations of one training step of a run at a level."""
    dense = run.dense
    sites, samples, live = dense.hamiltonian.sites, dense.training.samples, run.remaining(level)
    in_samples = 2 * samples**2 * (sites + dense.network.hidden(sites)) + samples**3 / 3
    in_parameters = 2 * samples * live**2 + live**3 / 3
    return 7 * samples * live + min(in_samples, in_parameters)


def measurement_operations(run: Run, level: int, measurement: Measurement) -> float:
    """Floating-point operations of measuring a trained network."""
    dense = run.dense
    sites, live = dense.hamiltonian.sites, run.remaining(level)
    sweeps = measurement.sweeps + measurement.equilibration_sweeps
    exact = 2**sites * live if sites <= FULL_SUMMATION_SITES else 0
    return 7 * dense.training.samples * live * sweeps + exact


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
            return (
                SECONDS_PER_LEVEL + LANCZOS_ITERATIONS * 2 ** (sites - 1) * sites / LANCZOS_FLIPS_PER_SECOND
            )
        steps = job.steps_at(unit.level)
        operations = steps * step_operations(job, unit.level)
        operations += measurement_operations(job, unit.level, self._measurement)
        return SECONDS_PER_LEVEL + steps * SECONDS_PER_STEP + operations / OPERATIONS_PER_SECOND


def _shape(unit: Unit, job: Job) -> tuple:
    """What decides the rate: units of one shape take times in proportion to their operations."""
    if isinstance(job, ReferenceJob):
        return ("reference",)
    dense = job.dense
    in_samples = job.remaining(unit.level) >= dense.training.samples
    return (dense.hamiltonian.kind, dense.hamiltonian.side, dense.network, dense.training.samples, in_samples)
