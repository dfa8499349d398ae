"""Finite-size collapses of data whose critical point and exponents are known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.collapse import (
    FIRST_ORDER_TRUTH,
    KINDS,
    REFERENCE_SIDE,
    TRUTH,
    Noise,
    coverage,
    made_up_points,
)
from benchmarks.ising import CRITICAL_TEMPERATURE, magnetisation_points
from explorer.analysis.collapse import (
    FIRST_ORDER,
    NoCollapse,
    ScalingForm,
    collapse,
    collapsed_points,
    scaling_function,
)
from explorer.analysis.collapse_intervals import BY_CLUSTERS, BY_NOISE, bootstrapped
from explorer.analysis.collapse_quality import houdayer_hartmann
from explorer.analysis.collapse_systematics import collapse_choices, compare_forms, systematic_errors
from explorer.analysis.scaling_process import Observations, negative_log_likelihood


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def exact_points(log_control: bool = False) -> pl.DataFrame:
    """Made-up points without noise, and without errors."""
    sides, x = np.array([4, 5, 6, 8, 10]), np.linspace(6, 16, 20)
    side, x = np.repeat(sides, len(x)), np.tile(x, len(sides))
    distance = np.log(x / 10) * 10 if log_control else x - 10
    scaled = distance * (side / REFERENCE_SIDE)
    return pl.DataFrame({"side": side, "x": x, "y": (side / REFERENCE_SIDE) ** -0.3 * curve(scaled)})


def curve(scaled: np.ndarray) -> np.ndarray:
    return 0.2 + (1 + np.tanh(scaled / 2.5)) / 2


# --- the likelihood

PARAMETERS = np.array([0.1, 1.2, -0.3, 0.3, -0.4, -3.0, -2.5, 0.4, 0.2])


@pytest.fixture(scope="module")
def twelve() -> Observations:
    """Three sizes with four points each; two points of a size share trajectories."""
    log_size = np.repeat(np.log([4.0, 6.0, 9.0]), 4)
    return Observations(
        control=np.tile([-0.9, -0.2, 0.3, 0.8], 3),
        value=rng(1).standard_normal(12),
        variance=rng(2).uniform(0.001, 0.01, 12),
        log_size=log_size - log_size.mean(),
        shared=np.equal.outer(log_size, log_size) * (0.5 + 0.5 * np.eye(12)),
    )


def test_the_likelihood_is_that_of_a_normal_distribution_with_an_unknown_constant(twelve):
    """The covariance written out by element; a constant of variance 10⁸ stands for the flat prior."""
    critical, a, b, *logarithms = PARAMETERS
    amplitude, length, jitter, scatter, persistence, knee = np.exp(logarithms)
    size = np.exp(twelve.log_size)
    warped = knee * np.arcsinh((twelve.control - critical) * size**a / knee)
    covariance = np.empty((12, 12))
    for i in range(12):
        for j in range(12):
            d = np.sqrt(3) * abs(twelve.control[i] - twelve.control[j]) / persistence
            covariance[i, j] = amplitude**2 * np.exp(-((warped[i] - warped[j]) ** 2) / (2 * length**2))
            covariance[i, j] += scatter**2 * (1 + d) * np.exp(-d) * twelve.shared[i, j]
        covariance[i, i] += twelve.variance[i] * size[i] ** (-2 * b) + jitter**2 + 1e-8 * amplitude**2
    # Of A, not of Y: its covariance has the factors l^b.
    constant = 1e4
    covariance = (covariance + constant**2) * np.outer(size**b, size**b)
    expected = -0.5 * twelve.value @ np.linalg.solve(covariance, twelve.value)
    expected -= 0.5 * (np.linalg.slogdet(covariance)[1] + 12 * np.log(2 * np.pi))
    expected += np.log(constant) + 0.5 * np.log(2 * np.pi)
    assert -negative_log_likelihood(PARAMETERS, twelve)[0] == pytest.approx(expected, abs=1e-4)


def test_the_gradient_is_that_of_the_likelihood(twelve):
    gradient = negative_log_likelihood(PARAMETERS, twelve)[1]
    for i, step in enumerate(1e-5 * np.eye(len(PARAMETERS))):
        ends = (negative_log_likelihood(PARAMETERS + sign * step, twelve)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx(np.subtract(*ends) / 2e-5, rel=1e-5, abs=1e-6), i


# --- known exponents


@pytest.mark.parametrize("log_control", [False, True])
def test_points_without_noise_give_their_exponents_and_fall_on_the_scaling_function(log_control):
    a = 1.0
    fit = collapse(exact_points(log_control), value="y", control="x", log_control=log_control)
    # Without noise what is left is the prior's, and points without errors have 1e-3 of jitter or less.
    assert (fit.critical.value, fit.a.value, fit.b.value) == pytest.approx((10, a, -0.3), rel=2e-3)
    assert fit.critical.low < fit.critical.value < fit.critical.high < 10.5
    collapsed, function = collapsed_points(fit), scaling_function(fit)
    # (x − x_c) L^a and A L^−b, with plain L: those of L / 7 times 7 and 7^−b.
    expected = curve(collapsed["scaled_control"].to_numpy() / 7**fit.a.value * (10 if log_control else 1))
    expected *= 7**-fit.b.value
    np.testing.assert_allclose(collapsed["scaled_value"], expected, rtol=0, atol=0.01)
    between = np.interp(collapsed["scaled_control"], function["scaled_control"], function["mean"])
    np.testing.assert_allclose(between, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", ["independent", "drifts, 3"])
def test_intervals_cover_and_numbers_are_not_biased(kind):
    """Thirty sets; benchmarks/collapse.py has 200 of each of many kinds."""
    table = coverage(kind, 30)
    assert set(table["parameter"]) == {"critical", "a", "b"} and table["fits"].to_list() == [30] * 3
    # Chance gives 24 of 30 or fewer in one of 500 cases at 95 %, a bias of 0.55 in one of 400.
    assert table["coverage"].min() > 24 / 30
    assert table["bias"].abs().max() < 0.55
    # Errors half or twice as large would give a spread of 2 or ½; chance gives ± 0.13.
    assert table["spread"].is_between(0.6, 1.5).all()


def test_the_ising_model_has_its_transition():
    """⟨|m|⟩ of L = 8 … 64 by Swendsen and Wang's clusters; exact: T_c = 2.2692, 1/ν = 1, β/ν = 1/8."""
    points = magnetisation_points(rng(4), (8, 12, 16, 24, 32, 48, 64), np.linspace(-1.6, 1.6, 9), 8, 80)
    fit = collapse(points, value="magnetisation", control="temperature")
    for found, exact, small in (
        (fit.critical, CRITICAL_TEMPERATURE, 0.006),
        (fit.a, 1, 0.1),
        (fit.b, -1 / 8, 0.02),
    ):
        assert abs(found.value - exact) < 2 * found.error < 2 * small
    assert 0.5 < fit.quality < 2
    forms = compare_forms(fit)
    assert forms["form"].to_list() == ["continuous", "first order"] and forms["criterion"][1] > 10


# --- first order, held numbers


def test_first_order_data_prefer_the_first_order_form():
    points = made_up_points(rng(5), Noise(3), FIRST_ORDER_TRUTH)
    fit = collapse(points, value="y", control="x", form=FIRST_ORDER)
    assert fit.critical.value == pytest.approx(10, abs=4 * fit.critical.error)
    assert fit.critical.error < 0.1
    assert (fit.a.value, fit.a.error, fit.b.value, fit.b.error) == (2, 0, 0, 0)
    forms = compare_forms(fit)
    # Two numbers fewer at a likelihood that can be larger by about one.
    assert forms["form"][0] == "first order"
    assert dict(zip(forms["form"], forms["fitted"], strict=True)) == {"continuous": 3, "first order": 1}


def test_held_exponents_stay_and_make_the_others_surer():
    points = made_up_points(rng(6), Noise())
    free = collapse(points, value="y", control="x")
    held = collapse(points, value="y", control="x", form=ScalingForm(a=1.0, b=-0.3))
    assert held.critical.error < 0.8 * free.critical.error
    assert held.critical.value == pytest.approx(10, abs=3 * held.critical.error)


# --- what data may look like


def test_rows_of_one_trajectory_are_averaged_and_do_not_count_twice():
    points = made_up_points(rng(7), Noise(2))
    twice = pl.concat([points, points]).with_columns(pl.col("y_error") * np.sqrt(2))
    once, doubled = (collapse(one, value="y", control="x") for one in (points, twice))
    assert doubled.points == once.points == 100
    assert (doubled.a.value, doubled.a.error) == pytest.approx((once.a.value, once.a.error), rel=1e-6)


def test_points_without_an_error_take_the_median_one_and_are_counted():
    points = made_up_points(rng(8), Noise())
    index = pl.int_range(pl.len())
    some = points.with_columns(y_error=pl.when(index % 3 > 0).then("y_error"))
    whole, partial = (collapse(one, value="y", control="x") for one in (points, some))
    assert (whole.without_error, partial.without_error) == (0, 34)
    assert partial.a.value == pytest.approx(whole.a.value, rel=1e-9)  # all errors of a side are equal here
    unknown = collapse(points.drop("y_error"), value="y", control="x")
    assert unknown.without_error == 100
    assert unknown.a.error == pytest.approx(whole.a.error, rel=0.4)
    assert np.isnan(unknown.quality)


def test_rows_that_are_not_finite_take_no_part():
    points = made_up_points(rng(8), Noise())
    broken = points.head(2).with_columns(y=pl.Series([float("nan"), None]))
    fit = collapse(pl.concat([points, broken]), value="y", control="x")
    assert fit.points == 100


def test_trajectories_are_counted_by_side_and_two_of_one_name_are_two():
    points = made_up_points(rng(9), Noise(2)).with_columns(pl.col("cluster").str.tail(1))
    fit = collapse(points, value="y", control="x")
    assert fit.clusters == dict.fromkeys((4, 5, 6, 8, 10), 2)


# --- bootstrap


def test_bootstraps_agree_with_the_likelihood_and_say_what_they_are():
    fit = collapse(made_up_points(rng(10), KINDS["offsets, 10"]), value="y", control="x")
    drawn = bootstrapped(fit, 80, seed=1)
    assert (drawn.interval, drawn.resamples) == (BY_CLUSTERS, 80)
    noisy = bootstrapped(fit, 80, seed=1, method=BY_NOISE)
    assert noisy.interval == BY_NOISE
    for name in TRUTH:
        for other in (drawn, noisy):
            assert getattr(other, name).value == getattr(fit, name).value
            # 80 refits know an error to 8 %, ten trajectories a side to 11 %.
            assert getattr(other, name).error == pytest.approx(getattr(fit, name).error, rel=0.4)
    again = bootstrapped(fit, 80, seed=1)
    assert again.a == drawn.a


def test_few_trajectories_take_the_parametric_bootstrap():
    fit = collapse(made_up_points(rng(11), Noise(1)), value="y", control="x")
    assert bootstrapped(fit, 2, seed=1).interval == BY_NOISE
    with pytest.raises(ValueError, match="one trajectory"):
        bootstrapped(fit, 2, seed=1, method=BY_CLUSTERS)
    with pytest.raises(ValueError, match="allowed: 'bootstrap over trajectories'"):
        bootstrapped(fit, 2, seed=1, method="jackknife")


# --- quality


def test_houdayer_and_hartmanns_s_of_three_points_is_that_by_hand():
    """A point at x = 1 between (0, 0) and (2, 4) with errors 1: line 2, its variance ½; its own error ½."""
    s, points = houdayer_hartmann(
        np.array([0.0, 2.0, 1.0]), np.array([0.0, 4.0, 3.5]), np.array([1.0, 1.0, 0.5]), np.array([4, 4, 6])
    )
    assert (s, points) == (pytest.approx(1.5**2 / (0.25 + 0.5)), 1)
    assert houdayer_hartmann(*np.zeros((3, 2)), np.array([4, 6]))[1] == 0


def test_s_is_about_one_for_true_exponents_and_large_for_wrong_ones():
    points = made_up_points(rng(12), Noise())
    good = collapse(points, value="y", control="x")
    # Of 100 points, whose lines share points: 1 ± 0.15.
    assert good.quality == pytest.approx(1, abs=0.35)
    wrong = collapse(points, value="y", control="x", form=ScalingForm(b=0.3))
    assert wrong.quality > 5


# --- systematics


def test_corrections_to_scaling_show_as_numbers_that_move_with_the_smallest_side():
    points = made_up_points(rng(13), Noise(), sides=(4, 5, 6, 8, 10, 14, 20))
    side = pl.col("side")
    corrected = points.with_columns(y=pl.col("y") * (1 + 10 / side**2))
    tables = [collapse_choices(collapse(one, value="y", control="x")) for one in (points, corrected)]
    assert tables[0].select("share", "smallest_side").rows() == [
        (share, smallest) for share in (1.0, 0.7, 0.5) for smallest in (4, 5, 6, 8, 10)
    ]
    pure, moved = (systematic_errors(table).filter(parameter="b").row(0, named=True) for table in tables)
    assert pure["deviation"] < 3 < moved["deviation"]
    assert moved["low"] < -0.5 < -0.4 < moved["high"]
    assert moved["systematic_error"] == pytest.approx((moved["high"] - moved["low"]) / 2)


# --- refusals


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (pl.col("side") < 6, {}, "Too few sizes: 2 have 5 points or more in the window; a collapse needs 3."),
        (pl.lit(True), {"smallest_side": 6, "window": (9.0, 11.0)}, "Too few sizes: 0 have 5"),
        (pl.lit(True), {"window": (100.0, 200.0)}, "Too few sizes: 0 have 5"),
        (pl.lit(True), {"window": (10.5, 16.0)}, "The critical point is not inside the window"),
    ],
)
def test_what_can_not_be_fitted_says_why(change, options, reason):
    points = made_up_points(rng(14), Noise()).filter(change)
    fit = collapse(points, value="y", control="x", **options)
    assert isinstance(fit, NoCollapse)
    assert fit.reason.startswith(reason)


def test_windows_that_do_not_overlap_say_so():
    points = made_up_points(rng(15), Noise())
    apart = points.with_columns(x=pl.col("x") + 20 * pl.col("side"))
    fit = collapse(apart, value="y", control="x")
    assert fit == NoCollapse(
        "The windows of the sizes do not overlap: no control parameter was measured at two sizes."
    )


def test_noise_has_no_transition():
    points = made_up_points(rng(16), Noise()).with_columns(y=pl.Series(rng(17).standard_normal(100)))
    assert isinstance(collapse(points, value="y", control="x"), NoCollapse)
    constant = points.with_columns(y=pl.lit(1.0))
    assert collapse(constant, value="y", control="x") == NoCollapse(
        "The values are all equal, so nothing scales."
    )


def test_misuse_is_one_sentence():
    points = made_up_points(rng(18), Noise())
    with pytest.raises(ValueError, match="points have no column 'density'; they have side, x, y"):
        collapse(points, value="y", control="density")
    with pytest.raises(ValueError, match="its first number is to be below its second"):
        collapse(points, value="y", control="x", window=(12.0, 9.0))
    with pytest.raises(ValueError, match="a log scale needs it above 0"):
        collapse(points.with_columns(x=pl.col("x") - 10), value="y", control="x", log_control=True)
