"""What can run now, and what first: state in, decisions out, without ray and without a clock.

A unit is one level of a trajectory, a dense pre-training, a ticket, or a reference energy at one bond
dimension. What a slot takes
is a batch of them: the same level of runs that are trained together, mostly of one run alone.
"""

from __future__ import annotations

import copy
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Literal, NamedTuple

from nqs.config import ReferenceJob
from nqs.replicas import compiled_program
from orchestrator.plan import Job, Plan
from orchestrator.units import Unit, units_of

State = Literal["waiting", "ready", "running", "done", "diverged", "failed", "blocked"]
# States of units that are not done and can still run.
MISSING: tuple[State, ...] = ("ready", "running", "waiting")

# A slot takes a batch whose program it has compiled before the longest chain, if its chain is at least this part
# of the longest.
NEARLY_AS_LONG = 0.7
# A batch that is in training goes back for a waiting one whose chain is longer by this part and this time; a
# switch costs reading a checkpoint and at most a compilation.
LONGER_BY = 0.1
LONGER_BY_SECONDS = 1800.0


class Schedule:
    """Every unit's state, and the order of those that are ready.

    The longest remaining chain goes first: a trajectory's levels are in series, so one that starts
    late ends late however many slots there are. Tickets are short chains and fill the rest. A batch
    starts once each of its members is ready or has ended, and takes the sum of its members' times: what is
    measured of a member is its share of the batch's time, on every device.

    Args:
        plan: what is wanted.
        seconds: estimated time of a unit, asked again whenever twice as many units are done, so that the
            order follows what it learns; only its proportions matter.
        done: units that are committed already.
        diverged: runs that ended before their last level.
        failed: units that were given up.
        batches: ids of runs that are trained together, with the same levels; a run that is in none is
            trained alone.

    Raises:
        graphlib.CycleError: batches of units wait for each other.
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
        self._seconds_of = seconds
        self.seconds: dict[Unit, float] = {}  # of units that have not ended
        # In the plan's order, so parents come first.
        self._before = plan.prerequisites
        self._states, self._cause = unit_states(self._before, set(done), set(diverged), set(failed))
        self._after: dict[Unit, list[Unit]] = defaultdict(list)
        for unit, before in self._before.items():
            # What is done already does not end again.
            if before is not None and self._states[before] != "done":
                self._after[before].append(unit)
        self._counts = Counter(self._states.values())
        self._completed, self._next_estimate = 0, 1
        self._compiled: dict[Hashable, set[Hashable]] = defaultdict(set)
        self._slot_of: dict[str, Hashable] = {}
        self._made: dict[Unit, float] = {}
        self.regroup(batches)

    # --- batches and what they cost

    def regroup(self, batches: Iterable[Sequence[str]]) -> None:
        """Train other runs together from now on, after `batches.halved`, say; what is running stays as it is."""
        # Of runs that have ended nothing is asked any more, and they are most of a large study.
        left = {unit.run_id for unit in self._missing(self._states)}
        jobs = {run_id: job for run_id, job in self.jobs.items() if run_id in left}
        self._batches = _batches_of_units(
            jobs, ([each for each in batch if each in left] for batch in batches)
        )
        self._batch_of = {unit: index for index, batch in enumerate(self._batches) for unit in batch}
        waits = {index: self._waited_for(batch) for index, batch in enumerate(self._batches)}
        self._batch_order = list(TopologicalSorter(waits).static_order())
        self._batches_after: dict[int, list[int]] = {index: [] for index in waits}
        for index, others in waits.items():
            for other in others:
                self._batches_after[other].append(index)
        self._programs: dict[int, Hashable] = {}
        self.estimate()

    def _waited_for(self, units: tuple[Unit, ...]) -> set[int]:
        """The batches that must have ended before these units start together."""
        return {self._batch_of[before] for unit in units if (before := self._before[unit]) in self._batch_of}

    def _missing(self, units: Iterable[Unit]) -> list[Unit]:
        return [unit for unit in units if self._states[unit] in MISSING]

    def estimate(self) -> None:
        """Ask for all times anew: of units, of batches, and of the longest chain that each batch starts."""
        self.seconds = {
            unit: self._seconds_of(unit, self.jobs[unit.run_id])
            for unit, state in self._states.items()
            if state not in ("done", "diverged")
        }
        self._left_seconds = sum(
            seconds for unit, seconds in self.seconds.items() if self._states[unit] in MISSING
        )
        self._chains: dict[int, float] = {}
        for batch in reversed(self._batch_order):
            missing = self._missing(self._batches[batch])
            after = max((self._chains[other] for other in self._batches_after[batch]), default=0.0)
            self._chains[batch] = self.batch_seconds(missing) + after
        self._heap: list[tuple[float, int]] = []
        self._heaps: dict[Hashable, list[tuple[float, int]]] = defaultdict(list)
        self._queued: set[int] = set()
        self._offer(unit for unit, state in self._states.items() if state == "ready")

    def batch_seconds(self, units: Iterable[Unit]) -> float:
        """Estimated time of units that are trained together."""
        return sum(self.seconds[unit] for unit in units)

    def _chain(self, batch: int) -> float:
        """Estimated time from a queued batch's start to the end of the longest chain through it."""
        made = (
            share * self.seconds[unit] for unit in self._batches[batch] if (share := self._made.get(unit))
        )
        return self._chains[batch] - sum(made)

    # --- decisions

    def assign(self, free: Iterable[Hashable]) -> list[tuple[Hashable, tuple[Unit, ...]]]:
        """What free slots do next: pairs of a slot and a batch, whose units are running from now on.

        The batch with the longest chain goes to the slot that had the level before, else to one that has
        compiled its program, else to any; but a slot that has compiled the program of a batch whose
        chain is nearly as long takes that one first. No slot stays idle while a batch can start.
        """
        free, assigned = list(free), []
        while free and (batch := self._longest(self._heap)) is not None:
            slot = self._slot_that_knows(batch, free)
            if slot is None:
                slot, batch = self._nearly_as_long(batch, free) or (free[0], batch)
            free.remove(slot)
            assigned.append((slot, self._take(batch)))
            self._compiled[slot].add(self.program(assigned[-1][1][0]))
            self._slot_of.update(dict.fromkeys((unit.run_id for unit in assigned[-1][1]), slot))
        return assigned

    def yields(self, units: Sequence[Unit], share_done: float, slots: int) -> bool:
        """Whether a slot that reports should put its batch back, to go on with it later or elsewhere.

        It should where batches with longer chains wait, but fewer than there are slots: their last round
        has begun. Equally long trainings then end together, and not some of them a whole training
        later with the other slots idle. Before that round it would only end everything later.

        Args:
            units: what the slot has in training.
            share_done: part of their steps that is made, in [0, 1].
        """
        left = self._chains[self._batch_of[units[0]]] - share_done * self.batch_seconds(units)
        least = max(left + LONGER_BY_SECONDS, left * (1 + LONGER_BY))
        if not 0 < self._count_longer(least, slots) < slots:
            return False
        # Nor where the slot would take it again at once, for the program that it has compiled.
        longest, slot = self._longest(self._heap), self._slot_of[units[0].run_id]
        if self._slot_that_knows(longest, [slot]) is not None or left < NEARLY_AS_LONG * self._chain(longest):
            return True
        other = self._nearly_as_long(longest, [slot])
        return other is not None and self._chain(other[1]) > left

    def _count_longer(self, seconds: float, most: int) -> int:
        """How many queued batches have longer chains; at most so many are looked for, from the heap's top."""
        found: set[int] = set()
        places = [0]
        for place in places:
            if place < len(self._heap) and -self._heap[place][0] > seconds:
                batch = self._heap[place][1]
                found |= {batch} & self._queued
                if len(found) >= most:
                    break
                places += [2 * place + 1, 2 * place + 2]
        return len(found)

    def _longest(self, heap: list[tuple[float, int]]) -> int | None:
        """The queued batch with the longest chain of a heap."""
        while heap:
            batch = heap[0][1]
            if batch in self._queued and self._startable(batch):
                return batch
            heapq.heappop(heap)
        return None

    def _slot_that_knows(self, batch: int, free: list[Hashable]) -> Hashable | None:
        """The free slot that had the level before, else one that has compiled the program."""
        for unit in self._batches[batch]:
            if unit.run_id in self._slot_of and self._slot_of[unit.run_id] in free:
                return self._slot_of[unit.run_id]
        program = self.program(self._batches[batch][0])
        return next((slot for slot in free if program in self._compiled[slot]), None)

    def _nearly_as_long(self, longest: int, free: list[Hashable]) -> tuple[Hashable, int] | None:
        """A free slot and a batch of nearly the longest chain whose program it has compiled."""
        least = NEARLY_AS_LONG * self._chain(longest)
        for slot in free:
            known = [
                batch
                for program in self._compiled[slot]
                if (batch := self._longest(self._heaps[program])) is not None and self._chain(batch) >= least
            ]
            if known:
                return slot, max(known, key=self._chain)
        return None

    def _take(self, batch: int) -> tuple[Unit, ...]:
        units = self._startable(batch)
        self._queued.remove(batch)
        for unit in units:
            self._set(unit, "running")
        return units

    def _startable(self, batch: int) -> tuple[Unit, ...]:
        """The ready members of a batch; () while another one waits or runs."""
        units = self._batches[batch]
        if any(self._states[unit] in ("waiting", "running") for unit in units):
            return ()
        return tuple(unit for unit in units if self._states[unit] == "ready")

    def program(self, unit: Unit) -> Hashable:
        """What a slot compiles for the batch that a unit is in."""
        batch = self._batch_of[unit]
        if batch not in self._programs:
            job = self.jobs[unit.run_id]
            own = job.method if isinstance(job, ReferenceJob) else compiled_program(job, unit.level)
            self._programs[batch] = own, len(self._batches[batch])
        return self._programs[batch]

    # --- how things stand

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing can run."""
        return not any(self._counts[state] for state in MISSING)

    @property
    def counts(self) -> Counter[State]:
        """How many units are in each state."""
        return +self._counts

    def state(self, unit: Unit) -> State:
        return self._states[unit]

    @property
    def states(self) -> dict[Unit, State]:
        """Every unit's state, parents first."""
        return dict(self._states)

    @property
    def missing(self) -> list[Unit]:
        """Units that are not done and can still run, parents first."""
        return self._missing(self._states)

    def blocked_by(self, unit: Unit) -> str | None:
        """The run whose end blocks this unit: the first cause, not the next link of the chain."""
        return self._cause.get(unit)

    def seconds_left(self, slots: int, running: Mapping[Unit, float] = {}) -> float:
        """Estimated time to the end: the bound that work and the longest chain set.

        Args:
            running: units in training, with the part of their steps that is made.
        """
        made = sum(share * self.seconds[unit] for unit, share in running.items())
        chains: dict[int, float] = {}
        for unit, share in running.items():
            batch = self._batch_of[unit]
            chains[batch] = chains.get(batch, self._chains[batch]) - share * self.seconds[unit]
        if (batch := self._longest(self._heap)) is not None:
            chains[batch] = self._chain(batch)
        return max((self._left_seconds - made) / slots, *chains.values(), 0.0)

    def copy(self) -> Schedule:
        """A schedule that can be played through without touching this one; its estimates stay as they are."""
        other = copy.copy(self)
        other._states, other._cause, other._counts = (
            dict(self._states),
            dict(self._cause),
            self._counts.copy(),
        )
        other._heap, other._queued = list(self._heap), set(self._queued)
        other._heaps = defaultdict(list, {program: list(heap) for program, heap in self._heaps.items()})
        other._compiled = defaultdict(set, {slot: set(known) for slot, known in self._compiled.items()})
        other._slot_of, other._next_estimate = dict(self._slot_of), float("inf")
        other._made = dict(self._made)
        return other

    # --- what happened

    def complete(self, unit: Unit) -> None:
        """The unit is committed; what waited for it is ready."""
        self._set(unit, "done")
        waited = [after for after in self._after[unit] if self._states[after] == "waiting"]
        for after in waited:
            self._set(after, "ready")
        self._completed += 1
        if self._completed >= self._next_estimate:
            self._next_estimate = 2 * self._completed
            self.estimate()
        else:
            # Its own batch too: a member that lost its slot may have waited for this one to end.
            self._offer([unit, *waited])

    def release(self, unit: Unit, share_done: float = 0.0) -> None:
        """The unit's slot was lost or has something longer to do; it is ready to run elsewhere.

        Args:
            share_done: part of its steps that it starts from there.
        """
        self._made[unit] = share_done
        self._set(unit, "ready")
        self._offer([unit])

    def fail(self, unit: Unit) -> None:
        """The unit was given up; what depends on it is blocked."""
        self._end(unit, "failed")

    def diverge(self, unit: Unit) -> None:
        """The training diverged; what depends on it is blocked."""
        self._end(unit, "diverged")

    def _end(self, unit: Unit, state: State) -> None:
        self._set(unit, state)
        reached = [unit]
        for each in reached:
            for after in self._after[each]:
                self._set(after, "blocked")
                self._cause[after] = unit.run_id
                reached.append(after)
        # Whoever is in a batch with one of these waits no longer for it.
        self._offer(reached)

    def _set(self, unit: Unit, state: State) -> None:
        before = self._states[unit]
        self._counts[before] -= 1
        self._counts[state] += 1
        self._left_seconds += self.seconds[unit] * ((state in MISSING) - (before in MISSING))
        self._states[unit] = state

    def _offer(self, units: Iterable[Unit]) -> None:
        """Queue the batches of these units that can start now."""
        for batch in dict.fromkeys(self._batch_of[unit] for unit in units):
            if batch not in self._queued and self._startable(batch):
                self._queued.add(batch)
                # Of equal chains the first of the plan.
                entry = (-self._chain(batch), batch)
                heapq.heappush(self._heap, entry)
                heapq.heappush(self._heaps[self.program(self._batches[batch][0])], entry)


def unit_states(
    before: dict[Unit, Unit | None], done: set[Unit], diverged: set[str], failed: set[Unit]
) -> tuple[dict[Unit, State], dict[Unit, str]]:
    """Where every unit stands that no slot has, and of blocked ones the run whose end blocks them.

    Args:
        before: of every unit the one that it waits for, as `Plan.prerequisites` says.
        done, diverged, failed: as of a `Schedule`.
    """
    states: dict[Unit, State] = {}
    causes: dict[Unit, str] = {}
    for unit, previous in before.items():
        if unit in done:
            states[unit] = "done"
        elif previous is not None and states[previous] in ("failed", "diverged", "blocked"):
            # A run that ended early blocks others; its own later levels ended with it.
            states[unit] = "blocked"
            causes[unit] = causes.get(previous, previous.run_id)
        elif unit in failed:
            states[unit] = "failed"
        elif unit.run_id in diverged:
            states[unit] = "diverged"
        elif previous is None or states[previous] == "done":
            states[unit] = "ready"
        else:
            states[unit] = "waiting"
    return states, causes


def _batches_of_units(jobs: dict[str, Job], batches: Iterable[Sequence[str]]) -> list[tuple[Unit, ...]]:
    """The units of all jobs in batches: one level of the runs that are trained together."""
    together = [batch for batch in batches if batch]
    batched = {run_id for batch in together for run_id in batch}
    together += [(run_id,) for run_id in jobs if run_id not in batched]
    # In the plan's order, by their first members.
    place = {run_id: place for place, run_id in enumerate(jobs)}
    together.sort(key=lambda batch: place[batch[0]])
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
    """What would run and when, on so many slots, if the estimates held; in order of start."""
    schedule = schedule.copy()
    free, now = list(range(slots)), 0.0
    running: list[tuple[float, int, int, tuple[Unit, ...]]] = []
    played: list[Rehearsal] = []
    while True:
        for slot, units in schedule.assign(free):
            free.remove(slot)
            end = now + schedule.batch_seconds(units)
            played += [Rehearsal(unit, now, end, schedule.seconds[unit]) for unit in units]
            heapq.heappush(running, (end, len(played), slot, units))
        if not running:
            return played
        now, _, slot, units = heapq.heappop(running)
        free.append(slot)
        for unit in units:
            schedule.complete(unit)
