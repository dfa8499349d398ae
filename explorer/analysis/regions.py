"""Three regions of a pruned network's error: a low-error plateau, a power law, a high-error plateau (Fig. 2, 6).

With x = ln n (remaining weights, weights per spin or density) and y = ln error,

    y(x) = a − β c(x),   c(x) = x₁ + w [s((x − x₁)/w) − s((x − x₂)/w)],   s(u) = ln(1 + eᵘ),

is constant far below the boundary x₁ (the high-error plateau a − β x₁), falls with the exponent β between
the boundaries, and is constant again far above x₂ (the low-error plateau a − β x₂). The boundaries are where
the power law's line meets the plateaus' lines; w says over what distance it bends into them. A sum of a
constant and a power of n has w = 1/β.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import polars as pl
from scipy import optimize, stats

from explorer.analysis.intervals import cluster_means
from explorer.analysis.quantities import Quantity
from explorer.analysis.region_misfit import Misfit, lack_of_fit

LOW, HIGH = "low-error plateau", "high-error plateau"
LOWER, UPPER, EXPONENT = "lower boundary", "upper boundary", "exponent"
BOUNDARIES = (LOWER, UPPER)
REGION_VALUES = (LOW, HIGH, UPPER, LOWER, EXPONENT)
BY_JACKKNIFE = "jackknife over trajectories, t"
BY_BOOTSTRAP = "parametric bootstrap along one trajectory"

# A plateau counts when so many densities lie beyond its boundary; two points are flat by chance.
PLATEAU_DENSITIES = 3
# … and when the error falls there with less than this part of the exponent.
FLAT = 0.5
# A curve departs from the form when scatter does so with less than this probability …
MISFIT_LEVEL = 0.01
# … and by more than this in ln error: of enough trajectories any curve shows that it is no exact power.
LEAST_MISFIT = 0.1
# Up to a factor of 1.5 over decades of errors the form still says something of the curve; beyond it has no number.
MOST_MISFIT = float(np.log(1.5))
# An exponent that is not known to this factor is open; a curve without plateaus is then called no power law.
WIDEST_EXPONENT = 10.0
# … by intervals of this confidence, whatever is shown: a reader's choice changes no verdict.
_JUDGED_AT = 0.95
# Five parameters and something to judge them by.
_FEWEST_DENSITIES = 8
# A power law is seen where it holds so many densities.
_FEWEST_ON_LAW = 2
# The fit keeps w between these, ln w = middle + half range · tanh(q): smaller than the step between densities it
# can't be seen, and larger it would make one bend of all three regions. Where a curve doesn't say what w is, the
# expectation q = 0 ± 0.5 does (w from 0.08 to 0.39), as one measurement among all. With ± 2, a third of the noisy
# curves of benchmarks/regions.py lose their plateaus to bends without end.
_WIDTHS = (0.03, 1.0)
_EXPECTED_SPREAD = 0.5
# Sharp and round bends can be two minima of the same curve: both are tried.
_STARTS = (-1.0, 0.5)
_LOG_WIDTH = np.log(_WIDTHS[0] * _WIDTHS[1]) / 2
_LOG_RANGE = np.log(_WIDTHS[1] / _WIDTHS[0]) / 2
_RESAMPLES = 200
# Scatter and fit follow each other; the scatter settles to a hundredth in two or three rounds.
_ROUNDS = 5
_DRAWN = 200


@dataclass(frozen=True)
class Regions:
    """Fits of one or several curves.

    Attributes:
        values: a row is a fitted number of a curve: the curve's column, value (of `REGION_VALUES`), estimate,
            low, high. Plateaus are in the quantity's units, boundaries in those of the horizontal axis.
            What a curve doesn't determine is not there.
        curves: a row is a curve: its column, densities, trajectories, networks, width (w of the bends; null
            where there is none), scatter (of ln error about the fit beyond the measurement errors), misfit (root
            mean square of the mean curve's smooth departure from the form, in ln error) and misfit_probability
            (that scatter gives as much; both null where it can't be tested), interval (how it was made), remark
            (what could not be fitted, and why; empty where everything could).
        lines: the fits as drawn: the curve's column, the horizontal column, fitted.
    """

    values: pl.DataFrame
    curves: pl.DataFrame
    lines: pl.DataFrame

    @property
    def refused(self) -> int:
        """How many curves are shown not to be of the form."""
        return self.curves.filter(
            pl.col("misfit_probability") < MISFIT_LEVEL, pl.col("misfit") > MOST_MISFIT
        ).height


def fit_regions(
    states: pl.DataFrame,
    quantity: Quantity,
    by: str,
    horizontal: str = "parameters_per_spin",
    confidence: float = 0.95,
    seed: int = 0,
) -> Regions:
    """Plateaus, boundaries and exponent of each curve, with intervals.

    Least squares over all networks of all trajectories. Each logarithm has its measurement error and a scatter
    common to the curve, which is chosen so that χ² equals the degrees of freedom. A plateau is kept when
    it lowers the Bayesian information criterion, when at least `PLATEAU_DENSITIES` densities lie on it, and
    when the error falls there with less than the part `FLAT` of the exponent. Densities where half of the
    errors are smaller than their own uncertainty are left out, and so are trajectories with less than half of the
    longest's densities. A curve that departs from every such shape by more
    than its scatter (`region_misfit`, at `MISFIT_LEVEL`) gets a sentence, and no number where it departs by more than
    `MOST_MISFIT`.

    With two trajectories or more the intervals are Student's t on the spread of the fits that leave out one
    trajectory (the jackknife; a bootstrap of so few trajectories covers too seldom, see docs/analysis.md).
    With one, curves with its scatter and its correlation from level to level are drawn about the fit and fitted
    again; what differs between trajectories is then not in the intervals.

    Args:
        states: dense networks and trajectories of one side and setting but for `by`, from `with_quantities`.
        quantity: a logarithmic one of `QUANTITIES`.
        by: the column that tells the curves apart.
        horizontal: parameters_per_spin, remaining or density.
        confidence: probability that an interval covers.
        seed: of the bootstrap.
    """
    points = cluster_means(states, quantity, (by, "dense_run_id", horizontal)).sort(by, horizontal)
    values, curves, lines = [], [], []
    for (name,), group in points.group_by(by, maintain_order=True):
        found = _found(_fitted(_Curve.of(group, horizontal).content, seed), confidence)
        values += [(name, value, *numbers) for value, numbers in found.values.items()]
        networks = int(group["networks"].sum())
        curves.append(
            (name, found.densities, found.trajectories, networks, found.width, found.scatter)
            + (found.misfit and found.misfit.size, found.misfit and found.misfit.probability)
            + (found.interval, " ".join(found.remarks))
        )
        lines += [(name, x, y) for x, y in found.line]
    of_curve = {by: states.schema[by]}
    numbers = dict.fromkeys(("estimate", "low", "high"), pl.Float64)
    counts = dict.fromkeys(("densities", "trajectories", "networks"), pl.Int64)
    texts = {"interval": pl.String, "remark": pl.String}
    sizes = dict.fromkeys(("width", "scatter", "misfit", "misfit_probability"), pl.Float64)
    return Regions(
        pl.DataFrame(values, of_curve | {"value": pl.String} | numbers, orient="row"),
        pl.DataFrame(curves, of_curve | counts | sizes | texts, orient="row"),
        pl.DataFrame(lines, of_curve | {horizontal: pl.Float64, "fitted": pl.Float64}, orient="row"),
    )


@dataclass(frozen=True)
class _Curve:
    """Points of one curve: ln density, ln error, its measurement error, and the trajectory it belongs to.

    Trajectories have the same levels, so there are few densities x_j and of each as many points as trajectories. A sum
    Σ w (y − f(x))² over all points is Σ_j W_j (Y_j − f(x_j))² + a constant, with W_j and Y_j the sum of the weights
    and the weighted mean at x_j: what is fitted is fitted to those, with the same minimum and a hundredth of the work.
    """

    y: np.ndarray
    error: np.ndarray
    trajectory: np.ndarray
    densities: np.ndarray  # their logarithms, ascending
    place: np.ndarray  # of each point among the densities

    @classmethod
    def of(cls, points: pl.DataFrame, horizontal: str) -> _Curve:
        x = points[horizontal].cast(pl.Float64).log().to_numpy()
        return cls(
            points["mean"].to_numpy(),
            points["measurement_error"].fill_null(0.0).fill_nan(0.0).to_numpy(),
            points["dense_run_id"].rank("dense").cast(pl.Int64).to_numpy(),
            *np.unique(x, return_inverse=True),
        )

    @property
    def x(self) -> np.ndarray:
        return self.densities[self.place]

    @property
    def content(self) -> tuple[bytes, ...]:
        return tuple(part.tobytes() for part in vars(self).values())

    @classmethod
    def of_content(cls, content: tuple[bytes, ...]) -> _Curve:
        kinds = (float, float, np.int64, float, np.int64)
        return cls(*(np.frombuffer(part, kind) for part, kind in zip(content, kinds, strict=True)))

    def part(self, kept: np.ndarray) -> _Curve:
        densities, place = np.unique(self.x[kept], return_inverse=True)
        return _Curve(self.y[kept], self.error[kept], self.trajectory[kept], densities, place)

    def with_values(self, y: np.ndarray) -> _Curve:
        return replace(self, y=y)

    def means(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W and Y of the densities, 0 where there is no point."""
        total = np.bincount(self.place, weights, len(self.densities))
        sums = np.bincount(self.place, weights * self.y, len(self.densities))
        return total, np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)

    def residuals(self, shape: _Shape, parameters: np.ndarray) -> np.ndarray:
        """(points,) y less what the fit says."""
        return self.y - shape.predict(parameters, self.densities)[self.place]


@dataclass(frozen=True)
class _Shape:
    """Which plateaus the fit has. Parameters: a, β, then x of each boundary kept, lower first, then q of w."""

    high: bool
    low: bool

    @property
    def size(self) -> int:
        bends = self.high + self.low
        return 2 + bends + (bends > 0)

    def bent(self, parameters: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """c(x), and its derivatives by the boundaries and q, (points, size − 2)."""
        if self.size == 2:
            return x, np.empty((len(x), 0))
        width = _width(parameters)
        c, columns, by_width = x.copy(), [], np.zeros_like(x)
        boundaries = list(parameters[2:-1])
        if self.high:
            u = (x - boundaries[0]) / width
            # x₁ + w s(u) = x + w s(−u)
            c = c + width * np.logaddexp(0, -u)
            columns.append(_step(-u))
            by_width = by_width + width * (np.logaddexp(0, -u) + u * _step(-u))
        if self.low:
            u = (x - boundaries[-1]) / width
            c = c - width * np.logaddexp(0, u)
            columns.append(_step(u))
            by_width = by_width - width * (np.logaddexp(0, u) - u * _step(u))
        by_q = by_width * _LOG_RANGE / np.cosh(parameters[-1]) ** 2
        return c, np.column_stack([*columns, by_q])

    def predict(self, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
        return parameters[0] - parameters[1] * self.bent(parameters, x)[0]

    def jacobian(self, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
        c, derivatives = self.bent(parameters, x)
        return np.column_stack([np.ones_like(x), -c, -parameters[1] * derivatives])

    def values(self, parameters: np.ndarray) -> dict[str, float]:
        """Logarithms of what is reported."""
        a, beta = parameters[:2]
        found = {EXPONENT: np.log(max(beta, 1e-12))}
        if self.high:
            found |= {LOWER: parameters[2], HIGH: a - beta * parameters[2]}
        if self.low:
            upper = parameters[2 + self.high]
            found |= {UPPER: upper, LOW: a - beta * upper}
        return found


_SHAPES = (_Shape(True, True), _Shape(False, True), _Shape(True, False), _Shape(False, False))


def _width(parameters: np.ndarray) -> float:
    return float(np.exp(_LOG_WIDTH + _LOG_RANGE * np.tanh(parameters[-1])))


def _step(u: np.ndarray) -> np.ndarray:
    """The logistic function, the derivative of ln(1 + eᵘ)."""
    return np.exp(-np.logaddexp(0, -u))


@dataclass(frozen=True)
class _Found:
    """Numbers of one curve, and what is missing."""

    densities: int
    trajectories: int
    remarks: Sequence[str]
    values: dict[str, tuple[float, float | None, float | None]] = field(default_factory=dict)
    width: float | None = None
    scatter: float | None = None
    misfit: Misfit | None = None
    interval: str | None = None
    line: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class _Fit:
    """A fit of one curve, with what its intervals are made of."""

    curve: _Curve
    trajectories: int
    remarks: Sequence[str]
    shape: _Shape
    parameters: np.ndarray
    scatter: float
    misfit: Misfit | None
    resampled: np.ndarray


# Other intervals, the same fits: a page is asked for several.
@lru_cache(maxsize=64)
def _fitted(content: tuple[bytes, ...], seed: int) -> _Fit | _Found:
    """The fit of a curve (`_Curve.content`), or why it has no numbers."""
    curve, remarks = _resolved(_advanced(_Curve.of_content(content)))
    generator = np.random.default_rng(seed)
    densities, trajectories = len(curve.densities), len(np.unique(curve.trajectory))
    if densities < _FEWEST_DENSITIES:
        remark = (
            f"{densities} densities are too few to tell three regions apart; {_FEWEST_DENSITIES} are needed."
        )
        return _Found(densities, trajectories, (*remarks, remark))
    if (ladder := _common_ladder(curve)) is None:
        remark = "Its trajectories have different densities, so they are of different networks: choose one."
        return _Found(densities, trajectories, (*remarks, remark))
    chosen = _best_fit(curve, densities)
    if chosen is None:
        remark = "The error does not fall with density, so no region is fitted."
        return _Found(densities, trajectories, (*remarks, remark))
    shape, parameters, scatter = chosen
    x, y = ladder
    misfit = lack_of_fit(y - shape.predict(parameters, x), shape.jacobian(parameters, x), generator)
    if misfit and misfit.probability < MISFIT_LEVEL and misfit.size > LEAST_MISFIT:
        remarks = [*remarks, _misfit_sentence(misfit, x, y)]
        if misfit.size > MOST_MISFIT:
            return _Found(densities, trajectories, tuple(remarks), misfit=misfit)
    if trajectories == 1:
        remarks = [*remarks, "Whether it is of this form is not tested: that takes two trajectories."]
    resample = _leave_one_out if trajectories > 1 else _drawn_again
    resampled = resample(shape, parameters, scatter, curve, generator)
    return _Fit(curve, trajectories, remarks, shape, parameters, scatter, misfit, resampled)


def _found(fit: _Fit | _Found, confidence: float) -> _Found:
    """The numbers of a fit with their intervals."""
    if isinstance(fit, _Found):
        return fit
    curve, shape, parameters, resampled = fit.curve, fit.shape, fit.parameters, fit.resampled
    told, unclear = _told_apart(_with_intervals(shape, parameters, resampled, curve, _JUDGED_AT), curve)
    values = _with_intervals(shape, parameters, resampled, curve, confidence)
    values = {name: value for name, value in values.items() if name in told}
    return _Found(
        len(curve.densities),
        fit.trajectories,
        (*fit.remarks, *(_remarks(shape, parameters, curve) if values else ()), *unclear),
        values,
        width=_width(parameters) if shape.size > 2 else None,
        scatter=fit.scatter,
        misfit=fit.misfit,
        interval=BY_JACKKNIFE if fit.trajectories > 1 else BY_BOOTSTRAP,
        line=_line(shape, parameters, curve) if values else (),
    )


def _resolved(curve: _Curve) -> tuple[_Curve, list[str]]:
    """The curve without densities where half of the errors are below their own uncertainty, and a sentence of these."""
    unknown = [x for x in curve.densities if np.median(curve.error[curve.x == x]) >= 1]
    if not unknown:
        return curve, []
    remark = (
        f"Left out where the error is smaller than its own uncertainty ({len(unknown)} of the densities)."
    )
    return curve.part(~np.isin(curve.x, unknown)), [remark]


def _best_fit(curve: _Curve, densities: int) -> tuple[_Shape, np.ndarray, float] | None:
    """Shape, parameters and scatter of the sound fit with the lowest criterion; None where none is sound."""
    fits = [(shape, *_fit_with_scatter(shape, curve, q)) for shape in _SHAPES for q in _STARTS]
    sound = [fit for fit in fits if _is_sound(*fit[:2], curve)]
    return min(sound, key=lambda fit: _criterion(*fit[:2], curve, densities), default=None)


def _advanced(curve: _Curve) -> _Curve:
    """The curve without trajectories that have less than half of the longest's densities: they are not finished."""
    counts = np.bincount(curve.trajectory)
    return curve.part(2 * counts[curve.trajectory] >= counts.max())


def _common_ladder(curve: _Curve) -> tuple[np.ndarray, np.ndarray] | None:
    """Densities that all trajectories have, and ln error there (trajectories, densities).

    Pruned counts do not depend on the seed, so trajectories of one kind have the densities of the longest, or fewer
    while they are not finished. None where others have more.
    """
    own = [np.unique(curve.x[curve.trajectory == one]) for one in np.unique(curve.trajectory)]
    longest = max(own, key=len)
    if any(not np.isin(densities, longest).all() for densities in own):
        return None
    common = np.array([x for x in longest if all(x in densities for densities in own)])
    kept = curve.part(np.isin(curve.x, common))
    return common, kept.y[np.lexsort((kept.x, kept.trajectory))].reshape(len(own), -1)


def _misfit_sentence(misfit: Misfit, x: np.ndarray, y: np.ndarray) -> str:
    """By how much and where the form misses the mean curve, and its steepest level step, which bounds any power."""
    powers = -np.diff(y.mean(axis=0)) / np.diff(x)
    steepest = int(np.argmax(powers))
    refused = misfit.size > MOST_MISFIT
    so = (
        "so no exponent and no boundary is given"
        if refused
        else "and the intervals, of scatter alone, leave it out"
    )
    return (
        f"{'Not' if refused else 'Roughly'} of this form: the closest plateau, power law and plateau misses the mean curve "
        f"by a factor of {np.exp(misfit.size):.2g} (root mean square of the logarithm), most clearly at "
        f"{np.exp(x[misfit.place]):.3g}. Scatter does so with p < {MISFIT_LEVEL:g}, {so}. From one level to the next "
        f"the power is at most {powers[steepest]:.2g}, between {np.exp(x[steepest]):.3g} and {np.exp(x[steepest + 1]):.3g}."
    )


def _told_apart(
    values: dict[str, tuple[float, float, float]], curve: _Curve
) -> tuple[dict[str, tuple[float, float, float]], list[str]]:
    """The values without those that their intervals leave open, and sentences of these.

    An exponent of a curve without plateaus of which not even the order of magnitude is known; a boundary, and its
    plateau, whose interval holds all densities.
    """
    first, last = np.exp(curve.x.min()), np.exp(curve.x.max())
    unclear = []
    if set(values) == {EXPONENT} and values[EXPONENT][2] > WIDEST_EXPONENT * values[EXPONENT][1]:
        low, high = values[EXPONENT][1:]
        return {}, [
            f"Whether it is one power law can't be told: its exponent has the {_JUDGED_AT:.0%} interval [{low:.2g}, {high:.2g}]."
        ]
    for boundary, plateau in ((LOWER, HIGH), (UPPER, LOW)):
        if boundary in values and values[boundary][1] < first and values[boundary][2] > last:
            values = {name: value for name, value in values.items() if name not in (boundary, plateau)}
            unclear.append(f"The {boundary} can't be told: its interval holds all densities.")
    return values, unclear


def _fit_with_scatter(shape: _Shape, curve: _Curve, q: float) -> tuple[np.ndarray, float]:
    """Parameters, and the scatter for which χ² equals the degrees of freedom."""
    freedom = max(len(curve.x) - shape.size, 1)
    parameters = _start(shape, curve, q)
    scatter = _scatter(curve.residuals(shape, parameters), curve.error, freedom)
    for _ in range(_ROUNDS):
        parameters = _fit(shape, curve, parameters, scatter)
        before = scatter
        scatter = _scatter(curve.residuals(shape, parameters), curve.error, freedom)
        if abs(scatter - before) < 0.01 * before:
            break
    return parameters, scatter


def _scatter(residuals: np.ndarray, error: np.ndarray, freedom: int) -> float:
    def excess(variance: float) -> float:
        return float(np.sum(residuals**2 / (error**2 + variance))) - freedom

    largest = float(np.sum(residuals**2)) / freedom
    # Below the rounding of logarithms of order ten no scatter is told from none.
    smallest = 1e-24
    if largest <= smallest or excess(smallest) <= 0:
        return float(np.sqrt(smallest))
    return float(np.sqrt(optimize.brentq(excess, smallest, largest * (1 + 1e-9))))


def _start(shape: _Shape, curve: _Curve, q: float) -> np.ndarray:
    """The best of a grid of boundaries; a and β follow from them by linear regression."""
    grid = np.linspace(curve.densities[0], curve.densities[-1], 16)[1:-1]
    counts, means = curve.means(np.ones_like(curve.y))
    y_mean = np.average(means, weights=counts)
    if shape.high and shape.low:
        boundaries = [(lower, upper) for i, lower in enumerate(grid) for upper in grid[i + 1 :]]
    else:
        boundaries = [(boundary,) for boundary in grid] if shape.size > 2 else [()]
    best, lowest = None, np.inf
    for chosen in boundaries:
        parameters = np.array([0.0, 0.0, *chosen, *([q] if chosen else [])])
        c = shape.bent(parameters, curve.densities)[0]
        c_mean = np.average(c, weights=counts)
        spread = counts @ (c - c_mean) ** 2
        beta = -(counts * (c - c_mean)) @ (means - y_mean) / spread if spread > 0 else 0.0
        parameters[:2] = y_mean + beta * c_mean, beta
        squares = counts @ (means - shape.predict(parameters, curve.densities)) ** 2
        if squares < lowest:
            best, lowest = parameters, squares
    return best


def _fit(shape: _Shape, curve: _Curve, start: np.ndarray, scatter: float) -> np.ndarray:
    weights, means = curve.means(1 / (curve.error**2 + scatter**2))
    roots = np.sqrt(weights)
    bent = shape.size > 2
    expectation = np.zeros((1, shape.size))
    expectation[0, -1] = 1 / _EXPECTED_SPREAD

    def residuals(parameters: np.ndarray) -> np.ndarray:
        of_means = (shape.predict(parameters, curve.densities) - means) * roots
        return np.append(of_means, parameters[-1] / _EXPECTED_SPREAD) if bent else of_means

    def jacobian(parameters: np.ndarray) -> np.ndarray:
        of_means = shape.jacobian(parameters, curve.densities) * roots[:, None]
        return np.concatenate([of_means, expectation]) if bent else of_means

    with np.errstate(over="ignore", invalid="ignore"):
        # With its full output it warns of nothing: what ran off is judged by `_is_sound` and by the spread.
        return optimize.leastsq(residuals, start, Dfun=jacobian, maxfev=200, full_output=True)[0]


def _is_sound(shape: _Shape, parameters: np.ndarray, curve: _Curve) -> bool:
    """Whether the error falls, as a power law among the densities, and each plateau of the fit is one of the points."""
    if not np.isfinite(parameters).all() or parameters[1] <= 0:
        return False
    beta, boundaries, width = parameters[1], parameters[2:-1], _width(parameters)
    if shape.high and shape.low and boundaries[0] >= boundaries[1]:
        return False
    # One long bend into a power law that lies beyond the densities has whatever exponent it needs.
    if shape.high != shape.low and _on_law(shape, parameters, curve) < _FEWEST_ON_LAW:
        return False
    # A curve that only begins to bend where it ends has not reached its plateau.
    has_high = not shape.high or _is_flat(
        curve, curve.x < boundaries[0], boundaries[0] - curve.x.min() > width, beta
    )
    has_low = not shape.low or _is_flat(
        curve, curve.x > boundaries[-1], curve.x.max() - boundaries[-1] > width, beta
    )
    return has_high and has_low


def _on_law(shape: _Shape, parameters: np.ndarray, curve: _Curve) -> int:
    """How many densities lie between the boundaries, or beyond the only one."""
    x, boundaries = curve.densities, parameters[2:-1]
    above = x > boundaries[0] if shape.high else np.full(len(x), True)
    below = x < boundaries[-1] if shape.low else np.full(len(x), True)
    return int(np.sum(above & below))


def _is_flat(curve: _Curve, beyond: np.ndarray, is_reached: bool, beta: float) -> bool:
    """Whether a plateau is reached, enough densities lie on it, and the error falls slowly there."""
    x, y = curve.x[beyond], curve.y[beyond]
    if not is_reached or len(np.unique(x)) < PLATEAU_DENSITIES:
        return False
    # One that rises, as overparametrised networks trained for too short do, is no power law either.
    return -np.polyfit(x, y, 1)[0] < FLAT * beta


def _criterion(shape: _Shape, parameters: np.ndarray, curve: _Curve, densities: int) -> float:
    """Bayesian information criterion. Densities count, not networks: a bend of the curve is common to all."""
    residuals = curve.residuals(shape, parameters)
    # The curves have no structure below 1e-6 of their logarithm; exact data must not take the logarithm of zero.
    return densities * float(np.log(np.mean(residuals**2) + 1e-12)) + shape.size * float(np.log(densities))


def _independent_points(shape: _Shape, parameters: np.ndarray, curve: _Curve) -> float:
    """How many independent points the curve is worth: n (1 − φ) / (1 + φ), φ between neighbouring levels."""
    correlation = _correlation(curve.residuals(shape, parameters), curve)
    return len(curve.y) * (1 - correlation) / (1 + correlation)


def _correlation(residuals: np.ndarray, curve: _Curve) -> float:
    """Correlation φ of neighbouring levels' residuals within trajectories, between 0 and 0.95.

    A fit takes some of it away: the estimate of n points and p parameters is too low by about
    (1 + p φ) / n, which is put back.
    """
    products, squares = 0.0, 0.0
    for trajectory in np.unique(curve.trajectory):
        own = residuals[curve.trajectory == trajectory]
        products += float(np.sum(own[1:] * own[:-1]))
        squares += float(np.sum(own**2)) * (len(own) - 1) / len(own)
    if squares == 0:
        return 0.0
    raw, size = products / squares, _SHAPES[0].size
    return float(np.clip((len(residuals) * raw + size) / (len(residuals) - size), 0.0, 0.95))


def _leave_one_out(
    shape: _Shape, parameters: np.ndarray, scatter: float, curve: _Curve, generator: np.random.Generator
) -> np.ndarray:
    return np.array(
        [
            _fit(shape, curve.part(curve.trajectory != left_out), parameters, scatter)
            for left_out in np.unique(curve.trajectory)
        ]
    )


def _drawn_again(
    shape: _Shape, parameters: np.ndarray, scatter: float, curve: _Curve, generator: np.random.Generator
) -> np.ndarray:
    """Fits of curves drawn about the fit, their scatter correlated from level to level (AR(1))."""
    fitted = shape.predict(parameters, curve.x)
    correlation = _correlation(curve.y - fitted, curve)
    noise = generator.standard_normal((_RESAMPLES, len(curve.x)))
    for level in range(1, len(curve.x)):
        noise[:, level] = correlation * noise[:, level - 1] + np.sqrt(1 - correlation**2) * noise[:, level]
    measured = curve.error * generator.standard_normal((_RESAMPLES, len(curve.x)))
    # A smooth fit follows part of a correlated noise, so its residuals are too small by this.
    deviation = scatter * np.sqrt(_left_by_fit(shape, parameters, curve, correlation))
    drawn = fitted + deviation * noise + measured
    return np.array([_fit(shape, curve.with_values(y), parameters, scatter) for y in drawn])


def _left_by_fit(shape: _Shape, parameters: np.ndarray, curve: _Curve, correlation: float) -> float:
    """Variance of an AR(1) noise over what χ² per degree of freedom says after the fit, linearised."""
    size = len(curve.x)
    covariance = correlation ** np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    basis = np.linalg.qr(shape.jacobian(parameters, curve.x))[0]
    left = size - float(np.sum(basis * (covariance @ basis)))
    return (size - shape.size) / max(left, 1.0)


def _with_intervals(
    shape: _Shape,
    parameters: np.ndarray,
    resampled: np.ndarray,
    curve: _Curve,
    confidence: float,
) -> dict[str, tuple[float, float | None, float | None]]:
    estimates, trajectories = shape.values(parameters), len(np.unique(curve.trajectory))
    spread = pl.DataFrame([shape.values(row) for row in resampled])
    if _is_jump(shape, parameters, curve):
        del estimates[EXPONENT]
    found = {}
    for name, estimate in estimates.items():
        others = spread[name].to_numpy()
        if trajectories > 1:
            # Jackknife: (G − 1)/G Σ (θ₍ᵢ₎ − mean)²
            error = np.sqrt((trajectories - 1) * np.var(others))
            half_width = stats.t.ppf((1 + confidence) / 2, trajectories - 1) * error
        else:
            # Half of what 95 % of the resamples span, in normal deviations: the tails count, the few that ran off don't.
            error = (np.quantile(others, 0.975) - np.quantile(others, 0.025)) / 3.92
            freedom = max(_independent_points(shape, parameters, curve) - shape.size, 2.0)
            half_width = stats.t.ppf((1 + confidence) / 2, freedom) * error
        ends = (estimate, estimate - half_width, estimate + half_width)
        found[name] = tuple(float(np.exp(np.clip(end, -700, 700))) for end in ends)
    return found


def _is_jump(shape: _Shape, parameters: np.ndarray, curve: _Curve) -> bool:
    """Whether the two bends are one, or no two densities lie between them: then β is undetermined."""
    if not (shape.high and shape.low):
        return False
    lower, upper = parameters[2:4]
    between = _on_law(shape, parameters, curve)
    return bool(upper - lower < 2 * _width(parameters) or between < _FEWEST_ON_LAW)


def _remarks(shape: _Shape, parameters: np.ndarray, curve: _Curve) -> list[str]:
    if _is_jump(shape, parameters, curve):
        return [_jump_sentence(parameters, curve)]
    if not shape.high and not shape.low:
        return ["No plateau: the fit is one power law over all densities."]
    missing = [
        f"No {plateau}: the power law goes on to the {end} densities."
        for kept, plateau, end in ((shape.high, HIGH, "lowest"), (shape.low, LOW, "highest"))
        if not kept
    ]
    return missing


def _jump_sentence(parameters: np.ndarray, curve: _Curve) -> str:
    """Where it jumps, and the least power that takes the error from one plateau's last density to the other's."""
    densities = curve.densities
    before, after = densities[densities <= parameters[2]].max(), densities[densities >= parameters[3]].min()
    fall = curve.y[curve.x == before].mean() - curve.y[curve.x == after].mean()
    return (
        f"The error jumps at {np.exp((parameters[2] + parameters[3]) / 2):.3g}: the plateaus leave too little room between "
        f"them for a power law. A power of at least {fall / (after - before):.2g} takes it from {np.exp(before):.3g} to "
        f"{np.exp(after):.3g}."
    )


def _line(shape: _Shape, parameters: np.ndarray, curve: _Curve) -> list[tuple[float, float]]:
    x = np.linspace(curve.x.min(), curve.x.max(), _DRAWN)
    return list(zip(np.exp(x).tolist(), np.exp(shape.predict(parameters, x)).tolist(), strict=True))
