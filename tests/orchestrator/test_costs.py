"""Costs follow the arithmetic of a step, and the times that were measured."""

import polars as pl
import pytest

from nqs.config import DenseRun, FeedForward, Measurement, Training, TrajectoryRun, TransverseFieldIsing
from orchestrator.costs import CostModel, step_operations
from orchestrator.schedule import Unit
from tests.orchestrator.studies import run_ids, small_plan


def dense_run(side: int) -> DenseRun:
    hamiltonian = TransverseFieldIsing(side=side, field=3.04438)
    return DenseRun(
        hamiltonian=hamiltonian, network=FeedForward(), training=Training(), steps=1000, replicate=0
    )


def trajectory_run(side: int) -> TrajectoryRun:
    return TrajectoryRun(
        parent=dense_run(side), method="imp_wr", pruning_ratio=0.12, steps_per_level=1000, levels=40
    )


@pytest.mark.parametrize(("side", "milliseconds"), [(4, 15), (6, 24), (8, 35), (10, 63)])
def test_default_rates_are_within_a_factor_of_two_of_the_sketch(side, milliseconds):
    """DESIGN.md has the sketch's measured times of a dense step on one core."""
    seconds = CostModel(Measurement()).seconds(Unit("d", 0), dense_run(side))
    assert 0.5 < seconds / (1000 * milliseconds * 1e-3) < 2


def test_a_pruned_step_costs_less_at_every_level_and_far_less_at_the_last():
    run = trajectory_run(4)
    costs = [step_operations(run, level) for level in range(1, 41)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > 50 * costs[-1]


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
