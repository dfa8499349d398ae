"""The scheduler decides from state alone: order, dependence, blocking."""

import random

import pytest

from nqs.config import TransverseFieldIsing
from orchestrator.plan import Tickets
from orchestrator.schedule import NEARLY_AS_LONG, Schedule, rehearse, run_states
from orchestrator.units import Unit, prerequisite
from tests.orchestrator.studies import run_ids, small_plan, take


def one_second(unit, job):
    return 1.0


def take_all(schedule: Schedule) -> list[Unit]:
    taken = []
    while units := take(schedule):
        taken += units
        for unit in units:
            schedule.complete(unit)
    return taken


@pytest.mark.parametrize("seed", range(5))
def test_no_unit_starts_before_its_prerequisite_is_done_whatever_the_order_of_results(seed):
    plan, generator = small_plan(), random.Random(seed)
    schedule = Schedule(plan, one_second)
    running, done = [], set()
    while not schedule.finished:
        while len(running) < 3 and (units := take(schedule)):
            (unit,) = units
            before = prerequisite(unit, plan.jobs[unit.run_id])
            assert before is None or before in done
            running.append(unit)
        unit = running.pop(generator.randrange(len(running)))
        schedule.complete(unit)
        done.add(unit)
    # 2 × (1 dense + 3 levels + 2 tickets) and a reference.
    assert len(done) == 13


def test_each_unit_is_taken_once():
    units = take_all(Schedule(small_plan(), one_second))
    assert len(units) == len(set(units)) == 13


def test_the_longest_remaining_chain_goes_first():
    plan = small_plan()
    slow = run_ids(plan, "dense")[1]

    def seconds(unit, job):
        return 9.0 if unit.run_id == slow else 1.0

    assert take(Schedule(plan, seconds)) == (Unit(slow, 0),)


def test_a_trajectory_goes_before_tickets_and_tickets_fill_the_rest():
    plan = small_plan(replicates=1, levels=6)
    (trajectory,) = run_ids(plan, "trajectory")
    units = [unit for unit in take_all(Schedule(plan, one_second)) if unit.run_id[0] in "tk"]
    # Tickets of level 2 are ready after level 2, but levels 3 … 5 have longer chains.
    assert [unit.level for unit in units[:5]] == [1, 2, 3, 4, 5]
    assert {unit.run_id for unit in units[:5]} == {trajectory}


def test_tickets_are_ready_the_moment_their_level_is_done():
    plan = small_plan(replicates=1)
    (trajectory,), tickets = run_ids(plan, "trajectory"), run_ids(plan, "ticket")
    schedule = Schedule(plan, one_second, done=[Unit(run_ids(plan, "dense")[0], 0), Unit(trajectory, 1)])
    assert {schedule.state(Unit(ticket, 2)) for ticket in tickets} == {"waiting"}
    schedule.complete(Unit(trajectory, 2))
    assert {schedule.state(Unit(ticket, 2)) for ticket in tickets} == {"ready"}


def test_a_failure_blocks_all_that_depends_on_it_by_its_name_and_nothing_else():
    plan = small_plan()
    failed, healthy = run_ids(plan, "dense")
    schedule = Schedule(plan, one_second)
    schedule.fail(Unit(failed, 0))
    for run_id, job in plan.jobs.items():
        if job.kind in ("trajectory", "ticket"):
            expected = ("blocked", failed) if job.dense.run_id == failed else ("waiting", None)
            assert run_states(schedule, run_id) == expected
    assert run_states(schedule, failed) == ("failed", None)
    assert run_states(schedule, healthy) == ("ready", None)
    assert not schedule.finished


def test_a_divergence_halfway_keeps_what_came_before_and_blocks_what_comes_after():
    plan = small_plan(replicates=1, tickets=Tickets(variants=["init_imp"], levels=[1, 2]))
    (dense,), (trajectory,) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    of_level = {plan.jobs[run_id].level: run_id for run_id in run_ids(plan, "ticket")}
    schedule = Schedule(plan, one_second, [Unit(dense, 0), Unit(trajectory, 1)], diverged=[trajectory])
    assert run_states(schedule, trajectory) == ("diverged", None)
    assert run_states(schedule, of_level[1]) == ("ready", None)
    assert run_states(schedule, of_level[2]) == ("blocked", trajectory)
    take_all(schedule)
    assert schedule.finished


def test_what_happened_live_and_what_is_read_from_files_give_the_same_states():
    plan = small_plan(replicates=1)
    (dense,), (trajectory,) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    live = Schedule(plan, one_second)
    live.complete(Unit(dense, 0))
    live.complete(Unit(trajectory, 1))
    live.fail(Unit(trajectory, 2))
    from_files = Schedule(
        plan, one_second, [Unit(dense, 0), Unit(trajectory, 1)], failed=[Unit(trajectory, 2)]
    )
    assert live.states == from_files.states


def test_a_released_unit_is_taken_again():
    schedule = Schedule(small_plan(), one_second)
    (unit,) = take(schedule)
    schedule.release(unit)
    assert take(schedule) == (unit,)


def test_a_rehearsal_takes_no_longer_than_the_bound_of_list_scheduling_and_leaves_the_schedule_alone():
    schedule = Schedule(small_plan(), one_second)
    before = schedule.states
    played = rehearse(schedule, 2)
    end = max(unit.end for unit in played)
    # Graham: work / slots + (1 − 1 / slots) · longest chain, here 13 / 2 + 4 / 2.
    assert 13 / 2 <= end <= 13 / 2 + 4 / 2
    assert schedule.states == before
    assert len(rehearse(schedule, 1)) == 13


# --- which slot


def test_a_free_slot_takes_the_level_after_its_own_and_no_slot_stays_idle():
    plan = small_plan(replicates=2, tickets=None, references=False)
    one, other = run_ids(plan, "dense")
    schedule = Schedule(plan, one_second)
    assert schedule.assign("ab") == [("a", (Unit(one, 0),)), ("b", (Unit(other, 0),))]
    had = []
    for free in ("ba", "ab", "ba"):
        for unit, state in schedule.states.items():
            if state == "running":
                schedule.complete(unit)
        # Whichever slot is named first.
        had.append({slot: units[0].run_id for slot, units in schedule.assign(free)})
    assert had[0].keys() == {"a", "b"}
    assert had[1:] == [had[0]] * 2


def test_a_slot_prefers_the_program_it_has_among_nearly_equal_chains_only():
    sides = [TransverseFieldIsing(side=side, field=3.0) for side in (2, 3)]
    plan = small_plan(hamiltonians=sides, replicates=2, methods=[], tickets=None, references=False)
    small, next_small, *large = run_ids(plan, "dense")

    def second(of_large: float) -> str:
        """What a slot takes after a small one, where the other small one takes 1 s and the large ones this."""
        seconds = {small: 9.0, next_small: 1.0} | dict.fromkeys(large, of_large)
        schedule = Schedule(plan, lambda unit, job: seconds[unit.run_id])
        schedule.assign("a")
        schedule.complete(Unit(small, 0))
        ((_, (unit,)),) = schedule.assign("a")
        return unit.run_id

    assert second(0.9 / NEARLY_AS_LONG) == next_small
    assert second(1.1 / NEARLY_AS_LONG) == large[0]


# --- the last round


def hours(unit, job):
    return 3600.0


def test_the_last_round_is_shared_by_what_is_left_and_not_before():
    plan = small_plan(replicates=4, methods=[], tickets=None, references=False)
    schedule = Schedule(plan, hours)
    running = [units for _, units in schedule.assign("abc")]
    # One of four waits, and none has made more than a little.
    assert not schedule.yields(running[0], 0.1, slots=3)
    assert schedule.yields(running[0], 0.6, slots=3)
    # With as many waiting as there are slots, another round comes anyhow.
    assert not schedule.yields(running[0], 0.6, slots=1)
    schedule.release(running[0][0], 0.6)
    ((_, units),) = schedule.assign("a")
    assert units != running[0]
    # What was put back has 24 minutes left, less than the others.
    assert not schedule.yields(units, 0.0, slots=3)
    assert schedule.seconds_left(1, {units[0]: 0.0}) == pytest.approx(4 * 3600)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.6, 0.7, 0.9])
def test_what_is_put_back_is_not_taken_again_at_once(share):
    """The slot has compiled the program of what it puts back, and not that of the longer one."""
    sides = [TransverseFieldIsing(side=side, field=3.0) for side in (2, 3)]
    plan = small_plan(hamiltonians=sides, replicates=2, methods=[], tickets=None, references=False)
    small, next_small, large, other_large = run_ids(plan, "dense")
    seconds = {small: 30_000.0, next_small: 30_000.0, large: 20_000.0, other_large: 0.0}
    schedule = Schedule(plan, lambda unit, job: seconds[unit.run_id], done=[Unit(other_large, 0)])
    assert schedule.assign("ab") == [("a", (Unit(small, 0),)), ("b", (Unit(next_small, 0),))]
    # The other waits 20 000 s and is taken once less than 0.7 of that is left.
    assert schedule.yields((Unit(small, 0),), share, slots=2) == (30_000 * (1 - share) < 14_000)
    if 30_000 * (1 - share) < 14_000:
        schedule.release(Unit(small, 0), share)
        assert schedule.assign("a") == [("a", (Unit(large, 0),))]


def test_counts_and_time_left_follow_what_happens():
    plan = small_plan()
    schedule = Schedule(plan, one_second)
    for count, unit in enumerate(unit for unit in schedule.states):
        assert sum(schedule.counts.values()) == 13
        assert schedule.seconds_left(slots=1) == pytest.approx(13 - count)
        schedule.complete(unit)
    assert schedule.finished and schedule.counts == {"done": 13}


def test_the_order_follows_what_is_learned():
    plan = small_plan(replicates=3, methods=[], tickets=None, references=False)
    first, second, third = run_ids(plan, "dense")
    seconds = dict.fromkeys((first, second, third), 1.0)
    schedule = Schedule(plan, lambda unit, job: seconds[unit.run_id])
    assert take(schedule) == (Unit(first, 0),)
    seconds[third] = 5.0
    schedule.complete(Unit(first, 0))
    assert take(schedule) == (Unit(third, 0),)
