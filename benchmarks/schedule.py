"""The scheduler in simulated time: the real decisions, against costs that were recorded.

    python -m benchmarks.schedule                  everything, about four minutes of one core
    python -m benchmarks.schedule --only tickets   rows whose name has the word

A slot's time passes in a discrete-event simulation; what it does next is decided by the `Schedule` and the
`CostModel` of the run loop themselves, which learn from the simulated times as they do from real ones.

Two sets of costs. "A100": the hours of a trajectory that the paper reports (its Table 9), divided by its steps and
the same at every density, as its program's are; lattices that it has no row for take that of the nearest
number of sites. "core": this engine on one CPU core, from the wall times of the studies in data/ by shape; shapes
that no study there has get the arithmetic of orchestrator/costs.py at the median rate. What this engine takes on
a GPU has not been measured. Reference energies have the arithmetic's times in both. Rows in "rough" have, at random
with a fixed seed:

    stragglers   each unit takes a lognormal factor, of standard deviation STRAGGLING in the logarithm
    wrong rates  every shape takes a lognormal factor that the model does not know and has to learn, WRONG_RATES
    failures     a slot is lost every HOURS_TO_A_LOSS of its work: STRETCH_SECONDS are lost, the unit is tried
                 again, and the slot is away for RESTART_SECONDS and has nothing compiled

A slot pays COMPILE_SECONDS for each program that is new to it, in all rows. The bound is the larger of the longest
chain and all work over all slots, of the times that the units really took; compilations and losses are not in
it and count against the scheduler. "possible" is a bound that also knows which work could not have begun by
when: a few long chains leave most slots idle at first, whoever decides. Driver time is process time in the
scheduler and the cost model, creation included, per finished unit; writing tables is not in it.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from nqs.config import (
    Convolutional,
    FeedForward,
    Measurement,
    ReferenceJob,
    ResidualConvolutional,
    ToricCode,
    Training,
    TransverseFieldIsing,
)
from orchestrator.batches import Batch
from orchestrator.costs import CostModel
from orchestrator.plan import Job, Plan, Profile, Sweep, Tickets, load_plan, resolve
from orchestrator.schedule import Schedule
from orchestrator.units import Unit, units_of

REPOSITORY = Path(__file__).resolve().parent.parent

COMPILE_SECONDS = 5.0
RESTART_SECONDS = 30.0
STRETCH_SECONDS = 5.0
# Long units report this often here, and every STRETCH_SECONDS in the loop.
STRETCHES = 10
STRAGGLING, WRONG_RATES, HOURS_TO_A_LOSS = 0.3, 0.7, 24.0


class Outcome(NamedTuple):
    """What a simulated study came to.

    Attributes:
        makespan, bound, possible: seconds.
        work: seconds of all units, without compilations and losses.
        driver: process seconds in the scheduler and the cost model.
    """

    units: int
    slots: int
    makespan: float
    bound: float
    possible: float
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

    Attributes:
        costs: what the scheduler starts from; learns.
        true_seconds: what each unit takes.
        failures: how often a slot is lost, in losses a second of its work.
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
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("compilations", "losses", "pauses"), 0)
    )

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
            elif generator.random() < self.failures * share * sum(self.true_seconds[unit] for unit in units):
                self.counts["losses"] += 1
                compiled[slot].clear()
                # The loop's last checkpoint is no older.
                whole = sum(self.true_seconds[unit] for unit in units)
                kept = max(0.0, share - STRETCH_SECONDS / whole)
                left.update((unit, left[unit] - kept) for unit in units)
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
        possible = max(bound, self._possible())
        return Outcome(
            len(self.true_seconds), self.slots, makespan, bound, possible, work, self.driver, **self.counts
        )

    def _possible(self) -> float:
        """The largest of: a time, and the work that not even infinitely many slots had begun by then, on all slots."""
        ends: dict[Unit, float] = {}
        changes = []
        for unit, before in self.plan.prerequisites.items():
            start = ends.get(before, 0.0)
            ends[unit] = start + self.true_seconds[unit]
            changes += [(start, 1), (ends[unit], -1)]
        # Work left falls at the rate of what runs, so it is looked at wherever that changes.
        left, running, before, best = sum(self.true_seconds.values()), 0, 0.0, 0.0
        for now, change in sorted(changes):
            left -= running * (now - before)
            best = max(best, now + left / self.slots)
            running, before = running + change, now
        return best


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


def recorded_costs() -> CostModel:
    """The cost model that has seen every shipped laptop study."""
    model = None
    for path in sorted((REPOSITORY / "data").glob("*-laptop")):
        plan = load_plan(REPOSITORY / "sweeps" / f"{path.name.removesuffix('-laptop')}.py", "laptop")
        model = model or CostModel(plan.measurement)
        model.learn(plan, pl.read_parquet(path / "states.parquet"), pl.read_parquet(path / "runs.parquet"))
    return model


# Hours of a trajectory and its pre-training on an A100, and their steps: the paper's Table 9 and its settings.
# By sites for the fully connected network on the Ising model; the convolutions are at 10 × 10.
_ISING_HOURS = {16: 4, 25: 5, 36: 6, 49: 10, 64: 13, 81: 16, 100: 20}
_ISING_STEPS = {16: 61e3, 25: 68e3, 36: 74e3, 49: 79e3, 64: 75e3, 81: 84e3, 100: 84e3}
_CNN_STEP, _RESCNN_STEP, _TORIC_STEP = 12 / 41e3, 28 / 53e3, 1 / 57e3


def a100_seconds(unit: Unit, job: Job) -> float:
    """Seconds of a unit of the paper's own program on an A100."""
    dense = job.dense
    if isinstance(dense.network, Convolutional):
        hours = _CNN_STEP
    elif isinstance(dense.network, ResidualConvolutional):
        hours = _RESCNN_STEP
    elif isinstance(dense.hamiltonian, ToricCode):
        hours = _TORIC_STEP
    else:
        sites = min(_ISING_HOURS, key=lambda known: abs(known - dense.hamiltonian.sites))
        hours = _ISING_HOURS[sites] / _ISING_STEPS[sites]
    # A network that is built is only measured.
    return 3600 * hours * max(100, job.steps_at(unit.level))


def simulate(
    plan: Plan, slots: int, seconds: Callable[[Unit, Job], float], rough: bool, seed: int = 0, **settings
) -> Outcome:
    """A study on so many slots.

    Args:
        seconds: what units take, before what is rough.
        rough: with stragglers, failures, and a model that knows the rates of no shape; else it knows all times.
    """
    generator = random.Random(seed)
    model = CostModel(plan.measurement) if rough else _Exact(plan.measurement, seconds)
    rates: dict[Hashable, float] = defaultdict(lambda: math.exp(generator.gauss(0, WRONG_RATES)))
    true_seconds = {}
    for run_id, job in plan.jobs.items():
        for unit in units_of(run_id, job):
            rate = rates[model.shape(unit, job)] * math.exp(generator.gauss(0, STRAGGLING)) if rough else 1.0
            is_reference = isinstance(job, ReferenceJob)
            true_seconds[unit] = rate * (model.arithmetic(unit, job) if is_reference else seconds(unit, job))
    failures = 1 / (3600 * HOURS_TO_A_LOSS) if rough else 0.0
    return Simulation(plan, slots, model, true_seconds, failures=failures, seed=seed, **settings).run()


class _Exact(CostModel):
    """Knows what every training takes."""

    def __init__(self, measurement: Measurement, seconds: Callable[[Unit, Job], float]):
        super().__init__(measurement)
        self._exact = seconds

    def seconds(self, unit: Unit, job: Job) -> float:
        return super().seconds(unit, job) if isinstance(job, ReferenceJob) else self._exact(unit, job)


# --- the table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.schedule", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", metavar="WORD", default="", help="rows whose name has it; default: all")
    only = parser.parse_args().only
    table = Table(
        *(
            "study",
            "costs",
            "slots",
            "rough",
            "units",
            "makespan",
            "utilisation",
            "of the bound",
            "of what is possible",
        ),
        *("driver, ms a unit", "compilations", "losses", "put back"),
        box=None,
    )
    console, started = Console(width=200), time.monotonic()
    core = recorded_costs()
    everything = paper_plan() if any(only in name for name in ("paper", "paper without ResCNN")) else None
    studies = [
        ("paper", "A100", everything, a100_seconds, (1, 8, 64)),
        ("paper", "core", everything, core.seconds, (8, 64)),
    ]
    if "without" in (only or "without"):
        studies.append(
            ("paper without ResCNN", "core", paper_plan((ResidualConvolutional,)), core.seconds, (8,))
        )
    if "tickets" in (only or "tickets"):
        studies.append(("10^5 tickets", "core", ticket_plan(), core.seconds, (64,)))
    for name, costs, plan, seconds, counts in studies:
        for slots in counts if only in name else ():
            for rough in (False, True):
                outcome = simulate(plan, slots, seconds, rough)
                print(
                    name,
                    costs,
                    slots,
                    *_cells(outcome),
                    f"{time.monotonic() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
                table.add_row(name, costs, str(slots), "yes" if rough else "", *_cells(outcome))
    console.print(table)
    console.print(f"{describe_machine()}; {time.monotonic() - started:.0f} s in all", highlight=False)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        str(outcome.units),
        f"{outcome.makespan / 3600:.1f} h",
        f"{outcome.utilisation:.1%}",
        f"{outcome.bound / outcome.makespan:.1%}",
        f"{outcome.possible / outcome.makespan:.1%}",
        f"{1e3 * outcome.driver / outcome.units:.2f}",
        *map(str, (outcome.compilations, outcome.losses, outcome.pauses)),
    )


if __name__ == "__main__":
    main()
