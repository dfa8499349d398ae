"""What a person sees while a study runs: a live table, or a plain line now and then."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nqs.config import ReferenceJob, TicketRun, TrajectoryRun
from nqs.tasks import Outcome, ReferenceOutcome
from orchestrator.plan import Job
from orchestrator.schedule import Schedule
from orchestrator.slots import Slot
from orchestrator.units import Unit

_LINE_EVERY_SECONDS = 30.0
_REFRESHES_PER_SECOND = 2


@dataclass
class _Running:
    slot: Slot
    unit: Unit
    job: Job
    step: int = 0
    energy: float = math.nan
    energy_error: float = math.nan

    @property
    def share_done(self) -> float:
        if isinstance(self.job, ReferenceJob):
            return 0.0
        # A network that is built has no steps.
        return self.step / max(1, self.job.steps_at(self.unit.level))


class Progress:
    """Watches the run loop; a context manager that owns the live display.

    Args:
        live: whether to draw a table; by default where the console is a terminal.
    """

    def __init__(self, console: Console, live: bool | None = None):
        self._console = console
        self._live = Live(console=console, refresh_per_second=_REFRESHES_PER_SECOND, auto_refresh=False)
        self._is_live = console.is_terminal if live is None else live
        self._running: dict[Unit, _Running] = {}
        self._shown_at = -math.inf

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._is_live:
            self._live.stop()

    def started(self, slot: Slot, unit: Unit, job: Job) -> None:
        self._running[unit] = _Running(slot, unit, job)

    def advanced(self, unit: Unit, outcome: Outcome | ReferenceOutcome) -> None:
        running = self._running[unit]
        running.step, running.energy, running.energy_error = (
            outcome.step,
            outcome.energy,
            outcome.energy_error,
        )

    def ended(self, unit: Unit) -> None:
        self._running.pop(unit, None)

    def note(self, line: str) -> None:
        """A line that stays: something a person should know."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def share_done(self, unit: Unit) -> float:
        """Part of a running unit's steps that is made; 0 of a reference energy, whose end is not known."""
        return self._running[unit].share_done

    def tick(self, schedule: Schedule, slots: int) -> None:
        """Show how things stand, as often as a person can read it."""
        now = time.monotonic()
        every = 1 / _REFRESHES_PER_SECOND if self._is_live else _LINE_EVERY_SECONDS
        if now - self._shown_at < every:
            return
        self._shown_at = now
        summary = self._summary(schedule, slots)
        if self._is_live:
            self._live.update(self._table(summary), refresh=True)
        else:
            self.note("; ".join([summary, *map(_short, self._batches())]))

    def _batches(self) -> list[list[_Running]]:
        """What runs, by slot; a batch has several, of which a person sees the first."""
        by_slot: dict[Slot, list[_Running]] = defaultdict(list)
        for running in self._running.values():
            by_slot[running.slot].append(running)
        return [by_slot[slot] for slot in sorted(by_slot, key=lambda slot: slot.index)]

    def _summary(self, schedule: Schedule, slots: int) -> str:
        shown = ", ".join(f"{count} {state}" for state, count in sorted(schedule.counts.items()))
        shares = {unit: running.share_done for unit, running in self._running.items()}
        return f"units: {shown}; about {duration(schedule.seconds_left(slots, shares))} left"

    def _table(self, summary: str) -> Table:
        table = Table(title=summary, title_justify="left", expand=False)
        for column, justify in (
            ("slot", "left"),
            ("run", "left"),
            ("level", "right"),
            ("step", "right"),
            ("energy", "right"),
        ):
            table.add_column(column, justify=justify)
        for batch in self._batches():
            table.add_row(batch[0].slot.name, _name(batch), *_standing(batch[0]))
        return table


def _standing(running: _Running) -> tuple[str, str, str]:
    """Level, step and energy of a running unit, as text."""
    energy = "" if math.isnan(running.energy) else _with_error(running.energy, running.energy_error)
    if isinstance(running.job, ReferenceJob):
        bond_dimension = running.job.bond_dimension(running.unit.level)
        return ("", "", "") if bond_dimension is None else (f"χ {bond_dimension}", str(running.step), energy)
    steps = running.job.steps_at(running.unit.level)
    return f"{running.unit.level}/{running.job.last_level}", f"{running.step}/{steps}", energy


def _with_error(value: float, error: float) -> str:
    return f"{value:.6g}" if math.isnan(error) else f"{value:.6g} ± {error:.1g}"


def _name(batch: list[_Running]) -> str:
    """The first member in a few words, and how many there are with it."""
    name = describe(batch[0].job)
    return f"{name} and {len(batch) - 1} more" if len(batch) > 1 else name


def _short(batch: list[_Running]) -> str:
    level, step, energy = _standing(batch[0])
    return " ".join(filter(None, (_name(batch), level and f"level {level}", step and f"step {step}", energy)))


def describe(job: Job) -> str:
    """A run in a few words; #0.1 is the ticket's replicate 1 on the trajectory's replicate 0."""
    if isinstance(job, ReferenceJob):
        how = {"exact": "", "ed": "", "dmrg": " DMRG"}[job.method] + (" odd" if job.parity == "odd" else "")
        return f"reference {job.hamiltonian.label}{how}"
    label = job.dense.hamiltonian.label
    if isinstance(job, TicketRun):
        origin = f" under a mask of {job.parent.dense.hamiltonian.label}" if job.trained_at else ""
        return f"{label} {job.variant} #{job.dense.replicate}.{job.replicate}{origin}"
    return f"{label} {job.method if isinstance(job, TrajectoryRun) else job.kind} #{job.replicate}"


def duration(seconds: float) -> str:
    """A time as a person says it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
