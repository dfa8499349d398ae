"""What can run now, and what first: state in, decisions out, without ray and without a clock.

A unit is one level of a trajectory, a dense pre-training, a ticket, or a reference energy at one bond
dimension. What a slot takes
is a batch of them: the same level of runs that are trained together, mostly of one run alone.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Iterable, Sequence
from graphlib import TopologicalSorter
from typing import Literal, NamedTuple

from nqs.config import DenseRun, ReferenceJob, TicketRun
from orchestrator.plan import Job, Plan


class Unit(NamedTuple):
    """A run's level; of a DMRG series the bond dimension's place, of an exact reference energy 0."""

    run_id: str
    level: int


State = Literal["waiting", "ready", "running", "done", "diverged", "failed", "blocked"]


def units_of(run_id: str, job: Job) -> list[Unit]:
    """The units of one run, in series."""
    return [Unit(run_id, level) for level in range(job.first_level, job.last_level + 1)]


def prerequisite(unit: Unit, job: Job) -> Unit | None:
    """The one unit that must be committed before this one starts."""
    if isinstance(job, ReferenceJob):
        return Unit(unit.run_id, unit.level - 1) if unit.level else None
    if isinstance(job, DenseRun):
        return None
    if isinstance(job, TicketRun):
        return Unit(job.parent_run_id, unit.level)
    if unit.level > 1:
        return Unit(unit.run_id, unit.level - 1)
    return Unit(job.parent_run_id, 0)


class Schedule:
    """Every unit's state, and the order of those that are ready.

    The longest remaining chain goes first: a trajectory's levels are in series, so one that starts
    late ends late however many slots there are. Tickets are short chains and fill the rest. A batch has
    the longest chain of its members, and starts once each of them is ready or has ended.

    Args:
        plan: what is wanted.
        seconds: estimated time of a unit; only its proportions matter.
        done: units that are committed already.
        diverged: runs that ended before their last level.
        failed: units that were given up.
        batches: ids of runs that are trained together, with the same levels; a run that is in none is
            trained alone.

    Raises:
        graphlib.CycleError: units, or batches of them, wait for each other.
    """

    def __init__(
        self,
        plan: Plan,
        seconds: Callable[[Unit, Job], float],
        done: Iterable[Unit] = (),
        diverged: Iterable[str] = (),
        failed: Iterable[Unit] = (),
        batches: Iterable[Sequence[str]] = (),
    ):
        self.jobs = plan.jobs
        self._before = {
            unit: prerequisite(unit, job)
            for run_id, job in plan.jobs.items()
            for unit in units_of(run_id, job)
        }
        self._after: dict[Unit, list[Unit]] = {unit: [] for unit in self._before}
        for unit, before in self._before.items():
            if before is not None:
                self._after[before].append(unit)
        graph = {unit: () if before is None else (before,) for unit, before in self._before.items()}
        self._order = list(TopologicalSorter(graph).static_order())
        self.seconds = {unit: seconds(unit, self.jobs[unit.run_id]) for unit in self._order}
        done = set(done)
        self.chain_seconds = self._chains(done)
        self._states: dict[Unit, State] = {}
        self._cause: dict[Unit, str] = {}
        self._batches = _batches_of_units(plan.jobs, batches)
        self._link_batches()
        self._heap: list[tuple[float, int, int]] = []
        self._rank = {unit: rank for rank, unit in enumerate(self._order)}
        self._fill(done, set(diverged), set(failed))
        self._offer(self._order)

    def _link_batches(self) -> None:
        self._batch_of = {unit: index for index, batch in enumerate(self._batches) for unit in batch}
        self._batches_before = {index: self._waited_for(batch) for index, batch in enumerate(self._batches)}
        self._batch_order = list(TopologicalSorter(self._batches_before).static_order())

    def _waited_for(self, units: tuple[Unit, ...]) -> set[int]:
        """The batches that must have ended before these units start together."""
        return {self._batch_of[before] for unit in units if (before := self._before[unit]) is not None}

    def _chains(self, done: set[Unit]) -> dict[Unit, float]:
        """Time from a unit's start to the end of the longest chain through it."""
        chains: dict[Unit, float] = {}
        for unit in reversed(self._order):
            own = 0.0 if unit in done else self.seconds[unit]
            chains[unit] = own + max((chains[after] for after in self._after[unit]), default=0.0)
        return chains

    def _fill(self, done: set[Unit], diverged: set[str], failed: set[Unit]) -> None:
        for unit in self._order:
            before = self._before[unit]
            if unit in done:
                self._states[unit] = "done"
            elif before is not None and self._states[before] in ("failed", "diverged", "blocked"):
                self._block(unit, self._cause.get(before, before.run_id))
            elif unit in failed:
                self._states[unit] = "failed"
            elif unit.run_id in diverged:
                self._states[unit] = "diverged"
            elif before is None or self._states[before] == "done":
                self._states[unit] = "ready"
            else:
                self._states[unit] = "waiting"

    # --- decisions

    def take(self) -> tuple[Unit, ...]:
        """The next batch to run, whose units are running from now on; () where nothing can start.

        Members that have ended already, done or not, are not in it.
        """
        while self._heap:
            *_, batch = heapq.heappop(self._heap)
            if units := self._startable(batch):
                self._states.update(dict.fromkeys(units, "running"))
                return units
        return ()

    def _startable(self, batch: int) -> tuple[Unit, ...]:
        """The ready members of a batch; () while another one waits or runs."""
        units = self._batches[batch]
        if any(self._states[unit] in ("waiting", "running") for unit in units):
            return ()
        return tuple(unit for unit in units if self._states[unit] == "ready")

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing can run."""
        return not any(state in ("ready", "running", "waiting") for state in self._states.values())

    def state(self, unit: Unit) -> State:
        return self._states[unit]

    @property
    def states(self) -> dict[Unit, State]:
        """Every unit's state, parents first."""
        return {unit: self._states[unit] for unit in self._order}

    def longest_chain(self, seconds: dict[Unit, float]) -> float:
        """Time of the longest series of batches of the given units; a batch takes its members' sum."""
        chains: dict[int, float] = {}
        for batch in self._batch_order:
            own = sum(seconds.get(unit, 0.0) for unit in self._batches[batch])
            chains[batch] = own + max((chains[other] for other in self._batches_before[batch]), default=0.0)
        return max(chains.values(), default=0.0)

    def blocked_by(self, unit: Unit) -> str | None:
        """The run whose end blocks this unit: the first cause, not the next link of the chain."""
        return self._cause.get(unit)

    @property
    def missing(self) -> list[Unit]:
        """Units that are not done and can still run, parents first."""
        return [unit for unit in self._order if self._states[unit] in ("ready", "running", "waiting")]

    def copy(self) -> Schedule:
        """A schedule that can be played through without touching this one."""
        other = copy.copy(self)
        other._states, other._cause, other._heap = dict(self._states), dict(self._cause), list(self._heap)
        return other

    # --- what happened

    def complete(self, unit: Unit) -> None:
        """The unit is committed; what waited for it is ready."""
        self._states[unit] = "done"
        waited = [after for after in self._after[unit] if self._states[after] == "waiting"]
        self._states.update(dict.fromkeys(waited, "ready"))
        # Its own batch too: a member that lost its slot may have waited for this one to end.
        self._offer([unit, *waited])

    def release(self, unit: Unit) -> None:
        """The unit's slot was lost; it is ready to run elsewhere."""
        self._states[unit] = "ready"
        self._offer([unit])

    def split(self, units: Sequence[Unit]) -> None:
        """The batch of these units was too large: from their level on, their second half is one of its own."""
        leaving = {unit.run_id for unit in units[len(units) // 2 :]}
        batches = list(self._batches)
        for index, batch in enumerate(self._batches):
            second = tuple(u for u in batch if u.run_id in leaving and u.level >= units[0].level)
            if 0 < len(second) < len(batch):
                # In its place, since those that can start are queued by it.
                batches[index] = tuple(unit for unit in batch if unit not in second)
                batches.append(second)
        self._batches = batches
        self._link_batches()
        self._offer(units)

    def fail(self, unit: Unit) -> None:
        """The unit was given up; what depends on it is blocked."""
        self._end(unit, "failed")

    def diverge(self, unit: Unit) -> None:
        """The training diverged; what depends on it is blocked."""
        self._end(unit, "diverged")

    def _end(self, unit: Unit, state: State) -> None:
        self._states[unit] = state
        reached = [unit]
        for each in reached:
            for after in self._after[each]:
                self._block(after, unit.run_id)
                reached.append(after)
        # Whoever is in a batch with one of these waits no longer for it.
        self._offer(reached)

    def _block(self, unit: Unit, cause: str) -> None:
        # A run that ended early blocks others; its own later levels ended with it.
        self._states[unit] = "blocked"
        self._cause[unit] = cause

    def _offer(self, units: Iterable[Unit]) -> None:
        """Queue the batches of these units that can start now."""
        for batch in {self._batch_of[unit] for unit in units}:
            if ready := self._startable(batch):
                longest = max(self.chain_seconds[unit] for unit in ready)
                heapq.heappush(self._heap, (-longest, self._rank[ready[0]], batch))


def _batches_of_units(jobs: dict[str, Job], batches: Iterable[Sequence[str]]) -> list[tuple[Unit, ...]]:
    """The units of all jobs in batches: one level of the runs that are trained together."""
    together = [*batches]
    batched = {run_id for batch in together for run_id in batch}
    together += [(run_id,) for run_id in jobs if run_id not in batched]
    return [
        tuple(Unit(run_id, unit.level) for run_id in batch)
        for batch in together
        for unit in units_of(batch[0], jobs[batch[0]])
    ]


def run_states(schedule: Schedule, run_id: str) -> tuple[State, str | None]:
    """A run's state from its units', and the run that blocks it."""
    units = units_of(run_id, schedule.jobs[run_id])
    for unit in units:
        state = schedule.state(unit)
        if state != "done":
            cause = schedule.blocked_by(unit) if state == "blocked" else None
            return state, cause
    return "done", None


class Rehearsal(NamedTuple):
    """A unit's place in a schedule played through with estimated times.

    Attributes:
        start, end: of the unit's batch, in seconds from now.
        seconds: the unit's own share of that time.
    """

    unit: Unit
    start: float
    end: float
    seconds: float


def rehearse(schedule: Schedule, slots: int) -> list[Rehearsal]:
    """What would run and when, on so many slots, if the estimates held; in order of start.

    A batch takes the sum of its members' times: on a CPU it does.
    """
    schedule = schedule.copy()
    running: list[tuple[float, int, tuple[Unit, ...]]] = []
    played: list[Rehearsal] = []
    now = 0.0
    while True:
        while len(running) < slots and (units := schedule.take()):
            end = now + sum(schedule.seconds[unit] for unit in units)
            played += [Rehearsal(unit, now, end, schedule.seconds[unit]) for unit in units]
            heapq.heappush(running, (end, len(played), units))
        if not running:
            return played
        now, _, units = heapq.heappop(running)
        for unit in units:
            schedule.complete(unit)
