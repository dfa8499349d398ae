"""The run loop: gives slots their tasks, and commits what comes back.

One loop for ray and for the inline executor. Every write is whole or absent, so the loop may be killed
between any two of them; the next start goes on from what is committed.

A slot that reports gets its next task before what it reported is written: the networks and checkpoints that the
task starts from are still in memory, and a thread writes beside the slots.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import polars as pl

from nqs.config import DenseRun, ReferenceJob, TicketRun
from nqs.identity import NUMERICS_VERSION
from nqs.tasks import Outcome, ReferenceOutcome, ReferenceTask, Task
from orchestrator.actors import OwnCode, Results, Tasks
from orchestrator.batches import Batch, halved
from orchestrator.compaction import MOST_PARTS, compact, most_parts
from orchestrator.costs import CostModel
from orchestrator.failures import Failure
from orchestrator.overhead import Overhead
from orchestrator.plan import Job, Plan
from orchestrator.progress import Progress, duration
from orchestrator.provenance import code_version
from orchestrator.recent import RecentCheckpoints, RecentWeights
from orchestrator.retries import (
    FIRST_WAIT_SECONDS,
    HUNG_AFTER_SECONDS,
    MOST_ATTEMPTS,
    TRANSIENT,
    Retries,
    patience_seconds,
)
from orchestrator.run_directory import (
    Checkpoint,
    File,
    RunDirectory,
    StudyError,
    encoded_columns,
    encoded_rows,
    steps_columns,
    weights_rows,
)
from orchestrator.schedule import State
from orchestrator.slots import Slot
from orchestrator.store import Study, schedule_of, start_after
from orchestrator.tables import ATTEMPTS, REFERENCES, RUNS, STATES, STEPS, WEIGHTS, Table, run_fields
from orchestrator.units import Unit, prerequisite
from orchestrator.writing import Record, Writer

# A kill loses at most this much of each slot's work; a stretch costs a checkpoint and a message.
STRETCH_SECONDS = 5.0
# What a level does without the checkpoint before it.
_FRESH_START = {"trajectory": "with fresh chains", "reference": "from a product state"}
# Losses that may be the slot's own doing.
_SLOTS_OWN = {"actor_lost", "node_lost", "hung", "disk"}
_ALONE_TOO_LARGE = (
    "the run is alone on its device, so fewer samples or a smaller network in the sweep, a device with more memory, "
    "or fewer programs beside it would help"
)
# How long a signal may go unnoticed.
_WAIT_SECONDS = 0.5


class Executor(Protocol):
    """Where tasks run; one batch of them a slot at a time."""

    slots: list[Slot]

    def problem_with(self, own_code: OwnCode) -> str | None: ...

    def memory_bytes(self) -> int | None: ...

    def submit(self, slot: Slot, tasks: Tasks, seconds: float) -> None: ...

    def wait(self, timeout_seconds: float) -> list[tuple[Slot, Results]]: ...

    def replace(self, slot: Slot) -> None: ...


@dataclass
class _Work:
    """What a slot is doing for one member of its batch.

    Attributes:
        step: that it last reported; None before, while it may compile.
    """

    unit: Unit
    task: Task | ReferenceTask
    step: int | None = None


class Loop:
    """Runs what is missing of a study.

    Attributes:
        schedule: where every unit stands.
        overhead: how the time was spent.
        ended_by_failure: whether `fail_fast` has ended it.

    Args:
        directory: prepared and locked by the caller.
        study: what the directory holds.
        costs: decides the order; learns from every unit.
        since: start of this driver; failures before it that do not last have another chance.
        stopped: asked between any two results; once true nothing more is started.
        stretch_seconds: how long a batch goes on before it reports.
        batches: ids of runs that are trained together; a run that is in none is trained alone.
        other_batches: of runs that are not asked for in this start; they stay on record.
        retry_failed: whether failures that last have another chance, too.
        fail_fast: whether to end at the first run that is given up; what runs goes on to its next report.
        first_wait_seconds: before a unit or a slot that was lost is tried again.
        hung_after_seconds: the least silence after which a slot counts as hung.
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
        other_batches: Sequence[Batch] = (),
        retry_failed: bool = False,
        fail_fast: bool = False,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        hung_after_seconds: float = HUNG_AFTER_SECONDS,
    ):
        self._plan, self._directory, self._costs, self._progress = plan, directory, costs, progress
        self._train_together(batches)
        self._other_batches = other_batches
        self._stopped, self._stretch_seconds = stopped, stretch_seconds
        since = start_after(study.attempts, since)
        self._since, self._began = since, time.monotonic()
        directory.record_retries_before(since)
        self.schedule = schedule_of(plan, study, costs.seconds, since, batches, retry_failed)
        self._fail_fast, self.ended_by_failure = fail_fast, False
        self._hung_after_seconds = hung_after_seconds
        # Slots too, so that a broken one does not take and lose one unit after another.
        self._units, self._slots = Retries(first_wait_seconds), Retries(first_wait_seconds)
        self.overhead = Overhead()
        self._attempts = defaultdict(int)
        for run_id, level in study.attempts.select("run_id", "level").iter_rows():
            self._attempts[Unit(run_id, level)] += 1
        self._wall_seconds = defaultdict(float)
        for run_id, seconds in study.states.select("run_id", "wall_seconds").iter_rows():
            self._wall_seconds[run_id] += seconds or 0.0
        self._close_shortened_trajectories(study)
        self._parts = most_parts(directory)
        self._weights, self._checkpoints = RecentWeights(directory), RecentCheckpoints(directory)
        self._writer = Writer(directory)

    def _train_together(self, batches: Sequence[Batch]) -> None:
        self._batches = list(batches)
        self._members = {run_id: len(batch) for batch in batches for run_id in batch}
        self._costs.members |= self._members

    def run(self, executor: Executor) -> None:
        """Run until nothing is left that can run, or until stopped."""
        works: dict[Slot, list[_Work]] = {}
        since: dict[Slot, float] = {}
        if (most := max(self._members.values(), default=1)) > 1:
            self._progress.note(f"runs of one shape are trained together, up to {most} of them")

        def submit(slot: Slot, batch: list[_Work]) -> None:
            works[slot] = batch
            since[slot] = time.monotonic()
            with self.overhead.driver("dispatching"):
                executor.submit(slot, [work.task for work in batch], self._stretch_seconds)
            self.overhead.busy(slot)

        def received(slot: Slot, results: Results) -> None:
            self.overhead.idle(slot)
            # Who is trained, diverged or failed leaves the batch; the others go on.
            left = self._received_batch(slot, works.pop(slot), results)
            if self.ended_by_failure:
                return  # what they reported is in their checkpoints
            if left and self._yields(left, len(executor.slots)):
                for work in left:
                    self._put_back(work.unit)
            elif left:
                submit(slot, left)

        def assign() -> None:
            free = (slot for slot in executor.slots if slot not in works and not self._slots.rests(slot))
            for slot, units in self.schedule.assign(() if self.ended_by_failure else free):
                submit(slot, [self._start(slot, unit) for unit in units])

        self.overhead.begin(executor.slots)
        try:
            while not self._stopped():
                self._end_rests()
                assign()
                with self.overhead.driver("writing"):
                    self._writer.proceed()
                # Without slots there may be work left: the executor waits for some, or says that none will come.
                if works or not (executor.slots or self.ended_by_failure or self.schedule.finished):
                    for slot, results in executor.wait(_WAIT_SECONDS):
                        received(slot, results)
                    for slot, batch in list(works.items()):
                        silence = time.monotonic() - since[slot]
                        if silence > self._patience(batch):
                            executor.replace(slot)
                            received(slot, [_hung(slot, silence)] * len(batch))
                elif self.ended_by_failure or not self._rest():
                    break
                self._progress.tick(self.schedule, max(1, len(executor.slots)))
        finally:
            # However it ends, what came back is not lost.
            with self.overhead.driver("writing"):
                self._writer.finish()
        self.overhead.end()

    def _patience(self, batch: list[_Work]) -> float:
        expected = sum(self._costs.seconds(work.unit, self._plan.jobs[work.unit.run_id]) for work in batch)
        return patience_seconds(self._stretch_seconds + expected, self._hung_after_seconds)

    def _end_rests(self) -> None:
        now = time.monotonic()
        self._slots.rested(now)
        for unit in self._units.rested(now):
            self._end(unit, "ready")

    def _rest(self) -> bool:
        """Sleep until a slot or a unit may be tried again, at most for a moment; whether there is one."""
        until = min(self._units.next_end(), self._slots.next_end())
        if until == math.inf:
            return False
        time.sleep(min(_WAIT_SECONDS, max(0.0, until - time.monotonic())))
        return True

    # --- what a unit starts from

    def _start(self, slot: Slot, unit: Unit) -> _Work:
        job = self._plan.jobs[unit.run_id]
        self._progress.started(slot, unit, job)
        # After what the unit starts from, in a log that both share.
        self._writer.add(Record(afterwards=lambda: self._log(unit, f"begins on {slot.name}")))
        with self.overhead.driver("preparing"):
            return _Work(unit, self._task(unit, job))

    def _task(self, unit: Unit, job: Job) -> Task | ReferenceTask:
        if isinstance(job, ReferenceJob):
            return ReferenceTask(job, unit.level, self._checkpoint(unit, job))
        task = Task(job, unit.level, self._plan.measurement, checkpoint=self._checkpoint(unit, job))
        if isinstance(job, DenseRun):
            return task
        before = self._weights.of(*prerequisite(unit, job))
        if isinstance(job, TicketRun) and job.turned_at is not None:
            return replace(task, masked=self._weights.of(job.parent_run_id, unit.level), previous=before)
        if isinstance(job, TicketRun):
            return replace(task, masked=before)
        rewind = before if unit.level == 1 else self._weights.of(job.parent_run_id, 0)
        return replace(task, previous=before, rewind=rewind)

    def _checkpoint(self, unit: Unit, job: Job) -> bytes | None:
        """The newest whole checkpoint of the level, else the one that closed the level before."""
        contents = self._first_whole(self._checkpoints.of_level(*unit))
        before = prerequisite(unit, job)
        if contents is None and before is not None and not isinstance(job, TicketRun):
            contents = self._first_whole(self._checkpoints.of_level(*before)[:1])
            if contents is None:
                self._progress.note(
                    f"{unit.run_id} level {unit.level}: the checkpoint that closed the level before is missing "
                    f"or damaged; the level starts {_FRESH_START[job.kind]}"
                )
        return contents

    def _first_whole(self, checkpoints: list[Checkpoint]) -> bytes | None:
        for checkpoint in checkpoints:
            contents = self._checkpoints.contents(checkpoint)
            if contents is not None:
                return contents
            self._progress.note(f"{checkpoint.path} is damaged and is not used")
        return None

    # --- what came back

    def _received_batch(self, slot: Slot, batch: list[_Work], results: Results) -> list[_Work]:
        """Record a batch's results; the members that go on."""
        classes = {result.error_class for result in results if isinstance(result, Failure)}
        if classes & _SLOTS_OWN:
            self._slots.lost(slot, time.monotonic())
        else:
            self._slots.settled(slot)
        with self.overhead.driver("receiving"):
            if "out_of_memory" in classes and len(batch) > 1:
                self._halve(slot, batch, results)
                return []
            pairs = zip(batch, results, strict=True)
            return [work for work, result in pairs if self._received(slot, work, result)]

    def _halve(self, slot: Slot, works: list[_Work], failures: Sequence[Failure]) -> None:
        """Go on with two batches in place of one that does not fit, each member from its last checkpoint."""
        (batch,) = [batch for batch in self._batches if works[0].unit.run_id in batch]
        self._train_together(halved(self._batches, batch))
        # Before anything of them is trained in the new company.
        self._directory.write_batches([*self._batches, *self._other_batches])
        self.schedule.regroup(self._batches)
        self._progress.note(
            f"{len(works)} runs together do not fit into the memory of {slot.name}, so {batch[0]} and its batch go "
            f"on in two halves: {failures[0].message}"
        )
        for work, failure in zip(works, failures, strict=True):
            self._record_attempt(slot, work.unit, failure, given_up=False)
            self._end(work.unit, "ready")

    def _received(self, slot: Slot, work: _Work, result: Outcome | ReferenceOutcome | Failure) -> bool:
        """Record a member's result; whether the slot goes on with the same unit."""
        unit, job = work.unit, self._plan.jobs[work.unit.run_id]
        if isinstance(result, Failure):
            self._record_failure(slot, unit, result)
            return False
        self._units.settled(unit)
        if isinstance(result, Outcome):
            self.overhead.trained(result)
        if isinstance(result, ReferenceOutcome) and result.finished:
            self._commit_reference(unit, result)
            self._end(unit, "done")
        elif isinstance(result, ReferenceOutcome):
            self._go_on(work, result)
            return True
        elif result.diverged is not None:
            self._record_divergence(slot, unit, job, result)
        elif result.finished:
            self._commit(slot, unit, job, result)
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
        checkpoint, file = self._keep_checkpoint(work.unit, result)

        def afterwards() -> None:
            self._checkpoints.written(checkpoint)
            self._checkpoints.remove_older(checkpoint)

        self._writer.add(Record((file,), afterwards=afterwards))
        self._progress.advanced(work.unit, result)
        if isinstance(result, Outcome):
            self._learn_under_way(work, result)
        work.task = replace(work.task, checkpoint=result.checkpoint)

    def _learn_under_way(self, work: _Work, outcome: Outcome) -> None:
        made = 0 if work.step is None else outcome.step - work.step
        work.step = outcome.step
        if made and self._costs.observe_under_way(
            work.unit,
            self._plan.jobs[work.unit.run_id],
            made / outcome.steps,
            outcome.wall_seconds,
            outcome.device,
        ):
            self.schedule.estimate()

    def _keep_checkpoint(
        self, unit: Unit, outcome: Outcome | ReferenceOutcome
    ) -> tuple[Checkpoint, Callable[[], File]]:
        """Remember a checkpoint, and how its file is made."""
        checkpoint = self._checkpoints.add(*unit, outcome.step, outcome.checkpoint)
        return checkpoint, lambda: (checkpoint.path, outcome.checkpoint)

    def _commit_reference(self, unit: Unit, outcome: ReferenceOutcome) -> None:
        """Keep a reference energy; its row comes last, and the state that the next bond dimension starts from before."""
        kept, files = None, []
        if outcome.checkpoint is not None:
            kept, file = self._keep_checkpoint(unit, outcome)
            files.append(file)

        def afterwards() -> None:
            self._log(unit, f"done, energy {outcome.energy:.12g}")
            self._remove_checkpoints(unit, kept)

        self._writer.add(Record(tuple(files), (self._rows(REFERENCES, unit, [outcome.row]),), afterwards))

    def _commit(self, slot: Slot, unit: Unit, job: Job, outcome: Outcome) -> None:
        """Keep a trained network; its row of `states` comes last and makes the rest count."""
        self._weights.keep(*unit, outcome.weights)
        files = [
            self._rows(WEIGHTS, unit, weights_rows(*unit, outcome.weights)),
            lambda: (
                self._directory.part(STEPS, *unit),
                encoded_columns(STEPS, steps_columns(*unit, outcome.steps_rows), self._plan.sweep),
            ),
        ]
        self._wall_seconds[unit.run_id] += outcome.state["wall_seconds"]
        if unit.level == job.last_level:
            files.append(self._run_row(unit, job, "done", None, _where(slot, outcome)))
        kept = None
        if not isinstance(job, TicketRun):
            kept, file = self._keep_checkpoint(unit, outcome)
            files.append(file)

        def afterwards() -> None:
            energy = f"{outcome.state['energy']:.10g} ± {outcome.state['energy_error']:.2g}"
            self._log(unit, f"done, energy {energy}")
            self._weights.written(*unit)
            self._compact_if_many()
            self._remove_checkpoints(unit, kept)

        state = {"run_id": unit.run_id, "level": unit.level} | outcome.state
        self._writer.add(Record(tuple(files), (self._rows(STATES, unit, [state]),), afterwards))

    def _remove_checkpoints(self, unit: Unit, kept: Checkpoint | None) -> None:
        """Remove those that a committed unit needs no more: all but the one that closes it, if one does."""
        if kept is None:
            self._checkpoints.remove_all(unit.run_id)
        else:
            self._checkpoints.written(kept)
            self._checkpoints.remove_before(kept)

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

    def _record_divergence(self, slot: Slot, unit: Unit, job: Job, outcome: Outcome) -> None:
        self._wall_seconds[unit.run_id] += outcome.wall_seconds

        def afterwards() -> None:
            self._checkpoints.remove_all(unit.run_id)
            self._log(unit, f"diverged: {outcome.diverged}")

        row = self._run_row(unit, job, "diverged", outcome.diverged, _where(slot, outcome))
        self._writer.add(Record(commits=(row,), afterwards=afterwards))
        self._progress.note(f"{unit.run_id} diverged: {outcome.diverged}")
        self._end(unit, "diverged")

    def _record_failure(self, slot: Slot, unit: Unit, failure: Failure) -> None:
        """Write a failure down; the unit rests before another try, or is given up."""
        transient = failure.error_class in TRANSIENT
        given_up = not transient or self._units.lost(unit, time.monotonic()) >= MOST_ATTEMPTS
        if given_up and failure.error_class == "out_of_memory":
            failure = failure._replace(message=f"{failure.message}; {_ALONE_TOO_LARGE}")
        self._record_attempt(slot, unit, failure, given_up)
        if given_up:
            self._units.settled(unit)
            self._progress.note(f"{unit.run_id} level {unit.level} failed: {failure.message}")
            self._end(unit, "failed")
        else:
            self._progress.note(f"{unit.run_id} level {unit.level} is tried again: {failure.message}")
            self._progress.ended(unit)

    def _record_attempt(self, slot: Slot, unit: Unit, failure: Failure, given_up: bool) -> None:
        self._attempts[unit] += 1
        attempt = {
            "run_id": unit.run_id,
            "level": unit.level,
            "attempt": self._attempts[unit],
            "error_class": failure.error_class,
            "message": failure.message,
            "device": slot.name,
            # Not the clock, which may be set back to before this start.
            "at": self._now(),
            "given_up": given_up,
        }
        self._log(unit, f"attempt {attempt['attempt']} failed on {slot.name}\n{failure.traceback}")
        path = self._directory.part(ATTEMPTS, unit.run_id, unit.level, attempt["attempt"])
        self._directory.write_rows(ATTEMPTS, path, [attempt], self._plan.sweep)

    def _end(self, unit: Unit, state: State) -> None:
        match state:
            case "done":
                self.schedule.complete(unit)
            case "diverged":
                self.schedule.diverge(unit)
            case "failed":
                self.schedule.fail(unit)
                self.ended_by_failure = self._fail_fast
            case "ready":
                self.schedule.release(unit)
        self._progress.ended(unit)

    def _now(self) -> datetime:
        """The time of day as the start saw it, which a clock that jumps does not change."""
        return self._since + timedelta(seconds=time.monotonic() - self._began)

    def _log(self, unit: Unit, text: str) -> None:
        self._directory.append_log(
            unit.run_id, f"{self._now():%Y-%m-%d %H:%M:%S} UTC, level {unit.level}: {text}"
        )

    # --- rows

    def _rows(self, table: Table, unit: Unit, rows: list[dict]) -> Callable[[], File]:
        """How the file of a unit's rows is made, which the slots need not wait for."""
        return lambda: (self._directory.part(table, *unit), encoded_rows(table, rows, self._plan.sweep))

    def _run_row(
        self, unit: Unit, job: Job, outcome: str, reason: str | None, where: dict
    ) -> Callable[[], File]:
        row = run_fields(job, self._plan.sweep) | {
            "outcome": outcome,
            "outcome_reason": reason,
            "batch": self._members.get(unit.run_id, 1),
            "numerics_version": NUMERICS_VERSION,
            "code_version": code_version(),
            **where,
            "wall_seconds": self._wall_seconds[unit.run_id],
            "finished_at": datetime.now(UTC),
        }
        return self._rows(RUNS, unit, [row])

    def _close_shortened_trajectories(self, study: Study) -> None:
        """Write the row of `runs` of trajectories that end earlier since the sweep was edited."""
        for run_id in unclosed_runs(study):
            if (job := self._plan.jobs.get(run_id)) is None:
                continue  # not asked for in this start
            file = self._run_row(Unit(run_id, job.last_level), job, "done", None, {})
            self._directory.write_together([file()])


def unclosed_runs(study: Study) -> list[str]:
    """Runs whose levels are all committed since the sweep asks for fewer, and whose row of `runs` is missing."""
    done = pl.col("planned") & (pl.col("status") == "done") & pl.col("outcome").is_null()
    return study.runs.filter(done)["run_id"].to_list()


def _where(slot: Slot, outcome: Outcome) -> dict:
    """Where an outcome comes from, as columns of `runs`."""
    return {
        "device": outcome.device,
        "device_memory_bytes": outcome.device_memory_bytes,
        "host": slot.host,
    }


def _hung(slot: Slot, silence: float) -> Failure:
    sentence = f"{slot.name} reported nothing for {duration(silence)}, and its process was ended"
    return Failure("hung", sentence, sentence)
