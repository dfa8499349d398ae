"""The scheduler in simulated time: the real decisions, against costs that were recorded.

    python -m benchmarks.schedule                everything, about a minute
    python -m benchmarks.schedule --only tickets

A slot's time passes in a discrete-event simulation; what it does next is decided by the `Schedule` and the
`CostModel` of the run loop themselves, which learn from the simulated times as they do from real ones.

What is recorded: the rates of units by shape, from the wall times of the laptop studies in data/, and the seconds
of a compilation, from the first units of their shapes. What is scaled: shapes that no laptop study has get the
arithmetic of orchestrator/costs.py at the median rate of all. So times are those of one CPU core, also where the
rows say eight or 64 slots; what a GPU takes has not been measured. On top of it, at random with a fixed seed:

    noise       each unit takes a lognormal factor, of standard deviation STRAGGLING in the logarithm
    wrong rates the model starts from rates that are wrong by a lognormal factor a shape, and learns
    failures    each unit loses its slot with this probability a try: the stretch is lost, the unit is tried
                again elsewhere, and the slot is away for RESTART_SECONDS with nothing compiled

The bound is the larger of the longest chain and all work over all slots, of the times that the units really took,
without compilations and losses: those count against the scheduler. Driver time is process time in the scheduler and
in the cost model, creation included, per finished unit; the writing of tables is not in it.
"""

from __future__ import annotations

import argparse
import copy
import heapq
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from nqs.config import FeedForward, ReferenceJob, ResidualConvolutional, Training, TransverseFieldIsing
from orchestrator.batches import Batch, batches_of
from orchestrator.costs import CostModel
from orchestrator.plan import Job, Plan, Profile, Sweep, Tickets, load_plan, resolve
from orchestrator.schedule import Schedule, Unit

REPOSITORY = Path(__file__).resolve().parent.parent

COMPILE_SECONDS = 5.0
RESTART_SECONDS = 30.0
STRETCH_SECONDS = 5.0
# Long units report this often here, and every STRETCH_SECONDS in the loop.
STRETCHES = 20
STRAGGLING, WRONG_RATES, FAILURES = 0.3, 0.7, 0.01


class Outcome(NamedTuple):
    """What a simulated study came to.

    Attributes:
        makespan, bound: seconds.
        work: seconds of all units, without compilations and losses.
        driver: process seconds in the scheduler and the cost model.
    """

    units: int
    slots: int
    makespan: float
    bound: float
    work: float
    driver: float
    compilations: int
    losses: int
    pauses: int

    @property
    def utilisation(self) -> float:
        return self.work / (self.slots * self.makespan)


@dataclass
class Simulation:
    """A study on simulated slots.

    Args:
        costs: what the scheduler starts from; learns.
        true_seconds: what each unit takes.
        failures: probability that a try of a unit ends with its slot.
        scheduler: the decisions; a test gives a bad one.
    """

    plan: Plan
    slots: int
    costs: CostModel
    true_seconds: dict[Unit, float]
    batches: Sequence[Batch] = ()
    compile_seconds: float = COMPILE_SECONDS
    failures: float = 0.0
    seed: int = 0
    scheduler: type[Schedule] = Schedule
    driver: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("compilations", "losses", "pauses"), 0))

    def run(self) -> Outcome:
        generator = random.Random(self.seed)
        with self._driving():
            schedule = self.scheduler(self.plan, self.costs.seconds, batches=self.batches)
        left = dict.fromkeys(self.true_seconds, 1.0)
        compiled: dict[Hashable, set] = defaultdict(set)
        free, now, number = list(range(self.slots)), 0.0, 0
        # A slot that is away until then has no units.
        events: list[tuple[float, int, int, tuple[Unit, ...], float]] = []

        def go_on(slot: int, units: tuple[Unit, ...], more: float = 0.0) -> None:
            nonlocal number
            whole = sum(self.true_seconds[unit] for unit in units)
            share = min(left[units[0]], max(STRETCH_SECONDS / whole, 1 / STRETCHES))
            number += 1
            heapq.heappush(events, (now + more + share * whole, number, slot, units, share))

        while True:
            with self._driving():
                assigned = schedule.assign(free)
            for slot, units in assigned:
                free.remove(slot)
                program, more = schedule.program(units[0]), 0.0
                if program not in compiled[slot] and units[0].run_id[0] != "e":
                    compiled[slot].add(program)
                    self.counts["compilations"] += 1
                    more = self.compile_seconds
                go_on(slot, units, more)
            if not events:
                break
            now, _, slot, units, share = heapq.heappop(events)
            if not units:
                free.append(slot)
            elif generator.random() < self.failures * share:
                self.counts["losses"] += 1
                compiled[slot].clear()
                heapq.heappush(events, (now + RESTART_SECONDS, -number, slot, (), 0.0))
                with self._driving():
                    for unit in units:
                        schedule.release(unit, 1 - left[unit])
            else:
                left.update((unit, left[unit] - share) for unit in units)
                self._report(schedule, slot, units, left, free, go_on)
        if not schedule.finished:
            raise RuntimeError("units are left that nothing can start")
        return self._outcome(schedule, now)

    def _report(self, schedule, slot, units, left, free, go_on) -> None:
        """A stretch came back: the units are done, go on, or are put back."""
        with self._driving():
            done = left[units[0]] < 1e-9
            pauses = not done and schedule.yields(units, 1 - left[units[0]], self.slots)
            for unit in units if done else ():
                job = self.plan.jobs[unit.run_id]
                if not isinstance(job, ReferenceJob):
                    self.costs.observe(unit, job, self.true_seconds[unit])
                schedule.complete(unit)
            for unit in units if pauses else ():
                schedule.release(unit, 1 - left[unit])
        self.counts["pauses"] += pauses
        if done or pauses:
            free.append(slot)
        else:
            go_on(slot, units)

    @contextmanager
    def _driving(self):
        started = time.process_time()
        yield
        self.driver += time.process_time() - started

    def _outcome(self, schedule: Schedule, makespan: float) -> Outcome:
        work = sum(self.true_seconds.values())
        # With the times that came out, one slot's share and the longest chain of batches bound every schedule.
        exact = Schedule(self.plan, lambda unit, job: self.true_seconds[unit], batches=self.batches)
        bound = exact.seconds_left(self.slots)
        return Outcome(
            len(self.true_seconds), self.slots, makespan, bound, work, self.driver, **self.counts
        )


# --- what is simulated


def paper_plan(without: tuple = ()) -> Plan:
    """All sweeps of the repository at paper scale together, what they share once."""
    jobs: dict[str, Job] = {}
    for path in sorted((REPOSITORY / "sweeps").glob("*.py")):
        plan = load_plan(path, "paper")
        jobs |= {
            run_id: job
            for run_id, job in plan.jobs.items()
            if isinstance(job, ReferenceJob) or not isinstance(job.dense.network, without)
        }
    return Plan("all sweeps", "paper", plan.measurement, jobs)


def ticket_plan(replicates: int = 100) -> Plan:
    """28 trajectories and, of 100 replicates, 100 800 tickets of three variants at twelve levels."""
    sweep = Sweep(
        name="many_tickets",
        hamiltonians=[TransverseFieldIsing(side=4, field=1 + index / 10) for index in range(28)],
        networks=[FeedForward(width_per_spin=8)],
        training=Training(),
        methods=["imp_wr"],
        levels=36,
        pruning_ratio=0.12,
        references=False,
        tickets=Tickets(
            variants=["init_imp", "rand_imp", "init_rand"], replicates=replicates, levels=range(3, 37, 3)
        ),
        profiles={"paper": Profile(pretraining_steps=10_000, steps_per_level=1_000)},
    )
    return resolve(sweep, "paper")


def laptop_plan() -> Plan:
    return load_plan(REPOSITORY / "sweeps" / "finite_size.py", "laptop")


def recorded_costs() -> CostModel:
    """The cost model that has seen every shipped laptop study."""
    costs = None
    for path in sorted((REPOSITORY / "data").glob("*-laptop")):
        plan = load_plan(REPOSITORY / "sweeps" / f"{path.name.removesuffix('-laptop')}.py", "laptop")
        costs = costs or CostModel(plan.measurement)
        costs.learn(plan, pl.read_parquet(path / "states.parquet"), pl.read_parquet(path / "runs.parquet"))
    return costs


def simulate(
    plan: Plan, slots: int, recorded: CostModel, rough: bool, seed: int = 0, **settings
) -> Outcome:
    """A study on so many slots; rough: with noise, failures, and a model whose rates are wrong."""
    generator = random.Random(seed)
    rates: dict[Hashable, float] = defaultdict(lambda: math.exp(generator.gauss(0, WRONG_RATES)) if rough else 1.0)
    noise = STRAGGLING if rough else 0.0
    true_seconds = {}
    for run_id, job in plan.jobs.items():
        for level in range(job.first_level, job.last_level + 1):
            unit = Unit(run_id, level)
            factor = rates[recorded.shape(unit, job)] * math.exp(generator.gauss(0, noise))
            true_seconds[unit] = recorded.seconds(unit, job) * factor
    costs = CostModel(plan.measurement) if rough else copy.copy(recorded)
    failures = FAILURES if rough else 0.0
    return Simulation(plan, slots, costs, true_seconds, failures=failures, seed=seed, **settings).run()
