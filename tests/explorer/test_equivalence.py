"""Equivalence of ticket variants: the size of the test at its margin, its power, and what can't be tested."""

import numpy as np
import polars as pl
import pytest

from explorer import analysis, charts, headlines
from tests.explorer.synthetic_study import joined_states, made_up_networks

WINDOW = (1.0, 1000.0)


def states_of(**choices) -> pl.DataFrame:
    return analysis.with_quantities(joined_states(made_up_networks(sides=(4,), levels=6, **choices)))


def made_up_ratios(
    true_ratio: float, studies: int, trajectories: int, spread: float, seed: int
) -> pl.DataFrame:
    """Tickets of many studies (side = study), the ratio of each trajectory drawn about a true one."""
    generator = np.random.default_rng(seed)
    study = np.repeat(np.arange(studies), 2 * trajectories)
    cluster = np.tile(np.repeat(np.arange(trajectories), 2), studies)
    variant = np.tile(["init_imp", "rand_imp"], studies * trajectories)
    shared = np.repeat(generator.standard_normal(studies * trajectories), 2)
    own = np.log(true_ratio) + spread * generator.standard_normal(len(study))
    error = np.exp(shared + np.where(variant == "rand_imp", own, 0.0))
    return pl.DataFrame(
        {
            "kind": "ticket",
            "series": variant,
            "side": study,
            "level": 3,
            "remaining": 100,
            "density": 0.1,
            "parameters_per_spin": 6.0,
            "cluster": cluster.astype(str),
            "relative_error": error,
            "relative_error_error": 0.0,
        }
    )


def test_at_the_margin_at_most_one_study_in_twenty_is_called_equivalent():
    """Size: the ratio is exactly the margin, on either side; 4000 studies count 5 % to ± 0.7 % (2 σ)."""
    for ratio in (1.5, 1 / 1.5):
        found = analysis.ticket_equivalence(made_up_ratios(ratio, 4000, 5, 0.1, seed=1), WINDOW, margin=1.5)
        share = (found["verdict"] == "equivalent").mean()
        assert 0.043 < share < 0.057
        # A test that took equality for granted, or a two-sided quantile (2.5 %), would fail here.
        assert (found["verdict"] == "different").mean() > 0.9


def test_equal_variants_are_called_equivalent_when_there_are_trajectories_enough():
    few = analysis.ticket_equivalence(made_up_ratios(1.0, 400, 2, 0.3, seed=2), WINDOW, margin=1.5)
    many = analysis.ticket_equivalence(made_up_ratios(1.0, 400, 20, 0.3, seed=3), WINDOW, margin=1.5)
    # Two trajectories decide nothing, and are not called equal because they find no difference.
    assert (few["verdict"] == "undecided").mean() > 0.8
    assert (many["verdict"] == "equivalent").mean() > 0.99


def test_the_smallest_margin_is_where_the_verdict_turns():
    states = made_up_ratios(1.2, 30, 6, 0.2, seed=4)
    smallest = analysis.ticket_equivalence(states, WINDOW, margin=2.0)["smallest_margin"]
    for study, margin in enumerate(smallest):
        own = states.filter(pl.col("side") == study)
        for factor, passes in ((1.001, True), (0.999, False)):
            found = analysis.ticket_equivalence(own, WINDOW, margin=max(margin * factor, 1.0001))
            assert (found["p_equivalent"][0] <= analysis.ALPHA) == passes


def test_tickets_of_a_study_are_compared_within_their_trajectory():
    """A spread of 2 in ln error that trajectories have in common must not hide a ratio of 1.3."""
    found = analysis.ticket_equivalence(
        states_of(trajectories=3, trajectory_spread=2.0, ticket_levels=(2, 4)), WINDOW, 1.5
    )
    row = found.row(by_predicate=pl.col("numerator") == "rand_imp", named=True)
    assert row["ratio"] == pytest.approx(1.3, rel=1e-9)
    assert (row["verdict"], row["trajectories"], row["levels"], row["networks"]) == ("equivalent", 3, 2, 24)
    random = found.row(by_predicate=pl.col("numerator") == "init_rand", named=True)
    assert random["ratio"] == pytest.approx(40) and random["verdict"] == "different"
    assert "are equivalent within a factor of 1.5" in headlines.equivalence_sentence(
        row, analysis.ALPHA, charts.SERIES_LABELS
    )


def test_one_trajectory_can_not_be_tested_and_says_why():
    found = analysis.ticket_equivalence(states_of(trajectories=1, ticket_levels=(2,)), WINDOW, 1.5)
    assert set(found["verdict"]) == {"can't be tested"}
    assert found["p_equivalent"].null_count() == len(found) == 2
    assert "One trajectory has no spread" in headlines.equivalence_sentence(
        found.row(0, named=True), 0.05, charts.SERIES_LABELS
    )


def test_a_margin_of_one_is_refused():
    with pytest.raises(ValueError, match="a factor above 1 is needed"):
        analysis.ticket_equivalence(states_of(trajectories=1, ticket_levels=(2,)), WINDOW, 1.0)
