"""What a unit of work costs: arithmetic on configs, scaled by the times that were measured.

Seconds of a training step with n live of n0 weights, N sites, M hidden units and S samples, b the bucket that n is
padded to where it is solved in parameters (`nqs.layouts.live_bucket`). Fitted to the 24 steps of docs/performance.md, one
core with AVX-512, within 6 %; elsewhere only their ratios matter:

    sweep and flip ratios      1.1e-10 S n + 6.5e-9 S N
    SR in samples              5.7e-12 S³ + 1.3e-12 S² min(n, n0 − n) + 6.9e-11 S N M
    SR in parameters           3.7e-12 b³ + 5.3e-12 S b²

A convolution by lists touches its live kernel entries at every site; a deep network makes 3 N + 2 forwards of
all samples and their gradients, of n0 products and F features a site (fitted to residual networks of 288 and 18432
weights on 4 × 4, 50 ms and 2.3 s a step):

    convolution                4e-9 S N n + SR in parameters
    deep network               S (3 N + 5) N (4e-11 n0 + 1.2e-8 F) + 1e-11 S² min(S, n)

Seconds of a unit come from measured times of the same shape, else from what such a unit under way has taken so far,
else from the times of other studies on this machine, else from measured times of any shape, else from these.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from nqs.config import (
    FULL_SUMMATION_SITES,
    Config,
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
from nqs.identity import canonical_json
from nqs.layouts import live_bucket
from nqs.replicas import compiled_program
from orchestrator.plan import Job, Plan
from orchestrator.rates import Rate, Rates, Trained
from orchestrator.units import Unit

if TYPE_CHECKING:
    import polars as pl

NO_RATES = Rates()
SECONDS_PER_STEP = 3.2e-5
# Dispatch and measurement set-up.
SECONDS_PER_LEVEL = 0.3
# A unit of less work says what a level takes besides its steps, and nothing of the steps of larger networks.
TELLING_SECONDS = 2 * SECONDS_PER_LEVEL
# What the compilation of one program may explain of a slot's first unit: 3 to 40 s in the studies of data/.
COMPILE_SECONDS = 30.0
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

Source = Literal["measured", "other studies", "default rates"]


def step_seconds(run: Run, level: int) -> float:
    """Estimated seconds of one training step of a run at a level, on one core."""
    dense = run.dense
    sites, samples, live = dense.hamiltonian.sites, dense.training.samples, run.remaining(level)
    if isinstance(dense.network, (FlaxNetwork, ResidualConvolutional)):
        forwards = (3 * sites + 5) * _forward_seconds(dense)
        return SECONDS_PER_STEP + forwards + 1e-11 * samples**2 * min(samples, live)
    bucket = live_bucket(live, samples)
    if bucket is None:
        listed = min(live, dense.initial_parameters - live)
        solve = (
            5.7e-12 * samples**3
            + 1.3e-12 * samples**2 * listed
            + 6.9e-11 * samples * sites * dense.network.hidden(sites)
        )
    else:
        solve = 3.7e-12 * bucket**3 + 5.3e-12 * samples * bucket**2
    return SECONDS_PER_STEP + sweep_seconds(run, level) + solve


def sweep_seconds(run: Run, level: int) -> float:
    """Estimated seconds of one sweep of all chains with the ratios of all flips, on one core."""
    dense, live = run.dense, run.remaining(level)
    sites, samples = dense.hamiltonian.sites, dense.training.samples
    if isinstance(dense.network, (FlaxNetwork, ResidualConvolutional)):
        return (2 * sites + 2) * _forward_seconds(dense)
    if isinstance(dense.network, Convolutional):
        return 4e-9 * samples * sites * live
    return samples * (1.1e-10 * live + 6.5e-9 * sites)


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


def arithmetic_seconds(run: Run, level: int, measurement: Measurement) -> float:
    """Estimated seconds of a run's level by arithmetic alone, on one core."""
    training = run.steps_at(level) * step_seconds(run, level)
    return SECONDS_PER_LEVEL + training + measurement_seconds(run, level, measurement)


@dataclass
class _UnderWay:
    """What the units of a group that have not ended have made so far.

    Attributes:
        arithmetic: seconds by arithmetic of the steps that they made.
        seconds: that these took.
        told_seconds: what `seconds` was when it was last worth new estimates.
    """

    arithmetic: float = 0.0
    seconds: float = 0.0
    told_seconds: float = 0.0


class CostModel:
    """Estimated seconds of units, better with every unit that was measured.

    A rate is measured over arithmetic seconds, by shape, kind of device and number of runs that were trained
    together; what is not measured takes that of the next larger group, then what other studies measured of the
    shape on the same kind of device, at last the median of all shapes. What is measured of a member of a batch is its share of the batch's time, so a batch takes the sum of its members'
    times on every device: on a GPU that it does not fill, the shares are small.

    The first unit that a slot trains of a program holds its compilation, which may be more than all the rest. It
    counts only until there is another, and then only as far as COMPILE_SECONDS do not explain it.

    Attributes:
        device: kind of device that times are estimated for: the one of the newest measurement.
        members: how many runs are trained together with a run, itself included; absent: 1.
    """

    def __init__(self, measurement: Measurement, remembered: Rates = NO_RATES):
        self._measurement = measurement
        self.device: str | None = remembered.device
        self._remembered = _by_group(remembered)
        self.members: dict[str, int] = {}
        self._ratios: dict[tuple, list[float]] = defaultdict(list)
        self._first: dict[tuple, list[float]] = defaultdict(list)
        self._work: dict[tuple, list[float]] = defaultdict(list)  # arithmetic seconds of a group's units
        self._compiled: set[tuple] = set()
        self._under_way: dict[tuple, _UnderWay] = {}
        self._rates: dict[tuple, float] = {}  # what is worked out of all these, until the next measurement
        self._known: dict[Unit, tuple[tuple, float]] = {}

    @classmethod
    def of(
        cls,
        plan: Plan,
        states: pl.DataFrame,
        runs: pl.DataFrame | None = None,
        remembered: Rates = NO_RATES,
    ) -> CostModel:
        """The model with all times that a study has measured.

        Args:
            runs: its rows of finished runs, which have the devices.
            remembered: what other studies have measured.
        """
        model = cls(plan.measurement, remembered)
        model.learn(plan, states, runs)
        return model

    def learn(self, plan: Plan, states: pl.DataFrame, runs: pl.DataFrame | None = None) -> None:
        """Observe all levels that a study has committed."""
        devices: dict[str, str] = {}
        if runs is not None:
            ended = runs.drop_nulls("device").sort("finished_at")
            devices = dict(ended.select("run_id", "device").iter_rows())
            self.members |= dict(ended.select("run_id", "batch").iter_rows())
        # Of a run that has not ended the device is not known; it is the newest.
        newest = next(reversed(devices.values()), None)
        for run_id, level, seconds in states.select("run_id", "level", "wall_seconds").iter_rows():
            job = plan.jobs.get(run_id)
            if job is not None and seconds is not None and level <= job.last_level:
                self.observe(Unit(run_id, level), job, seconds, devices.get(run_id, newest))
        self.device = newest or self.device

    def observe(
        self, unit: Unit, job: Job, seconds: float, device: str | None = None, slot: Hashable = None
    ) -> None:
        """Learn from the time that a unit took.

        Args:
            device: its kind; None: the same as before.
            slot: where it was trained, if that is known.
        """
        self.device = device or self.device
        keys = self._keys(unit, job)
        arithmetic = self._known[unit][1]
        ratio = seconds / arithmetic
        for key in keys:
            self._work[key].append(arithmetic)
        program = slot, compiled_program(job, unit.level), self.members.get(unit.run_id, 1)
        if program in self._compiled:
            for key in keys:
                self._ratios[key].append(ratio)
        else:
            self._compiled.add(program)
            unexplained = max((seconds - COMPILE_SECONDS) / arithmetic, min(ratio, self._pooled()))
            for key in keys:
                self._first[key].append(unexplained)
        for key in (*keys, ()):
            self._rates.pop(key, None)

    def observe_under_way(
        self, unit: Unit, job: Job, share: float, seconds: float, device: str | None = None
    ) -> bool:
        """Learn from a stretch of a unit that goes on, which counts until a unit of its shape is whole.

        Without this a study whose first units take an hour is estimated by another machine's rates for that hour.

        Args:
            share: part of the unit's steps that the stretch made, no compilation among them.
            device: as in `observe`.

        Returns:
            Whether estimates are worth making anew: they rest on this, and on twice as much as the last time.
        """
        self.device = device or self.device
        keys = self._keys(unit, job)
        arithmetic = share * self._known[unit][1]
        for key in keys:
            group = self._under_way.setdefault(key, _UnderWay())
            group.arithmetic += arithmetic
            group.seconds += seconds
            if key not in self._ratios and key not in self._first:
                self._rates.pop(key, None)
        if keys[0] in self._ratios or keys[0] in self._first:
            return False
        self._rates.pop((), None)
        group = self._under_way[keys[0]]
        if group.seconds < 2 * group.told_seconds:
            return False
        group.told_seconds = group.seconds
        return True

    def seconds(self, unit: Unit, job: Job) -> float:
        """Estimated time of a unit on one slot, or its share of a batch's."""
        keys = self._keys(unit, job)
        arithmetic = self._known[unit][1]
        # What diagonalising takes says nothing about training, and the other way round.
        if isinstance(job, ReferenceJob):
            return arithmetic
        for key in keys:
            if (rate := self._rate(key)) is not None:
                return arithmetic * rate
        shape, *where = keys[0]
        for key in ((_text(shape), *where), (_text(shape), where[0])) if self._remembered else ():
            if key in self._remembered:
                return arithmetic * self._remembered[key].ratio
        return arithmetic * self._pooled()

    def source(self, job: Job) -> Source:
        """What the estimate of a job's units rests on."""
        if isinstance(job, ReferenceJob):
            return "default rates"
        if self._ratios or self._first:
            return "measured"
        return "other studies" if self._remembered else "default rates"

    @property
    def measured(self) -> dict[Trained, Rate]:
        """Rates of trainings that this study has measured, for the next one."""
        groups = (key for key in self._ratios | self._first if len(key) == 3 and key[1] is not None)
        return {
            Trained(_text(key[0]), *key[1:]): Rate(self._rate(key), statistics.median(self._work[key]))
            for key in groups
            if key[0][0] != "reference"
        }

    def shape(self, unit: Unit, job: Job) -> tuple:
        """What decides the rate: units of one shape take times in proportion to their operations."""
        if unit not in self._known:
            self._known[unit] = _shape(unit, job), self._default_seconds(unit, job)
        return self._known[unit][0]

    def arithmetic(self, unit: Unit, job: Job) -> float:
        """Seconds of a unit before anything is measured."""
        self.shape(unit, job)
        return self._known[unit][1]

    def _keys(self, unit: Unit, job: Job) -> tuple[tuple, tuple]:
        """The groups that a unit's rate is taken from, the narrowest first."""
        shape = self.shape(unit, job)
        return (shape, self.device, self.members.get(unit.run_id, 1)), (shape, self.device)

    def _rate(self, key: tuple) -> float | None:
        """Median of a group's ratios; of two the lower, since a slot's first unit is the one that is too slow."""
        if key not in self._rates:
            if ratios := self._ratios.get(key) or self._first.get(key):
                self._rates[key] = statistics.median_low(ratios)
            elif under_way := self._under_way.get(key):
                self._rates[key] = under_way.seconds / under_way.arithmetic
            else:
                return None
        return self._rates[key]

    def _pooled(self) -> float:
        """Median rate on this device of the shapes with enough work to tell: measured, else by other studies.

        Else that of the others measured, since a study's units are alike, else 1.
        """
        if () not in self._rates:
            measured = self._ratios | self._first | self._under_way
            of_device = [key for key in measured if key[1:] == (self.device,)]
            telling = [key for key in of_device if self._unit_seconds(key) >= TELLING_SECONDS]
            remembered = [
                rate.ratio
                for key, rate in self._remembered.items()
                if key[1:] == (self.device,) and rate.unit_seconds >= TELLING_SECONDS
            ]
            rates = (
                [self._rate(key) for key in telling] or remembered or [self._rate(key) for key in of_device]
            )
            self._rates[()] = statistics.median(rates) if rates else 1.0
        return self._rates[()]

    def _unit_seconds(self, key: tuple) -> float:
        """Median arithmetic seconds of what a group's rate rests on."""
        return statistics.median(self._work.get(key) or [self._under_way[key].arithmetic])

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
        return arithmetic_seconds(job, unit.level, self._measurement)


def _dmrg_sweep_seconds(job: ReferenceJob, level: int) -> float:
    sites, side = job.hamiltonian.sites, job.hamiltonian.side
    elements = side * job.bond_dimension(level) ** 3
    return sites * (DMRG_SECONDS_PER_SITE + DMRG_SECONDS_PER_ELEMENT * elements)


def _by_group(rates: Rates) -> dict[tuple, Rate]:
    """Rates by shape, device and members, and by shape and device alone."""
    groups: dict[tuple, list[Rate]] = defaultdict(list)
    for (shape, device, members), rate in rates.of.items():
        groups[shape, device, members].append(rate)
        groups[shape, device].append(rate)
    return {key: statistics.median_low(group) for key, group in groups.items()}


@lru_cache(maxsize=1024)
def _text(shape: tuple) -> str:
    """A shape as it is kept on file."""
    return canonical_json([part.identity() if isinstance(part, Config) else part for part in shape])


def _shape(unit: Unit, job: Job) -> tuple:
    """What decides the rate: units of one shape take times in proportion to their operations."""
    if isinstance(job, ReferenceJob):
        return ("reference", job.hamiltonian.kind, job.method)
    dense = job.dense
    in_samples = live_bucket(job.remaining(unit.level), dense.training.samples) is None
    return (dense.hamiltonian.kind, dense.hamiltonian.side, dense.network, dense.training.samples, in_samples)
