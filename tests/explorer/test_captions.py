"""Headlines and captions against studies whose numbers are known by construction."""

import math
import re

import polars as pl
import pytest

from explorer import analysis, captions, headlines
from explorer.analysis import QUANTITIES
from tests.explorer.synthetic_study import joined_states, made_up_networks, power_law

RELATIVE_ERROR = QUANTITIES["relative_error"]


def states_of(**choices) -> pl.DataFrame:
    return analysis.with_quantities(joined_states(made_up_networks(**choices)))


def test_headlines_say_where_a_quantity_jumps_and_where_it_is_extreme():
    states = states_of(sides=(4,), levels=34, ticket_levels=())
    magnetisation = QUANTITIES["abs_magnetization_z"]
    points = analysis.curve_points(states, magnetisation)
    # The made-up magnetisation is a logistic function of ln density, steepest at 5.5 weights per spin.
    low, high = re.search(r"most at (.*)–(.*) \(", headlines.change_headline(points, magnetisation)).groups()
    assert float(low) < 5.5 < float(high)
    fidelity = analysis.curve_points(states, QUANTITIES["fidelity"])
    headline = headlines.extreme_headline(fidelity, QUANTITIES["fidelity"], largest=False)
    assert f"lowest at {states['parameters_per_spin'].min():.3g}" in headline


def test_the_headline_of_ratios_gives_the_medians_of_its_window():
    states = states_of(sides=(4,))
    headline = headlines.ticket_headline(analysis.ratio_summary(states, (5, 100)), (5, 100))
    assert headline == (
        "At 5–100 weights per spin: error × 40 with a random mask, error × 1.3 with new initial weights"
    )
    nothing = headlines.ticket_headline(analysis.ratio_summary(states, (900, 1000)), (900, 1000))
    assert nothing == "Relative error of the trajectory and its tickets"


def test_the_headline_of_sizes_says_where_they_agree_and_never_that_they_do_when_not():
    def headline(law):
        points = analysis.curve_points(states_of(law=law, ticket_levels=()), RELATIVE_ERROR)
        windows = analysis.agreement_windows(analysis.size_agreement(points), 3)
        return headlines.size_headline(windows, 3, [3, 4])

    # From the sparsest level of side 4, the one that both sides reach, to the dense network of side 3.
    sparsest = 4**2 * 8 * math.prod([0.88] * 20)
    start = re.search(r"of 3 at (.*)–72 weights per spin", headline(power_law)).group(1)
    # Whole weights are removed, so the geometric count is right to one weight in sixteen spins.
    assert float(start) == pytest.approx(sparsest, abs=1 / 16 + 0.005)
    assert headline(lambda density, side: 1e-3 * 10**side) == "L = 3, 4 nowhere agree within a factor of 3"


@pytest.mark.parametrize(
    ("factor", "shown"), [(1.04, "1.0"), (9.0, "9.0"), (44, "44"), (180, "180"), (3e9, "10⁹")]
)
def test_the_headline_of_agreement_shows_factors_with_the_digits_that_they_carry(factor, shown):
    law = {3: 1e-3, 4: 1e-3 * factor}
    points = analysis.curve_points(
        states_of(law=lambda density, side: law[side], ticket_levels=()), RELATIVE_ERROR
    )
    headline = headlines.agreement_headline(analysis.size_agreement(points))
    assert f"most by × {shown} at" in headline


def test_captions_state_n_method_and_what_open_marks_are():
    states = states_of(trajectories=3, sign=-1)
    caption = captions.point_caption(analysis.curve_points(states, RELATIVE_ERROR), RELATIVE_ERROR, 0.95)
    assert "n = 3 independent trajectories" in caption and "n = 3–6 networks a point" in caption
    assert "95%, Student's t over trajectories of the logarithm" in caption
    assert "Open marks: below zero" in caption
    one = analysis.curve_points(states_of(trajectories=1, measurement_error=1e-3), RELATIVE_ERROR)
    assert "measurement error alone" in captions.point_caption(one, RELATIVE_ERROR, 0.68)
    assert "Open marks" not in captions.point_caption(one, RELATIVE_ERROR, 0.68)


def test_a_headline_of_regions_counts_no_exponent_that_is_open():
    """Three curves with exponents of 2 and 3, known within a factor of two, and of 5, somewhere from 0.1 to 200."""
    values = pl.DataFrame(
        {
            "side": [4, 5, 6, 6],
            "value": ["exponent", "exponent", "exponent", "low-error plateau"],
            "estimate": [2.0, 3.0, 5.0, 1e-5],
            "low": [1.5, 2.5, 0.1, 1e-6],
            "high": [2.5, 3.5, 200.0, 1e-4],
        }
    )
    curves = pl.DataFrame({"side": [4, 5, 6], "misfit": [None] * 3, "misfit_probability": [None] * 3})
    curves = curves.cast({"misfit": pl.Float64, "misfit_probability": pl.Float64})
    headline = headlines.region_headline(analysis.Regions(values, curves, pl.DataFrame()), RELATIVE_ERROR)
    assert "falls with the power 2.0 to 3.0 of the weights in 2 of 3 curves" in headline
    assert headline.endswith("and the power of 1 is not known to a factor of 10")
