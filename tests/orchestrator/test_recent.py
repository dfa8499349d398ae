"""What the driver keeps in memory is what it would read back."""

import numpy as np
import pytest

from nqs.tasks import LiveWeights, ReferenceTask, Task
from orchestrator import loop, recent, writing
from orchestrator.actors import ExecutorError, InlineExecutor
from orchestrator.recent import RecentCheckpoints, RecentWeights
from orchestrator.run_directory import RunDirectory, StudyError
from orchestrator.store import read_study
from orchestrator.tables import WEIGHTS
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import assert_same_tables, run_ids, run_study, small_plan


def network(live: int) -> dict[str, LiveWeights]:
    return {"hidden": LiveWeights((4, 9), np.arange(live, dtype=np.int32), np.linspace(-1, 1, live))}


def unit_of(task: Task | ReferenceTask) -> tuple[str, int]:
    return (task.run if isinstance(task, Task) else task.job).run_id, task.level


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


@pytest.mark.parametrize("most_bytes", [0, 10**9])
def test_a_study_is_the_same_whether_units_start_from_memory_or_from_disk(
    most_bytes, undisturbed, tmp_path, monkeypatch
):
    reads = []
    read = recent.read_weights
    monkeypatch.setattr(recent, "read_weights", lambda *key: (reads.append(key), read(*key))[1])
    for name, kind in (("RecentWeights", RecentWeights), ("RecentCheckpoints", RecentCheckpoints)):
        monkeypatch.setattr(loop, name, lambda directory, kind=kind: kind(directory, most_bytes))
    # Each unit is written before the next one starts, so that the first network is forgotten when it is asked for again.
    monkeypatch.setattr(writing, "MOST_WAITING", 0)
    run_study(tmp_path, small_plan())
    assert bool(reads) == (most_bytes == 0)
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_the_least_recently_used_networks_are_forgotten_beyond_so_many_bytes(directory):
    # 12 bytes a live weight
    weights = RecentWeights(directory, most_bytes=250)
    for level in range(3):
        weights.keep("t1", level, network(10))
    # What is not written yet must not be forgotten, whatever it takes.
    assert [len(weights.of("t1", level)["hidden"].values) for level in range(3)] == [10, 10, 10]
    for level in range(2):
        weights.written("t1", level)
    weights.of("t1", 1)  # only as `of` and `written` say is a network the last used one
    assert [len(weights.of("t1", level)["hidden"].values) for level in (1, 2)] == [10, 10]
    with pytest.raises(StudyError, match=r"weights.t1\.0\.parquet is missing"):
        weights.of("t1", 0)


def test_the_order_of_use_decides_which_of_the_written_networks_goes(directory):
    weights = RecentWeights(directory, most_bytes=250)
    for level in range(2):
        weights.keep("t1", level, network(10))
        weights.written("t1", level)
    weights.of("t1", 0)
    weights.keep("t1", 2, network(10))
    weights.written("t1", 2)
    assert len(weights.of("t1", 0)["hidden"].values) == 10
    with pytest.raises(StudyError, match=r"weights.t1\.1\.parquet is missing"):
        weights.of("t1", 1)


def test_kept_networks_are_copies_and_do_not_hold_what_they_came_in(directory):
    given = network(10)
    weights = RecentWeights(directory)
    weights.keep("t1", 0, given)
    given["hidden"].values[:] = 7.0
    assert weights.of("t1", 0)["hidden"].values[0] == -1.0


def test_checkpoints_are_those_of_the_directory_and_those_added_since(directory):
    directory.write_together([(directory.checkpoint("t1", 1, 5), b"closed level 1")])
    checkpoints = RecentCheckpoints(directory)
    first = checkpoints.add("t1", 2, 3, b"three steps")
    second = checkpoints.add("t1", 2, 4, b"four steps")
    assert [found.step for found in checkpoints.of_level("t1", 2)] == [4, 3]
    assert checkpoints.contents(first) == b"three steps"
    # Damaged on disk: it was never a checkpoint.
    assert checkpoints.contents(checkpoints.of_level("t1", 1)[0]) is None
    checkpoints.remove_older(second)
    assert [found.step for found in checkpoints.of_level("t1", 2)] == [4]
    assert [found.step for found in checkpoints.of_level("t1", 1)] == [5]
    later = checkpoints.add("t1", 3, 1, b"the next level has begun")
    checkpoints.remove_before(second)
    assert not directory.checkpoint("t1", 1, 5).exists()
    assert checkpoints.of_level("t1", 1) == []
    assert checkpoints.of_level("t1", 2) == [second] and checkpoints.of_level("t1", 3) == [later]
    checkpoints.remove_all("t1")
    assert checkpoints.of_level("t1", 3) == []


def test_a_slot_gets_its_next_task_before_what_it_reported_is_written(tmp_path, monkeypatch):
    plan = small_plan(replicates=1, tickets=None)
    happened = []
    name = RunDirectory._name

    def spy(self, staged, path):
        happened.append(("written", path.name))
        name(self, staged, path)

    class Recording(InlineExecutor):
        def submit(self, slot, tasks, seconds):
            happened.append(("submitted", *unit_of(tasks[0])))
            super().submit(slot, tasks, seconds)

    monkeypatch.setattr(RunDirectory, "_name", spy)
    run_study(tmp_path, plan, executor=Recording(engine=FakeEngine().engine()))
    (trajectory,) = run_ids(plan, "trajectory")
    assert happened.index(("submitted", trajectory, 2)) < happened.index(
        ("written", f"{trajectory}.1.parquet")
    )


def test_what_came_back_is_written_also_where_the_executor_ends_at_the_next_task(tmp_path):
    plan = small_plan(replicates=1, tickets=None)
    (trajectory,) = run_ids(plan, "trajectory")

    class Ending(InlineExecutor):
        def submit(self, slot, tasks, seconds):
            if unit_of(tasks[0]) == (trajectory, 2):
                raise ExecutorError("no slot is left")
            super().submit(slot, tasks, seconds)

    with pytest.raises(ExecutorError):
        run_study(tmp_path, plan, executor=Ending(engine=FakeEngine().engine()))
    assert RunDirectory(tmp_path).part(WEIGHTS, trajectory, 1).exists()
    assert read_study(tmp_path).states.filter(run_id=trajectory)["level"].to_list() == [1]
