"""The run loop commits what is trained, resumes to the same numbers, and outlives what fails."""

import itertools
import random
from dataclasses import replace

import pytest

from nqs.config import TrajectoryRun, TransverseFieldIsing
from orchestrator.actors import InlineExecutor
from orchestrator.failures import Failure
from orchestrator.plan import Plan, Profile, References, ReferenceScale, Tickets, resolve
from orchestrator.progress import Progress
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Schedule
from orchestrator.slots import Slot
from orchestrator.store import read_study
from orchestrator.tables import STATES
from orchestrator.units import Unit
from tests.orchestrator.fake_engine import STEPS_PER_STRETCH, FakeEngine
from tests.orchestrator.studies import assert_same_tables, run_ids, run_study, small_plan, statuses


@pytest.mark.parametrize("results", [1, 2, 5])
def test_a_study_stopped_over_and_over_ends_with_the_tables_of_an_undisturbed_one(
    results, undisturbed, tmp_path
):
    for starts in itertools.count(1):
        if run_study(tmp_path, small_plan(), stop_after=results).schedule.finished:
            break
    assert starts > 4
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_two_slots_give_the_tables_of_one(undisturbed, tmp_path):
    run_study(tmp_path, small_plan(), executor=TwoSlots())
    assert_same_tables(undisturbed, read_study(tmp_path))


class TwoSlots:
    """Two slots in this process; the result that was asked for last comes first."""

    def __init__(self, fake: FakeEngine | None = None):
        engine = (fake or FakeEngine()).engine()
        self._executors = {Slot(index): InlineExecutor(engine=engine) for index in range(2)}
        self.slots = list(self._executors)
        self._order = []

    def submit(self, slot, tasks, seconds):
        self._executors[slot].submit(slot, tasks, seconds)
        self._order.append(slot)

    def wait(self, timeout_seconds):
        slot = self._order.pop()
        ((_, results),) = self._executors[slot].wait(timeout_seconds)
        return [(slot, results)]


class LosesSlots(InlineExecutor):
    """Loses the process of the first so many tasks."""

    def __init__(self, losses: int):
        super().__init__(engine=FakeEngine().engine())
        self._losses = losses

    def wait(self, timeout_seconds):
        ((slot, results),) = super().wait(timeout_seconds)
        if self._losses > 0:
            self._losses -= 1
            results = [Failure("actor_lost", "the actor died", "…")] * len(results)
        return [(slot, results)]


def test_a_long_first_unit_corrects_the_time_that_is_left_while_it_runs(tmp_path):
    """A hundred stretches; the first says nothing, it may compile."""
    plan = small_plan(
        profiles={
            "paper": Profile(pretraining_steps=100 * STEPS_PER_STRETCH, steps_per_level=5, ticket_steps=4)
        }
    )
    unit = Unit(run_ids(plan, "dense")[0], 0)
    first, second = (
        run_study(tmp_path / f"{results}", plan, stop_after=results).schedule.seconds[unit]
        for results in (1, 2)
    )
    assert first < 1 and second == pytest.approx(50)


def test_a_finished_study_has_nothing_more_to_do(undisturbed, tmp_path):
    run_study(tmp_path, small_plan())
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "tables").rglob("*.parquet")}
    loop = run_study(tmp_path, small_plan(), FakeEngine(bugs=tuple((r, 0) for r in small_plan().jobs)))
    assert loop.schedule.finished
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "tables").rglob("*.parquet")} == files


def test_more_levels_extend_the_same_run_as_if_they_had_been_wanted_at_once(tmp_path):
    few, many = small_plan(), small_plan(levels=5)
    run_study(tmp_path / "extended", few)
    assert run_study(tmp_path / "extended", many, stop_after=1).schedule.missing
    (run,) = (
        read_study(tmp_path / "extended")
        .runs.filter(run_id=run_ids(few, "trajectory")[0])
        .iter_rows(named=True)
    )
    assert (run["status"], run["outcome"], run["levels"]) == ("ready", None, 5)
    run_study(tmp_path / "extended", many)
    run_study(tmp_path / "at_once", many)
    assert_same_tables(read_study(tmp_path / "at_once"), read_study(tmp_path / "extended"))


def test_fewer_levels_end_a_run_that_was_under_way(tmp_path):
    plan = small_plan(levels=5, tickets=None)
    trajectories = set(run_ids(plan, "trajectory"))
    run_study(tmp_path, plan, stop_after=12)
    fewer = small_plan(levels=1, tickets=None)
    run_study(tmp_path, fewer)
    runs = read_study(tmp_path).runs.filter(kind="trajectory")
    assert set(runs["run_id"]) == trajectories
    assert runs["outcome"].to_list() == ["done", "done"]
    assert runs["levels"].to_list() == [1, 1]


def test_more_replicates_and_other_steps_only_add_runs(tmp_path):
    run_study(tmp_path, small_plan())
    before = read_study(tmp_path).states
    run_study(tmp_path, small_plan(replicates=3))
    after = read_study(tmp_path).states
    assert before.join(after, on=before.columns, how="semi", nulls_equal=True).height == before.height
    assert after.height == before.height * 3 // 2


def test_what_diverged_is_reported_and_not_run_again_and_nothing_else_suffers(undisturbed, tmp_path):
    plan = small_plan(replicates=2)
    (diverging, _) = run_ids(plan, "trajectory")
    fake = FakeEngine(diverges=((diverging, 2),))
    schedule = run_study(tmp_path, plan, fake).schedule
    assert "failed" not in schedule.states.values()
    again = run_study(tmp_path, plan).schedule
    assert again.finished
    assert statuses(tmp_path)[diverging] == "diverged"
    others = undisturbed.states.filter(trajectory_run_id=run_ids(plan, "trajectory")[1])
    found = read_study(tmp_path).states.filter(trajectory_run_id=run_ids(plan, "trajectory")[1])
    assert found["energy"].to_list() == others["energy"].to_list()


def test_a_bug_fails_its_run_alone_is_logged_and_is_tried_again_when_asked_to(undisturbed, tmp_path):
    plan = small_plan()
    (bad, _) = run_ids(plan, "trajectory")
    schedule = run_study(tmp_path, plan, FakeEngine(bugs=((bad, 2),))).schedule
    assert schedule.finished and "failed" in schedule.states.values()
    study = read_study(tmp_path)
    (attempt,) = study.attempts.iter_rows(named=True)
    assert (attempt["run_id"], attempt["level"], attempt["attempt"], attempt["error_class"]) == (
        bad,
        2,
        1,
        "bug",
    )
    assert attempt["message"].startswith("RuntimeError: a bug on purpose (fake_engine.py:")
    log = RunDirectory(tmp_path).log(bad).read_text()
    assert "Traceback" in log and "with a second line" in log
    # The rest went on: the other replicate with its tickets.
    assert study.runs.filter(status="done").height == 5

    run_study(tmp_path, plan)
    assert statuses(tmp_path)[bad] == "failed"
    run_study(tmp_path, plan, FakeEngine(bugs=((bad, 2),)), retry_failed=True)
    assert read_study(tmp_path).attempts["attempt"].to_list() == [1, 2]
    assert statuses(tmp_path)[bad] == "failed"
    run_study(tmp_path, plan, retry_failed=True)
    assert_same_tables(undisturbed, read_study(tmp_path))


@pytest.mark.parametrize(("losses", "outcome"), [(4, "done"), (5, "failed")])
def test_a_lost_slot_costs_a_run_nothing_until_the_fifth_time(losses, outcome, tmp_path):
    plan = small_plan(replicates=1)
    loop = run_study(tmp_path, plan, executor=LosesSlots(losses))
    study = read_study(tmp_path)
    # The one slot takes the dense run again and again, since its chain is the longest.
    assert study.attempts["error_class"].to_list() == ["actor_lost"] * losses
    assert study.runs.filter(kind="dense")["status"].to_list() == [outcome]
    assert ("failed" in loop.schedule.states.values()) == (outcome == "failed")


@pytest.mark.parametrize(("retry_failed", "status"), [(False, "failed"), (True, "ready")])
def test_readers_see_what_a_running_driver_tries_again(retry_failed, status, tmp_path):
    plan = small_plan(replicates=1)
    (bad,) = run_ids(plan, "dense")
    run_study(tmp_path, plan, FakeEngine(bugs=((bad, 0),)))
    with RunDirectory(tmp_path).lock(retry_failed):
        assert statuses(tmp_path)[bad] == status
    assert statuses(tmp_path)[bad] == "failed"


def test_what_a_lost_slot_ended_has_another_chance_on_the_next_start(undisturbed, tmp_path):
    plan = small_plan()
    run_study(tmp_path, plan, executor=LosesSlots(5))
    assert "failed" in statuses(tmp_path).values()
    run_study(tmp_path, plan)
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_the_first_failure_ends_a_start_that_is_to_fail_fast_and_keeps_what_runs(undisturbed, tmp_path):
    """The failing one comes first; the other slot's training is three steps in when it reports."""
    plan = small_plan()
    (bad, other) = run_ids(plan, "dense")
    loop = run_study(
        tmp_path, plan, executor=TwoSlots(FakeEngine(bugs=((bad, 0), (other, 0)))), fail_fast=True
    )
    # Both were running when the first failed, and nothing was begun after.
    assert set(read_study(tmp_path).attempts["run_id"]) == {bad, other}
    assert read_study(tmp_path).references.is_empty() and not loop.schedule.finished

    path = tmp_path / "one"
    run_study(path, plan, executor=TwoSlots(FakeEngine(bugs=((other, 0),))), fail_fast=True)
    (kept,) = RunDirectory(path).checkpoints_of(bad)
    assert (kept.level, kept.step) == (0, 3)
    run_study(path, plan, retry_failed=True)
    assert_same_tables(undisturbed, read_study(path))


class RandomSlots(InlineExecutor):
    """Three slots that report in any order, and now and then lose what they had or have no memory for it."""

    def __init__(self, generator: random.Random):
        super().__init__(engine=FakeEngine().engine())
        self.slots, self._given, self._generator = [Slot(index) for index in range(3)], {}, generator

    def submit(self, slot, tasks, seconds):
        self._given[slot] = tasks

    def wait(self, timeout_seconds):
        slot = self._generator.choice([*self._given])
        tasks = self._given.pop(slot)
        lost = self._generator.choices([None, "actor_lost", "out_of_memory"], [18, 1, 1])[0]
        if lost and len(tasks) > 1:
            return [(slot, [Failure(lost, "on purpose", "…")] * len(tasks))]
        return [(slot, self._worker.work_batch(tasks, 1.0))]


@pytest.mark.parametrize("seed", range(4))
def test_put_back_lost_halved_and_in_other_company_a_study_ends_with_the_same_tables(
    seed, undisturbed, tmp_path, monkeypatch
):
    """Batches are put back in the middle of a level, and each start has another --batch."""
    generator, ended = random.Random(seed), False
    monkeypatch.setattr(Schedule, "yields", lambda *_: generator.random() < 0.3)
    while not ended:
        batch, results = generator.choice([1, 2, 4]), generator.randrange(5, 40)
        executor = RandomSlots(generator)
        ended = run_study(
            tmp_path, small_plan(), executor=executor, batch=batch, stop_after=results
        ).schedule.finished
    study = read_study(tmp_path)
    assert_same_tables(
        replace(undisturbed, runs=undisturbed.runs.drop("batch")),
        replace(study, runs=study.runs.drop("batch")),
    )


# --- checkpoints


def test_checkpoints_are_kept_where_a_run_can_go_on_and_removed_where_it_cannot(tmp_path):
    plan = small_plan()
    run_study(tmp_path, plan)
    kept = {path.name for path in RunDirectory(tmp_path).checkpoints.iterdir()}
    dense = {f"{run_id}.0.8.npz" for run_id in run_ids(plan, "dense")}
    assert kept == dense | {f"{run_id}.3.5.npz" for run_id in run_ids(plan, "trajectory")}


def test_a_new_checkpoint_is_there_before_the_old_one_goes(tmp_path, monkeypatch):
    plan = small_plan(replicates=1)
    newer = []
    remove = RunDirectory.remove_checkpoint

    def spy(self, old):
        there = [found for found in self.checkpoints_of(old.run_id) if found.path.exists()]
        # A ticket that has ended needs none.
        if not old.run_id.startswith("k"):
            newer.append(any((found.level, found.step) > (old.level, old.step) for found in there))
        remove(self, old)

    monkeypatch.setattr(RunDirectory, "remove_checkpoint", spy)
    run_study(tmp_path, plan)
    assert newer and all(newer)


class Notes(Progress):
    def __init__(self, console):
        super().__init__(console)
        self.lines = []

    def note(self, line):
        self.lines.append(line)


def stop_inside_a_level(path, plan) -> tuple[RunDirectory, list]:
    """A study stopped three steps into level 2 of its trajectory, and that trajectory's checkpoints."""
    (trajectory,) = run_ids(plan, "trajectory")
    directory = RunDirectory(path)
    while not any(found.level == 2 and found.step == 3 for found in directory.checkpoints_of(trajectory)):
        run_study(path, plan, stop_after=1)
    return directory, directory.checkpoints_of(trajectory)


@pytest.mark.parametrize("damage", ["truncated", "empty", "removed"])
def test_a_lost_checkpoint_of_a_level_restarts_the_level_to_the_same_numbers(damage, tmp_path):
    plan = small_plan(replicates=1)
    run_study(tmp_path / "whole", plan)
    _, (newest, closing) = stop_inside_a_level(tmp_path / "cut", plan)
    assert (closing.level, closing.step) == (1, 5)
    contents = newest.path.read_bytes()
    newest.path.write_bytes({"truncated": contents[:-9]}.get(damage, b""))
    if damage == "removed":
        newest.path.unlink()
    run_study(tmp_path / "cut", plan)
    assert_same_tables(read_study(tmp_path / "whole"), read_study(tmp_path / "cut"))


def test_without_any_checkpoint_a_level_starts_with_fresh_chains_and_says_so(tmp_path, monkeypatch):
    plan = small_plan(replicates=1)
    directory, checkpoints = stop_inside_a_level(tmp_path, plan)
    for checkpoint in checkpoints:
        checkpoint.path.write_bytes(b"rubbish")
    notes = []
    monkeypatch.setattr(Progress, "note", lambda self, line: notes.append(line))
    assert run_study(tmp_path, plan).schedule.finished
    assert sum("damaged" in line and str(directory.checkpoints) in line for line in notes) == 2
    assert sum("fresh chains" in line for line in notes) == 1


# --- order of writing


def test_the_row_of_states_is_written_last_and_the_row_of_runs_before_it(tmp_path, monkeypatch):
    plan = small_plan(replicates=1, tickets=Tickets(variants=["init_imp"], levels=[3]))
    written = []
    name = RunDirectory._name

    def spy(self, staged, path):
        written.append(path)
        name(self, staged, path)

    monkeypatch.setattr(RunDirectory, "_name", spy)
    run_study(tmp_path, plan)
    for run_id, job in plan.jobs.items():
        if job.kind == "reference":
            continue
        for level in range(job.first_level, job.last_level + 1):
            closing = f"{run_id}.{level}.{job.steps_at(level)}.npz"
            of_level = [
                path.parent.name for path in written if path.name in (f"{run_id}.{level}.parquet", closing)
            ]
            last_level = ["runs"] if level == job.last_level else []
            checkpoint = [] if job.kind == "ticket" else ["checkpoints"]
            assert of_level == ["weights", "steps", *last_level, *checkpoint, "states"], (job.kind, level)


def test_dying_before_a_write_loses_nothing_that_was_committed(undisturbed, tmp_path, monkeypatch):
    """The driver dies before its first, second, … ninth write, over and over, until the study is done."""
    name = RunDirectory._name
    committed = 0
    for life in itertools.count():
        left = 1 + life % 9

        def name_or_die(self, staged, path):
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            name(self, staged, path)

        monkeypatch.setattr(RunDirectory, "_name", name_or_die)
        try:
            run_study(tmp_path, small_plan())
            break
        except KeyboardInterrupt:
            found = read_study(tmp_path, small_plan()).states.height
            assert found >= committed
            committed = found
    assert life > 9
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_trajectories_get_the_chains_of_the_level_before(tmp_path):
    """Else resuming would be exact and wrong: the fake's numbers depend on the checkpoint it starts from."""
    plan, tasks = small_plan(replicates=1), []
    fake = FakeEngine()

    class Recording(InlineExecutor):
        def submit(self, slot, given, seconds):
            tasks.extend(given)
            super().submit(slot, given, seconds)

    run_study(tmp_path, plan, executor=Recording(engine=fake.engine()))
    first_of_level = {}
    for task in tasks:
        if isinstance(getattr(task, "run", None), TrajectoryRun):
            first_of_level.setdefault(task.level, task)
    assert sorted(first_of_level) == [1, 2, 3]
    assert all(task.checkpoint for task in first_of_level.values())
    rewinds = {task.rewind["hidden"].values.tobytes() for task in first_of_level.values()}
    previous = {task.previous["hidden"].values.tobytes() for task in first_of_level.values()}
    assert (len(rewinds), len(previous)) == (1, 3)
    assert (tmp_path / "tables" / STATES.name).exists()


# --- DMRG series


def reference_plan(bond_dimension: int = 128) -> Plan:
    """A series of bond dimensions of each parity, and the exact energies."""
    study = References(
        name="small",
        hamiltonians=[TransverseFieldIsing(side=2, field=3.0)],
        bond_dimension=bond_dimension,
        odd_bond_dimension=96,
        profiles={"paper": ReferenceScale()},
    )
    return resolve(study, "paper")


@pytest.mark.parametrize("results", [1, 3])
def test_series_stopped_over_and_over_end_with_the_references_of_an_undisturbed_run(results, tmp_path):
    run_study(tmp_path / "undisturbed", reference_plan())
    for starts in itertools.count(1):
        if run_study(tmp_path / "stopped", reference_plan(), stop_after=results).schedule.finished:
            break
    assert starts > 3
    undisturbed, stopped = (read_study(tmp_path / name).references for name in ("undisturbed", "stopped"))
    # 2 exact, 4 even and 3 odd bond dimensions, and both extrapolated.
    assert undisturbed.height == 11
    assert stopped.equals(undisturbed)


def test_a_longer_series_goes_on_from_the_state_of_the_shorter_one(tmp_path):
    run_study(tmp_path / "extended", reference_plan(bond_dimension=96))
    run_study(tmp_path / "extended", reference_plan())
    run_study(tmp_path / "at_once", reference_plan())
    extended, at_once = (read_study(tmp_path / name).references for name in ("extended", "at_once"))
    assert extended.equals(at_once)


def test_a_series_without_the_state_before_starts_afresh_and_says_so(tmp_path):
    run_study(tmp_path, reference_plan(bond_dimension=96))
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        notes = []
        patch.setattr(Progress, "note", lambda self, line: notes.append(line))
        assert run_study(tmp_path, reference_plan()).schedule.finished
    # The odd series has nothing more to do.
    (note,) = [note for note in notes if "checkpoint" in note]
    assert "the level starts from a product state" in note
