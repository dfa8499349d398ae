"""Energies at zero discarded weight and at zero variance, with errors; the driver's too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Two for the line, and one more to see whether it bends.
POINTS = 3
# Sweeps stop at changes of 1e-9, and a line through energies that are equal but for that has no meaning.
LEAST_RELATIVE_ERROR = 1e-9


def extrapolated_energy(weights: Sequence[float], energies: Sequence[float]) -> tuple[float, float]:
    """Energy at zero discarded weight and a bound on its error, units of J.

    E(w) = E₀ + a w through the last two points; a series that no longer falls keeps its last energy. The bound is
    the whole way that was extrapolated: upwards it cannot be more, since the last energy is variational. Half of it
    missed the exact energy of a periodic 4 × 4 lattice at 96 (docs/references.md). Where the line through the two
    points before ends further away, the bound is that distance.

    Args:
        weights: discarded weights, by ascending bond dimension.
        energies: variational energies, as many.

    Raises:
        ValueError: fewer than three points.
    """
    if len(energies) < POINTS:
        raise ValueError(f"{len(energies)} bond dimensions; an extrapolation takes at least {POINTS}")
    last, floor = float(energies[-1]), LEAST_RELATIVE_ERROR * abs(float(energies[-1]))
    if weights[-2] <= weights[-1] or energies[-2] - energies[-1] <= floor:
        return last, floor
    energy = _intercept(weights[-2:], energies[-2:])
    before = _intercept(weights[-3:-1], energies[-3:-1])
    return energy, max(last - energy, abs(before - energy), floor)


def _intercept(weights: Sequence[float], energies: Sequence[float]) -> float:
    """Where the line through two points meets weight 0; the lower point where it is no line."""
    if weights[0] <= weights[1]:
        return float(energies[1])
    slope = (energies[0] - energies[1]) / (weights[0] - weights[1])
    return float(energies[1] - slope * weights[1])


class ZeroVariance(NamedTuple):
    """An energy extrapolated to zero variance, units of J.

    Attributes:
        energy: where the line meets zero variance.
        error_of_fit: one standard error, from the energies' errors and the points' scatter about the line.
        error_of_choice: the most that the energy changes when a point is left out, or the half of the points with
            the larger variances.
    """

    energy: float
    error_of_fit: float
    error_of_choice: float


def zero_variance_energy(
    variances: Sequence[float], energies: Sequence[float], errors: Sequence[float]
) -> ZeroVariance:
    """The energy of an eigenstate that trained networks of different quality point to.

    E = E₀ + a σ² by weighted least squares. σ² is 0 in an eigenstate alone, and a state that mixes in a part ε of
    others has E − E₀ and σ² of order ε. Networks mix in others differently, so beside its own error
    each point scatters in proportion to its variance, s σ²: the smallest s ≥ 0 that leaves no χ² above the
    degrees of freedom (Paule & Mandel 1982). Errors of the variances are neglected.

    Args:
        variances: of the energy, total or per spin.
        energies: as many, with their standard `errors`; 0 where they were summed exactly.

    Raises:
        ValueError: fewer than six points: half of them are fitted too, and a line needs three to show a scatter.
    """
    points = np.array([variances, energies, errors], float)
    points = points[:, np.argsort(points[0])]
    count = points.shape[1]
    if count < 2 * POINTS:
        raise ValueError(f"{count} networks; an extrapolation to zero variance takes at least {2 * POINTS}")
    energy, error = _weighted_intercept(points)
    others = [np.delete(points, left_out, axis=1) for left_out in range(count)] + [points[:, : count // 2]]
    return ZeroVariance(energy, error, max(abs(_weighted_intercept(chosen)[0] - energy) for chosen in others))


def _weighted_intercept(points: np.ndarray) -> tuple[float, float]:
    """Where the line through (variances, energies, errors) meets variance 0, and its standard error."""
    variances, energies, errors = points
    # Mean variances of order 1 leave the normal equations well-conditioned.
    design = np.stack([np.ones_like(variances), variances / variances.mean()], axis=1)

    def fitted(scatter: float) -> tuple[float, float, float]:
        weights = 1 / (errors**2 + (scatter * variances) ** 2)
        covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
        line = covariance @ design.T @ (weights * energies)
        excess = float(weights @ (energies - design @ line) ** 2) - (len(energies) - 2)
        return float(line[0]), float(covariance[0, 0]) ** 0.5, excess

    if errors.min() > 0:
        energy, error, excess = fitted(0.0)
        if excess <= 0:
            return energy, error
    low, high = 0.0, float(np.abs(energies - energies.mean()).max() / variances.min())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fitted(middle)[2] > 0 else (low, middle)
    return fitted(high)[:2]
