"""Extrapolations to zero discarded weight and to zero variance, where the end is known."""

import numpy as np
import pytest

from nqs.extrapolation import extrapolated_energy, zero_variance_energy


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


# --- to zero variance

VARIANCES = np.array([5e-2, 2e-2, 9e-3, 6e-3, 3e-3, 2e-3, 1e-3, 6e-4, 4e-4, 3e-4])


def energies_of_networks(generator, bend: float = 0.0, scatter: float = 0.0):
    """E = −50 + σ² / 4 + bend σ⁴ with slopes that scatter, and errors as 1e5 samples have."""
    errors = np.sqrt(VARIANCES / 1e5)
    slopes = 0.25 * (1 + scatter * generator.normal(size=len(VARIANCES)))
    noise = errors * generator.normal(size=len(VARIANCES))
    return -50 + slopes * VARIANCES + bend * VARIANCES**2 + noise, errors


def test_exact_energies_on_a_line_are_met_exactly():
    energy, fit, choice = zero_variance_energy(VARIANCES, -50 + VARIANCES / 4, np.zeros(10))
    assert energy == pytest.approx(-50, abs=1e-11)
    assert max(fit, choice) < 1e-11


@pytest.mark.parametrize("scatter", [0.0, 0.3])
def test_the_error_of_the_fit_covers_at_its_rate(scatter):
    """One standard error: 68 % of 400 studies, to three of their standard errors; networks scatter or not."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        found = zero_variance_energy(VARIANCES, *energies_of_networks(generator, scatter=scatter))
        covered += abs(found.energy + 50) <= found.error_of_fit
    assert 0.61 <= covered / 400 <= 0.75


@pytest.mark.parametrize("bend", [-3.0, -1.0, -0.3, 0.3, 1.0, 3.0])
def test_both_errors_cover_where_the_energies_bend(bend):
    """Exact energies on a parabola, by up to 60 % of the linear part; the fit takes curvature for scatter."""
    energies = -50 + VARIANCES / 4 + bend * VARIANCES**2
    energy, fit, choice = zero_variance_energy(VARIANCES, energies, np.zeros(10))
    assert fit < abs(energy + 50) <= np.hypot(fit, choice)


def test_one_network_apart_changes_the_choice_and_hardly_the_energy():
    energies = -50 + VARIANCES / 4
    energies[0] += 1.0
    found = zero_variance_energy(VARIANCES, energies, np.full(10, 1e-5))
    assert found.error_of_choice > 1e-6
    assert abs(found.energy + 50) <= max(found.error_of_fit, found.error_of_choice)


def test_the_order_of_networks_does_not_matter():
    energies, errors = energies_of_networks(np.random.default_rng(1), scatter=0.3)
    order = np.random.default_rng(2).permutation(10)
    shuffled = zero_variance_energy(VARIANCES[order], energies[order], errors[order])
    assert shuffled == pytest.approx(zero_variance_energy(VARIANCES, energies, errors), rel=1e-10)


def test_five_networks_are_refused():
    with pytest.raises(ValueError, match="5 networks.*at least 6"):
        zero_variance_energy(VARIANCES[:5], VARIANCES[:5], VARIANCES[:5])
