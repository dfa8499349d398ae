"""Points, intervals and comparisons against studies whose answers are known by construction."""

import math

import numpy as np
import polars as pl
import pytest

from explorer import analysis
from explorer.analysis import QUANTITIES, ROUNDING
from tests.explorer.synthetic_study import (
    TICKET_FACTORS,
    TRANSFER_FACTOR,
    joined_states,
    made_up_networks,
    power_law,
)

RELATIVE_ERROR = QUANTITIES["relative_error"]


def states_of(**choices) -> pl.DataFrame:
    return analysis.with_quantities(joined_states(made_up_networks(**choices)))


def test_points_follow_the_law_of_the_networks():
    points = analysis.curve_points(states_of(), RELATIVE_ERROR)
    trajectory = points.filter(pl.col("series") == "trajectory")
    assert trajectory.filter(pl.col("side") == 4)["level"].to_list() == list(range(20, -1, -1))
    for row in points.iter_rows(named=True):
        expected = power_law(row["parameters_per_spin"], row["side"]) * TICKET_FACTORS.get(row["series"], 1)
        # E − E₀ loses the digits that E and E₀ share: 1e-16 of E, here 1e-16 / 1e-5 of the error at worst.
        assert row["estimate"] == pytest.approx(expected, rel=1e-9)


def test_tickets_count_as_networks_but_only_trajectories_as_independent():
    points = analysis.curve_points(states_of(trajectories=3, ticket_replicates=5), RELATIVE_ERROR)
    tickets = points.filter(pl.col("series") == "rand_imp")
    assert set(tickets["trajectories"]) == {3}
    assert set(tickets["networks"]) == {15}


def test_the_estimate_is_the_geometric_mean_with_tickets_first_averaged_in_their_trajectory():
    states = states_of(sides=(3,), trajectories=2, ticket_replicates=2)
    level = states.filter((pl.col("series") == "init_imp") & (pl.col("level") == 4)).sort("cluster")
    # One trajectory lost a ticket; its other one must still weigh as much as two of the other's.
    errors = [1e-2, 1e-4, 1e-6]
    level = level.head(3).with_columns(relative_error=pl.Series(errors))
    point = analysis.curve_points(level, RELATIVE_ERROR).row(0, named=True)
    assert math.log10(point["estimate"]) == pytest.approx((-3 + -6) / 2)
    assert point["networks"] == 3


def repeated(states: pl.DataFrame, studies: int, between: float, within: float) -> pl.DataFrame:
    """The same study many times (column `study`), its errors redrawn.

    Args:
        between: standard deviation of ln error between trajectories, shared by all networks of one.
        within: the same between the networks of a trajectory.
    """
    generator = np.random.default_rng(11)
    many = states.join(pl.DataFrame({"study": range(studies)}), how="cross")
    shared = many.select("study", "cluster").unique(maintain_order=True)
    shared = shared.with_columns(shared=pl.Series(between * generator.standard_normal(len(shared))))
    own = pl.Series(within * generator.standard_normal(len(many)))
    many = many.join(shared, on=["study", "cluster"], maintain_order="left")
    return many.with_columns(relative_error=pl.col("relative_error") * (pl.col("shared") + own).exp())


def coverage(states: pl.DataFrame, truth: float, confidence: float) -> float:
    points = analysis.curve_points(states, RELATIVE_ERROR, ("study",), confidence)
    assert len(points) == states["study"].n_unique()
    return points.select(pl.lit(truth).is_between("low", "high").mean()).item()


@pytest.mark.parametrize("confidence", [0.68, 0.95])
def test_intervals_over_trajectories_cover_the_true_error_at_the_stated_rate(confidence):
    """Three trajectories; with the normal quantile in place of t's, 95 % intervals would cover 81 %."""
    states = states_of(sides=(3,), trajectories=3, levels=1, ticket_levels=()).filter(pl.col("level") == 0)
    covered = coverage(repeated(states, 2000, between=0.8, within=0), power_law(72, 3), confidence)
    # Four standard deviations of a binomial share.
    assert covered == pytest.approx(confidence, abs=4 * math.sqrt(confidence * (1 - confidence) / 2000))


def test_intervals_of_tickets_cover_although_tickets_of_one_trajectory_are_alike():
    """Ten tickets a trajectory that differ by a tenth as much; taken as independent they cover 20 %."""
    states = states_of(sides=(3,), trajectories=3, levels=4, ticket_levels=(4,), ticket_replicates=10)
    states = states.filter(pl.col("series") == "init_imp")
    truth = power_law(states["parameters_per_spin"][0], 3)
    covered = coverage(repeated(states, 2000, between=0.5, within=0.05), truth, 0.68)
    assert covered == pytest.approx(0.68, abs=4 * math.sqrt(0.68 * 0.32 / 2000))


def test_one_trajectory_has_its_measurement_error_as_interval_and_the_bar_stays_above_zero():
    states = states_of(sides=(4,), trajectories=1, measurement_error=1e-2, law=lambda density, side: 1e-3)
    dense = states.filter(pl.col("kind") == "dense")
    point = analysis.curve_points(dense, RELATIVE_ERROR).row(0, named=True)
    assert point["interval"] == analysis.BY_MEASUREMENT
    z = 0.994457883
    assert point["high"] == pytest.approx(1e-3 + z * 1e-2)
    assert 0 < point["low"] < 1e-3


def test_one_exact_value_has_no_interval():
    points = analysis.curve_points(states_of(sides=(3,), trajectories=1), RELATIVE_ERROR)
    assert set(points["interval"]) == {analysis.NO_INTERVAL}
    assert points["low"].null_count() == points["high"].null_count() == len(points)


def test_energies_below_the_reference_are_drawn_by_magnitude_and_marked():
    negative, positive = states_of(sign=-1), states_of()
    below = analysis.curve_points(negative, RELATIVE_ERROR)
    above = analysis.curve_points(positive, RELATIVE_ERROR)
    assert below["estimate"].to_list() == pytest.approx(above["estimate"].to_list(), rel=1e-9)
    assert below["negative"].to_list() == below["networks"].to_list()
    assert above["negative"].sum() == 0
    networks = analysis.network_points(negative, RELATIVE_ERROR)
    assert len(networks) == len(negative)
    assert networks["negative"].all() and (networks["value"] < 0).all() and (networks["drawn"] > 0).all()


def test_an_error_of_exactly_zero_is_drawn_at_rounding_and_not_dropped():
    states = states_of(law=lambda density, side: 0.0)
    points = analysis.curve_points(states, RELATIVE_ERROR)
    assert points["estimate"].to_list() == pytest.approx([ROUNDING] * len(points))
    assert points["at_rounding"].to_list() == points["networks"].to_list()
    assert analysis.network_points(states, RELATIVE_ERROR)["drawn"].min() == ROUNDING


def test_linear_quantities_are_averaged_as_they_are():
    states = states_of(sides=(3,), levels=1, ticket_levels=()).filter(pl.col("level") == 0)
    states = states.with_columns(magnetization_x=pl.Series([-0.2, 0.6]))
    point = analysis.curve_points(states, QUANTITIES["magnetization_x"]).row(0, named=True)
    assert point["estimate"] == pytest.approx(0.2)
    # Student's t with one degree of freedom at 68 % is 1.8190; the standard error of these two is 0.4.
    assert point["high"] - point["estimate"] == pytest.approx(1.8190 * 0.4, rel=1e-4)
    assert point["negative"] == 0


def test_fidelity_is_there_for_levels_alone_and_its_loss_is_per_spin():
    points = analysis.curve_points(states_of(), QUANTITIES["log_fidelity_per_spin"])
    assert set(points["series"]) == {"trajectory"}
    assert points["level"].min() == 1
    for row in points.iter_rows(named=True):
        assert row["estimate"] == pytest.approx(0.02 / row["parameters_per_spin"])


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
def test_no_networks_give_no_points_of_the_same_columns(quantity):
    states = states_of()
    some, none = (analysis.curve_points(frame, quantity) for frame in (states, states.clear()))
    assert len(none) == 0
    assert none.columns == some.columns


def test_ticket_ratios_are_those_of_the_variants_whatever_the_trajectories_differ_by():
    ratios = analysis.ticket_ratios(states_of(trajectories=3, trajectory_spread=2.0))
    for row in ratios.iter_rows(named=True):
        assert row["ratio"] == pytest.approx(TICKET_FACTORS[row["numerator"]], rel=1e-6)
        # The pairs share their trajectory's factor, so nothing is left to spread.
        assert row["high"] / row["low"] == pytest.approx(1, rel=1e-6)
    assert set(zip(ratios["numerator"], ratios["denominator"])) == set(analysis.TICKET_PAIRS)
    assert set(ratios["networks"]) == {12}


def test_a_ratio_needs_both_variants_in_the_same_trajectory():
    states = states_of(sides=(3,), trajectories=2)
    one, other = states["trajectory_run_id"].drop_nulls().unique().sort().to_list()
    apart = states.filter(
        ((pl.col("series") == "rand_imp") & (pl.col("cluster") == one))
        | ((pl.col("series") == "init_imp") & (pl.col("cluster") == other))
    )
    assert len(apart) > 0
    assert len(analysis.ticket_ratios(apart)) == 0


def test_the_summary_of_ratios_counts_the_window_alone():
    states = states_of(sides=(3,), ticket_levels=(4, 12, 18))
    densities = sorted(states.filter(pl.col("kind") == "ticket")["parameters_per_spin"].unique())
    # The sparsest level is made a hundred times worse for random initial weights.
    worse = (pl.col("series") == "rand_imp") & (pl.col("parameters_per_spin") == densities[0])
    states = states.with_columns(
        relative_error=pl.when(worse).then(pl.col("relative_error") * 100).otherwise("relative_error")
    )
    dense = analysis.ratio_summary(states, (densities[1], densities[2])).row(1, named=True)
    assert (dense["numerator"], dense["levels"]) == ("rand_imp", 2)
    assert dense["ratio"] == pytest.approx(1.3)
    whole = analysis.ratio_summary(states, (0, 100)).row(1, named=True)
    assert whole["median"] == pytest.approx(1.3)
    assert whole["ratio"] == pytest.approx(1.3 * 100 ** (1 / 3))


def test_transferred_masks_are_compared_with_the_fields_own_and_with_random_ones():
    states = states_of(
        sides=(4,), fields=(1.0, 2.0, 4.0), trajectories=3, trajectory_spread=0.1, ticket_levels=(4,)
    )
    table = analysis.mask_transfer(states, 0.9)
    assert len(table) == 2 * 9 + 3
    for row in table.iter_rows(named=True):
        assert row["trajectories"] == 3
        if row["series"] == "init_rand":
            # Within a trajectory what its networks have in common drops out.
            assert row["ratio"] == pytest.approx(TICKET_FACTORS["init_rand"] / TICKET_FACTORS["init_imp"])
            assert row["ratio_high"] / row["ratio_low"] == pytest.approx(1)
        elif row["mask_field"] == row["field"]:
            assert row["ratio"] == 1 and row["ratio_low"] is None and row["ratio_high"] is None
        else:
            # Three trajectories each with a spread of 0.1 in ln error, on both sides of the ratio.
            assert abs(math.log(row["ratio"] / TRANSFER_FACTOR)) < 4 * 0.1 * math.sqrt(2 / 3)
            own = table.row(
                by_predicate=(pl.col("series") == row["series"])
                & (pl.col("field") == row["field"])
                & (pl.col("mask_field") == row["field"]),
                named=True,
            )
            widths = [math.log(each["high"] / each["estimate"]) for each in (row, own)]
            assert math.log(row["ratio_high"] / row["ratio"]) == pytest.approx(math.hypot(*widths))


def test_masks_of_one_field_and_another_boundary_are_not_own_ones():
    states = states_of(sides=(4,), fields=(1.0, 2.0), ticket_levels=(4,))
    alike = states.with_columns(field=1.0, mask_field=1.0)
    ratios = analysis.mask_transfer(alike).filter(pl.col("series") != "init_rand")["ratio"].sort()
    assert ratios.to_list() == pytest.approx([1.0] * 4 + [TRANSFER_FACTOR] * 4)


def test_a_figure_of_own_masks_leaves_transferred_ones_out_and_nothing_else():
    one, several = states_of(sides=(4,), fields=(1.0,)), states_of(sides=(4,), fields=(1.0, 2.0))
    own = analysis.own_masks(several)
    assert len(own) == 2 * len(one) < len(several)
    assert (own.filter(kind="ticket")["mask_field"] == own.filter(kind="ticket")["field"]).all()
    # Tables from before masks were transferred do not say where one was found.
    older = several.with_columns(mask_hamiltonian_parameters=pl.lit(None, pl.String))
    assert len(analysis.own_masks(older)) == len(several)


def sides_apart(density: float, side: int) -> float:
    """Side 4 is worse than side 3 by the factor density / 10, and better where it is sparser than 10."""
    return 1e-3 * (density / 10 if side == 4 else 1)


def test_the_factor_between_sizes_is_interpolated_in_log_log():
    points = analysis.curve_points(states_of(law=sides_apart, ticket_levels=()), RELATIVE_ERROR)
    agreement = analysis.size_agreement(points)
    for row in agreement.iter_rows(named=True):
        ratio = row["parameters_per_spin"] / 10
        # A power law is a straight line in log–log, so interpolating it is exact.
        assert row["factor"] == pytest.approx(max(ratio, 1 / ratio), rel=1e-9)
        assert row["largest_side"] == (4 if ratio > 1 else 3)


def test_sizes_are_never_compared_beyond_what_was_measured():
    points = analysis.curve_points(states_of(ticket_levels=()), RELATIVE_ERROR)
    reach = points.group_by("side").agg(
        low=pl.col("parameters_per_spin").min(), high=pl.col("parameters_per_spin").max()
    )
    agreement = analysis.size_agreement(points)
    # Side 3 starts at 72 weights per spin, side 4 at 128: what lies between has nothing to compare with.
    assert agreement["parameters_per_spin"].max() == pytest.approx(72) == reach["high"].min()
    assert agreement["parameters_per_spin"].min() == pytest.approx(reach["low"].max())


def test_windows_tell_where_sizes_agree_and_where_not():
    points = analysis.curve_points(states_of(law=sides_apart, ticket_levels=()), RELATIVE_ERROR)
    windows = analysis.agreement_windows(analysis.size_agreement(points), factor=3)
    assert windows["agree"].to_list() == [True, False]
    # The law agrees within 3 up to 30 weights per spin, and no measured density lies below 10 / 3.
    assert windows["end"][0] <= 30 < windows["start"][1]
    assert windows["worst"][1] == pytest.approx(7.2)


def test_one_side_alone_agrees_with_nobody():
    points = analysis.curve_points(states_of(sides=(4,)), RELATIVE_ERROR)
    agreement = analysis.size_agreement(points.filter(pl.col("series") == "trajectory"))
    assert len(agreement) == 0
    assert len(analysis.agreement_windows(agreement, 3)) == 0


def test_settings_that_are_mixed_in_one_figure_are_named_with_their_values():
    states = states_of()
    assert analysis.what_varied(states) == {}
    half = pl.when(pl.col("replicate") == 0).then(0.004).otherwise("learning_rate")
    assert analysis.what_varied(states.with_columns(learning_rate=half)) == {"learning_rate": [0.004, 0.008]}


def test_networks_below_their_reference_are_listed_and_unknown_ones_are_not():
    states = joined_states(made_up_networks())
    marks = [True, False, None] + [False] * (states.height - 3)
    below = analysis.below_reference(states.with_columns(below_reference=pl.Series(marks)))
    assert below.select("run_id", "level").rows() == states.head(1).select("run_id", "level").rows()


def test_sides_without_a_reference_energy_are_named():
    states = states_of()
    assert analysis.sides_without_reference(states) == []
    lost = pl.when(pl.col("side") == 4).then(None).otherwise("reference_energy")
    assert analysis.sides_without_reference(states.with_columns(reference_energy=lost)) == [4]


def runs_of(status: dict[str, str], **choices) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Planned runs of one side with a status by kind, and their networks."""
    states = states_of(sides=(3,), trajectories=1, levels=6, ticket_levels=(2,), **choices)
    runs = states.unique("run_id").with_columns(
        status=pl.col("kind").replace_strict(status),
        reason=pl.lit(None, pl.String),
        levels=pl.when(pl.col("kind") == "trajectory").then(6),
    )
    return runs, states


def test_remaining_work_is_what_is_planned_and_not_committed_at_measured_step_times():
    runs, states = runs_of({"dense": "done", "trajectory": "running", "ticket": "ready"})
    committed = states.filter((pl.col("kind") == "dense") | pl.col("level").is_between(1, 2))
    committed = committed.filter(pl.col("kind") != "ticket")
    work = {row["kind"]: row for row in analysis.remaining_work(runs, committed).iter_rows(named=True)}
    # Four of six levels of 20 steps are left; a made-up level takes 0.1 s.
    assert work["trajectory"]["steps"] == 80
    assert work["trajectory"]["seconds"] == pytest.approx(0.4)
    assert (work["ticket"]["runs"], work["ticket"]["steps"]) == (6, 300)
    assert work["ticket"]["seconds"] is None
    assert "dense" not in work


def test_blocked_and_failed_runs_are_not_remaining_work():
    runs, states = runs_of({"dense": "failed", "trajectory": "blocked", "ticket": "blocked"})
    assert analysis.remaining_work(runs, states.clear()).is_empty()
    troubled = analysis.troubled_runs(runs)["status"].to_list()
    assert troubled == ["failed"] + ["blocked"] * (len(runs) - 1)
