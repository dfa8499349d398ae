"""The energy of a DMRG series at zero discarded weight, with an error; the driver's too, so numpy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The line goes through the largest bond dimensions: the smaller ones are not in the linear range.
POINTS = 3
# The bound is this part of the way from the last energy to the extrapolated one: docs/references.md has its check.
PART_OF_THE_WAY = 0.5
# Sweeps stop at changes of 1e-9, and a line through energies that are equal but for that has no meaning.
LEAST_RELATIVE_ERROR = 1e-9


def extrapolated_energy(weights: Sequence[float], energies: Sequence[float]) -> tuple[float, float]:
    """Energy at zero discarded weight and a bound on its error, units of J.

    E(w) = E₀ + a w is fitted to the last three points; a series that no longer falls keeps its last energy.
    The bound is half of the way that was extrapolated, or what leaving out one of the points changes, whichever
    is more.

    Args:
        weights: discarded weights, by ascending bond dimension.
        energies: variational energies, as many.

    Raises:
        ValueError: fewer than three points.
    """
    if len(energies) < POINTS:
        raise ValueError(f"{len(energies)} bond dimensions; an extrapolation takes at least {POINTS}")
    weights, energies = np.array(weights[-POINTS:]), np.array(energies[-POINTS:])
    last, floor = float(energies[-1]), LEAST_RELATIVE_ERROR * abs(float(energies[-1]))
    if weights[0] <= weights[-1] or energies[0] - energies[-1] <= floor:
        return last, floor
    energy = _intercept(weights, energies)
    others = [_intercept(np.delete(weights, i), np.delete(energies, i)) for i in range(POINTS)]
    spread = max(abs(other - energy) for other in others)
    return energy, max(PART_OF_THE_WAY * abs(last - energy), spread, floor)


def _intercept(weights: np.ndarray, energies: np.ndarray) -> float:
    if weights[0] == weights[-1]:
        return float(energies[-1])
    return float(np.polyfit(weights, energies, 1)[1])
