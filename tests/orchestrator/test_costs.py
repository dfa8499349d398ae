"""Costs follow the arithmetic of a step, and the times that were measured."""

import shutil

import polars as pl
import pytest

from nqs.config import DenseRun, FeedForward, Training, TrajectoryRun, TransverseFieldIsing
from orchestrator import rates
from orchestrator.__main__ import main
from orchestrator.costs import CostModel, step_seconds
from orchestrator.units import Unit
from tests.orchestrator.fake_engine import FakeEngine
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
        (4, 2048, 6.48),
        (4, 512, 2.12),
        (4, 64, 0.176),
        (6, 1152, 9.24),
        (6, 144, 0.674),
        (8, 1024, 10.4),
        (10, 80000, 21.8),
        (10, 400, 2.83),
    ],
)
def test_default_rates_are_within_a_tenth_of_measured_steps(side, live, milliseconds):
    """Times of docs/performance.md, one core."""
    size = 8 * side**4
    run = trajectory_run(side, ratio=(size - live) / size, levels=1) if live < size else dense_run(side)
    seconds = step_seconds(run, run.last_level)
    assert run.remaining(run.last_level) == live
    assert seconds == pytest.approx(1e-3 * milliseconds, rel=0.1)


def test_live_weights_beyond_the_last_bucket_are_solved_in_samples():
    """Of 1081, 837 and 737 live weights with 1024 samples the last alone fit a bucket, that of 832."""
    more, last, in_a_bucket = (step_seconds(trajectory_run(4), level) for level in (5, 7, 8))
    assert last == pytest.approx(more, rel=0.05) and in_a_bucket < 0.85 * last


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


def test_a_unit_under_way_counts_until_one_of_its_shape_is_whole():
    """A tenth of a dense run in 1 s, and a whole one in 16 s without a compilation."""
    plan = small_plan(replicates=3)
    dense, (trajectory, *_) = run_ids(plan, "dense"), run_ids(plan, "trajectory")
    costs = CostModel(plan.measurement)

    def estimates() -> list[float]:
        units = (Unit(dense[2], 0), Unit(trajectory, 1))
        return [costs.seconds(unit, plan.jobs[unit.run_id]) for unit in units]

    def told(share: float, seconds: float) -> bool:
        return costs.observe_under_way(Unit(dense[0], 0), plan.jobs[dense[0]], share, seconds)

    whole, level = estimates()
    assert told(0.1, 1.0)
    assert estimates() == pytest.approx([10, level * 10 / whole])
    # Three stretches of a second and one that is slow: worth new estimates after 2 and 4 s.
    assert [told(0.1, 1.0), told(0.1, 1.0), told(0.1, 2.0)] == [True, False, True]
    assert estimates()[0] == pytest.approx(12.5)
    observed(costs, plan, dense[:2], 0, [16.0] * 2)
    assert estimates() == pytest.approx([16, level * 16 / whole])
    assert not told(0.5, 100.0)
    assert estimates()[0] == pytest.approx(16)


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


def with_rates(plan, seconds: float, device: str) -> CostModel:
    """A study that has measured its dense runs, twice, since a first unit holds its compilation."""
    costs = CostModel(plan.measurement)
    observed(costs, plan, run_ids(plan, "dense"), 0, [seconds] * 2, device=device)
    return costs


def test_the_next_study_starts_with_the_rates_of_the_same_shape_and_device(own_rates):
    plan, other = small_plan(), small_plan(training=Training(samples=8, learning_rate=0.5))
    larger = small_plan(hamiltonians=[TransverseFieldIsing(side=3, field=3.0)])
    rates.remember(with_rates(plan, 70.0, "gpu:big").measured)
    rates.remember(with_rates(larger, 5.0, "cpu:cpu").measured)
    rates.remember(with_rates(plan, 7.0, "cpu:cpu").measured)
    known = rates.remembered()
    assert known.device == "cpu:cpu" and len(known.of) == 3
    costs = CostModel(other.measurement, known)
    job = other.jobs[run_ids(other, "dense")[0]]
    unit = Unit(job.run_id, 0)
    assert job.run_id not in plan.jobs
    assert costs.source(job) == "other studies"
    assert costs.seconds(unit, job) == pytest.approx(7.0)
    costs.device = "gpu:big"
    assert costs.seconds(unit, job) == pytest.approx(70.0)
    # What the study measures itself counts from then on.
    observed(costs, other, run_ids(other, "dense"), 0, [3.0] * 2, device="cpu:cpu")
    assert costs.source(job) == "measured" and costs.seconds(unit, job) == pytest.approx(3.0)


def test_what_a_small_study_took_does_not_scale_a_large_one(own_rates):
    """A level of few steps takes a tenth of what is put down for any level: true of it, not of ten thousand steps."""
    small, large = small_plan(), small_plan(hamiltonians=[TransverseFieldIsing(side=5, field=3.0)])
    costs = with_rates(small, 0.03, "cpu:cpu")
    rates.remember(costs.measured)
    job = large.jobs[run_ids(large, "dense")[0]].model_copy(update={"steps": 10_000})
    unit, new = Unit(job.run_id, 0), CostModel(large.measurement, rates.remembered())
    assert new.seconds(unit, job) == pytest.approx(new.arithmetic(unit, job))
    # One of as much work does.
    again = CostModel(large.measurement)
    again.observe(unit, job, 3 * again.arithmetic(unit, job) + 30, "cpu:cpu")
    rates.remember(again.measured)
    other = job.model_copy(update={"training": Training(samples=16)})
    new = CostModel(large.measurement, rates.remembered())
    assert new.seconds(Unit("other", 0), other) == pytest.approx(3 * new.arithmetic(Unit("other", 0), other))
    # … rather than short levels of its own.
    observed(new, small, run_ids(small, "dense"), 0, [0.03] * 2, device="cpu:cpu")
    assert new.seconds(Unit("other", 0), other) == pytest.approx(3 * new.arithmetic(Unit("other", 0), other))


def test_rates_of_another_machine_or_another_arithmetic_are_not_taken(own_rates, monkeypatch):
    rates.remember(with_rates(small_plan(), 7.0, "cpu:cpu").measured)
    for name, value in (("platform.node", "elsewhere"), ("_arithmetic", "another")):
        with monkeypatch.context() as patch:
            patch.setattr(f"orchestrator.rates.{name}", lambda value=value: value)
            assert rates.remembered() == rates.Rates()
    assert len(rates.remembered().of) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rates": 1}', '{"arithmetic": "ARITHMETIC", "rates": [{"host": "h", "rate": "x"}]}']
)
def test_rates_that_cannot_be_read_or_written_are_none_and_no_error(text, own_rates):
    own_rates.mkdir(parents=True)
    (own_rates / "rates.json").write_text(text.replace("ARITHMETIC", rates._arithmetic()))
    assert rates.remembered() == rates.Rates()
    rates.remember(with_rates(small_plan(), 7.0, "cpu:cpu").measured)
    assert len(rates.remembered().of) == 1
    # A file where the folder should be.
    shutil.rmtree(own_rates)
    own_rates.write_text("")
    rates.remember(with_rates(small_plan(), 7.0, "cpu:cpu").measured)
    assert rates.remembered() == rates.Rates()


def test_a_run_leaves_its_rates_to_the_plan_of_another_study(own_rates, sweep_file, tmp_path, capsys):
    run = [str(sweep_file), "--out", str(tmp_path / "run"), "--executor", "inline"]
    assert main([*run, "--plan"]) == 0
    assert not own_rates.exists() and "from default rates, nothing measured yet" in capsys.readouterr().out
    assert main(run, FakeEngine().engine()) == 0
    capsys.readouterr()
    assert main([*run[:2], str(tmp_path / "other"), "--plan"]) == 0
    assert "(from times of other studies on this machine)" in capsys.readouterr().out
    assert main([*run[:2], str(tmp_path / "other"), "--status"]) == 0
    assert "estimated from times of other studies on this machine, on one slot" in capsys.readouterr().out
