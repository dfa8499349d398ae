"""Finite-size scaling: do the sizes fall on one curve, with what critical point and exponents?

    A(x, L) = L^b f((x − x_c) L^a)

At a continuous transition a = 1/ν, and b = −β/ν for an order parameter, γ/ν for its susceptibility, 0 for a
Binder ratio. At a first-order transition in d dimensions a = d, and b = 0 for an order parameter. The scaling
function f is not given a form: it is drawn from a Gaussian process (`scaling_process`), and x_c, a, b and what the
process needs are where the marginal likelihood of all points is largest. docs/finite_size_scaling.md has the method,
what its intervals cover, and examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from scipy import stats

from explorer.analysis import scaling_process
from explorer.analysis.collapse_data import CollapseData
from explorer.analysis.collapse_quality import houdayer_hartmann
from explorer.analysis.scaling_process import Maximum, Prior
from explorer.analysis.trajectory_scatter import scatter_between

BY_LIKELIHOOD = "curvature of the likelihood"
FEWEST_SIDES, FEWEST_POINTS, MOST_POINTS = 3, 5, 1500
# Beyond these no exponent of a transition is known, and the fit has run away.
LARGEST_EXPONENT = 10.0


@dataclass(frozen=True)
class ScalingForm:
    """Which of x_c, a and b are fitted (None) and which are held at a value."""

    critical: float | None = None
    a: float | None = None
    b: float | None = None

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the fitted ones."""
        return tuple(name for name in scaling_process.PHYSICS if getattr(self, name) is None)


CONTINUOUS = ScalingForm()
# Two dimensions, which all our lattices have: rounding over L^−d, and a jump that does not scale.
FIRST_ORDER = ScalingForm(a=2.0, b=0.0)


@dataclass(frozen=True)
class Estimate:
    """A fitted number with its standard error and interval; error 0 where it was held."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class NoCollapse:
    """Why there is no fit, as a sentence."""

    reason: str


@dataclass(frozen=True)
class Collapse:
    """A fitted collapse; x_c in units of the control parameter, a and b without unit."""

    form: ScalingForm
    log_control: bool
    critical: Estimate
    a: Estimate
    b: Estimate
    confidence: float
    interval: str  # how the intervals were made
    resamples: int  # refits behind them; 0 for the likelihood's
    log_likelihood: float  # of the data, at the fitted parameters; of forms on the same points alone
    quality: float  # Houdayer and Hartmann's S, per point; about 1 where errors explain the scatter
    quality_points: int  # points of S: those that lie between points of another side
    points: int  # after averaging trajectories at equal side and control parameter
    clusters: dict[int, int]  # trajectories by side; of independent rows, how many there are
    without_error: int  # rows of the table without an error, which were given the median one
    data: CollapseData = field(repr=False)
    prior: Prior = field(repr=False)
    maximum: Maximum = field(repr=False)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the lattices in the fit, ascending."""
        return tuple(self.clusters)


def collapse(
    points: pl.DataFrame,
    *,
    value: str,
    control: str = "parameters_per_spin",
    error: str | None = None,
    log_control: bool = False,
    form: ScalingForm = CONTINUOUS,
    window: tuple[float, float] | None = None,
    smallest_side: int | None = None,
    confidence: float = 0.95,
) -> Collapse | NoCollapse:
    """Critical point and exponents of A(x, L) = L^b f((x − x_c) L^a), with intervals of the likelihood.

    Rows of equal side, control parameter and cluster are averaged, then the clusters at equal side and
    control parameter. The covariance of these averages has the points' errors, scatter beyond them, and how
    far trajectories deviate from their mean, for which what is seen between those of one side is the prior.
    The intervals are value ± quantile × error from the curvature of the likelihood at its maximum over all
    parameters, so they contain what the scaling function, the noise and the trajectories leave open; they
    do not contain corrections to scaling (`collapse_systematics`).

    Args:
        points: side, the control parameter, the value, its standard error, and cluster (the trajectory;
            without that column every row is independent). Rows without finite value or control are left
            out. Error 0 is an exact value; a missing one becomes the median of its side's, else of all.
        value: column of A.
        control: column of x.
        error: column of the standard error of A; `{value}_error` unless given. May be absent.
        log_control: scale ln x − ln x_c instead of x − x_c.
        form: what is fitted and what is held.
        window: lowest and highest x that take part.
        smallest_side: sides below take no part.
        confidence: of the intervals.

    Raises:
        ValueError: a column is missing, the window is empty, or log_control with x ≤ 0.
    """
    data = CollapseData.of(points, value, control, error or f"{value}_error", log_control)
    return fit_data(data.within(window, smallest_side), form, confidence)


def fit_data(data: CollapseData, form: ScalingForm, confidence: float) -> Collapse | NoCollapse:
    """`collapse` of data that are already chosen."""
    if (reason := _unfit(data)) is not None:
        return NoCollapse(reason)
    held = _held(data, form)
    starts = _starts(data, held)
    prior = _prior(data, b=float(np.median([start[2] for start in starts])))
    starts = [np.concatenate([start, prior.mean[5:]]) for start in starts]
    free = np.array([*(name in form.free for name in scaling_process.PHYSICS), True, True, True])
    free = np.append(free, [*[data.observations.shared is not None] * 2, True])
    maximum = scaling_process.maximise(data.observations, prior, starts, free)
    if (reason := _runaway(data, form, maximum)) is not None:
        return NoCollapse(reason)
    return _collapse(data, form, prior, maximum, confidence)


def _unfit(data: CollapseData) -> str | None:
    """Why these data can't be fitted, known before trying."""
    sides, counts = np.unique(data.side, return_counts=True)
    enough = sides[counts >= FEWEST_POINTS]
    if len(enough) < FEWEST_SIDES:
        return (
            f"Too few sizes: {len(enough)} have {FEWEST_POINTS} points or more in the window; "
            f"a collapse needs {FEWEST_SIDES}."
        )
    if len(data.side) > MOST_POINTS:
        return f"Too many points: {len(data.side)} of at most {MOST_POINTS}; narrow the window or average."
    if np.ptp(data.observations.value) == 0:
        return "The values are all equal, so nothing scales."
    low, high = (np.array([end(data.control[data.side == side]) for side in sides]) for end in (min, max))
    if (low.max() > high.min()) and data.overlap_of_neighbours() == 0:
        return "The windows of the sizes do not overlap: no control parameter was measured at two sizes."
    return None


def _runaway(data: CollapseData, form: ScalingForm, maximum: Maximum) -> str | None:
    """Why a maximum of the likelihood is no collapse."""
    critical, a, b = maximum.parameters[:3]
    low, high = (data.in_units(end) for end in (-1.0, 1.0))
    if form.critical is None and abs(critical) >= 1:
        side = "above" if critical > 0 else "below"
        return (
            f"The critical point is not inside the window: the fit puts it {side} the data, which reach "
            f"from {low:.4g} to {high:.4g}."
        )
    if form.a is None and not 0 < a < LARGEST_EXPONENT:
        return f"The curves do not sharpen with size as a transition's do: the fit has a = {a:.3g}."
    if form.b is None and abs(b) > LARGEST_EXPONENT:
        return f"The exponent b is not determined: the fit has b = {b:.3g}."
    if np.isnan(maximum.covariance).any():
        return (
            "The likelihood has no clear maximum (its curvature is not positive there): hold an exponent, "
            "or add sizes or points."
        )
    errors = np.sqrt(np.diag(maximum.covariance))
    if form.critical is None and errors[0] > 1:
        return "The critical point is not determined: its error is larger than half of the window."
    curve, _ = scaling_process.predict(
        maximum.parameters, data.observations, data.observations.scaled(maximum.parameters)[0]
    )
    if np.std(curve) < np.exp(maximum.parameters[scaling_process.PARAMETERS.index("ln_jitter")]):
        return "The sizes do not fall on one curve: their scatter about it is larger than its own changes."
    _, compared = houdayer_hartmann(*data.scaled_points(maximum.parameters), data.side)
    if compared < len(data.side) / 2:
        return (
            f"The scaled curves hardly overlap: {compared} of {len(data.side)} points lie between points of "
            "another size, so nothing tests the collapse."
        )
    return None


def _held(data: CollapseData, form: ScalingForm) -> list[float | None]:
    critical = None if form.critical is None else float(data.from_units(form.critical))
    return [critical, form.a, form.b]


def _starts(data: CollapseData, held: Sequence[float | None]) -> list[np.ndarray]:
    """Critical points across the window and exponents, each with the b that the sizes have there."""
    starts = []
    criticals = np.linspace(-0.8, 0.8, 9) if held[0] is None else [held[0]]
    for critical in criticals:
        b = data.size_exponent(critical) if held[2] is None else held[2]
        for a in (0.5, 1.0, 2.0, 3.0) if held[1] is None else (held[1],):
            scaled = data.observations.scaled(np.array([critical, a, b]))
            ln_amplitude, ln_length = np.log(np.std(scaled[1]) + 1e-12), np.log(np.std(scaled[0]) + 1e-12)
            starts.append(np.array([critical, a, b, ln_amplitude, ln_length]))
    return starts


def _prior(data: CollapseData, b: float) -> Prior:
    """Flat in z_c, a and b; a factor e^±2 in sizes (e^±3 for unstated noise), e^±1.5 in lengths.

    The scatter of trajectories has instead what is seen between those of one side, where there are several.
    """
    median = np.sqrt(np.median(data.observations.variance))
    # Without errors, or with nearly exact values, other noise is all there is: a few percent of the spread, say.
    stated = median > 1e-4
    typical = median if stated else 0.03
    mean = np.array([0, 0, 0, 0, np.log(0.7), np.log(0.3 * typical), np.log(typical), np.log(2.0), 0.0])
    noise_width = 2.0 if stated else 3.0
    width = np.array([np.inf, np.inf, np.inf, 2.0, 1.5, noise_width, noise_width, 1.5, 1.5])
    precision = np.diag(width**-2)
    noise = np.arange(5, 8)
    if data.observations.shared is not None:
        seen = scatter_between(data, b, mean[noise], precision[np.ix_(noise, noise)])
        # Jitter here is scatter about one curve, there of one trajectory, so that stays as wide as it was.
        mean[noise[1:]] = seen.mean[1:]
        precision[np.ix_(noise[1:], noise[1:])] = np.linalg.inv(seen.covariance[1:, 1:])
    return Prior(mean, precision)


def _collapse(
    data: CollapseData, form: ScalingForm, prior: Prior, maximum: Maximum, confidence: float
) -> Collapse:
    errors = np.sqrt(np.diag(maximum.covariance))[:3]
    quantile = stats.t.ppf((1 + confidence) / 2, maximum.degrees)
    low, high = maximum.parameters[:3] - quantile * errors, maximum.parameters[:3] + quantile * errors
    quality, compared = houdayer_hartmann(*data.scaled_points(maximum.parameters), data.side)
    return Collapse(
        form,
        data.log_control,
        *estimates(data, maximum.parameters[:3], errors, low, high),
        confidence,
        BY_LIKELIHOOD,
        0,
        maximum.log_likelihood,
        quality,
        compared,
        len(data.side),
        data.clusters_by_side(),
        data.without_error,
        data,
        prior,
        maximum,
    )


def estimates(
    data: CollapseData, values: np.ndarray, errors: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[Estimate, Estimate, Estimate]:
    """x_c, a, b with x_c in units of the control parameter, from arrays (3,) in the fit's units."""
    critical = data.in_units(values[0])
    # d ln x = dx / x, so that the error of ln x_c becomes one of x_c.
    critical_error = errors[0] * data.units.half_width * (critical if data.log_control else 1.0)
    first = Estimate(critical, float(critical_error), data.in_units(low[0]), data.in_units(high[0]))
    others = [Estimate(*map(float, numbers)) for numbers in zip(values, errors, low, high, strict=True)]
    return first, others[1], others[2]


def collapsed_points(fit: Collapse) -> pl.DataFrame:
    """The data as they fall together.

    Returns:
        side, control (x), value, scaled_control ((x − x_c) L^a, of ln x on a log scale), scaled_value
        (A L^−b), scaled_error (one standard error: measurement, and between trajectories where there are
        several), clusters (trajectories averaged), sorted by side and control.
    """
    data = fit.data
    control, scaled_value, scaled_error = data.scaled_points(fit.maximum.parameters)
    scales = data.scales(fit.maximum.parameters)
    return pl.DataFrame(
        {
            "side": data.side,
            "control": data.control,
            "value": data.observations.value * data.units.value,
            "scaled_control": control * scales[0],
            "scaled_value": scaled_value * scales[1],
            "scaled_error": scaled_error * scales[1],
            "clusters": data.clusters_at,
        }
    ).sort("side", "control")


def scaling_function(fit: Collapse, positions: int = 200) -> pl.DataFrame:
    """The scaling function f over the range of the scaled data, for exponents as fitted.

    Returns:
        scaled_control, mean, error (standard deviation of the Gaussian process given the points), low, high
        (the fit's confidence), ascending.
    """
    data, parameters = fit.data, fit.maximum.parameters
    scaled_control, _ = data.observations.scaled(parameters)
    grid = np.linspace(scaled_control.min(), scaled_control.max(), positions)
    mean, error = scaling_process.predict(parameters, data.observations, grid)
    scales = data.scales(parameters)
    quantile = float(stats.norm.ppf((1 + fit.confidence) / 2))
    columns = {"scaled_control": grid * scales[0], "mean": mean * scales[1], "error": error * scales[1]}
    return pl.DataFrame(columns).with_columns(
        low=pl.col("mean") - quantile * pl.col("error"), high=pl.col("mean") + quantile * pl.col("error")
    )
