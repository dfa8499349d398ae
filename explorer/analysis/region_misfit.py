"""Is a mean curve of the fitted form? A lack-of-fit test against smooth departures, along trajectories.

At each density the residuals of the trajectories have what they share, the departure of the mean curve from the form,
and their own scatter, which is correlated from level to level (AR(1), correlation φ) and may be larger at some
densities than at others. Both are whitened, what the form's parameters can take up is projected out, and of the rest
the smoothest directions (cosines along the levels) are compared: with G trajectories,

    F = G |mean|² / (Σ |deviations from the mean|² / (G − 1)).

What F is without a departure is drawn: scatter of the same sizes and φ, through the same estimates. One trajectory has no
deviations. Its rougher residuals were tried in their place, φ among what they allow: of 100 curves with a pause of ± 2 in
the power law (benchmarks/regions.py) none was noticed, so one trajectory is not tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The shortest wavelength among so many cosines is a third of the levels. With ten, five trajectories of the made-up
# curves of benchmarks/regions.py were refused in 14 % at a nominal 5 %, with six in 9 % (100 curves).
_DIRECTIONS = 6
_DRAWS = 400
# The scatter at a density is the mean over its neighbours within so many levels, and this many of the overall mean.
_NEIGHBOURS, _SHRINKAGE = 3, 4.0
# Equal trajectories have no scatter to divide by; ln error has no structure of this size.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Misfit:
    """How a mean curve departs from its form.

    Attributes:
        probability: that scatter alone gives as large an F.
        size: root mean square of the smooth departure, less what scatter adds to it, in the residuals' unit.
        place: index of the density where the smooth departure is largest for the scatter there.
    """

    probability: float
    size: float
    place: int


def lack_of_fit(residuals: np.ndarray, jacobian: np.ndarray, generator: np.random.Generator) -> Misfit | None:
    """Test of a departure from the form; None where densities or trajectories are too few for one.

    Args:
        residuals: (trajectories, densities), along the levels.
        jacobian: (densities, parameters) of the form where it was fitted.
        generator: of the draws.
    """
    trajectories, densities = residuals.shape
    directions = min(_DIRECTIONS, (densities - jacobian.shape[1]) // 2)
    if directions < 2 or trajectories < 2:
        return None
    levels = np.arange(densities) + 0.5
    cosines = np.cos(np.pi / densities * np.outer(levels, np.arange(1, directions + 1)))
    found = _replicates(residuals[None], jacobian, cosines)
    normal = generator.standard_normal((_DRAWS, trajectories, densities))
    scatter = found.scale[:, None] * _correlated(normal, np.repeat(found.correlation, _DRAWS))
    drawn = _replicates(scatter, jacobian, cosines)
    departure = found.departure[0]
    beyond_scatter = max(1 - 1 / float(found.ratio[0]), 0.0)
    return Misfit(
        float((1 + np.sum(drawn.ratio >= found.ratio)) / (1 + _DRAWS)),
        float(np.sqrt(beyond_scatter * np.mean(departure**2))),
        int(np.argmax(np.abs(departure / found.scale[0]))),
    )


@dataclass(frozen=True)
class _Estimates:
    """Of each draw: F per direction, the shared departure and the scatter's sizes (draws, densities), and φ."""

    ratio: np.ndarray
    departure: np.ndarray
    scale: np.ndarray
    correlation: np.ndarray


def _replicates(residuals: np.ndarray, jacobian: np.ndarray, cosines: np.ndarray) -> _Estimates:
    """Estimates of residuals (draws, trajectories, densities), the scatter from their deviations."""
    trajectories = residuals.shape[1]
    deviations = residuals - residuals.mean(axis=1, keepdims=True)
    # An offset of a whole trajectory is no scatter along it; the form takes it up.
    along = deviations - deviations.mean(axis=2, keepdims=True)
    scale = _local_sizes(np.sum(along**2, axis=1) / (trajectories - 1))
    correlation = _correlation(along / scale[:, None])
    both = np.column_stack([jacobian, cosines]).T / scale[:, None]
    smooth = np.linalg.qr(_whitened(both, correlation).swapaxes(1, 2))[0][:, :, jacobian.shape[1] :]
    components = _whitened(residuals / scale[:, None], correlation) @ smooth
    common = components.mean(axis=1)
    within = np.sum((components - common[:, None]) ** 2, axis=(1, 2)) / (trajectories - 1) + _NOTHING
    ratio = trajectories * np.sum(common**2, axis=1) / within
    departure = scale * _correlated(np.einsum("dnk,dk->dn", smooth, common), correlation)
    return _Estimates(ratio, departure, scale, correlation)


def _local_sizes(squares: np.ndarray) -> np.ndarray:
    """Root of the mean square of the neighbours, drawn to the overall one: (draws, densities)."""
    levels = np.arange(squares.shape[1])
    near = (np.abs(np.subtract.outer(levels, levels)) <= _NEIGHBOURS).astype(float)
    overall = squares.mean(axis=1, keepdims=True)
    return np.sqrt((squares @ near + _SHRINKAGE * overall) / (near.sum(axis=0) + _SHRINKAGE)) + _NOTHING


def _correlation(along: np.ndarray) -> np.ndarray:
    """φ of (draws, trajectories, densities); what taking their mean from the densities hid is put back."""
    densities = along.shape[2]
    products = np.sum(along[..., 1:] * along[..., :-1], axis=(1, 2)) / (densities - 1)
    raw = products / (np.sum(along**2, axis=(1, 2)) / densities + _NOTHING)
    return np.clip((densities * raw + 1) / (densities - 1), 0.0, 0.95)


def _correlated(independent: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """AR(1) of unit variance along the last axis from independent values; a φ for each of the first axis."""
    phi = correlation.reshape(-1, *[1] * (independent.ndim - 2))
    values = independent.copy()
    for level in range(1, values.shape[-1]):
        values[..., level] = phi * values[..., level - 1] + np.sqrt(1 - phi**2) * independent[..., level]
    return values


def _whitened(values: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Independent values from those of an AR(1): the inverse of `_correlated`."""
    phi = correlation.reshape(-1, *[1] * (values.ndim - 1))
    fresh = (values[..., 1:] - phi * values[..., :-1]) / np.sqrt(1 - phi**2)
    return np.concatenate([values[..., :1], fresh], axis=-1)
