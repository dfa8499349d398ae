"""A small deterministic training for tests: every number follows from the run, the level and the step.

Its state is a chaotic map, so a step made twice, left out or started from the wrong checkpoint changes
all that follows.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nqs.config import DenseRun, Hamiltonian, TicketRun
from nqs.pruning import survivors
from nqs.tasks import LiveWeights, Outcome, ReferenceOutcome, ReferenceTask, Task
from orchestrator.actors import Engine

STEPS_PER_STRETCH = 3
SWEEPS_PER_BOND_DIMENSION = 2


@dataclass(frozen=True)
class FakeEngine:
    """What goes wrong, and how long a step takes.

    Attributes:
        diverges: run ids that diverge, and at which level.
        bugs: run ids whose training raises, and at which level.
        dies_while: a folder; the process ends itself while it still holds a file, one file each time.
        memory_bytes: what a slot's device says of its memory.
    """

    diverges: tuple[tuple[str, int], ...] = ()
    bugs: tuple[tuple[str, int], ...] = ()
    step_seconds: float = 0.0
    dies_while: Path | None = None
    memory_bytes: int | None = None

    def engine(self) -> Engine:
        return Engine(self.advance_batch, self.advance_reference, lambda: self.memory_bytes)

    def advance_reference(self, task: ReferenceTask, seconds: float) -> ReferenceOutcome:
        """A DMRG level takes two sweeps; its energy depends on every sweep since the series' start."""
        self._die_perhaps()
        job, level = task.job, task.level
        row = self.reference_energy(job.hamiltonian) | {"method": job.method, "parity": job.parity}
        if job.method != "dmrg":
            return ReferenceOutcome(1, row["energy"], 0.0, row=row)
        step, x, _ = _start(task)
        step, x = step + 1, _step(x, job.run_id, level, step + 1)
        finished = step == SWEEPS_PER_BOND_DIMENSION
        time.sleep(self.step_seconds)
        row |= {
            "energy": row["energy"] + x / (level + 1),
            "energy_error": None,
            "truncation_error": 1 / 4**level,
        }
        row |= {"bond_dimension": job.bond_dimension(level), "seconds": 0.5}
        return ReferenceOutcome(
            step, row["energy"], checkpoint=_save(level, step, x, []), row=row if finished else None
        )

    def reference_energy(self, hamiltonian: Hamiltonian) -> dict:
        return {
            "hamiltonian": hamiltonian.kind,
            "hamiltonian_parameters": hamiltonian.parameters_json,
            "side": hamiltonian.side,
            "boundary": hamiltonian.boundary,
            "field": hamiltonian.field,
            "energy": -4.0 * hamiltonian.sites,
            "energy_error": 0.0,
            "method": "ed",
            "parity": "even",
            "provenance": "made up",
        }

    def advance_batch(self, tasks: Sequence[Task], seconds: float) -> list[Outcome]:
        return [self.advance(task, seconds / len(tasks)) for task in tasks]

    def advance(self, task: Task, seconds: float) -> Outcome:
        self._die_perhaps()
        run, level = task.run, task.level
        key = (run.run_id, level)
        if key in self.bugs:
            raise RuntimeError("a bug on purpose\nwith a second line")
        step, x, records = _start(task)
        end = min(step + STEPS_PER_STRETCH, run.steps_at(level))
        while step < end:
            step += 1
            x = _step(x, run.run_id, level, step)
            records.append(x)
            time.sleep(self.step_seconds)
        finished = step == run.steps_at(level)
        diverged = f"the energy is nan at step {step}" if finished and key in self.diverges else None
        outcome = Outcome(
            run.run_id,
            level,
            step,
            run.steps_at(level),
            -x,
            0.1,
            0.5,
            _save(level, step, x, records),
            "fake",
            diverged=diverged,
        )
        return _with_tables(outcome, task, x, records) if finished and not diverged else outcome

    def _die_perhaps(self) -> None:
        if self.dies_while is not None:
            for file in self.dies_while.iterdir():
                try:
                    file.unlink()
                except FileNotFoundError:  # another slot's process saw it too, and was faster
                    continue
                os._exit(1)


def _step(x: float, *what) -> float:
    return 4 * x * (1 - x) * 0.9 + 0.1 * _uniform(*what)


def _start(task: Task | ReferenceTask) -> tuple[int, float, list[float]]:
    if task.checkpoint is None:
        job = task.job if isinstance(task, ReferenceTask) else task.run
        return 0, _uniform(job.run_id, task.level, 0), []
    with np.load(io.BytesIO(task.checkpoint)) as stored:
        level, step, x, records = (
            int(stored["level"]),
            int(stored["step"]),
            float(stored["x"]),
            stored["records"],
        )
    # The checkpoint that closed the level before carries the chains on, and nothing else.
    return (step, x, records.tolist()) if level == task.level else (0, x, [])


def _with_tables(outcome: Outcome, task: Task, x: float, records: list[float]) -> Outcome:
    run, level = task.run, task.level
    steps = np.arange(1, len(records) + 1)
    energies = np.array(records)
    zeros = np.zeros(len(records))
    weights = _weights(task, x)
    live = len(weights.indices)
    state = {"remaining": live, "parameters": live, "density": live / run.dense.initial_parameters}
    state |= {"parameters_per_spin": live / run.dense.hamiltonian.sites, "estimator": "sampling"}
    state |= {"energy": -x, "energy_error": 0.1, "steps": run.steps_at(level), "wall_seconds": 0.5}
    columns = {"step": steps, "energy": energies, "energy_error": zeros}
    return Outcome(
        **{
            name: getattr(outcome, name)
            for name in ("run_id", "level", "step", "steps", "energy", "energy_error")
        },
        wall_seconds=0.5,
        checkpoint=outcome.checkpoint,
        device="fake",
        finished=True,
        state=state,
        steps_rows=columns,
        weights={"hidden": weights},
    )


def _weights(task: Task, x: float) -> LiveWeights:
    run = task.run
    shape = run.dense.network.layers(run.dense.hamiltonian.sites)["hidden"]
    if isinstance(run, DenseRun):
        indices = np.arange(math.prod(shape), dtype=np.int32)
        return LiveWeights(shape, indices, np.sin(indices + 7 * x))
    if isinstance(run, TicketRun):
        indices = task.masked["hidden"].indices
        return LiveWeights(shape, indices, np.cos(indices * x))
    before, rewind = task.previous["hidden"], task.rewind["hidden"]
    indices = survivors(before.indices, np.abs(before.values), run.pruning_ratio)
    return LiveWeights(shape, indices.astype(np.int32), rewind.values[indices] * x)


def _uniform(*what) -> float:
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:6], "big") / 2**48


def _save(level: int, step: int, x: float, records: list[float]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, level=level, step=step, x=x, records=np.array(records))
    return buffer.getvalue()
