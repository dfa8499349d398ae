"""The run loop: gives slots their tasks, and commits what comes back.

One loop for ray and for the inline executor. Every write is whole or absent, so the loop may be killed
between any two of them; the next start goes on from what is committed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import polars as pl

from nqs.config import DenseRun, ReferenceJob, TicketRun
from nqs.identity import NUMERICS_VERSION
from nqs.tasks import Outcome, ReferenceOutcome, ReferenceTask, Task
from orchestrator.actors import Failure, OwnCode, Results, Slot, Tasks
from orchestrator.batches import Batch
from orchestrator.compaction import MOST_PARTS, compact, most_parts
from orchestrator.costs import CostModel
from orchestrator.plan import Job, Plan
from orchestrator.progress import Progress
from orchestrator.provenance import code_version
from orchestrator.run_directory import Checkpoint, RunDirectory, StudyError, weights_rows
from orchestrator.schedule import State, Unit, prerequisite
from orchestrator.store import MOST_ATTEMPTS, Study, read_weights, schedule_of
from orchestrator.tables import ATTEMPTS, REFERENCES, RUNS, STATES, STEPS, WEIGHTS, run_fields

# A kill loses at most this much of each slot's work; a stretch costs a checkpoint and a message.
STRETCH_SECONDS = 5.0
# What a level does without the checkpoint before it.
_FRESH_START = {"trajectory": "with fresh chains", "reference": "from a product state"}
# How long a signal may go unnoticed.
_WAIT_SECONDS = 0.5


class Executor(Protocol):
    """Where tasks run; one batch of them a slot at a time."""

    slots: list[Slot]

    def problem_with(self, own_code: OwnCode) -> str | None: ...

    def memory_bytes(self) -> int | None: ...

    def submit(self, slot: Slot, tasks: Tasks, seconds: float) -> None: ...

    def wait(self, timeout_seconds: float) -> list[tuple[Slot, Results]]: ...


@dataclass
class _Work:
    """What a slot is doing for one member of its batch."""

    unit: Unit
    task: Task | ReferenceTask


class Loop:
    """Runs what is missing of a study.

    Args:
        directory: prepared and locked by the caller.
        study: what the directory holds.
        costs: decides the order; learns from every unit.
        since: start of this driver; failures before it have another chance.
        stopped: asked between any two results; once true nothing more is started.
        stretch_seconds: how long a batch goes on before it reports.
        batches: ids of runs that are trained together; a run that is in none is trained alone.
    """

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        study: Study,
        costs: CostModel,
        progress: Progress,
        since: datetime,
        stopped: Callable[[], bool] = lambda: False,
        stretch_seconds: float = STRETCH_SECONDS,
        batches: Sequence[Batch] = (),
    ):
        self._plan, self._directory, self._costs, self._progress = plan, directory, costs, progress
        self._members = {run_id: len(batch) for batch in batches for run_id in batch}
        costs.members |= self._members
        self._stopped, self._stretch_seconds = stopped, stretch_seconds
        self.schedule = schedule_of(
            plan, study.runs, study.states, study.references, study.attempts, costs.seconds, since, batches
        )
        self._lost: dict[Unit, int] = defaultdict(int)
        self._attempts = defaultdict(int)
        for run_id, level in study.attempts.select("run_id", "level").iter_rows():
            self._attempts[Unit(run_id, level)] += 1
        self._wall_seconds = defaultdict(float)
        for run_id, seconds in study.states.select("run_id", "wall_seconds").iter_rows():
            self._wall_seconds[run_id] += seconds or 0.0
        self._close_shortened_trajectories(study)
        self._parts = most_parts(directory)

    def run(self, executor: Executor) -> None:
        """Run until nothing is left that can run, or until stopped."""
        works: dict[Slot, list[_Work]] = {}
        if (most := max(self._members.values(), default=1)) > 1:
            self._progress.note(f"runs of one shape are trained together, up to {most} of them")

        def submit(slot: Slot, batch: list[_Work]) -> None:
            works[slot] = batch
            executor.submit(slot, [work.task for work in batch], self._stretch_seconds)

        while not self._stopped():
            for slot, units in self.schedule.assign(slot for slot in executor.slots if slot not in works):
                submit(slot, [self._start(slot, unit) for unit in units])
            if not works:
                return
            for slot, results in executor.wait(_WAIT_SECONDS):
                members = zip(works.pop(slot), results, strict=True)
                # Who is trained, diverged or failed leaves the batch; the others go on.
                left = [work for work, result in members if self._received(slot, work, result)]
                if left and self._yields(left, len(executor.slots)):
                    for work in left:
                        self._put_back(work.unit)
                elif left:
                    submit(slot, left)
            self._progress.tick(self.schedule, len(executor.slots))

    # --- what a unit starts from

    def _start(self, slot: Slot, unit: Unit) -> _Work:
        job = self._plan.jobs[unit.run_id]
        self._progress.started(slot, unit, job)
        return _Work(unit, self._task(unit, job))

    def _task(self, unit: Unit, job: Job) -> Task | ReferenceTask:
        if isinstance(job, ReferenceJob):
            return ReferenceTask(job, unit.level, self._checkpoint(unit, job))
        task = Task(job, unit.level, self._plan.measurement, checkpoint=self._checkpoint(unit, job))
        if isinstance(job, DenseRun):
            return task
        before = read_weights(self._directory, *prerequisite(unit, job))
        if isinstance(job, TicketRun):
            return replace(task, masked=before)
        rewind = before if unit.level == 1 else read_weights(self._directory, job.parent_run_id, 0)
        return replace(task, previous=before, rewind=rewind)

    def _checkpoint(self, unit: Unit, job: Job) -> bytes | None:
        """The newest whole checkpoint of the level, else the one that closed the level before."""
        own = [found for found in self._directory.checkpoints_of(unit.run_id) if found.level == unit.level]
        contents = self._first_whole(own)
        before = prerequisite(unit, job)
        if contents is None and before is not None and not isinstance(job, TicketRun):
            closing = [
                found
                for found in self._directory.checkpoints_of(before.run_id)
                if found.level == before.level
            ]
            contents = self._first_whole(closing[:1])
            if contents is None:
                self._progress.note(
                    f"{unit.run_id} level {unit.level}: the checkpoint that closed the level before is missing "
                    f"or damaged; the level starts {_FRESH_START[job.kind]}"
                )
        return contents

    def _first_whole(self, checkpoints: list[Checkpoint]) -> bytes | None:
        for checkpoint in checkpoints:
            contents = checkpoint.read()
            if contents is not None:
                return contents
            self._progress.note(f"{checkpoint.path} is damaged and is not used")
        return None

    # --- what came back

    def _received(self, slot: Slot, work: _Work, result: Outcome | ReferenceOutcome | Failure) -> bool:
        """Record a member's result; whether the slot goes on with the same unit."""
        unit, job = work.unit, self._plan.jobs[work.unit.run_id]
        if isinstance(result, Failure):
            self._record_failure(slot, unit, result)
        elif isinstance(result, ReferenceOutcome) and result.finished:
            self._commit_reference(unit, result)
            self._end(unit, "done")
        elif isinstance(result, ReferenceOutcome):
            self._go_on(work, result)
            return True
        elif result.diverged is not None:
            self._record_divergence(unit, job, result)
        elif result.finished:
            self._commit(unit, job, result)
            self._costs.observe(unit, job, result.state["wall_seconds"], result.device, slot)
            self._end(unit, "done")
        else:
            self._go_on(work, result)
            return True
        return False

    def _yields(self, works: list[_Work], slots: int) -> bool:
        """Whether the slot puts its batch back in favour of one that waits; its checkpoints are written."""
        shares = [self._progress.share_done(work.unit) for work in works]
        return self.schedule.yields([work.unit for work in works], sum(shares) / len(shares), slots)

    def _put_back(self, unit: Unit) -> None:
        self.schedule.release(unit, self._progress.share_done(unit))
        self._progress.ended(unit)

    def _go_on(self, work: _Work, result: Outcome | ReferenceOutcome) -> None:
        self._save_checkpoint(work.unit, result)
        self._progress.advanced(work.unit, result)
        work.task = replace(work.task, checkpoint=result.checkpoint)

    def _commit_reference(self, unit: Unit, outcome: ReferenceOutcome) -> None:
        """Write a reference energy; its row comes last, and the state that the next bond dimension starts from before."""
        if outcome.checkpoint is not None:
            self._directory.write_checkpoint(unit.run_id, unit.level, outcome.step, outcome.checkpoint)
        self._write(REFERENCES, unit, [outcome.row])
        self._remove_checkpoints(unit, keep=outcome.step)

    def _commit(self, unit: Unit, job: Job, outcome: Outcome) -> None:
        """Write a trained network; its row of `states` comes last and makes the rest count."""
        directory, key = self._directory, {"run_id": unit.run_id, "level": unit.level}
        self._write(WEIGHTS, unit, weights_rows(unit.run_id, unit.level, outcome.weights))
        self._write(STEPS, unit, _steps_rows(key, outcome.steps_rows))
        self._wall_seconds[unit.run_id] += outcome.state["wall_seconds"]
        if unit.level == job.last_level:
            self._write_run(unit, job, "done", None, outcome.device)
        if not isinstance(job, TicketRun):
            directory.write_checkpoint(unit.run_id, unit.level, outcome.step, outcome.checkpoint)
        self._write(STATES, unit, [key | outcome.state])
        self._compact_if_many()
        self._remove_checkpoints(unit, keep=None if isinstance(job, TicketRun) else outcome.step)

    def _compact_if_many(self) -> None:
        """Merge the parts once there are many, so that --status and the app stay fast while a study runs."""
        self._parts += 1
        if self._parts <= MOST_PARTS:
            return
        try:
            compact(self._directory)
        except StudyError as error:
            # What is committed is there all the same; the next start refuses a damaged file.
            self._progress.note(f"small files are not merged: {error}")
        self._parts = 0

    def _save_checkpoint(self, unit: Unit, outcome: Outcome | ReferenceOutcome) -> None:
        self._directory.write_checkpoint(unit.run_id, unit.level, outcome.step, outcome.checkpoint)
        for older in self._directory.checkpoints_of(unit.run_id):
            # What closed the level before stays until this level is committed.
            if older.level == unit.level and older.step < outcome.step:
                older.path.unlink()

    def _remove_checkpoints(self, unit: Unit, keep: int | None) -> None:
        for checkpoint in self._directory.checkpoints_of(unit.run_id):
            if (checkpoint.level, checkpoint.step) != (unit.level, keep):
                checkpoint.path.unlink()

    def _record_divergence(self, unit: Unit, job: Job, outcome: Outcome) -> None:
        self._wall_seconds[unit.run_id] += outcome.wall_seconds
        self._write_run(unit, job, "diverged", outcome.diverged, outcome.device)
        self._remove_checkpoints(unit, keep=None)
        self._progress.note(f"{unit.run_id} diverged: {outcome.diverged}")
        self._end(unit, "diverged")

    def _record_failure(self, slot: Slot, unit: Unit, failure: Failure) -> None:
        self._attempts[unit] += 1
        attempt = {
            "run_id": unit.run_id,
            "level": unit.level,
            "attempt": self._attempts[unit],
            "error_class": failure.error_class,
            "message": failure.message,
            "device": slot.name,
            "at": datetime.now(UTC),
        }
        self._directory.append_log(unit.run_id, f"{attempt['at']:%Y-%m-%d %H:%M:%S} UTC\n{failure.traceback}")
        path = self._directory.part(ATTEMPTS, unit.run_id, unit.level, attempt["attempt"])
        self._directory.write_rows(ATTEMPTS, path, [attempt], self._plan.sweep)
        self._lost[unit] += 1
        if failure.error_class == "actor_lost" and self._lost[unit] < MOST_ATTEMPTS:
            self._progress.note(
                f"{unit.run_id} level {unit.level} lost its slot and is tried again: {failure.message}"
            )
            self._end(unit, "ready")
            return
        self._progress.note(f"{unit.run_id} level {unit.level} failed: {failure.message}")
        self._end(unit, "failed")

    def _end(self, unit: Unit, state: State) -> None:
        match state:
            case "done":
                self.schedule.complete(unit)
            case "diverged":
                self.schedule.diverge(unit)
            case "failed":
                self.schedule.fail(unit)
            case "ready":
                self.schedule.release(unit)
        self._progress.ended(unit)

    # --- rows

    def _write(self, table, unit: Unit, rows: list[dict]) -> None:
        path = self._directory.part(table, unit.run_id, unit.level)
        self._directory.write_rows(table, path, rows, self._plan.sweep)

    def _write_run(self, unit: Unit, job: Job, outcome: str, reason: str | None, device: str | None) -> None:
        row = run_fields(job, self._plan.sweep) | {
            "outcome": outcome,
            "outcome_reason": reason,
            "batch": self._members.get(unit.run_id, 1),
            "numerics_version": NUMERICS_VERSION,
            "code_version": code_version(),
            "device": device,
            "wall_seconds": self._wall_seconds[unit.run_id],
            "finished_at": datetime.now(UTC),
        }
        self._write(RUNS, unit, [row])

    def _close_shortened_trajectories(self, study: Study) -> None:
        """Write the row of `runs` of trajectories that end earlier since the sweep was edited."""
        unclosed = study.runs.filter(
            pl.col("planned") & (pl.col("status") == "done") & pl.col("outcome").is_null()
        )
        for run_id in unclosed["run_id"]:
            job = self._plan.jobs[run_id]
            self._write_run(Unit(run_id, job.last_level), job, "done", None, None)


def _steps_rows(key: dict, columns: dict[str, np.ndarray]) -> list[dict]:
    names = list(columns)
    lists = [columns[name].tolist() for name in names]
    return [key | dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
