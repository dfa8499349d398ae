"""Runs that are trained together: composed by the plan alone, and none suffers from the others."""

import io
import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from nqs.config import TransverseFieldIsing
from nqs.replicas import estimated_bytes
from nqs.tasks import ReferenceTask
from orchestrator.__main__ import main
from orchestrator.actors import InlineExecutor, RayExecutor, Worker
from orchestrator.batches import MEMORY_FRACTION, MOST_MEMBERS, batches_of, halved
from orchestrator.failures import Failure
from orchestrator.plan import Tickets
from orchestrator.progress import Progress
from orchestrator.run_directory import RunDirectory
from orchestrator.schedule import Schedule, rehearse
from orchestrator.slots import Slot
from orchestrator.store import read_study
from orchestrator.tables import STATES
from orchestrator.units import Unit, units_of
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import (
    SWEEP_FILE,
    assert_same_tables,
    run_ids,
    run_study,
    small_plan,
    statuses,
    take,
)

REPLICATES = 3


def one_second(unit, job):
    return 1.0


def plan_of_three(**changes):
    """Three replicates, so three dense runs, three trajectories and six tickets of one shape each."""
    return small_plan(replicates=REPLICATES, **changes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    run_study(path, plan_of_three(), batch=2)
    return read_study(path)


class Recording(InlineExecutor):
    """Remembers which units were worked on together."""

    def __init__(self, fake: FakeEngine | None = None):
        super().__init__(engine=(fake or FakeEngine()).engine())
        self.calls = []

    def submit(self, slot, tasks, seconds):
        self.calls.append([_unit(task) for task in tasks])
        super().submit(slot, tasks, seconds)


def _unit(task) -> Unit:
    job = task.job if isinstance(task, ReferenceTask) else task.run
    return Unit(job.run_id, task.level)


# --- composition


def test_runs_of_one_shape_are_cut_into_batches_in_the_plans_order():
    plan = plan_of_three()
    dense, trajectories, tickets = (run_ids(plan, kind) for kind in ("dense", "trajectory", "ticket"))
    assert batches_of(plan, 2) == [
        *(tuple(dense[:2]), tuple(dense[2:])),
        *(tuple(trajectories[:2]), tuple(trajectories[2:])),
        *(tuple(tickets[:2]), tuple(tickets[2:4]), tuple(tickets[4:])),
    ]
    assert max(map(len, batches_of(plan, 1))) == 1


def test_other_fields_are_in_one_batch_and_other_sides_are_not():
    hamiltonians = [TransverseFieldIsing(side=side, field=field) for side in (2, 3) for field in (0.5, 3.0)]
    plan = small_plan(hamiltonians=hamiltonians, replicates=1)
    dense = [batch for batch in batches_of(plan, 8) if batch[0].startswith("d")]
    found = [[plan.jobs[run_id].hamiltonian for run_id in batch] for batch in dense]
    assert found == [hamiltonians[:2], hamiltonians[2:]]


def test_tickets_of_each_level_are_batches_of_their_own():
    plan = plan_of_three(tickets=Tickets(variants=["init_imp", "init_rand"], levels=[1, 3]))
    tickets = [batch for batch in batches_of(plan, 99) if batch[0].startswith("k")]
    levels = [{plan.jobs[run_id].level for run_id in batch} for batch in tickets]
    assert (levels, [len(batch) for batch in tickets]) == ([{1}, {3}], [6, 6])


def test_trajectories_that_differ_at_one_level_are_never_together():
    """Of 64 weights 0.42 a level leaves 37, then 21; 0.43 leaves 36, then 21."""
    plan = small_plan(levels=2, replicates=1, tickets=None)
    one = plan.jobs[run_ids(plan, "trajectory")[0]]
    runs = [one.model_copy(update={"pruning_ratio": ratio}) for ratio in (0.42, 0.43)]
    assert [[run.remaining(level) for level in (1, 2)] for run in runs] == [[37, 21], [36, 21]]
    jobs = {one.parent_run_id: one.parent, **{run.run_id: run for run in runs}}
    assert [len(batch) for batch in batches_of(replace(plan, jobs=jobs), 9)] == [1, 1, 1]


def test_auto_is_1_on_cpus_and_on_gpus_what_fits_into_the_memory():
    plan = plan_of_three()
    run = plan.jobs[run_ids(plan, "dense")[0]]
    holds_two = 2.5 * estimated_bytes(run, 0) / MEMORY_FRACTION

    def largest(memory_bytes) -> int:
        return max(len(batch) for batch in batches_of(plan, "auto", memory_bytes) if batch[0][0] == "d")

    assert [largest(memory) for memory in (None, 1, holds_two, 80e9)] == [1, 1, 2, REPLICATES]
    many = small_plan(replicates=MOST_MEMBERS + 1, tickets=None)
    assert max(map(len, batches_of(many, "auto", 80e9))) == MOST_MEMBERS


@pytest.mark.parametrize("seed", range(5))
def test_what_is_taken_together_does_not_depend_on_the_order_of_completion(seed):
    plan, generator = plan_of_three(), random.Random(seed)
    batches = batches_of(plan, 2)
    schedule = Schedule(plan, one_second, batches=batches)
    running, taken = [], []
    while not schedule.finished:
        while len(running) < 3 and (units := take(schedule)):
            running.append(list(units))
            taken.append(units)
        # Any member of any batch may be the next one to end.
        batch = generator.choice(running)
        schedule.complete(batch.pop(generator.randrange(len(batch))))
        running = [batch for batch in running if batch]
    levels = [
        tuple(Unit(run_id, unit.level) for run_id in batch)
        for batch in batches
        for unit in units_of(batch[0], plan.jobs[batch[0]])
    ]
    references = [(Unit(run_id, 0),) for run_id in run_ids(plan, "reference")]
    assert Counter(taken) == Counter(levels + references)
    # The trajectories that start together are together at each of their levels.
    (first, *_) = [batch for batch in batches if batch[0].startswith("t")]
    assert [units for units in taken if units[0].run_id == first[0]] == [
        tuple(Unit(run_id, level) for run_id in first) for level in (1, 2, 3)
    ]


def test_members_become_ready_together():
    """Trajectories of one shape whose dense runs are apart are apart too, and so are their tickets."""
    plan = plan_of_three()
    dense, trajectories = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    apart = [(dense[0],), tuple(dense[1:])]
    batches = batches_of(plan, 99, recorded=apart)
    assert batches[:4] == [*apart, (trajectories[0],), tuple(trajectories[1:])]
    assert [len(batch) for batch in batches[4:]] == [2, 4]


def test_auto_leaves_every_slot_its_share_of_the_work():
    plan = small_plan(replicates=8, tickets=None)

    def largest(slots: int) -> int:
        return max(len(batch) for batch in batches_of(plan, "auto", 80e9, slots) if batch[0][0] == "t")

    assert [largest(slots) for slots in (1, 4, 8)] == [8, 2, 1]


def test_recorded_batches_stay_and_new_runs_are_planned_anew():
    before, after = plan_of_three(tickets=None), small_plan(replicates=5, tickets=None)
    recorded = batches_of(before, 2)
    batches = batches_of(after, 4, recorded=recorded)
    assert set(recorded) < set(batches)
    assert sorted(run_id for batch in batches for run_id in batch) == sorted(
        run_ids(after, "dense") + run_ids(after, "trajectory")
    )
    # What the plan no longer has leaves its batch, and so does what is no training.
    (reference,) = run_ids(before, "reference")
    assert batches_of(before, 2, recorded=[[reference, *recorded[0]]]) == recorded
    assert max(map(len, batches_of(small_plan(replicates=1), 4, recorded=recorded))) == 2


def test_a_batch_is_halved_in_place():
    assert halved([("a",), ("b", "c", "d")], ("b", "c", "d")) == [("a",), ("b", "c"), ("d",)]
    with pytest.raises(ValueError, match="run a is alone"):
        halved([("a",)], ("a",))


def test_another_flag_on_resume_leaves_what_has_started_together_and_says_so(tmp_path, capsys):
    sweep, out = tmp_path / "small.py", tmp_path / "run"
    sweep.write_text(SWEEP_FILE)
    arguments = [str(sweep), "--out", str(out), "--executor", "inline", "--batch"]
    # The first trajectory has a bug, so its batch is left unfinished.
    (buggy, _) = run_ids(small_plan(), "trajectory")
    assert main([*arguments, "2"], engine=FakeEngine(bugs=((buggy, 2),)).engine()) == 1
    assert "stay in the batches" not in capsys.readouterr().out
    sweep.write_text(SWEEP_FILE.replace("replicates=2", "replicates=4"))
    assert main([*arguments, "1", "--retry-failed"], engine=FakeEngine().engine()) == 0
    assert "2 runs that have started stay in the batches" in capsys.readouterr().out
    sizes = dict(read_study(out).runs.filter(kind="trajectory").select("replicate", "batch").iter_rows())
    assert sizes == {0: 2, 1: 2, 2: 1, 3: 1}


@pytest.mark.parametrize("recorded", [True, False])
def test_replicates_that_are_added_to_a_finished_study_are_trained_without_what_is_done(
    recorded, tmp_path, capsys
):
    sweep, out = tmp_path / "small.py", tmp_path / "run"
    sweep.write_text(SWEEP_FILE)
    arguments = [str(sweep), "--out", str(out), "--executor", "inline", "--batch"]
    assert main([*arguments, "2"], engine=FakeEngine().engine()) == 0
    before = {tuple(batch) for batch in RunDirectory(out).read_batches()}
    if not recorded:
        (out / "batches.json").unlink()
    sweep.write_text(SWEEP_FILE.replace("replicates=2", "replicates=4"))
    assert main([*arguments, "3"], engine=FakeEngine().engine()) == 0
    assert "stay in the batches" not in capsys.readouterr().out
    sizes = read_study(out).runs.filter(kind="trajectory").select("replicate", "batch")
    assert dict(sizes.iter_rows()) == {0: 2, 1: 2, 2: 2, 3: 2}
    # Without the record what is done may be put together in other ways, and is trained in none.
    assert not recorded or before <= {tuple(batch) for batch in RunDirectory(out).read_batches()}


def test_a_damaged_record_of_batches_is_one_sentence(tmp_path, capsys):
    sweep, out = tmp_path / "small.py", tmp_path / "run"
    sweep.write_text(SWEEP_FILE)
    arguments = [str(sweep), "--out", str(out), "--executor", "inline"]
    assert main(arguments, engine=FakeEngine(bugs=((run_ids(small_plan(), "dense")[0], 0),)).engine()) == 1
    for damaged in ("[[1]]", '["t1"]', '[["t1"], ["t1"]]'):
        (out / "batches.json").write_text(f'{{"batches": {damaged}}}')
        capsys.readouterr()
        assert main([*arguments, "--retry-failed"], engine=FakeEngine().engine()) == 2
        assert "batches.json is damaged" in capsys.readouterr().err
    # Reading needs no record of what is trained together.
    assert main([*arguments[:3], "--status"]) == 0


# --- decisions


def test_batches_of_one_are_taken_in_the_order_of_a_schedule_without_batches():
    plan = plan_of_three()

    def order(schedule: Schedule) -> list:
        taken = []
        while units := take(schedule):
            taken.append(units)
            schedule.complete(units[0])
        return taken

    assert order(Schedule(plan, one_second, batches=batches_of(plan, 1))) == order(Schedule(plan, one_second))


def schedule_of_three() -> tuple[Schedule, list[Unit], list[str]]:
    """A schedule whose three dense runs are one batch that runs; their units, and the trajectories."""
    plan = plan_of_three()
    schedule = Schedule(plan, one_second, batches=batches_of(plan, REPLICATES))
    dense = list(take(schedule))
    assert [unit.run_id for unit in dense] == run_ids(plan, "dense")
    return schedule, dense, run_ids(plan, "trajectory")


def test_a_batch_waits_for_its_last_member_and_goes_on_without_those_that_ended():
    schedule, (first, second, third), trajectories = schedule_of_three()
    take(schedule)  # the reference energy
    schedule.complete(first)
    schedule.diverge(second)
    assert take(schedule) == ()
    schedule.complete(third)
    assert take(schedule) == (Unit(trajectories[0], 1), Unit(trajectories[2], 1))
    # A divergence that comes last frees the others just as well.
    schedule.complete(Unit(trajectories[0], 1))
    schedule.diverge(Unit(trajectories[2], 1))
    assert take(schedule) == (Unit(trajectories[0], 2),)


def test_a_member_that_lost_its_slot_runs_again_once_the_others_have_ended():
    for end in (Schedule.complete, Schedule.fail, Schedule.diverge):
        schedule, (first, second, third), _ = schedule_of_three()
        take(schedule)
        schedule.release(first)
        schedule.complete(second)
        assert take(schedule) == ()
        end(schedule, third)
        assert take(schedule) == (first,)


def test_the_longest_chain_of_any_member_decides():
    plan = plan_of_three()
    quick, slowest, slow = (Unit(run_id, 0) for run_id in run_ids(plan, "dense"))

    def seconds(unit, job):
        return {slowest: 9.0, slow: 5.0}.get(unit, 1.0)

    schedule = Schedule(plan, seconds, batches=batches_of(plan, 2))
    assert [take(schedule), take(schedule)] == [(quick, slowest), (slow,)]


def test_resumed_batches_leave_out_who_is_done_and_keep_the_rest_together():
    plan = plan_of_three()
    (first, *others) = run_ids(plan, "dense")
    schedule = Schedule(plan, one_second, done=[Unit(first, 0)], batches=batches_of(plan, REPLICATES))
    assert take(schedule) == tuple(Unit(run_id, 0) for run_id in others)


def test_a_rehearsed_batch_takes_the_sum_of_its_members():
    plan = plan_of_three()
    schedule = Schedule(plan, one_second, batches=batches_of(plan, REPLICATES))
    played = rehearse(schedule, 1)
    first = [(each.start, each.end, each.seconds) for each in played[:REPLICATES]]
    assert first == [(0.0, 3.0, 1.0)] * REPLICATES
    # 3 × (1 dense + 3 levels + 2 tickets) and a reference, one after another whatever the batches.
    assert max(each.end for each in played) == sum(each.seconds for each in played) == 19
    # 3 × (1 dense + 3 levels) in series.
    assert schedule.seconds_left(slots=100) == 12


# --- the loop


def test_a_batched_study_has_the_tables_of_single_runs_but_for_the_column_that_says_so(undisturbed, tmp_path):
    run_study(tmp_path, plan_of_three())
    alone = read_study(tmp_path)
    assert set(alone.runs["batch"]) == {1}
    assert sorted(undisturbed.runs["batch"].to_list()) == [1, 1, *[2] * 10]
    alone.runs = alone.runs.drop("batch")
    batched = read_study(undisturbed.path)
    batched.runs = batched.runs.drop("batch")
    assert_same_tables(alone, batched)


def test_members_go_to_a_slot_together_at_every_level(tmp_path):
    plan = plan_of_three(tickets=None)
    executor = Recording()
    run_study(tmp_path, plan, executor=executor, batch=REPLICATES)
    for level in (1, 2, 3):
        together = [Unit(run_id, level) for run_id in run_ids(plan, "trajectory")]
        # Five steps, three a stretch.
        assert executor.calls.count(together) == 2
    # Dense runs have eight steps; with the reference that is all.
    assert len(executor.calls) == 3 + 3 * 2 + 1


@pytest.mark.parametrize("results", [1, 2, 5])
def test_a_batched_study_stopped_over_and_over_ends_with_the_tables_of_an_undisturbed_one(
    results, undisturbed, tmp_path
):
    for starts in itertools.count(1):
        if run_study(tmp_path, plan_of_three(), stop_after=results, batch=2).schedule.finished:
            break
    assert starts > 4
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_dying_between_the_writes_of_a_batchs_members_changes_nothing(undisturbed, tmp_path, monkeypatch):
    """The driver dies before its first, second, … 13th write, so that members stand at different steps."""
    name = RunDirectory._name
    for life in itertools.count():
        left = 1 + life % 13

        def name_or_die(self, staged, path):
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            name(self, staged, path)

        monkeypatch.setattr(RunDirectory, "_name", name_or_die)
        try:
            run_study(tmp_path, plan_of_three(), batch=2)
            break
        except KeyboardInterrupt:
            continue
    assert life > 13
    assert_same_tables(undisturbed, read_study(tmp_path))


def test_a_member_that_diverges_leaves_the_batch_and_the_others_go_on_as_if_nothing_had_happened(
    undisturbed, tmp_path
):
    plan = plan_of_three()
    (first, diverging, third) = run_ids(plan, "trajectory")
    executor = Recording(FakeEngine(diverges=((diverging, 2),)))
    run_study(tmp_path, plan, executor=executor, batch=REPLICATES)
    found = read_study(tmp_path)
    assert statuses(tmp_path)[diverging] == "diverged"
    assert [Unit(first, 3), Unit(third, 3)] in executor.calls
    healthy = [run_id for run_id, status in statuses(tmp_path).items() if status == "done"]
    # Three dense runs, two trajectories, four tickets.
    assert len(healthy) == 9
    columns = [column for column in STATES.names if column != "wall_seconds"]
    one, other = (
        study.states.filter(study.states["run_id"].is_in(healthy)).select(columns).sort("run_id", "level")
        for study in (undisturbed, found)
    )
    assert one.equals(other)


def test_a_bug_fails_every_member_and_a_start_that_retries_makes_up_for_all(undisturbed, tmp_path):
    plan = plan_of_three()
    (first, second, third) = run_ids(plan, "trajectory")
    run_study(tmp_path, plan, FakeEngine(bugs=((second, 2),)), batch=2)
    attempts = read_study(tmp_path).attempts
    assert sorted(attempts["run_id"]) == sorted([first, second])
    assert set(attempts["error_class"]) == {"bug"}
    found = statuses(tmp_path)
    assert [found[run_id] for run_id in (first, second, third)] == ["failed", "failed", "done"]
    run_study(tmp_path, plan, batch=2, retry_failed=True)
    assert_same_tables(undisturbed, read_study(tmp_path))


class LosesOneMember(InlineExecutor):
    """Says once of the first member of a batch that it was lost."""

    def __init__(self):
        super().__init__(engine=FakeEngine().engine())
        self._lost = False

    def wait(self, timeout_seconds):
        ((slot, results),) = super().wait(timeout_seconds)
        if len(results) > 1 and not self._lost:
            self._lost = True
            results = [Failure("actor_lost", "the actor died", "…"), *results[1:]]
        return [(slot, results)]


def test_a_member_that_is_lost_alone_is_tried_again_and_the_batch_comes_together_again(undisturbed, tmp_path):
    run_study(tmp_path, plan_of_three(), executor=LosesOneMember(), batch=2)
    study = read_study(tmp_path)
    assert study.attempts["error_class"].to_list() == ["actor_lost"]
    assert_same_tables(undisturbed, study)


# --- slots


def test_a_worker_gives_results_in_the_order_of_the_tasks_and_a_bug_to_each(tmp_path):
    plan = plan_of_three()
    executor = Recording()
    given = []
    executor.submit = lambda slot, tasks, seconds: (
        given.append(tasks) or InlineExecutor.submit(executor, slot, tasks, seconds)
    )
    run_study(tmp_path, plan, executor=executor, batch=REPLICATES)
    tasks = given[0][::-1]
    outcomes = Worker(Slot(0), FakeEngine().engine()).work_batch(tasks, 1.0)
    assert [outcome.run_id for outcome in outcomes] == [task.run.run_id for task in tasks]
    buggy = FakeEngine(bugs=((tasks[1].run.run_id, 0),))
    failures = Worker(Slot(0), buggy.engine()).work_batch(tasks, 1.0)
    assert [failure.error_class for failure in failures] == ["bug"] * REPLICATES


def test_ray_says_how_much_memory_the_gpus_have_and_nothing_of_cpus():
    """Ray hands out GPUs by number, also on a machine that has none."""
    engine = FakeEngine(memory_bytes=123).engine()
    for gpus, expected in ((2, 123), (0, None)):
        executor = RayExecutor(gpus=gpus, engine=engine)
        try:
            assert executor.memory_bytes() == expected
        finally:
            executor.close()


def test_a_batch_whose_actor_dies_is_tried_again_whole(undisturbed, tmp_path):
    grave = tmp_path / "grave"
    grave.mkdir()
    (grave / "first").touch()
    executor = RayExecutor(gpus=1, engine=FakeEngine(dies_while=grave).engine())
    try:
        run_study(tmp_path / "run", plan_of_three(), executor=executor, batch=2)
    finally:
        executor.close()
    study = read_study(tmp_path / "run")
    assert study.attempts["error_class"].to_list() == ["actor_lost"] * 2
    assert_same_tables(undisturbed, study)


# --- the flag


@pytest.mark.parametrize(
    ("flag", "batches"),
    [([], {1}), (["--batch", "auto"], {1}), (["--batch", "1"], {1}), (["--batch", "2"], {2})],
)
def test_the_flag_decides_and_auto_is_1_on_cpus(flag, batches, tmp_path):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    arguments = [str(tmp_path / "small.py"), "--out", str(tmp_path / "run"), "--executor", "inline", *flag]
    # A CPU slot is not asked, whatever it would say.
    assert main(arguments, engine=FakeEngine(memory_bytes=10**12).engine()) == 0
    assert set(read_study(tmp_path / "run").runs["batch"]) == batches


def test_auto_fills_a_gpu(tmp_path):
    (tmp_path / "small.py").write_text(SWEEP_FILE)
    arguments = [str(tmp_path / "small.py"), "--out", str(tmp_path / "run"), "--gpus", "1"]
    assert main(arguments, engine=FakeEngine(memory_bytes=10**12).engine()) == 0
    found = set(read_study(tmp_path / "run").runs.select("kind", "batch").iter_rows())
    assert found == {("dense", 2), ("trajectory", 2), ("ticket", 4)}


# --- what a person sees


def test_a_batch_is_one_line_that_says_how_many_there_are():
    plan = plan_of_three()
    schedule = Schedule(plan, one_second, batches=batches_of(plan, REPLICATES))
    text = io.StringIO()
    progress = Progress(Console(file=text, width=200), live=False)
    units = take(schedule)
    for unit in units:
        progress.started(Slot(0), unit, plan.jobs[unit.run_id])
    progress.ended(units[0])
    progress.tick(schedule, 1)
    (line,) = text.getvalue().splitlines()
    assert line.endswith("2×2 TFIM h=3 dense #1 and 1 more level 0/0 step 0/8")
