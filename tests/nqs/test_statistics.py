"""Error bars, autocorrelation times and R-hat on series whose answers are known."""

import numpy as np
import pytest

from nqs.statistics import autocorrelation_time, drift, estimate, split_r_hat


def autoregressive(generator, sweeps, chains, rho):
    """Stationary AR(1) of unit variance: ρ_t = ρ^t, τ = 1/2 + ρ/(1 − ρ)."""
    series = np.empty((sweeps, chains))
    series[0] = generator.normal(size=chains)
    for t in range(1, sweeps):
        series[t] = rho * series[t - 1] + np.sqrt(1 - rho**2) * generator.normal(size=chains)
    return series


def test_the_error_covers_the_truth_as_often_as_one_standard_error_must():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        mean, error = estimate(autoregressive(generator, 20, 64, 0.6))
        inside += abs(mean) < error
    # 68.3 ± 1.04 %; a wrong factor of 2 gives 38 or 95 %, ignoring correlations 42 %.
    assert 0.683 - 0.05 < inside / 2000 < 0.683 + 0.05


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
def test_the_autocorrelation_time_is_that_of_the_process(rho):
    series = autoregressive(np.random.default_rng(1), 60, 4000, rho)
    assert autocorrelation_time(series) == pytest.approx(0.5 + rho / (1 - rho), rel=0.08)


def test_r_hat_is_one_for_mixed_chains_and_large_for_stuck_or_drifting_ones():
    generator = np.random.default_rng(2)
    mixed = generator.normal(size=(20, 500))
    assert split_r_hat(mixed) == pytest.approx(1, abs=0.02)
    # Two thirds of the variance lie between chains: R² = (n−1)/n + 2 for halves of 10.
    stuck = mixed + np.sqrt(2) * generator.normal(size=500)
    assert split_r_hat(stuck) == pytest.approx(np.sqrt(3), rel=0.1)
    assert split_r_hat(mixed + np.linspace(-2, 2, 20)[:, None]) > 1.2


def test_the_drift_is_the_slope_and_its_error_covers_it_in_correlated_noise():
    generator = np.random.default_rng(3)
    pulls = []
    for _ in range(400):
        noise = autoregressive(generator, 200, 1, 0.5)[:, 0]
        slope, error = drift(0.02 * np.arange(200) + noise)
        pulls.append((slope - 0.02) / error)
    assert abs(np.mean(pulls)) < 4 * np.std(pulls) / 20
    # Student's t with 8 degrees of freedom: 65 % within one error.
    assert 0.55 < np.mean(np.abs(pulls) < 1) < 0.73


def test_too_short_a_series_has_no_error():
    assert np.isnan(drift(np.array([1.0, 2.0])).error)
    assert drift(np.array([1.0, 2.0])).mean == 1.0
