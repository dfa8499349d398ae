"""A collapse on the page: its sentence, its forms, and where there is none, why."""

import numpy as np
import polars as pl
import pytest

from explorer import analysis, captions, charts, headlines
from explorer.numbers import with_two_errors
from tests.explorer.synthetic_study import made_up_networks, write_run_directory

TRUTH = {"critical": 5.0, "a": 1.3, "b": -0.4}


def scaled_points(
    seed: int, sides=(4, 6, 8, 10), trajectories: int = 1, error: float = 0.004
) -> pl.DataFrame:
    """Points of a smooth scaling function with known exponents, in ln x, and independent noise."""
    random = np.random.default_rng(seed)
    rows = []
    for side in sides:
        for x in np.geomspace(1.5, 16, 18):
            scaled = np.log(x / TRUTH["critical"]) * side ** TRUTH["a"]
            value = side ** TRUTH["b"] * (1 + np.tanh(scaled / 4))
            for number in range(trajectories):
                noise = error * random.standard_normal()
                rows.append((side, x, value + noise, error, f"{side}-{number}"))
    schema = ("side", "parameters_per_spin", "y", "y_error", "cluster")
    return pl.DataFrame(rows, schema, orient="row")


def test_known_exponents_are_recovered_within_their_errors_and_wrong_forms_are_not():
    fits = [analysis.collapse(scaled_points(seed), value="y", log_control=True) for seed in range(2)]
    for name, truth in TRUTH.items():
        found = [getattr(fit, name) for fit in fits]
        pulls = np.array([(each.value - truth) / each.error for each in found])
        assert np.abs(pulls).max() < 4 and np.sqrt((pulls**2).mean()) < 2, (name, pulls)
        # Errors are of use: a few parts in a hundred.
        assert max(each.error for each in found) < 0.05 * max(1, abs(truth))
    wrong = analysis.collapse(scaled_points(0), value="y", log_control=True, form=analysis.ScalingForm(a=2.0))
    assert isinstance(wrong, analysis.NoCollapse) or wrong.log_likelihood < fits[0].log_likelihood - 10


def test_collapsed_points_lie_on_one_curve_that_the_band_covers():
    fit = analysis.collapse(scaled_points(1), value="y", log_control=True)
    points, curve = analysis.collapsed_points(fit), analysis.scaling_function(fit)
    exact = 1 + np.tanh(curve["scaled_control"].to_numpy() / 4)
    covered = (curve["low"].to_numpy() - 0.01 <= exact) & (exact <= curve["high"].to_numpy() + 0.01)
    assert covered.mean() > 0.9
    assert (
        charts.svg(charts.collapse(points, curve, ("x", "y"))).count('aria-roledescription="point"')
        == points.height
    )


def test_two_sides_are_too_few():
    found = analysis.collapse(scaled_points(0, sides=(4, 5)), value="y")
    assert isinstance(found, analysis.NoCollapse) and "Too few sizes" in found.reason


def test_the_headline_has_both_errors_of_what_was_fitted_and_the_table_says_what_was_held():
    fit = analysis.collapse(
        scaled_points(2), value="y", log_control=True, form=analysis.ScalingForm(b=TRUTH["b"])
    )
    forms = captions.collapse_forms(analysis.compare_forms(fit, {"held": fit.form}), {"held": "b held"})
    assert forms["form"][0] == "b held" and forms["b"][0] == "-0.4 (held)" and "(" in forms["a"][0]
    choices = analysis.collapse_choices(fit, shares=(1.0, 0.6))
    systematics = analysis.systematic_errors(choices)
    spread = np.ptp(choices["critical"].drop_nulls().to_numpy()) / 2
    both = with_two_errors(fit.critical.value, fit.critical.error, spread)
    headline = headlines.collapse_headline(fit, systematics)
    assert headline.startswith(f"Best collapse: x_c = {both}, a = 1.") and "b = " not in headline
    assert "(errors statistical, then systematic)" in headline
    assert f"over {choices.height} choices" in captions.collapse_caption(fit, systematics)
    # Where no other choice has a fit, the headline says that half of its error is not known.
    alone = analysis.systematic_errors(choices.head(1))
    assert "(statistical errors alone)" in headlines.collapse_headline(fit, alone)
    assert "unknown" in captions.collapse_caption(fit, alone)
    moved = systematics.with_columns(deviation=pl.Series([4.0, 1.0, 0.0]))
    assert "x_c moves with these choices" in captions.collapse_caption(fit, moved)


@pytest.fixture(scope="module")
def three_sides(tmp_path_factory):
    path = tmp_path_factory.mktemp("sizes") / "sizes-tiny"
    write_run_directory(path, made_up_networks(sides=(3, 4, 5), levels=24, trajectory_spread=0.05))
    return path


def test_the_page_fits_or_says_why_it_cannot(app, three_sides, finished):
    test = app(three_sides, "collapse", quantity="relative_error", **{"from": "1", "to": "64"})
    assert not test.exception and not test.error
    assert len(test.get("vega_lite_chart")) + len(test.info) == 1
    few = app(finished, "collapse")
    assert not few.exception and "Too few sizes" in few.info[0].value
