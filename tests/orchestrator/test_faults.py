"""Faults from outside, each provoked: what is tried again, what is given up, what a person reads (docs/faults.md)."""

import ast
import errno
import io
import os
import resource
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from nqs import dmrg, runs
from orchestrator import loop, run_directory
from orchestrator.__main__ import FAILED, REFUSED, main
from orchestrator.actors import InlineExecutor, RayExecutor, loss
from orchestrator.failures import Failure, error_class
from orchestrator.plan import Profile
from orchestrator.progress import Progress
from orchestrator.retries import MOST_ATTEMPTS, MOST_WAIT_SECONDS, Retries, patience_seconds
from orchestrator.run_directory import RunDirectory
from orchestrator.slots import Slot
from orchestrator.store import read_study
from orchestrator.tables import ATTEMPTS
from orchestrator.units import Unit
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import (
    REPOSITORY,
    SWEEP_FILE,
    assert_same_tables,
    run_ids,
    run_study,
    small_plan,
    statuses,
)
from tests.orchestrator.test_loop import LosesSlots, TwoSlots

MB = 1024**2


@pytest.fixture
def notes(monkeypatch):
    lines = []
    monkeypatch.setattr(Progress, "note", lambda self, line: lines.append(line))
    return lines


@pytest.fixture
def ray_slots():
    executors = []

    def start(engine, **options):
        executors.append(RayExecutor(engine=engine, **options))
        return executors[-1]

    yield start
    for executor in executors:
        executor.close()


# --- when something is tried again


def test_rests_grow_to_a_bound_and_a_report_makes_up_for_losses():
    rests, now, found = Retries(), 100.0, []
    # A broken device of a long study is lost a thousand times.
    for _ in range(1000):
        rests.lost("unit", now)
        found.append(rests.next_end() - now)
    assert found == [1, 4, 16] + [MOST_WAIT_SECONDS] * 997
    assert (rests.rested(now + 59), rests.rested(now + 60), rests.rested(now + 60)) == ([], ["unit"], [])
    rests.settled("unit")
    assert rests.lost("unit", now) == 1


def test_a_slot_may_be_silent_for_ten_times_what_its_levels_should_take_and_never_less_than_half_an_hour():
    assert [patience_seconds(expected) for expected in (5.0, 180.0, 3600.0)] == [1800.0, 1800.0, 36000.0]


class LosesTheFirst(TwoSlots):
    """Two slots, of which one loses its first task; remembers who was given when."""

    def __init__(self):
        super().__init__()
        self.given, self._lost = [], False

    def submit(self, slot, tasks, seconds):
        job = getattr(tasks[0], "run", None) or tasks[0].job
        self.given.append((Unit(job.run_id, tasks[0].level), time.monotonic()))
        super().submit(slot, tasks, seconds)

    def wait(self, timeout_seconds):
        ((slot, results),) = super().wait(timeout_seconds)
        if not self._lost:
            self._lost = True
            self.lost = self.given[-1][0]
            results = [Failure("node_lost", "the node went", "…")]
        return [(slot, results)]


def test_while_a_lost_unit_rests_others_go_on(undisturbed, tmp_path):
    executor = LosesTheFirst()
    run_study(tmp_path, small_plan(), executor=executor, first_wait_seconds=0.3)
    (first, second) = [when for unit, when in executor.given if unit == executor.lost][:2]
    assert second - first >= 0.3
    assert any(first < when < second for _, when in executor.given)
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_losses_with_progress_in_between_are_never_too_many(tmp_path):
    class EverySecond(InlineExecutor):
        turn = 0

        def wait(self, timeout_seconds):
            ((slot, results),) = super().wait(timeout_seconds)
            self.turn += 1
            return [(slot, [Failure("actor_lost", "killed", "…")] if self.turn % 2 else results)]

    # Eight stretches, so eight losses.
    longer = {"paper": Profile(pretraining_steps=24, steps_per_level=3, ticket_steps=3)}
    plan = small_plan(replicates=1, levels=1, tickets=None, profiles=longer)
    run_study(tmp_path / "undisturbed", plan)
    run_study(tmp_path / "run", plan, executor=EverySecond(engine=FakeEngine().engine()))
    study = read_study(tmp_path / "run")
    (dense,) = run_ids(plan, "dense")
    assert study.attempts.filter(run_id=dense).height > MOST_ATTEMPTS
    assert not study.attempts["given_up"].any()
    assert_same_tables(read_study(tmp_path / "undisturbed"), study)


def test_a_unit_lost_too_often_is_given_up_blocks_by_name_and_has_another_chance(
    undisturbed, tmp_path, notes
):
    plan = small_plan()
    run_study(tmp_path, plan, executor=LosesSlots(MOST_ATTEMPTS))
    study = read_study(tmp_path)
    (failed,) = study.runs.filter(status="failed")["run_id"]
    assert study.attempts["given_up"].to_list() == [False] * (MOST_ATTEMPTS - 1) + [True]
    blocked = study.runs.filter(status="blocked")
    assert blocked.height == 3 and set(blocked["blocked_by"]) == {failed}
    assert sum("is tried again: the actor died" in line for line in notes) == MOST_ATTEMPTS - 1
    run_study(tmp_path, plan)
    assert_same_tables(undisturbed, read_study(tmp_path))


def clock_ahead(patch, module, hours: float) -> None:
    """From now on a module's clock is so many hours ahead."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    patch.setattr(module, "datetime", Ahead)


@pytest.mark.parametrize("hours", [26, -26])
def test_a_clock_that_jumps_while_a_study_runs_changes_nothing(hours, undisturbed, tmp_path, monkeypatch):
    jumps = []

    class Jumps(LosesSlots):
        def wait(self, timeout_seconds):
            jumps.append(hours * (len(jumps) % 2))
            clock_ahead(monkeypatch, loop, jumps[-1])
            monkeypatch.setattr(time, "time", lambda: datetime.now(UTC).timestamp() + 3600 * jumps[-1])
            return super().wait(timeout_seconds)

    began = datetime.now(UTC)
    run_study(tmp_path, small_plan(), executor=Jumps(MOST_ATTEMPTS - 1))
    study = read_study(tmp_path)
    assert len(jumps) > 10
    # Else --status would count them as failures of an earlier start.
    assert study.attempts["at"].is_between(began, began + timedelta(hours=1)).all()
    assert_same_tables(undisturbed, study)


def test_a_clock_set_back_before_the_next_start_keeps_no_failure_from_another_chance(undisturbed, tmp_path):
    plan = small_plan()
    bad = run_ids(plan, "trajectory")[0]
    with pytest.MonkeyPatch.context() as patch:
        clock_ahead(patch, run_directory, 26)
        run_study(tmp_path, plan, FakeEngine(bugs=((bad, 2),)))
    assert statuses(tmp_path)[bad] == "failed"
    run_study(tmp_path, plan, retry_failed=True)
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_what_is_retried_after_the_clock_was_set_back_has_not_failed_before_it_fails_again(tmp_path):
    plan = small_plan()
    bad = run_ids(plan, "trajectory")[0]
    fake, seen = FakeEngine(bugs=((bad, 2),)), []
    with pytest.MonkeyPatch.context() as patch:
        clock_ahead(patch, run_directory, 26)
        # So that there is something to do after it failed again.
        run_study(tmp_path, plan, fake, stop_after=18)
    assert statuses(tmp_path)[bad] == "failed"

    class Looks(InlineExecutor):
        def submit(self, slot, tasks, seconds):
            super().submit(slot, tasks, seconds)
            seen.append(statuses(tmp_path)[bad])

    run_study(tmp_path, plan, executor=Looks(engine=fake.engine()), retry_failed=True)
    failed = seen.index("failed")
    assert 0 < failed < len(seen)
    assert set(seen[:failed]) <= {"ready", "running"} and set(seen[failed:]) == {"failed"}


# --- memory


@dataclass(frozen=True)
class Allocates(FakeEngine):
    """Takes memory for each member from XLA, in a process that may have little more."""

    more_bytes: int = 0
    member_bytes: int = 256 * MB

    def advance_batch(self, tasks, seconds):
        import jax.numpy as jnp

        jnp.ones(1).block_until_ready()
        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + self.more_bytes, resource.RLIM_INFINITY))
        jnp.ones((len(tasks), self.member_bytes), "int8").block_until_ready()
        return super().advance_batch(tasks, seconds)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path, ray_slots, notes):
    """Real allocations that fail: four members need 1024 MB, two 512, and 700 are allowed."""
    plan = small_plan(replicates=4, levels=1, tickets=None)
    run_study(tmp_path / "pairs", plan, batch=2)
    executor = ray_slots(Allocates(more_bytes=700 * MB).engine(), gpus=1)
    run_study(tmp_path / "halved", plan, executor=executor, batch=4)
    study = read_study(tmp_path / "halved")
    assert_same_tables(read_study(tmp_path / "pairs"), study)
    assert set(study.runs["batch"]) == {2}
    assert set(study.attempts["error_class"]) == {"out_of_memory"}
    assert study.attempts["message"].str.contains("RESOURCE_EXHAUSTED: Out of memory allocating").all()
    # Dense runs once, then trajectories once.
    assert study.attempts.height == 2 * 4
    assert sum("4 runs together do not fit into the memory of gpu 0" in line for line in notes) == 2


def test_halves_of_a_choice_leave_the_other_batches_on_record(tmp_path):
    class FitsOne(FakeEngine):
        def advance_batch(self, tasks, seconds):
            if len(tasks) > 1:
                raise MemoryError
            return super().advance_batch(tasks, seconds)

    sweep = tmp_path / "small.py"
    sweep.write_text(SWEEP_FILE.replace("replicates=2", "replicates=4"))
    plan = small_plan(replicates=4)
    arguments = [str(sweep), "--out", str(tmp_path / "run"), "--executor", "inline", "--batch", "2"]
    assert (
        main([*arguments, "--only", "kind == 'trajectory' and replicate < 2"], engine=FitsOne().engine()) == 0
    )
    recorded = {tuple(batch) for batch in RunDirectory(tmp_path / "run").read_batches()}
    trained = {run_id for run_id, status in statuses(tmp_path / "run").items() if status == "done"}
    assert all(len(batch) == 1 for batch in recorded if not trained.isdisjoint(batch))
    assert sorted(run_id for batch in recorded for run_id in batch) == sorted(
        run_id for run_id in plan.jobs if run_id[0] != "e"
    )
    assert {len(batch) for batch in recorded if trained.isdisjoint(batch)} == {2}


def test_a_run_that_does_not_fit_alone_fails_with_what_to_do(tmp_path, notes):
    class Exhausted(FakeEngine):
        def advance_batch(self, tasks, seconds):
            raise MemoryError("Unable to allocate 7.45 GiB")

    run_study(tmp_path, small_plan(replicates=1), Exhausted())
    study = read_study(tmp_path)
    assert study.attempts["given_up"].to_list() == [False] * (MOST_ATTEMPTS - 1) + [True]
    assert "MemoryError: Unable to allocate 7.45 GiB" in study.attempts["message"][-1]
    assert "fewer samples or a smaller network" in study.attempts["message"][-1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("INTERNAL: cublas error: CUBLAS_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.ENOENT, "No such file or directory"), "bug"),
        (RuntimeError("a bug"), "bug"),
        (ValueError("OUT_OF_MEMORY is a word"), "bug"),
    ],
)
def test_what_a_task_raises_has_a_class(error, expected):
    assert error_class(error) == expected


# --- slots


@dataclass(frozen=True)
class StopsOnce(FakeEngine):
    """Its process stops, as one that hangs does, while a file is there."""

    stops_while: Path = Path()

    def advance(self, task, seconds):
        if self.stops_while.exists():
            self.stops_while.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().advance(task, seconds)


def test_a_slot_that_hangs_is_ended_and_its_task_goes_on(tmp_path, ray_slots, monkeypatch):
    attempts = RunDirectory(tmp_path / "run").table(ATTEMPTS)
    (tmp_path / "stop").touch()
    # Nothing but the process that has stopped is slow here, however long ray takes to start and to end it.

    def patience(*_) -> float:
        return 1.0 if not (tmp_path / "stop").exists() and not any(attempts.iterdir()) else 300.0

    monkeypatch.setattr(loop, "patience_seconds", patience)
    executor = ray_slots(StopsOnce(stops_while=tmp_path / "stop").engine(), gpus=1)
    run_study(tmp_path / "run", small_plan(replicates=1), executor=executor)
    run_study(tmp_path / "undisturbed", small_plan(replicates=1))
    study = read_study(tmp_path / "run")
    assert study.attempts["error_class"].to_list() == ["hung"]
    assert study.attempts["message"][0].startswith("gpu 0 reported nothing for ")
    assert_same_tables(read_study(tmp_path / "undisturbed"), study)


def test_when_rays_own_processes_are_killed_ray_starts_again(undisturbed, tmp_path, ray_slots):
    import ray

    executor = ray_slots(FakeEngine(step_seconds=0.02).engine(), gpus=2)
    submit, submitted = executor.submit, 0

    def submit_and_kill(slot, tasks, seconds):
        nonlocal submitted
        submitted += 1
        submit(slot, tasks, seconds)
        if process := {6: "raylet", 20: "gcs_server"}.get(submitted):
            ray._private.worker._global_node.all_processes[process][0].process.kill()

    executor.submit = submit_and_kill
    run_study(tmp_path, small_plan(), executor=executor)
    study = read_study(tmp_path)
    assert submitted > 20
    assert set(study.attempts["error_class"]) <= {"node_lost", "actor_lost"}
    assert "node_lost" in set(study.attempts["error_class"])
    assert_same_tables(undisturbed, study)


def test_what_ray_says_of_a_lost_process_has_a_class():
    from ray import exceptions

    gone, slot = exceptions.ActorDiedError(), Slot(0)
    losses = [
        loss(slot, gone, killed_for_memory=False),
        loss(slot, gone, killed_for_memory=True),
        loss(slot, exceptions.OutOfMemoryError("low on memory"), killed_for_memory=False),
        loss(slot, exceptions.NodeDiedError("gone"), killed_for_memory=False),
        loss(slot, exceptions.LocalRayletDiedError(), killed_for_memory=False),
    ]
    assert [each.error_class for each in losses] == [
        "actor_lost",
        "out_of_memory",
        "out_of_memory",
        "node_lost",
        "node_lost",
    ]
    assert (
        losses[0].message == "ActorDiedError: The actor died unexpectedly before finishing this task. (cpu 0)"
    )


# --- disks


def full_disk(monkeypatch, call: str, after: int) -> None:
    """From its so manieth call on, one way to write fails."""
    calls = 0

    def fail(path, *arguments):
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, *arguments)

    original = getattr(os, call)
    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize("writes", [2, 5, 9, 14])
def test_a_full_disk_stops_a_study_in_one_sentence_and_with_space_it_goes_on(
    writes, undisturbed, tmp_path, capsys
):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    arguments = [str(tmp_path / "small.py"), "--out", str(tmp_path / "run"), "--executor", "inline"]
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, "replace", writes)
        assert main(arguments, engine=FakeEngine().engine()) == FAILED
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "cannot be written: No space left on device; what was committed before is kept" in sentence
    assert list((tmp_path / "run" / ".staging").iterdir()) == []
    assert read_study(tmp_path / "run").problems == []
    assert main(arguments, engine=FakeEngine().engine()) == 0
    assert_same_tables(undisturbed, read_study(tmp_path / "run"))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="there is no place where root may not write")
def test_a_directory_that_may_not_be_written_is_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    out = "/sys/kernel/small-paper"
    assert main([str(tmp_path / "small.py"), "--out", out, "--executor", "inline"]) == REFUSED
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence in {
        f"{out} cannot be written: {os.strerror(number)}"
        for number in (errno.EPERM, errno.EACCES, errno.EROFS)
    }


@pytest.mark.parametrize("name", ["logs", "checkpoints", "tables/states"])
def test_a_place_inside_that_is_no_directory_is_one_sentence(name, tmp_path, capsys):
    """As an unwritable one, and also for root."""
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    arguments = [str(tmp_path / "small.py"), "--out", str(tmp_path / "run"), "--executor", "inline"]
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    place.write_text("a file")
    assert main(arguments, engine=FakeEngine().engine()) == FAILED
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{place} cannot be written: ")


def test_a_log_that_cannot_be_written_stops_a_study_and_not_its_results(undisturbed, tmp_path, capsys):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    arguments = [str(tmp_path / "small.py"), "--out", str(tmp_path / "run"), "--executor", "inline"]
    bad = run_ids(small_plan(), "trajectory")[0]
    log = RunDirectory(tmp_path / "run").log(bad)
    log.mkdir(parents=True)
    assert main(arguments, engine=FakeEngine().engine()) == FAILED
    assert f"{bad}.log cannot be written: Is a directory" in capsys.readouterr().err
    log.rmdir()
    assert main(arguments, engine=FakeEngine().engine()) == 0
    assert_same_tables(undisturbed, read_study(tmp_path / "run"))


# --- security


@pytest.mark.parametrize("load", [runs._load, dmrg.from_bytes])
def test_nothing_in_a_checkpoint_is_unpickled(load):
    class Harmful:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([Harmful()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load(buffer.getvalue())


def test_no_room_unpickles_or_starts_a_shell_and_only_sweep_files_are_run():
    found = set()
    for room in ("nqs", "orchestrator", "explorer"):
        for path in (REPOSITORY / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                calls = [ast.unparse(node.func)] if isinstance(node, ast.Call) else []
                shells = [each.arg for each in getattr(node, "keywords", []) if each.arg == "shell"]
                doubtful = {
                    "pickle",
                    "cloudpickle",
                    "marshal",
                    "eval",
                    "exec",
                    "os.system",
                    "os.popen",
                    "shell",
                }
                found |= {(path.name, name) for name in (*names, *calls, *shells) if name in doubtful}
    assert found == {("plan.py", "exec")}
