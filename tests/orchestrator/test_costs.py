"""Costs follow the arithmetic of a step, and the times that were measured."""

import polars as pl
import pytest

from nqs.config import DenseRun, FeedForward, Training, TrajectoryRun, TransverseFieldIsing
from orchestrator.costs import CostModel, step_seconds
from orchestrator.schedule import Unit
from tests.orchestrator.studies import run_ids, small_plan


def dense_run(side: int) -> DenseRun:
    hamiltonian = TransverseFieldIsing(side=side, field=3.04438)
    return DenseRun(
        hamiltonian=hamiltonian, network=FeedForward(), training=Training(), steps=1000, replicate=0
    )


def trajectory_run(side: int, ratio: float = 0.12, levels: int = 40) -> TrajectoryRun:
    return TrajectoryRun(
        parent=dense_run(side), method="imp_wr", pruning_ratio=ratio, steps_per_level=1000, levels=levels
    )


@pytest.mark.parametrize(
    ("side", "live", "milliseconds"),
    [
        (4, 2048, 6.4),
        (4, 1024, 9),
        (4, 64, 0.17),
        (6, 10368, 7.7),
        (10, 80000, 21),
        (10, 6400, 25),
        (10, 400, 2.5),
    ],
)
def test_default_rates_are_within_a_factor_of_two_of_measured_steps(side, live, milliseconds):
    """Times of docs/performance.md, one core."""
    size = 8 * side**4
    run = trajectory_run(side, ratio=(size - live) / size, levels=1) if live < size else dense_run(side)
    seconds = step_seconds(run, run.last_level)
    assert run.remaining(run.last_level) == live
    assert 0.5 < seconds / (1e-3 * milliseconds) < 2


def test_a_pruned_step_costs_less_at_last_and_a_sparse_one_far_less():
    run = trajectory_run(4)
    costs = [step_seconds(run, level) for level in range(1, 41)]
    # Between dense and half the columns of the Gram matrix are subtracted one by one.
    assert costs[10:] == sorted(costs[10:], reverse=True)
    assert costs[0] > 20 * costs[-1]


def test_measured_times_scale_the_estimates_of_their_shape_and_of_others():
    plan = small_plan()
    (one, other), (trajectory, _) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    costs = CostModel(plan.measurement)
    before = {
        unit: costs.seconds(unit, plan.jobs[unit.run_id]) for unit in (Unit(other, 0), Unit(trajectory, 1))
    }
    costs.observe(Unit(one, 0), plan.jobs[one], 7 * before[Unit(other, 0)])
    for unit, seconds in before.items():
        assert costs.seconds(unit, plan.jobs[unit.run_id]) == pytest.approx(7 * seconds)


def test_the_estimate_says_what_it_rests_on():
    plan = small_plan()
    dense, reference = plan.jobs[run_ids(plan, "dense")[0]], plan.jobs[run_ids(plan, "reference")[0]]
    costs = CostModel(plan.measurement)
    assert costs.source(dense) == "default rates"
    states = pl.DataFrame({"run_id": [dense.run_id], "level": [0], "wall_seconds": [3.0]})
    measured = CostModel.of(plan, states)
    assert measured.source(dense) == "measured"
    assert measured.source(reference) == "default rates"
    assert measured.seconds(Unit(dense.run_id, 0), dense) == pytest.approx(3.0)
