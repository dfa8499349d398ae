"""Detection of transitions: places, intervals, chance, verdicts, on curves whose boundaries are known."""

import numpy as np
import polars as pl
import pytest

from benchmarks.transitions import WIDTH, Study, made_up_states, outcome_of
from explorer import analysis
from explorer.analysis.transitions import (
    FEWEST_STEPS,
    chance_of_peaks,
    find_peak,
    location_interval,
    peak_prominence,
)


def states_of(boundary: float = np.log(3), seed: int = 0, **study) -> pl.DataFrame:
    return made_up_states(Study(**study), boundary, np.random.default_rng(seed))


# --- steps


def test_a_step_has_its_midpoint_its_width_and_what_changes_over_it():
    states = states_of(trajectories=1)
    steps = analysis.level_steps(states)
    assert steps["level"].to_list() == list(range(1, 39))
    first, second = states.sort("level").head(2).rows(named=True)
    (step,) = steps.head(1).rows(named=True)
    assert step["log_density"] == pytest.approx(np.log(64) - WIDTH / 2)
    assert step["half_step"] == pytest.approx(WIDTH / 2)
    assert step["parameters_per_spin"] == pytest.approx(64 * np.sqrt(0.88))
    change = second["abs_magnetization_z"] - first["abs_magnetization_z"]
    assert step["observable_change"] == pytest.approx(change)
    assert step["jump"] == pytest.approx(abs(change) / WIDTH)
    assert step["jump_error"] == pytest.approx(1e-4 * np.sqrt(2) / WIDTH)
    # Design, fact 13: −2 ln F / (Δ ln n_r)², a spin.
    loss = second["log_fidelity_per_spin"]
    assert step["susceptibility_per_spin"] == pytest.approx(2 * loss / WIDTH**2)
    assert step["energy_change"] == pytest.approx((second["energy"] - first["energy"]) / 16)


def test_a_missing_level_leaves_no_step_across_it():
    states = states_of(trajectories=1).filter(pl.col("level") != 10)
    assert set(range(1, 39)) - set(analysis.level_steps(states)["level"]) == {10, 11}


# --- peaks


def test_a_parabola_finds_a_gaussian_peak_between_levels():
    places = np.log(64) - WIDTH * (np.arange(38) + 0.5)
    half = np.full(38, WIDTH / 2)
    for where in (np.log(3), np.log(3) + 0.04, np.log(3) - 0.04):
        curve = -((places - where) ** 2) / (2 * 0.3**2)
        peak = find_peak(curve, places, half)
        # ln of a Gaussian is the parabola itself.
        assert peak.log_density == pytest.approx(where, abs=1e-9)
        assert peak.height == pytest.approx(np.exp(curve[peak.step]))


def test_a_peak_at_the_last_steps_is_not_one():
    places = np.log(64) - WIDTH * (np.arange(38) + 0.5)
    curve = np.linspace(-8, 0, 38)
    curve[20] += 3
    assert find_peak(curve, places, np.full(38, WIDTH / 2)).step in (20, 34)
    assert np.isnan(peak_prominence(curve)[[0, 1, -1, -2]]).all()


def test_one_curve_has_its_step_as_interval_and_equal_ones_no_less_than_what_a_step_leaves_open():
    places, half = np.arange(38) * -WIDTH, np.full(38, WIDTH / 2)
    jump = np.full(38, -20.0)
    jump[15] = 0
    sharp = find_peak(jump, places, half)
    assert location_interval([sharp], 0.95) == pytest.approx(
        (places[15], places[15] - WIDTH / 2, places[15] + WIDTH / 2)
    )
    _, low, high = location_interval([sharp] * 3, 0.95)
    assert (high - low) / 2 == pytest.approx(0.95 * WIDTH / 2, rel=1e-6)
    smooth = find_peak(-((places - places[15]) ** 2) / 8, places, half)
    assert smooth.resolved > 0.99
    _, low, high = location_interval([smooth] * 3, 0.95)
    assert high - low < 0.01 * WIDTH


def test_a_slope_has_no_prominence_and_one_high_step_has():
    slope = np.linspace(-9, 0, 38) + 0.01 * np.sin(np.arange(38) ** 2)
    assert np.nanmax(peak_prominence(slope)) < 4
    slope[18] += 1
    assert np.nanargmax(peak_prominence(slope)) == 18
    assert np.nanmax(peak_prominence(slope)) > 30
    # On a curve that is flat exactly it stands out infinitely, and nothing else does.
    flat = np.zeros(38)
    flat[18] = 1e-3
    assert np.flatnonzero(np.isinf(peak_prominence(flat))).tolist() == [18]
    # Neither offset nor scale matters.
    np.testing.assert_allclose(peak_prominence(7 + 3 * slope), peak_prominence(slope), atol=1e-6)


def test_chance_is_uniform_where_there_is_chance_alone():
    curves = np.random.default_rng(5).standard_normal((400, 3, 38))
    below = np.mean([chance_of_peaks(each) < 0.05 for each in curves])
    # The largest value need not be the most prominent, so at most 5 %: 2.2 standard errors above.
    assert 0.01 < below < 0.074


# --- coverage and verdicts; benchmarks/transitions.py has more kinds and more sets


@pytest.mark.parametrize(("spread", "smoothness"), [(0.13, 0.1), (0.0, 0.0)])
def test_intervals_cover_and_places_are_unbiased(spread, smoothness):
    found = outcome_of(Study(3, spread, smoothness), sets=120, confidence=0.95)
    # Three standard errors of a rate of 0.95 in 120 sets: 0.06.
    assert found.coverage > 0.89
    # A step off would be 0.13.
    assert abs(found.bias) < 3 * found.scatter / np.sqrt(120)
    assert found.scatter < WIDTH
    assert found.detected > 0.9
    assert found.verdicts["transition"] > 0.85 * 120


def test_without_a_transition_none_is_found():
    assert outcome_of(Study(jumping=0), sets=60).detected < 0.12


def test_a_jump_of_one_seed_that_lower_energies_do_without_is_a_stuck_optimisation():
    found = outcome_of(Study(jumping=1, smoothness=0.0), sets=20)
    assert found.verdicts["stuck optimisation"] >= 18 and found.verdicts["transition"] == 0


def test_an_energy_that_still_falls_leaves_a_transition_undecided():
    (row,) = analysis.detect_transitions(states_of(drift=-30)).rows(named=True)
    assert row["verdict"] == "undecided" and "still falls" in row["reasons"]
    # Another 1000 steps of −0.03 J a step make up 30/16 J a spin, of a jump of 0.05 and 0.002 · Δ ln n_r.
    assert row["drift_share"] == pytest.approx(30 / 16 / 0.05, rel=0.1)


def with_branch_up(states: pl.DataFrame, order: str) -> pl.DataFrame:
    """The states with a branch back up: as on the way down, or staying in the sparse state up to dense."""
    up = states.filter(pl.col("kind") == "trajectory", pl.col("level").is_between(5, 37))
    if order == "sparse":
        last = up.filter(pl.col("level") == 37).select(
            "cluster", *(last_ := ("abs_magnetization_z", "energy"))
        )
        up = up.drop(last_).join(last, on="cluster")
    if order == "lower":
        up = up.with_columns(energy=pl.col("energy") - 16 * 0.04)
    up = up.with_columns(kind=pl.lit("ticket"), series=pl.lit("regrown"), run_id="k" + pl.col("run_id"))
    return pl.concat([states, up.select(states.columns)])


@pytest.mark.parametrize(
    ("order", "verdict", "share"),
    [("down", "transition", 1), ("sparse", "undecided", 0), ("lower", "stuck optimisation", 1)],
)
def test_the_branch_back_up_counts(order, verdict, share):
    (row,) = analysis.detect_transitions(with_branch_up(states_of(), order)).rows(named=True)
    assert row["verdict"] == verdict, row["reasons"]
    assert row["upward_share"] == pytest.approx(share, abs=0.02)


def test_a_jump_of_one_mask_that_its_branches_share_is_of_that_mask():
    states = with_branch_up(states_of(jumping=1, smoothness=0.0), "down")
    (row,) = analysis.detect_transitions(states).rows(named=True)
    assert row["verdict"] == "of some masks" and row["envelope_share"] < 0.1


def test_differences_of_branches_are_taken_at_the_same_mask():
    states = with_branch_up(states_of(), "lower")
    table = analysis.branch_differences(states, "energy")
    assert table.height == 3 * 33
    np.testing.assert_allclose(table["difference"], -0.04, atol=1e-12)


def test_too_few_levels_get_a_sentence():
    few = states_of().filter(pl.col("level") < FEWEST_STEPS)
    (row,) = analysis.detect_transitions(few).rows(named=True)
    assert row["verdict"] == "undecided" and row["parameters_per_spin"] is None
    assert row["reasons"].startswith(
        f"{FEWEST_STEPS - 1} level steps have a value; {FEWEST_STEPS} are needed"
    )


def test_one_trajectory_says_what_its_interval_is_and_that_nothing_is_lower():
    (row,) = analysis.detect_transitions(states_of(trajectories=1)).rows(named=True)
    assert row["interval"] == "one trajectory: its level step"
    assert np.log(row["high"] / row["low"]) == pytest.approx(WIDTH)
    assert row["verdict"] == "undecided" and "One network at each density" in row["reasons"]


def test_the_envelope_has_the_lowest_network_of_each_density():
    states = states_of(jumping=1, smoothness=0.0)
    lowest = analysis.lowest_energy_envelope(states)
    assert lowest["level"].to_list() == list(range(39))
    for level in (0, 20, 38):
        own = states.filter(pl.col("level") == level)
        row = lowest.filter(pl.col("level") == level).row(0, named=True)
        assert row["energy"] == own["energy"].min()
        assert (row["networks"], row["trajectories"]) == (3, 3)


def test_sides_without_a_field_are_kept_apart_and_whole():
    toric = states_of().with_columns(field=pl.lit(None, pl.Float64))
    (row,) = analysis.detect_transitions(toric).rows(named=True)
    with_field = analysis.detect_transitions(states_of()).row(0, named=True)
    assert {k: v for k, v in row.items() if k != "field"} == {
        k: v for k, v in with_field.items() if k != "field"
    }
