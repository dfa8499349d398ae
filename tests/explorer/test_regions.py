"""Region fits on made-up curves whose plateaus, boundaries and exponent are known."""

import re

import numpy as np
import polars as pl
import pytest

from benchmarks.regions import TRUTH, Noise, coverage, made_up_states, study
from explorer import analysis
from explorer.analysis.region_misfit import lack_of_fit
from explorer.analysis.regions import EXPONENT, HIGH, LOW, LOWER, UPPER

RELATIVE_ERROR = analysis.QUANTITIES["relative_error"]
NOISELESS = Noise(offset=0.0, along=0.0, measured=0.0)


def fits_of(states: pl.DataFrame, **choices) -> analysis.Regions:
    return analysis.fit_regions(states, RELATIVE_ERROR, "curve", **choices)


def made_up(
    curves: int = 1, trajectories: int = 3, sharpness: float = 1.0, window: slice = slice(None), **noise
):
    generator = np.random.default_rng(5)
    return made_up_states(generator, curves, trajectories, sharpness, Noise(**noise), window)


def numbers(found: analysis.Regions, column: str = "estimate") -> dict[str, float]:
    return dict(found.values.select("value", column).iter_rows())


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_without_noise_the_fit_finds_the_curve_that_was_made(sharpness):
    """Sums of powers and sharper bends belong to the fit's family; the expectation of w pulls by 1e-4 at most."""
    states = made_up(sharpness=sharpness, offset=0.0, along=0.0, measured=0.0)
    found = fits_of(states)
    assert numbers(found) == pytest.approx(TRUTH, rel=1e-3)
    assert found.curves["width"][0] == pytest.approx(1 / (3 * sharpness), rel=1e-2)
    assert found.curves["remark"][0] == ""


def test_the_axis_only_rescales_the_boundaries():
    states = made_up(offset=0.1).with_columns(remaining=16 * pl.col("parameters_per_spin"))
    by_spin, by_weights = numbers(fits_of(states)), numbers(fits_of(states, horizontal="remaining"))
    for name, factor in ((LOWER, 16), (UPPER, 16), (EXPONENT, 1), (LOW, 1), (HIGH, 1)):
        assert by_weights[name] == pytest.approx(factor * by_spin[name], rel=1e-4)


def test_95_percent_intervals_cover_and_estimates_have_no_bias():
    """40 curves of 3 trajectories: 200 numbers; a t quantile left out (1.96 of 4.3) covers 80 %."""
    table = coverage(study(1, curves=40, trajectories=3, sharpness=3.0), 40)
    assert (table["found"] > 0.95).all()
    assert 0.91 < table["covered"].mean() < 0.985
    # Spreads are 0.04 to 0.11, so a median of 40 is known to 0.02; a boundary one density off is off by 0.13.
    assert (table["bias"].log().abs() < 0.04).all()


@pytest.mark.parametrize(
    "window, missing, kept",
    [
        (slice(13, None), (UPPER, LOW), (LOWER, HIGH)),
        (slice(0, 24), (LOWER, HIGH), (UPPER, LOW)),
        (slice(13, 24), (LOWER, HIGH, UPPER, LOW), ()),
    ],
)
def test_a_curve_that_ends_before_a_plateau_gets_a_sentence_instead_of_its_number(window, missing, kept):
    found = fits_of(made_up(window=window, offset=0.05, along=0.05))
    got = numbers(found)
    assert not set(missing) & set(got) and set(kept) <= set(got)
    assert got[EXPONENT] == pytest.approx(3.0, rel=0.15)
    assert (
        "o plateau" in found.curves["remark"][0]
        or "-error plateau: the power law goes on" in found.curves["remark"][0]
    )


def test_a_jump_has_boundaries_and_no_exponent():
    states = made_up(offset=0.05, along=0.05)
    jump = pl.when(pl.col("parameters_per_spin") < 9).then(0.3).otherwise(4e-4)
    found = fits_of(
        states.with_columns(relative_error=jump * (1 + 0.1 * pl.col("relative_error").rank() / pl.len()))
    )
    assert EXPONENT not in numbers(found)
    assert numbers(found)[LOWER] == pytest.approx(9, rel=0.15)
    # Between the densities on either side of 9, by a factor of about 700 · 1.04.
    assert "jumps at" in found.curves["remark"][0] and "A power of at least 5" in found.curves["remark"][0]


@pytest.mark.parametrize(
    "step, refused, sentence", [(1.0, 0, "Roughly of this form: "), (2.0, 1, "Not of this form: ")]
)
def test_another_form_has_a_sentence_and_where_it_is_far_off_no_number(step, refused, sentence):
    """A pause in the power law, as large as the fields of fields-laptop have, with scatter as theirs."""
    generator = np.random.default_rng(4)
    paused = made_up_states(generator, 1, 2, 3.0, Noise(along=0.1, offset=0.1), step=step)
    found = fits_of(paused)
    assert found.refused == found.values.is_empty() == found.lines.is_empty() == refused
    assert found.curves["misfit_probability"][0] < 0.01 < found.curves["misfit"][0]
    assert found.curves["remark"][0].startswith(sentence)


def test_scatter_alone_is_rarely_called_another_form():
    """60 times residuals of AR(1) about a straight line, at 5 %: 10 or more have a probability of 0.2 %."""
    generator = np.random.default_rng(8)
    x = np.linspace(-1, 1, 36)
    line = np.column_stack([np.ones(36), x])
    normal = generator.standard_normal((60, 3, 36))
    alarms = 0
    for residuals in normal:
        for level in range(1, 36):
            residuals[:, level] = 0.6 * residuals[:, level - 1] + 0.8 * residuals[:, level]
        # More scatter at one end, and what the form takes up: an offset and a slope.
        scatter = residuals * np.exp(x) + 3 * x + 1
        alarms += lack_of_fit(scatter, line, generator).probability < 0.05
    assert 1 <= alarms < 10


def test_different_ladders_are_no_curve_and_an_unfinished_one_is():
    states = made_up(trajectories=2, sharpness=3.0, offset=0.05, along=0.05)
    first = pl.col("dense_run_id") == "0"
    wider = states.with_columns(
        parameters_per_spin=pl.col("parameters_per_spin") * pl.when(first).then(1.1).otherwise(1)
    )
    assert "choose one" in fits_of(wider).curves["remark"][0] and fits_of(wider).values.is_empty()
    # One that is far from its end takes no part, one that is nearly there does; one alone can't be tested.
    for last, trajectories in ((60, 1), (2, 2)):
        unfinished = fits_of(states.filter(~first | (pl.col("parameters_per_spin") > last)))
        assert unfinished.curves["trajectories"][0] == trajectories
        assert ("not tested" in unfinished.curves["remark"][0]) == (trajectories == 1)
        assert EXPONENT in numbers(unfinished)


def test_errors_below_their_uncertainty_are_left_out():
    """A reference that is known to 1e-5 makes errors below it noise, here a fall without end."""
    states = made_up(trajectories=2, sharpness=3.0, offset=0.05, along=0.05)
    unknown = pl.col("parameters_per_spin") > 60
    spoilt = states.with_columns(
        relative_error=pl.when(unknown).then(1e-12).otherwise("relative_error"),
        relative_error_error=pl.when(unknown).then(1e-5).otherwise("relative_error_error"),
    )
    found = fits_of(spoilt)
    assert (
        found.curves["remark"][0]
        == "Left out where the error is smaller than its own uncertainty (4 of the densities)."
    )
    assert numbers(found) == pytest.approx(numbers(fits_of(states.filter(~unknown))))


def test_a_fall_that_only_steepens_has_no_exponent():
    """An exponential has no power: one long bend into a law beyond the densities, which once had the power 565."""
    states = made_up(offset=0.05, along=0.05)
    found = fits_of(
        states.with_columns(
            relative_error=pl.col("relative_error") ** 0.1 * (-0.2 * pl.col("parameters_per_spin")).exp(),
            relative_error_error=pl.lit(None, pl.Float64),
        )
    )
    assert EXPONENT not in numbers(found) and found.refused == 1
    # From 88 to 100 weights e^(−0.2 n) falls with the power 0.2 · 94.
    assert re.search("the power is at most (18|19|20), between 88 and 100", found.curves["remark"][0])


@pytest.mark.parametrize("confidence", [0.68, 0.95])
def test_trajectories_that_differ_by_decades_make_no_power_law_at_any_confidence(confidence):
    """Two straight lines of powers 0.5 and 3, as at h = 0.1 of fields-laptop: one power law has any exponent."""
    states = made_up(trajectories=2, offset=0.0, along=0.1)
    steeper = pl.when(pl.col("dense_run_id") == "0").then(-0.5).otherwise(-3.0)
    noise = 1 + 0.2 * (pl.col("relative_error").rank() / pl.len() - 0.5)
    found = fits_of(
        states.with_columns(relative_error=noise * pl.col("parameters_per_spin").pow(steeper)),
        confidence=confidence,
    )
    assert found.values.is_empty() and found.lines.is_empty()
    assert "Whether it is one power law can't be told" in found.curves["remark"][0]


def test_too_few_densities_and_rising_errors_get_a_sentence():
    few = fits_of(made_up(window=slice(0, 5)))
    assert few.values.is_empty() and "too few" in few.curves["remark"][0]
    rising = made_up().with_columns(relative_error=pl.col("parameters_per_spin"))
    assert "does not fall" in fits_of(rising).curves["remark"][0]


def test_one_trajectory_says_that_its_interval_knows_nothing_of_others():
    found = fits_of(made_up(trajectories=1, sharpness=3.0))
    assert found.curves["interval"][0] == "parametric bootstrap along one trajectory"
    low, high = numbers(found, "low"), numbers(found, "high")
    assert all(low[name] < TRUTH[name] < high[name] for name in (LOWER, UPPER))
    # The same seed gives the same interval.
    assert fits_of(made_up(trajectories=1, sharpness=3.0)).values.equals(found.values)


def test_a_study_without_values_has_no_curves():
    nothing = fits_of(made_up().with_columns(relative_error=pl.lit(None, pl.Float64)))
    assert nothing.values.is_empty() and nothing.curves.is_empty() and nothing.lines.is_empty()
