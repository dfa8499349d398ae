"""Costs follow the arithmetic of a step, and the times that were measured."""

import polars as pl
import pytest

from nqs.config import DenseRun, FeedForward, Training, TrajectoryRun, TransverseFieldIsing
from orchestrator.costs import CostModel, step_seconds
from orchestrator.units import Unit
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


def observed(costs: CostModel, plan, run_ids, level: int, seconds: list[float], **where) -> None:
    for run_id, each in zip(run_ids, seconds, strict=True):
        costs.observe(Unit(run_id, level), plan.jobs[run_id], each, **where)


def test_measured_times_scale_the_estimates_of_their_shape_and_of_others():
    plan = small_plan()
    dense, (trajectory, _) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    units = (Unit(dense[0], 0), Unit(trajectory, 1))
    costs = CostModel(plan.measurement)
    before = [costs.seconds(unit, plan.jobs[unit.run_id]) for unit in units]
    observed(costs, plan, dense, 0, [7 * before[0]] * 2)
    after = [costs.seconds(unit, plan.jobs[unit.run_id]) for unit in units]
    assert after == pytest.approx([7 * seconds for seconds in before])


def test_a_compilation_in_the_first_unit_of_a_slot_does_not_scale_the_others():
    """Five units of 2 s each on two slots, whose first ones hold 20 s of compilation."""
    plan = small_plan(replicates=5)
    dense = run_ids(plan, "dense")
    job = plan.jobs[dense[0]]
    costs = CostModel(plan.measurement)
    arithmetic = costs.seconds(Unit(dense[0], 0), job)
    for count, (run_id, slot, seconds) in enumerate(zip(dense, "abbab", (22, 22, 2, 2, 2), strict=True)):
        costs.observe(Unit(run_id, 0), plan.jobs[run_id], seconds, slot=slot)
        # Until a time without compilation is known, what is known of other shapes; nothing, here.
        assert costs.seconds(Unit(dense[0], 0), job) == pytest.approx(arithmetic if count < 2 else 2)


def test_a_first_unit_too_long_for_a_compilation_counts():
    plan = small_plan()
    (one, other) = run_ids(plan, "dense")
    costs = CostModel(plan.measurement)
    observed(costs, plan, [one], 0, [3600.0])
    assert costs.seconds(Unit(other, 0), plan.jobs[other]) == pytest.approx(3600, rel=0.01)


def test_times_of_another_kind_of_device_or_another_company_are_kept_apart():
    plan = small_plan(replicates=8, tickets=None)
    dense = run_ids(plan, "dense")
    costs = CostModel(plan.measurement)

    def estimate(run_id) -> float:
        return costs.seconds(Unit(run_id, 0), plan.jobs[run_id])

    observed(costs, plan, dense[:3], 0, [100.0] * 3, device="cpu:cpu")
    observed(costs, plan, dense[3:5], 0, [4.0] * 2, device="gpu:big")
    assert estimate(dense[7]) == pytest.approx(4)
    costs.members |= dict.fromkeys(dense[5:], 3)
    observed(costs, plan, dense[5:7], 0, [1.5] * 2, device="gpu:big")
    assert [estimate(run_id) for run_id in (dense[0], dense[7])] == pytest.approx([4, 1.5])
    observed(costs, plan, dense[:1], 0, [100.0], device="cpu:cpu")
    assert estimate(dense[0]) == pytest.approx(100)


def test_the_estimate_says_what_it_rests_on():
    plan = small_plan()
    dense, reference = plan.jobs[run_ids(plan, "dense")[0]], plan.jobs[run_ids(plan, "reference")[0]]
    costs = CostModel(plan.measurement)
    assert costs.source(dense) == "default rates"
    states = pl.DataFrame(
        {"run_id": run_ids(plan, "dense"), "level": [0, 0], "wall_seconds": [33.0, 3.0]},
    )
    measured = CostModel.of(plan, states)
    assert measured.source(dense) == "measured"
    assert measured.source(reference) == "default rates"
    assert measured.seconds(Unit(dense.run_id, 0), dense) == pytest.approx(3.0)
