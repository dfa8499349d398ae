"""Error bars of Markov-chain averages: from chain means, with autocorrelation time and split R-hat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    error: float


def estimate(records: np.ndarray) -> Estimate:
    """Mean of (sweeps, chains) records; the error is the spread of the chain means.

    The chains are independent, so this needs no autocorrelation time.
    """
    means = records.mean(0)
    return Estimate(float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means))))


def autocorrelation_time(records: np.ndarray) -> float:
    """Integrated autocorrelation time in sweeps, 1/2 for independent records… up to sweeps/2.

    τ = 1/2 + Σ_t ρ_t, with autocovariances pooled over chains around the common mean. The sum goes over
    pairs (1, 2), (3, 4), … and ends before the first one that is not positive, in the manner of Geyer 1992.

    Args:
        records: (sweeps, chains).
    """
    centred = records - records.mean()
    sweeps = len(records)
    covariances = np.array([(centred[: sweeps - t] * centred[t:]).mean() for t in range(sweeps)])
    if covariances[0] <= 0:
        return 0.5
    correlations = covariances / covariances[0]
    total = 0.5
    for start in range(1, sweeps - 1, 2):
        pair = correlations[start] + correlations[start + 1]
        if pair <= 0:
            break
        total += pair
    return float(total)


def split_r_hat(records: np.ndarray) -> float:
    """Split R-hat of (sweeps, chains) records (Gelman et al. 2013, Eq. 11.4): near 1 when mixed.

    Each chain is cut into halves, so that a common drift shows as well.
    """
    half = len(records) // 2
    halves = np.concatenate([records[:half], records[half : 2 * half]], axis=1)
    within = halves.var(axis=0, ddof=1).mean()
    between = half * halves.mean(0).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else float("inf")
    return float(np.sqrt((half - 1) / half + between / (half * within)))


def drift(energies: np.ndarray) -> Estimate:
    """Slope of a series a step, with an error that allows for correlated neighbours.

    The series is averaged in ten blocks first: neighbouring steps share their chains, blocks of several
    correlation times do not. Blocks of a few steps do, and the error is then too small: at 20 steps and a
    correlation of 0.5 between neighbours it covers 51 % instead of 65 %.

    Args:
        energies: (steps,).

    Returns:
        Least-squares slope and its standard error; NaN error for fewer than three blocks, NaN for fewer than two.
    """
    blocks = min(10, len(energies))
    if blocks < 2:
        return Estimate(float("nan"), float("nan"))
    parts = np.array_split(np.asarray(energies, float), blocks)
    centres = np.cumsum([len(p) for p in parts]) - np.array([(len(p) + 1) / 2 for p in parts])
    means = np.array([p.mean() for p in parts])
    x = centres - centres.mean()
    slope = float(x @ means / (x @ x))
    if blocks < 3:
        return Estimate(slope, float("nan"))
    residual = means - means.mean() - slope * x
    return Estimate(slope, float(np.sqrt(residual @ residual / (blocks - 2) / (x @ x))))
