"""The units of work that a run consists of, and which one each waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from nqs.config import TicketRun, TrajectoryRun

if TYPE_CHECKING:
    from orchestrator.plan import Job


class Unit(NamedTuple):
    """A run's level; of a DMRG series the bond dimension's place, of an exact reference energy 0."""

    run_id: str
    level: int


def units_of(run_id: str, job: Job) -> list[Unit]:
    """The units of one run, in series."""
    return [Unit(run_id, level) for level in range(job.first_level, job.last_level + 1)]


def prerequisite(unit: Unit, job: Job) -> Unit | None:
    """The one unit that must be committed before this one starts: the level before, or where the run starts from."""
    return prerequisites({unit.run_id: job})[unit]


def prerequisites(jobs: Mapping[str, Job]) -> dict[Unit, Unit | None]:
    """`prerequisite` of every unit of some runs, in their order and each run's in series."""
    before: dict[Unit, Unit | None] = {}
    for run_id, job in jobs.items():
        previous = _origin(job)
        for unit in units_of(run_id, job):
            before[unit], previous = previous, unit
    return before


def _origin(job: Job) -> Unit | None:
    """The network that a run starts from; None where it starts from nothing."""
    if isinstance(job, TicketRun):
        if (sparser := job.sparser) is not None:
            return Unit(sparser.run_id, sparser.level)
        return Unit(job.parent_run_id, job.turned_at or job.level)
    return Unit(job.parent_run_id, 0) if isinstance(job, TrajectoryRun) else None


def starting_networks(unit: Unit, job: Job) -> set[Unit]:
    """The committed networks whose weights a unit is given: what it goes on from, its mask, its rewind point."""
    given = {prerequisite(unit, job)} - {None}
    if isinstance(job, TicketRun):
        given.add(Unit(job.parent_run_id, unit.level))
    elif isinstance(job, TrajectoryRun):
        given.add(Unit(job.parent_run_id, 0))
    return given


def given_of(networks: set[Unit], units: Iterable[Unit], jobs: Mapping[str, Job]) -> dict[Unit, set[Unit]]:
    """Which of some networks each unit is given to start from; units that are given none are left out."""
    if not networks:
        return {}
    return {unit: given for unit in units if (given := starting_networks(unit, jobs[unit.run_id]) & networks)}
