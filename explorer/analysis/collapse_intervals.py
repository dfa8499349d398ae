"""Bootstrap intervals of a collapse: other trajectories, or other noise, and the fit again.

The refits start at the fit and move x_c, a and b alone; the parameters of the scaling function and of the noise
stay, so they are weights and not part of the spread.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from explorer.analysis import scaling_process
from explorer.analysis.collapse import Collapse, estimates
from explorer.analysis.collapse_data import CollapseData
from explorer.analysis.scaling_process import Observations

BY_CLUSTERS = "bootstrap over trajectories"
BY_NOISE = "parametric bootstrap"
# With fewer on a side the spread between them is known too badly, and its smallest sets have no spread at all.
FEWEST_CLUSTERS = 5


def bootstrapped(fit: Collapse, resamples: int = 200, *, seed: int, method: str | None = None) -> Collapse:
    """The fit with intervals value ± quantile × standard deviation of refits, the quantile Student's.

    Args:
        fit: from `collapse`.
        resamples: refits.
        seed: of the draws.
        method: `BY_CLUSTERS` draws whole trajectories with replacement within each side, one fewer than it
            has, which makes the variance of their mean the unbiased s² / R (Rao and Wu, J. Am. Stat. Assoc.
            83, 231, 1988). `BY_NOISE` draws noise of the fitted covariance about the fitted scaling
            function. None takes the former where every side has `FEWEST_CLUSTERS`, else the latter.

    Raises:
        ValueError: BY_CLUSTERS with a side that has one trajectory, no such method, or nothing fitted.
    """
    if not fit.form.free:
        raise ValueError("all of x_c, a and b are held, so there is nothing to refit")
    fewest = min(fit.clusters.values())
    clustered = fit.data.observations.shared is not None and fewest >= FEWEST_CLUSTERS
    method = method or (BY_CLUSTERS if clustered else BY_NOISE)
    if method not in (BY_CLUSTERS, BY_NOISE):
        raise ValueError(f"method is {method!r}; allowed: {BY_CLUSTERS!r}, {BY_NOISE!r}")
    if method == BY_CLUSTERS and fewest < 2:
        raise ValueError("a side has one trajectory, which can't be drawn anew; use the parametric bootstrap")
    random = np.random.default_rng(seed)
    draw = _clusters if method == BY_CLUSTERS else _noise(fit)
    refits = np.array(
        [scaling_process.refit(fit.maximum, draw(random, fit.data), fit.prior) for _ in range(resamples)]
    )
    errors = refits.std(axis=0, ddof=1)
    degrees = fit.maximum.degrees if method == BY_NOISE else sum(fit.clusters.values()) - len(fit.clusters)
    half_width = stats.t.ppf((1 + fit.confidence) / 2, degrees) * errors
    values = fit.maximum.parameters[:3]
    critical, a, b = estimates(fit.data, values, errors, values - half_width, values + half_width)
    return replace(fit, critical=critical, a=a, b=b, interval=method, resamples=resamples)


def _clusters(random: np.random.Generator, data: CollapseData) -> Observations:
    rows = data.rows
    times = np.zeros(rows.cluster.max() + 1, int)
    for side in np.unique(rows.side):
        clusters = np.unique(rows.cluster[rows.side == side])
        np.add.at(times, random.choice(clusters, len(clusters) - 1), 1)
    return data.drawn(times)


def _noise(fit: Collapse):
    observations, parameters = fit.data.observations, fit.maximum.parameters
    scaled_control, _ = observations.scaled(parameters)
    mean, _ = scaling_process.predict(parameters, observations, scaled_control)
    factor = np.linalg.cholesky(scaling_process.noise_covariance(parameters, observations))
    unscale = np.exp(parameters[2] * observations.log_size)

    def draw(random: np.random.Generator, data: CollapseData) -> Observations:
        return replace(observations, value=unscale * (mean + factor @ random.standard_normal(len(mean))))

    return draw
