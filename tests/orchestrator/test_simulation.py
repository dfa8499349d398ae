"""The scheduler keeps slots busy in simulated time, and the simulation can tell a good one from a bad one."""

import pytest

from benchmarks.schedule import a100_seconds, simulate
from nqs.config import FeedForward, TransverseFieldIsing
from orchestrator.plan import Tickets
from orchestrator.schedule import Schedule
from tests.orchestrator.studies import small_plan

SLOTS = 4


class ShortestFirst(Schedule):
    """What not to do."""

    def _chain(self, batch):
        return -super()._chain(batch)


@pytest.fixture(scope="module")
def plan():
    """Trajectories of several lattices, the longest last in the plan, and tickets."""
    return small_plan(
        hamiltonians=[TransverseFieldIsing(side=side, field=3.0) for side in (4, 6, 8)],
        networks=[FeedForward(width_per_spin=4)],
        levels=12,
        tickets=Tickets(variants=["init_imp", "rand_imp"], replicates=3, levels=[3, 6, 9]),
        references=False,
    )


def seconds(unit, job):
    # Minutes a unit; the steps of these plans are few.
    return 20 * a100_seconds(unit, job)


@pytest.mark.parametrize("rough", [False, True])
def test_slots_are_busy_where_longest_chains_go_first(plan, rough):
    outcome = simulate(plan, SLOTS, seconds, rough)
    assert outcome.bound <= outcome.possible <= outcome.makespan
    assert outcome.possible > (0.85 if rough else 0.95) * outcome.makespan


def test_the_simulation_finds_shortest_first_worse(plan):
    good, bad = (simulate(plan, SLOTS, seconds, False, scheduler=each) for each in (Schedule, ShortestFirst))
    assert bad.possible == good.possible
    assert bad.makespan > 1.1 * good.makespan


def test_what_fails_is_done_all_the_same_and_the_seed_decides_all(plan):
    one, other = (simulate(plan, SLOTS, seconds, True, seed=3) for _ in range(2))
    assert one.units == len([unit for unit in Schedule(plan, seconds).states])
    assert one._replace(driver=0) == other._replace(driver=0)
