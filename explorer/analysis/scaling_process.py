"""A Gaussian process for the scaling function of a collapse: its likelihood, the maximum, and the curve.

A(x, L) = l^b f((z − z_c) l^a) with l = L / L₀, where f is a constant plus a draw from a Gaussian process of
X = (z − z_c) l^a (Harada, Phys. Rev. E 84, 056704, 2011). The scaled data Y = A l^−b then are Gaussian with

    K = α² exp(−(u − u')² / 2λ²) + diag(σ² l^−2b + κ²) + τ² M(|z − z'| / μ) ∘ S,    u = w asinh(X / w).

σ are the errors of the points and κ is scatter beyond them. Two things are not in Harada's covariance:

- u for X. Scaling functions go over into power laws, which a process with one length everywhere holds for
  improbable detail; it then prefers an a that brings the sizes' tails together, by 0.6 of its error in
  benchmarks/collapse.py. Beyond the knee w the process sees ln |X|. A large w is Harada's kernel.
- The last term: trajectories deviate from the mean of all, smoothly along z (M is Matérn's 3/2). S_ij is the share
  of trajectories that points i and j have in common, |C_i ∩ C_j| / (|C_i| |C_j|), so that points of one trajectory
  do not count as independent.

The likelihood of Y is that of A times Π l^b. L₀ is the geometric mean of L over the points, where that product is
one; with another L₀ the maximum would prefer whatever b makes Y small. The constant of f has a flat prior and is
integrated out. Everything here is in units in which z and A are of order one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.linalg import lapack

PHYSICS = ("critical", "a", "b")
NOISE = ("ln_jitter", "ln_scatter", "ln_persistence")
PARAMETERS = (*PHYSICS, "ln_amplitude", "ln_length", *NOISE, "ln_knee")
_PHYSICS, _SCATTER, _PERSISTENCE, _KNEE = slice(0, 3), 6, 7, 8
# Maxima are found on at most this many points, and only the last steps take all.
ROUGH_POINTS = 120
# Of a standard error: how close to the maximum is close enough.
TOLERANCE = 0.03
_DIFFERENCE = 0.02  # of a standard error, for second derivatives from gradients
_SHIFT = 0.2  # of ln τ, to see what depends on it
# Of the prior variance, a ten-thousandth of its amplitude: with less noise, rounding hides the curvature of exact data.
_FLOOR = 1e-8
FARTHEST = 50.0  # for any parameter: exponentials of more overflow, and only a lost line search asks
NOT_POSITIVE = 1e10  # instead of infinity, which a line search can't step back from


@dataclass(frozen=True)
class Observations:
    """Points of a collapse in units of order one; n of them."""

    control: np.ndarray  # (n,) z
    value: np.ndarray  # (n,) A
    variance: np.ndarray  # (n,) σ²
    log_size: np.ndarray  # (n,) ln(L / L₀), of mean 0
    shared: np.ndarray | None  # (n, n) S, or None where every point is independent

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Points with a trajectory in common: first, second, |z − z'|, S. Most pairs have none."""
        first, second = np.nonzero(self.shared)
        distance = np.abs(self.control[first] - self.control[second])
        return first, second, distance, self.shared[first, second]

    def subset(self, chosen: np.ndarray) -> Observations:
        """The chosen points, with L₀ as it was."""
        shared = None if self.shared is None else self.shared[np.ix_(chosen, chosen)]
        columns = (self.control, self.value, self.variance, self.log_size)
        return Observations(*(column[chosen] for column in columns), shared)

    def scaled(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """X = (z − z_c) l^a and Y = A l^−b."""
        critical, a, b = parameters[_PHYSICS]
        return (self.control - critical) * np.exp(a * self.log_size), self.value * np.exp(-b * self.log_size)


class Prior(NamedTuple):
    """Normal, in the order of `PARAMETERS`; flat where the precision is 0."""

    mean: np.ndarray  # (9,)
    precision: np.ndarray  # (9, 9) inverse covariance


class Maximum(NamedTuple):
    """Where the posterior density is largest, and its curvature there."""

    parameters: np.ndarray
    free: np.ndarray  # bool; the others are held
    covariance: np.ndarray  # (9, 9) inverse of the curvature; 0 where held
    log_likelihood: float  # without priors
    degrees: np.ndarray  # (3,) degrees of freedom behind the variances of z_c, a and b


def negative_log_posterior(
    parameters: np.ndarray, points: Observations, prior: Prior
) -> tuple[float, np.ndarray]:
    """−ln p and its gradient.

    With r = Y − β, β the mean by generalised least squares, g = K⁻¹ 1 and s = 1ᵀ g:
    −ln p = ½ rᵀ K⁻¹ r + ½ ln |K| + ½ ln s + ½ (n − 1) ln 2π + ½ (p − p₀)ᵀ P (p − p₀).
    """
    likelihood, gradient = negative_log_likelihood(parameters, points)
    away = parameters - prior.mean
    pull = prior.precision @ away
    return likelihood + 0.5 * float(away @ pull), gradient + pull


def negative_log_likelihood(parameters: np.ndarray, points: Observations) -> tuple[float, np.ndarray]:
    """The part of `negative_log_posterior` without priors."""
    if np.abs(parameters).max() > FARTHEST:
        return NOT_POSITIVE, np.zeros(len(parameters))
    terms = _covariance(parameters, points)
    inverse, log_determinant = _inverse(terms.total)
    if inverse is None:
        return NOT_POSITIVE, np.zeros(len(parameters))
    _, scaled_value = points.scaled(parameters)
    solved_ones = inverse.sum(axis=1)
    precision = solved_ones.sum()
    solved = inverse @ scaled_value - solved_ones * (solved_ones @ scaled_value) / precision
    value = 0.5 * (scaled_value @ solved + log_determinant + np.log(precision))
    value += 0.5 * (len(scaled_value) - 1) * np.log(2 * np.pi)
    # d(−ln p) = Σ weight ∘ dK + solvedᵀ dY
    weight = inverse
    weight -= np.outer(solved, solved)
    weight -= np.outer(solved_ones, solved_ones / precision)
    weight *= 0.5
    gradient = _gradient(parameters, points, terms, weight)
    gradient[2] -= solved @ (scaled_value * points.log_size)
    return float(value), gradient


class _Covariance(NamedTuple):
    total: np.ndarray
    smooth: np.ndarray  # of the scaling function
    scatter: np.ndarray | None  # of the trajectories, at the pairs of points that share one
    measured: np.ndarray  # (n,) σ² l^−2b


def _covariance(parameters: np.ndarray, points: Observations) -> _Covariance:
    _, _, b, ln_amplitude, ln_length, ln_jitter, ln_scatter, ln_persistence, ln_knee = parameters
    warped = warp(points.scaled(parameters)[0], ln_knee)
    smooth = _squared_exponential(warped, ln_amplitude, ln_length)
    measured = points.variance * np.exp(-2 * b * points.log_size)
    total, scatter = smooth.copy(), None
    if points.shared is not None:
        first, second, distance, shared = points.pairs
        scatter = shared * persistent(distance, ln_scatter, ln_persistence)
        total[first, second] += scatter
    total.flat[:: len(total) + 1] += measured + np.exp(2 * ln_jitter) + _FLOOR * np.exp(2 * ln_amplitude)
    return _Covariance(total, smooth, scatter, measured)


def warp(scaled_control: np.ndarray, ln_knee: float) -> np.ndarray:
    """w asinh(X / w): X well within the knee w, and ± w ln |2 X / w| beyond."""
    knee = np.exp(ln_knee)
    return knee * np.arcsinh(scaled_control / knee)


def persistent(distance: np.ndarray, ln_scatter: float, ln_persistence: float) -> np.ndarray:
    """τ² (1 + d) e^−d with d = √3 |z − z'| / μ (Matérn's, 3/2): how a trajectory's deviation holds along z."""
    distance = distance * (np.sqrt(3) * np.exp(-ln_persistence))
    return (1 + distance) * np.exp(2 * ln_scatter - distance)


def _squared_exponential(
    positions: np.ndarray, ln_amplitude: float, ln_length: float, others: np.ndarray | None = None
) -> np.ndarray:
    others = positions if others is None else others
    scale = np.exp(-ln_length) / np.sqrt(2)
    exponent = np.subtract.outer(positions * scale, others * scale)
    np.square(exponent, out=exponent)
    np.subtract(2 * ln_amplitude, exponent, out=exponent)
    return np.exp(exponent, out=exponent)


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Inverse and ln determinant of a positive matrix by Cholesky, in its memory; None where it is none."""
    if not np.isfinite(matrix).all():
        return None, np.inf
    # LAPACK's upper triangle in Fortran's order is the lower one in C's, and the matrix is symmetric.
    factor, failed = lapack.dpotrf(matrix.T, lower=True, overwrite_a=True, clean=False)
    if failed:
        return None, np.inf
    log_determinant = 2 * np.log(factor.diagonal()).sum()
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    lower = np.tril(inverse, -1)
    inverse = lower + lower.T + np.diag(inverse.diagonal())
    return inverse, float(log_determinant)


def _gradient(
    parameters: np.ndarray, points: Observations, terms: _Covariance, weight: np.ndarray
) -> np.ndarray:
    """Σ weight ∘ dK for each parameter."""
    _, a, _, ln_amplitude, ln_length, ln_jitter, _, ln_persistence, ln_knee = parameters
    scaled_control, _ = points.scaled(parameters)
    warped = warp(scaled_control, ln_knee)
    slope = 1 / np.sqrt(1 + (scaled_control * np.exp(-ln_knee)) ** 2)  # of the warped against X
    diagonal = weight.diagonal()
    moved = _Moved.of(weight * terms.smooth, warped, np.exp(-2 * ln_length))
    gradient = np.zeros(len(PARAMETERS))
    gradient[0] = moved.by(np.exp(a * points.log_size) * slope)
    gradient[1] = -moved.by(scaled_control * points.log_size * slope)
    gradient[2] = -2 * diagonal @ (terms.measured * points.log_size)
    gradient[3] = 2 * moved.row_sums.sum() + 2 * _FLOOR * np.exp(2 * ln_amplitude) * diagonal.sum()
    gradient[4] = moved.by(warped)
    gradient[_KNEE] = -moved.by(warped - scaled_control * slope)
    gradient[5] = 2 * np.exp(2 * ln_jitter) * diagonal.sum()
    if terms.scatter is not None:
        first, second, distance, _ = points.pairs
        weighted = weight[first, second] * terms.scatter
        distance = distance * (np.sqrt(3) * np.exp(-ln_persistence))
        gradient[_SCATTER] = 2 * weighted.sum()
        gradient[_PERSISTENCE] = weighted @ (distance**2 / (1 + distance))
    return gradient


class _Moved(NamedTuple):
    """Σ_ij H_ij (X_i − X_j)(v_i − v_j) / length² without the matrix of differences: H is symmetric."""

    weighted: np.ndarray
    row_sums: np.ndarray
    positions: np.ndarray
    inverse_square_length: float

    @classmethod
    def of(cls, weighted, positions, inverse_square_length) -> _Moved:
        return cls(weighted, weighted.sum(axis=1), positions, inverse_square_length)

    def by(self, shift: np.ndarray) -> float:
        own = self.row_sums @ (self.positions * shift)
        return float(2 * self.inverse_square_length * (own - self.positions @ (self.weighted @ shift)))


def maximise(points: Observations, prior: Prior, starts: Sequence[np.ndarray], free: np.ndarray) -> Maximum:
    """The largest posterior density that is reached from the starts.

    The most likely three starts are followed on a subset of at most `ROUGH_POINTS` points, evenly through
    each size; the best of them goes on with all points, in coordinates in which the curvature is one.

    Args:
        points: n of them; time grows as n³.
        prior: of every parameter.
        starts: parameters to start from; where not free, they are kept.
        free: (9,) bool, which parameters to fit.

    Returns:
        The best maximum with z_c within the window if a start leads to one, else the best anywhere; its covariance
        is NaN where the curvature is not positive.
    """
    rough = points.subset(_evenly(points, ROUGH_POINTS))
    promising = sorted(starts, key=lambda start: negative_log_posterior(start, rough, prior)[0])[:3]
    followed = [_descend(start, rough, prior, free, _guess_scale(free))[0] for start in promising]
    inside = [end for end in followed if abs(end[0]) < 1 or not free[0]]
    best = min(inside or followed, key=lambda end: negative_log_posterior(end, rough, prior)[0])
    # Once more, from a fresh guess of the curvature: a line search that lost its way stops too early.
    best, scale = _descend(best, rough, prior, free, _guess_scale(free))
    try:
        scale = _whitener(best, rough, prior, free, scale)
        best, scale = _descend(best, points, prior, free, scale)
        scale = _whitener(best, points, prior, free, scale, two_sided=False)
        covariance = scale @ scale.T
        widening, degrees = _unknown_scatter(best, rough, prior, free, covariance)
    except np.linalg.LinAlgError:
        return Maximum(best, free, np.full((len(PARAMETERS),) * 2, np.nan), np.nan, np.full(3, np.nan))
    log_likelihood = -negative_log_likelihood(best, points)[0]
    return Maximum(best, free, covariance * np.outer(widening, widening), log_likelihood, degrees)


def _unknown_scatter(
    at, points: Observations, prior: Prior, free: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a scatter τ known from few trajectories does to the errors: their factor (9,) and degrees (3,).

    With t = ln τ of the given variance and V(t) the covariance of z_c, a and b: fitting those along with t
    takes degrees of freedom from the scatter, and integrating over them puts the maximum of t higher by
    Var(t) ½ d ln|V| / dt (restricted maximum likelihood, to first order). Where V_ii changes by
    s = d ln V_ii / dt, it has 2 / (s² Var(t)) degrees of freedom (Satterthwaite, Biometrics 2, 110, 1946).
    Factors of V drop out, so that not all points are needed.
    """
    physics = free & (np.arange(len(PARAMETERS)) < 3)
    widening, degrees = np.ones(len(PARAMETERS)), np.full(3, np.inf)
    if not (physics.any() and free[_SCATTER]):
        return widening, degrees
    variance = covariance[_SCATTER, _SCATTER]
    shift = _SHIFT * (np.arange(len(PARAMETERS)) == _SCATTER)
    scale = np.diag(np.sqrt(covariance.diagonal()))[:, physics]
    smaller, larger = (
        _whitener(at + sign * shift, points, prior, physics, scale)[physics] for sign in (-1, 1)
    )
    slope = np.log((larger**2).sum(axis=1) / (smaller**2).sum(axis=1)) / (2 * _SHIFT)
    slope_determinant = 2 * (np.linalg.slogdet(larger)[1] - np.linalg.slogdet(smaller)[1]) / (2 * _SHIFT)
    widening[physics] = np.exp(0.5 * slope * variance * 0.5 * slope_determinant)
    with np.errstate(divide="ignore"):
        degrees[physics[_PHYSICS]] = np.maximum(2 / (slope**2 * variance), 1.0)
    return widening, degrees


def refit(maximum: Maximum, points: Observations, prior: Prior) -> np.ndarray:
    """The physics (z_c, a, b) of other points, with all else held as in the maximum, from where that is."""
    free = maximum.free & np.isin(np.arange(len(PARAMETERS)), np.arange(3))
    curvature = np.linalg.inv(maximum.covariance[np.ix_(maximum.free, maximum.free)])
    held = free[maximum.free]
    scale = np.zeros((len(PARAMETERS), free.sum()))
    scale[free] = np.linalg.cholesky(np.linalg.inv(curvature[np.ix_(held, held)]))
    return _descend(maximum.parameters, points, prior, free, scale)[0][_PHYSICS]


def _evenly(points: Observations, most: int) -> np.ndarray:
    order = np.lexsort((points.control, points.log_size))
    if len(order) <= most:
        return np.sort(order)
    return np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])


def _guess_scale(free: np.ndarray) -> np.ndarray:
    """Steps of a first search: a fiftieth of the window, a tenth in exponents, a third in logarithms."""
    steps = np.array([0.02, 0.1, 0.1, *[0.3] * 6])
    return np.diag(steps)[:, free]


def _descend(
    start, points: Observations, prior: Prior, free: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A minimum of −ln p, and a (9, free) guess of W with W Wᵀ its inverse curvature.

    Args:
        start: (9,) parameters.
        scale: (9, free) such a guess to begin with.
    """

    def objective(steps):
        value, gradient = negative_log_posterior(start + scale @ steps, points, prior)
        return value, scale.T @ gradient

    found = optimize.minimize(
        objective, np.zeros(free.sum()), jac=True, method="BFGS", options={"gtol": TOLERANCE, "maxiter": 100}
    )
    eigenvalues, eigenvectors = np.linalg.eigh(found.hess_inv)
    # An update that went wrong must not stretch or flatten a direction out of sight.
    root = np.sqrt(np.clip(eigenvalues, 1e-12, 1e4))
    return start + scale @ found.x, scale @ (eigenvectors * root)


def _whitener(
    at, points: Observations, prior: Prior, free: np.ndarray, scale: np.ndarray, two_sided: bool = True
) -> np.ndarray:
    """(9, free) W with W Wᵀ the inverse curvature of −ln p, from differences of its gradient.

    Args:
        scale: (9, free) a guess of W, which sets the steps.
        two_sided: needed where the guess may be far off; one side costs half, and a third derivative's part.

    Raises:
        np.linalg.LinAlgError: the curvature is not positive.
    """

    def gradient(steps):
        return scale.T @ negative_log_posterior(at + scale @ steps, points, prior)[1]

    steps = _DIFFERENCE * np.eye(free.sum())
    ahead = np.array([gradient(step) for step in steps])
    if two_sided:
        curvature = (ahead - [gradient(-step) for step in steps]) / (2 * _DIFFERENCE)
    else:
        curvature = (ahead - gradient(0 * steps[0])) / _DIFFERENCE
    eigenvalues, eigenvectors = np.linalg.eigh((curvature + curvature.T) / 2)
    if eigenvalues[0] <= 0:
        raise np.linalg.LinAlgError("the curvature of the posterior is not positive")
    return scale @ (eigenvectors / np.sqrt(eigenvalues))


def predict(
    parameters: np.ndarray, points: Observations, scaled_control: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the scaling function at X, given the parameters and the points."""
    terms = _covariance(parameters, points)
    inverse, _ = _inverse(terms.total)
    positions, scaled_value = points.scaled(parameters)
    ln_amplitude, ln_length = parameters[3:5]
    grid, positions = warp(scaled_control, parameters[_KNEE]), warp(positions, parameters[_KNEE])
    cross = _squared_exponential(grid, ln_amplitude, ln_length, positions)
    solved_ones = inverse.sum(axis=1)
    precision = solved_ones.sum()
    level = solved_ones @ scaled_value / precision
    mean = level + cross @ (inverse @ (scaled_value - level))
    variance = np.exp(2 * ln_amplitude) - np.einsum("ij,ij->i", cross @ inverse, cross)
    variance += (1 - cross @ solved_ones) ** 2 / precision
    return mean, np.sqrt(np.maximum(variance, 0))


def noise_covariance(parameters: np.ndarray, points: Observations) -> np.ndarray:
    """(n, n) covariance of the scaled data about the scaling function."""
    terms = _covariance(parameters, points)
    return terms.total - terms.smooth
