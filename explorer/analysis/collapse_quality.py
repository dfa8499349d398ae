"""How well a collapse is one."""

from __future__ import annotations

import numpy as np


def houdayer_hartmann(
    scaled_control: np.ndarray, scaled_value: np.ndarray, scaled_error: np.ndarray, side: np.ndarray
) -> tuple[float, int]:
    """Houdayer and Hartmann's S of a collapse, and the number of points that it is the mean over.

    S = ⟨(y_i − Y_i)² / (dy_i² + dY_i²)⟩, Phys. Rev. B 70, 014418 (2004), eq. A2: Y_i with error dY_i is the
    weighted straight line at x_i through the two points of each other side that enclose x_i. About 1 where the
    errors explain the scatter about one curve, larger where they don't. Points that no other side encloses
    have no Y_i and do not count. NaN where none counts or an error is 0.

    Args:
        scaled_control, scaled_value, scaled_error, side: (n,) each.
    """
    curves = {one: np.flatnonzero(side == one) for one in np.unique(side)}
    curves = {one: own[np.argsort(scaled_control[own], kind="stable")] for one, own in curves.items()}
    sums = np.zeros((5, len(side)))  # K, K_x, K_y, K_xx, K_xy for every point at once
    for one, own in curves.items():
        others = np.flatnonzero(side != one)
        above = np.searchsorted(scaled_control[own], scaled_control[others], side="right")
        enclosed = (above > 0) & (above < len(own))
        for neighbour in (own[above[enclosed] - 1], own[above[enclosed]]):
            x, y, error = scaled_control[neighbour], scaled_value[neighbour], scaled_error[neighbour]
            with np.errstate(divide="ignore", invalid="ignore"):
                sums[:, others[enclosed]] += np.stack([x**0, x, y, x * x, x * y]) / error**2
    counted = sums[0] > 0
    if not counted.any():
        return float("nan"), 0
    k, k_x, k_y, k_xx, k_xy = sums[:, counted]
    x = scaled_control[counted]
    with np.errstate(divide="ignore", invalid="ignore"):
        determinant = k * k_xx - k_x**2
        line = ((k_xx * k_y - k_x * k_xy) + x * (k * k_xy - k_x * k_y)) / determinant
        line_variance = (k_xx - 2 * x * k_x + x**2 * k) / determinant
        squares = (scaled_value[counted] - line) ** 2 / (scaled_error[counted] ** 2 + line_variance)
    return float(squares.mean()), int(counted.sum())
