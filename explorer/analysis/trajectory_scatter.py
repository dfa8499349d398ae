"""How far trajectories of one side lie apart, and over what stretch of the control parameter.

Differences between trajectories know nothing of the scaling function, so they tell its noise from its shape.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize

from explorer.analysis.collapse_data import POINTS_OF_A_CLUSTER, CollapseData
from explorer.analysis.scaling_process import FARTHEST, NOT_POSITIVE, persistent

# Deviations are smooth along the control parameter, so more points of a side add time and little else.
MOST_POINTS_OF_A_SIDE = 20


class Scatter(NamedTuple):
    """Normal approximation for ln κ (jitter), ln τ (scatter) and ln μ (persistence) in the units of the fit."""

    mean: np.ndarray  # (3,)
    covariance: np.ndarray  # (3, 3)


class _Side(NamedTuple):
    """Residuals of R trajectories at the p control parameters that all of them have, scaled by l^−b."""

    distance: np.ndarray  # (p, p) |z − z'|
    variance: np.ndarray  # (p,) of one measurement
    products: np.ndarray  # (p, p) Σ r rᵀ about the mean of the trajectories
    degrees: int  # R − 1


def scatter_between(data: CollapseData, b: float, mean: np.ndarray, precision: np.ndarray) -> Scatter:
    """Scatter within the sides that have two trajectories or more; the prior where none has.

    With C = diag(σ² + κ²) + τ² (Matérn of μ), the density of the residuals is ∝ Π |C|^−ν/2 exp(−½ tr C⁻¹ Σ r rᵀ)
    with ν = R − 1: the restricted likelihood, in which the mean curve of a side is integrated out.

    Args:
        data: of the collapse.
        b: exponent by which values are scaled; a guess will do.
        mean, precision: (3,), (3, 3) of the normal prior.
    """
    sides = [side for one in np.unique(data.rows.side) if (side := _side(data, one, b)) is not None]
    if not sides:
        return Scatter(mean, np.linalg.inv(precision))

    def objective(logarithms):
        away = logarithms - mean
        return 0.5 * away @ precision @ away + sum(
            _negative_log_likelihood(logarithms, side) for side in sides
        )

    degrees = sum(side.degrees for side in sides)
    seen = sum(side.products.diagonal().mean() for side in sides) / degrees
    start = np.array([mean[0], 0.5 * np.log(max(seen, np.exp(2 * mean[1] - 4))), mean[2]])
    found = optimize.minimize(objective, start, method="BFGS", options={"gtol": 0.02})
    curvature = _curvature(objective, found.x)
    eigenvalues, vectors = np.linalg.eigh(curvature)
    # Away from a clear maximum the prior's width is what is known.
    eigenvalues = np.maximum(eigenvalues, precision.diagonal().min())
    return Scatter(found.x, (vectors / eigenvalues) @ vectors.T)


def _side(data: CollapseData, side: int, b: float) -> _Side | None:
    rows, units = data.rows.subset(data.rows.side == side), data.units
    clusters = np.unique(rows.cluster)
    controls, shared = np.unique(rows.control, return_counts=True)
    common = controls[shared == len(clusters)]
    if len(clusters) < 2 or len(common) < POINTS_OF_A_CLUSTER:
        return None
    if len(common) > MOST_POINTS_OF_A_SIDE:
        common = common[np.linspace(0, len(common) - 1, MOST_POINTS_OF_A_SIDE).round().astype(int)]
    rows = rows.subset(np.isin(rows.control, common))
    order = np.lexsort((rows.control, rows.cluster))
    scale = (side / units.size) ** -b / units.value
    values = rows.value[order].reshape(len(clusters), -1) * scale
    errors = rows.error[order].reshape(len(clusters), -1) * scale
    residuals = values - values.mean(axis=0)
    distance = np.abs(np.subtract.outer(common, common)) / units.half_width
    return _Side(distance, (errors**2).mean(axis=0), residuals.T @ residuals, len(clusters) - 1)


def _negative_log_likelihood(logarithms: np.ndarray, side: _Side) -> float:
    if np.abs(logarithms).max() > FARTHEST:
        return NOT_POSITIVE
    ln_jitter, ln_scatter, ln_persistence = logarithms
    covariance = persistent(side.distance, ln_scatter, ln_persistence)
    # A ten-billionth more, against rounding where the errors are zero.
    covariance.flat[:: len(covariance) + 1] += (
        side.variance + np.exp(2 * ln_jitter) + 1e-10 * covariance[0, 0]
    )
    try:
        factor = linalg.cho_factor(covariance, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return NOT_POSITIVE
    log_determinant = 2 * np.log(factor[0].diagonal()).sum()
    return 0.5 * (side.degrees * log_determinant + np.trace(linalg.cho_solve(factor, side.products)))


def _curvature(objective, at: np.ndarray, step: float = 0.05) -> np.ndarray:
    """(3, 3) second differences."""
    steps = step * np.eye(len(at))
    corners = [
        [
            objective(at + i + j) - objective(at + i - j) - objective(at - i + j) + objective(at - i - j)
            for j in steps
        ]
        for i in steps
    ]
    return np.array(corners) / (4 * step**2)
