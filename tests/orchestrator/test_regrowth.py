"""Branches back up: what each of their tickets waits for, is given and starts from. See test_actors for ray."""

import numpy as np
import pytest

from nqs.config import TicketRun
from orchestrator.actors import InlineExecutor
from orchestrator.batches import batches_of
from orchestrator.plan import Plan, Regrowth, SweepError, Tickets
from orchestrator.selection import Selection
from orchestrator.standing import Standing
from orchestrator.store import read_study
from orchestrator.units import Unit, prerequisites
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import assert_same_tables, run_ids, run_study, small_plan

# 64 weights on 4 sites, by hand: 12.75, 10.25, 8.25, 6.5, 5.25 a spin at levels 1 to 5.
REGROWTH = Regrowth(turns=[5.2])


def plan_of(replicates=1, regrowth=REGROWTH, **changes) -> Plan:
    tickets = changes.pop("tickets", None)
    return small_plan(
        levels=5, methods=["imp_ct"], replicates=replicates, tickets=tickets, regrowth=regrowth, **changes
    )


def branch_of(plan: Plan) -> dict[int, TicketRun]:
    """The regrown tickets of a plan with one branch, by level."""
    jobs = (plan.jobs[run_id] for run_id in run_ids(plan, "ticket"))
    return {job.level: job for job in jobs if job.variant == "regrown"}


def test_a_branch_goes_up_level_by_level_from_where_it_turned():
    plan = plan_of()
    (trajectory,), branch = run_ids(plan, "trajectory"), branch_of(plan)
    assert list(branch) == [4, 3, 2, 1]  # the order of training
    before = prerequisites(plan.jobs)
    found = [before[Unit(branch[level].run_id, level)] for level in (4, 3, 2, 1)]
    assert found == [Unit(trajectory, 5), *(Unit(branch[level].run_id, level) for level in (4, 3, 2))]
    # As long as the levels on the way down, however long other tickets are.
    assert {job.steps for job in branch.values()} == {5}
    assert Plan.from_data(plan.as_data()) == plan


def test_branches_turn_and_end_at_the_levels_nearest_in_log():
    plan = plan_of(regrowth=Regrowth(turns=[5, 8.3], up_to=10))
    levels = [(job.turned_at, job.level) for run_id, job in plan.jobs.items() if run_id[0] == "k"]
    assert levels == [(3, 2), (5, 4), (5, 3), (5, 2)]
    with pytest.raises(SweepError, match=r"regrowth: no level of the 2×2 TFIM h=3 trajectory lies above"):
        plan_of(regrowth=Regrowth(turns=[10], up_to=10))


class Recording(InlineExecutor):
    """Keeps the first task of each unit."""

    def __init__(self, **options):
        super().__init__(**options)
        self.tasks = {}

    def submit(self, slot, tasks, seconds):
        for task in tasks:
            if hasattr(task, "run"):
                self.tasks.setdefault(Unit(task.run.run_id, task.level), task)
        super().submit(slot, tasks, seconds)


def test_each_ticket_gets_the_mask_of_its_own_level_and_the_weights_of_the_one_below(tmp_path):
    plan = plan_of()
    executor = Recording(engine=FakeEngine().engine())
    run_study(tmp_path, plan, executor=executor)
    study, branch = read_study(tmp_path), branch_of(plan)
    (trajectory,) = run_ids(plan, "trajectory")
    for level, ticket in branch.items():
        task = executor.tasks[Unit(ticket.run_id, level)]
        mask = study.weights(trajectory, level)["hidden"].indices
        source = (trajectory, 5) if level == 4 else (branch[level + 1].run_id, level + 1)
        np.testing.assert_array_equal(task.masked["hidden"].indices, mask)
        np.testing.assert_array_equal(task.previous["hidden"].values, study.weights(*source)["hidden"].values)
        assert len(task.previous["hidden"].indices) < len(mask) == ticket.remaining(level)
        np.testing.assert_array_equal(study.weights(ticket.run_id, level)["hidden"].indices, mask)
    rows = study.runs.select("run_id", "turned_at").iter_rows()
    regrown = {ticket.run_id for ticket in branch.values()}
    assert all(turned_at == (5 if run_id in regrown else None) for run_id, turned_at in rows)


def test_a_study_that_is_stopped_over_and_over_gives_the_tables_of_an_undisturbed_one(tmp_path):
    plan = plan_of(replicates=2)
    run_study(tmp_path / "once", plan)
    undisturbed = read_study(tmp_path / "once")
    for stop_after in [*range(3, 12, 4), None]:
        run_study(tmp_path / "stopped", plan, stop_after=stop_after)
    assert_same_tables(undisturbed, read_study(tmp_path / "stopped"))


def test_a_branch_that_diverges_ends_there_and_blocks_no_other(tmp_path):
    plan = plan_of(regrowth=Regrowth(turns=[5.2, 6.5]))
    (bad,) = [job.run_id for job in branch_jobs(plan) if (job.turned_at, job.level) == (5, 3)]
    run_study(tmp_path, plan, FakeEngine(diverges=((bad, 3),)))
    found = dict(read_study(tmp_path).runs.select("run_id", "status").iter_rows())
    states = {(job.turned_at, job.level): found[job.run_id] for job in branch_jobs(plan)}
    assert states == {
        (5, 4): "done",
        (5, 3): "diverged",
        (5, 2): "blocked",
        (5, 1): "blocked",
        (4, 3): "done",
        (4, 2): "done",
        (4, 1): "done",
    }


def branch_jobs(plan: Plan) -> list[TicketRun]:
    return [plan.jobs[run_id] for run_id in run_ids(plan, "ticket")]


def test_choosing_a_ticket_of_a_branch_chooses_what_it_goes_on_from(tmp_path):
    plan = plan_of(replicates=2)
    only = Selection.parse("variant == 'regrown' and level == 2 and replicate == 0")
    standing = Standing.of(plan, tmp_path, only)
    levels = sorted(job.level for job in branch_jobs(standing.chosen))
    assert levels == [2, 2, 3, 3, 4, 4]
    run_study(tmp_path, plan, stop_after=14)
    limited = Standing.of(plan, tmp_path).limited(1, slots=1)
    assert all(
        before is None or before in prerequisites(limited.chosen.jobs)
        for before in prerequisites(limited.chosen.jobs).values()
    )


def test_tickets_of_a_branch_share_a_batch_with_other_trajectories_and_with_no_other_ticket():
    tickets = Tickets(variants=["init_imp"], levels=[2, 3])
    profile = {"profiles": {"paper": {"pretraining_steps": 8, "steps_per_level": 5, "ticket_steps": 5}}}
    plan = plan_of(replicates=2, tickets=tickets, **profile)
    batches = [batch for batch in batches_of(plan, 9) if batch[0][0] == "k"]
    found = [{(plan.jobs[k].variant, plan.jobs[k].level) for k in batch} for batch in batches]
    assert all(len(kinds) == 1 for kinds in found) and {len(batch) for batch in batches} == {2}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variant": "init_imp"}, "turned_at belongs to variant 'regrown'"),
        ({"turned_at": None}, "turned_at belongs to variant 'regrown'"),
        ({"turned_at": 2}, "turns at level 2 has no ticket at level 2"),
        ({"turned_at": 6}, "turns at level 6 has no ticket at level 2 of a trajectory of 5 levels"),
    ],
)
def test_what_is_no_step_of_a_branch_is_refused(changes, sentence):
    plan = plan_of()
    fields = {"parent": plan.jobs[run_ids(plan, "trajectory")[0]], "level": 2, "variant": "regrown"}
    with pytest.raises(ValueError, match=sentence):
        TicketRun(**fields | {"steps": 5, "replicate": 0, "turned_at": 5} | changes)
