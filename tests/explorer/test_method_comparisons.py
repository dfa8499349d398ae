"""Pruning methods in pairs, and replicates as Table 2 has them, against studies made up here."""

import math
from pathlib import Path

import polars as pl
import pytest
from scipy import stats

from explorer import analysis
from orchestrator.store import read_study
from tests.explorer.synthetic_study import joined_states, made_up_networks, power_law

DATA = Path(__file__).resolve().parents[2] / "data"
RELATIVE_ERROR = analysis.QUANTITIES["relative_error"]


def states_of(**choices) -> pl.DataFrame:
    return analysis.with_quantities(joined_states(made_up_networks(sides=(4,), **choices)))


def two_methods(factor: float) -> pl.DataFrame:
    """Three dense runs that differ by a factor of e² or so, pruned by two methods, one of them worse by a factor."""
    choices = {"trajectories": 3, "levels": 6, "ticket_levels": (), "trajectory_spread": 2.0, "seed": 4}
    better = states_of(**choices)
    worse = states_of(**choices, method="irp_wr", law=lambda density, side: factor * power_law(density, side))
    return pl.concat([better, worse.filter(pl.col("kind") == "trajectory")])


def test_methods_are_compared_within_their_dense_run():
    ratios = analysis.method_ratios(analysis.of_methods(two_methods(3.0)), RELATIVE_ERROR)
    assert ratios["level"].to_list() == [6, 5, 4, 3, 2, 1]
    assert set(ratios["numerator"]) == {"irp_wr"} and set(ratios["trajectories"]) == {3}
    # A spread of 2 that the pair shares drops out; unpaired, the interval would be a factor of ten wide.
    assert ratios["ratio"].to_list() == pytest.approx([3.0] * 6, rel=1e-6)
    assert (ratios["high"] / ratios["low"]).max() < 1 + 1e-6


def test_every_method_starts_at_its_dense_network():
    states = analysis.of_methods(two_methods(3.0))
    dense = states.filter(pl.col("level") == 0)
    assert dense.group_by("method").len().sort("method").rows() == [("imp_wr", 3), ("irp_wr", 3)]
    assert len(states) == 2 * 3 * 7


def test_replicates_have_the_mean_and_the_interval_of_the_paper_and_the_clustered_one():
    states = states_of(trajectories=2, levels=4, ticket_levels=(3,), ticket_replicates=6)
    # Two trajectories of six tickets: 1 … 6 and 11 … 16, in 1e-4.
    errors = [1e-4 * (10 * cluster + k) for cluster in range(2) for k in range(1, 7)]
    tickets = states.filter(pl.col("series") == "rand_imp").sort("cluster", "replicate")
    tickets = tickets.with_columns(relative_error=pl.Series(errors))
    row = analysis.replicate_table(tickets, RELATIVE_ERROR, confidence=0.999).row(0, named=True)
    assert row["mean"] == pytest.approx(8.5e-4) and (row["replicates"], row["trajectories"]) == (12, 2)
    # Squares about 8.5: 2 · 6 · 5² between, 2 · 17.5 within.
    error = 1e-4 * math.sqrt((12 * 25 + 35) / 11 / 12)
    assert row["error"] == pytest.approx(error)
    assert row["high"] - row["mean"] == pytest.approx(stats.t.ppf(0.9995, 11) * error)
    # Means 3.5 and 13.5: standard error 5, one degree of freedom.
    assert row["clustered_high"] - row["clustered_mean"] == pytest.approx(636.619 * 5e-4, rel=1e-5)


def test_one_replicate_has_a_mean_and_no_interval():
    states = states_of(trajectories=1, levels=4, ticket_levels=(3,), ticket_replicates=1)
    table = analysis.replicate_table(states, RELATIVE_ERROR)
    assert table["series"].to_list() == ["init_imp", "rand_imp", "init_rand"]
    assert table.select("low", "high", "clustered_low", "clustered_high").null_count().row(0) == (3, 3, 3, 3)


def test_the_v_score_of_a_study_is_n_var_over_e_squared():
    """From Wu et al. (2024), with the energy at infinite temperature 0."""
    states = analysis.with_quantities(read_study(DATA / "width_scaling-laptop").states)
    expected = states["sites"] * states["variance"] / states["energy"] ** 2
    assert states["v_score"].to_list() == pytest.approx(expected.to_list(), rel=1e-12)
    points = analysis.curve_points(states, analysis.QUANTITIES["v_score"], ("width_per_spin",))
    assert len(points) == 23 + 29 + 34
