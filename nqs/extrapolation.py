"""The energy of a DMRG series at zero discarded weight, with an error; the driver's too."""

from __future__ import annotations

from collections.abc import Sequence

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
