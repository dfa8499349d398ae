"""Where the time of a run went."""

import time

import pytest

from orchestrator.overhead import Overhead
from orchestrator.slots import Slot
from tests.orchestrator.fake_engine import FakeEngine
from tests.orchestrator.studies import run_study, small_plan
from tests.orchestrator.test_loop import TwoSlots


def test_a_slot_is_idle_until_its_first_task_and_from_a_result_to_the_next_task(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    overhead, (one, other) = Overhead(), (Slot(0), Slot(1))
    overhead.begin([one, other])
    # One: idle 1 s, busy 4 s, idle 3 s to the end. The other never has work.
    for at, event in ((101.0, overhead.busy), (105.0, overhead.idle)):
        now = at
        event(one)
    with overhead.driver("writing"):
        now = 107.0
    now = 108.0
    overhead.end()
    assert (overhead.wall_seconds, overhead.slot_seconds, overhead.idle_seconds) == (8.0, 16.0, 12.0)
    assert dict(overhead.driver_seconds) == {"writing": 2.0}
    assert str(overhead).startswith("slots had no work for 75.0% of the time")
    assert str(overhead).endswith("the driver's own time: writing 25.0%")


def test_slots_that_come_later_count_and_without_any_there_is_nothing_to_say(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    overhead = Overhead()
    overhead.begin([])
    assert str(overhead) == "nothing was begun"
    with overhead.driver("dispatching"):
        overhead.busy(Slot(0))
    now = 2.0
    overhead.end()
    assert overhead.slot_seconds == 2.0
    assert str(overhead).startswith("slots had no work for 0.0% of the time")


def test_a_loop_counts_its_slots_and_its_own_time(tmp_path):
    # One run in series keeps one of two slots busy; both are one process here.
    plan = small_plan(replicates=1, tickets=None)
    overhead = run_study(tmp_path, plan, executor=TwoSlots(FakeEngine(step_seconds=0.01))).overhead
    assert overhead.idle_seconds > overhead.wall_seconds / 2
    assert set(overhead.driver_seconds) == {"preparing", "dispatching", "receiving", "writing"}
    # 8 steps are three stretches, 5 steps of each level two, of 0.5 s each by the fake's own account.
    assert overhead.training_seconds == pytest.approx(9 * 0.5)
