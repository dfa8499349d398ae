"""The extrapolation to zero discarded weight, on series whose end is known."""

import numpy as np
import pytest

from nqs.extrapolation import extrapolated_energy


def test_a_straight_line_is_met_exactly():
    weights = np.array([1e-3, 4e-4, 1e-4, 2e-5])
    energy, error = extrapolated_energy(weights, -50 + 30 * weights)
    assert energy == pytest.approx(-50, abs=1e-12)
    assert error == pytest.approx(30 * 2e-5, rel=1e-6)


@pytest.mark.parametrize("power", [0.75, 0.85, 1.0, 1.2, 1.5, 2.0])
def test_the_bound_covers_the_end_of_a_bent_series(power):
    """E(w) = E₀ + a w^p: what is extrapolated by a line is wrong, and by less than is said."""
    weights = np.array([1e-3, 4e-4, 1e-4, 3e-5])
    energy, error = extrapolated_energy(weights, -50 + 5 * weights**power)
    assert abs(energy + 50) < error


def test_a_converged_series_keeps_its_last_energy_and_an_error():
    energy, error = extrapolated_energy([1e-15, 2e-16, 3e-16], [-50.0, -50.0 - 1e-13, -50.0 - 2e-13])
    assert energy == -50.0 - 2e-13
    assert error == pytest.approx(1e-9 * 50)


def test_two_bond_dimensions_are_refused():
    with pytest.raises(ValueError, match="takes at least 3"):
        extrapolated_energy([1e-3, 1e-4], [-1.0, -1.1])
