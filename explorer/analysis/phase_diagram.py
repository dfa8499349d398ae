"""A quantity over density and field or side: cells as measured, interpolated, and its contour lines."""

from __future__ import annotations

import numpy as np
import polars as pl

from explorer.analysis.curves import curve_points
from explorer.analysis.quantities import TRAJECTORY, Quantity

# Cells of the interpolation: fine enough to look smooth at a journal's width.
COLUMNS, ROWS = 90, 48
# Of a logarithmic quantity so many decades below its largest value are told apart: exact sums reach rounding.
DECADES = 8


def phase_points(
    states: pl.DataFrame, quantity: Quantity, vertical: str, confidence: float = 0.68
) -> pl.DataFrame:
    """One point for each density and field (or side), and the cell around it.

    Args:
        states: networks of one setting but for `vertical`, from `with_quantities`; of one side where it is the field.
        vertical: field or side.
        confidence: probability that the interval covers.

    Returns:
        The columns of `curve_points` with the field, and left, right (weights per spin; geometric midpoints to the
        neighbours), bottom, top (midpoints). The outermost cells are as wide on their outer side as on the inner.
    """
    curves = states.lazy().filter(pl.col("series") == TRAJECTORY, pl.col(vertical).is_not_null())
    points = curve_points(curves, quantity, by=("field",), confidence=confidence)
    if points.is_empty():
        return points.with_columns(
            *[pl.lit(None, pl.Float64).alias(name) for name in ("left", "right", "bottom", "top")]
        )
    rows = pl.DataFrame({vertical: points[vertical].unique().sort()})
    bottom, top = _edges(rows[vertical].to_numpy().astype(float))
    rows = rows.with_columns(bottom=pl.Series(bottom), top=pl.Series(top))
    columns = []
    for _, curve in points.sort("parameters_per_spin").group_by(vertical, maintain_order=True):
        left, right = _edges(curve["parameters_per_spin"].log().to_numpy())
        columns.append(curve.with_columns(left=pl.Series(np.exp(left)), right=pl.Series(np.exp(right))))
    return pl.concat(columns).join(rows, on=vertical).sort(vertical, "parameters_per_spin")


def _edges(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the cells around ascending places; one place alone has a cell of width 1."""
    if len(places) == 1:
        return places - 0.5, places + 0.5
    middles = (places[1:] + places[:-1]) / 2
    first, last = 2 * places[0] - middles[0], 2 * places[-1] - middles[-1]
    return np.r_[first, middles], np.r_[middles, last]


def interpolated(
    points: pl.DataFrame, quantity: Quantity, vertical: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The quantity on a regular grid, linear in ln density and in the field or side, never beyond what is measured.

    Logarithmic quantities are interpolated as logarithms.

    Args:
        points: from `phase_points`.

    Returns:
        densities (COLUMNS,) ascending, equally spaced in the logarithm; verticals (ROWS,) ascending; values (ROWS, COLUMNS), NaN outside.
    """
    verticals = points[vertical].unique().sort().to_numpy().astype(float)
    log_density = points["parameters_per_spin"].log()
    columns = np.linspace(log_density.min(), log_density.max(), COLUMNS)
    rows = np.linspace(verticals[0], verticals[-1], ROWS)
    curves = np.array(
        [
            _along(curve.sort("parameters_per_spin"), quantity, columns)
            for _, curve in points.sort(vertical).group_by(vertical, maintain_order=True)
        ]
    )
    values = np.array([np.interp(rows, verticals, column) for column in curves.T]).T
    return np.exp(columns), rows, np.exp(values) if quantity.logarithmic else values


def _along(curve: pl.DataFrame, quantity: Quantity, log_density: np.ndarray) -> np.ndarray:
    estimate = curve["estimate"].log() if quantity.logarithmic else curve["estimate"]
    places = curve["parameters_per_spin"].log().to_numpy()
    return np.interp(log_density, places, estimate.to_numpy(), left=np.nan, right=np.nan)


def grid_cells(densities: np.ndarray, verticals: np.ndarray, values: np.ndarray) -> pl.DataFrame:
    """An interpolation as cells: parameters_per_spin, vertical, estimate, left, right, bottom, top; none for NaN."""
    left, right = _edges(np.log(densities))
    bottom, top = _edges(verticals)
    row, column = np.nonzero(np.isfinite(values))
    return pl.DataFrame(
        {
            "parameters_per_spin": densities[column],
            "vertical": verticals[row],
            "estimate": values[row, column],
            "left": np.exp(left)[column],
            "right": np.exp(right)[column],
            "bottom": bottom[row],
            "top": top[row],
        }
    )


def contour_levels(values: np.ndarray, logarithmic: bool) -> list[float]:
    """Values at which contours are drawn, at most eight: decades, or 1 and 3 of each where decades are few; else round steps."""
    known = values[np.isfinite(values)]
    if known.size == 0 or known.min() == known.max():
        return []
    low, high = float(known.min()), float(known.max())
    if logarithmic:
        low = max(low, high / 10**DECADES)
    else:
        step = _round_step((high - low) / 6)
        return [
            float(f"{k * step:.12g}") for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
        ]
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    if len(decades) <= 4:
        found = [digit * 10.0**decade for decade in decades for digit in (1, 3)]
    else:
        found = 10.0 ** decades[:: int(np.ceil(len(decades) / 8))]
    return [float(f"{level:.12g}") for level in found if low < level < high]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no smaller."""
    power = 10.0 ** np.floor(np.log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9))


def contour_lines(
    densities: np.ndarray, verticals: np.ndarray, values: np.ndarray, levels: list[float]
) -> pl.DataFrame:
    """Contour lines of gridded values as straight pieces (marching squares), linear in ln density and vertical.

    Each square of the grid is cut into four triangles at its centre, which has the mean of its corners, so that no
    square is ambiguous. Squares with NaN have no line.

    Args:
        densities: (columns,) ascending.
        verticals: (rows,) ascending.
        values: (rows, columns).
        levels: at which the lines are drawn.

    Returns:
        contour (the level), parameters_per_spin, vertical, parameters_per_spin_2, vertical_2 (the ends of a piece).
    """
    x, y = np.meshgrid(np.log(densities), verticals)
    corners = np.stack([x, y, values], axis=-1)
    ring = [corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]]
    centre = sum(ring) / 4
    triangles = np.concatenate(
        [
            np.stack([a, b, centre], axis=2).reshape(-1, 3, 3)
            for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)
        ]
    )
    triangles = triangles[np.isfinite(triangles[..., 2]).all(1)]
    pieces = [
        np.column_stack([np.full(len(ends), level), ends])
        for level in levels
        for ends in [_cuts(triangles, level)]
    ]
    table = np.concatenate(pieces) if pieces else np.zeros((0, 5))
    names = ("contour", "parameters_per_spin", "vertical", "parameters_per_spin_2", "vertical_2")
    frame = pl.DataFrame({name: table[:, place] for place, name in enumerate(names)})
    return frame.with_columns(pl.col("parameters_per_spin", "parameters_per_spin_2").exp())


def _cuts(triangles: np.ndarray, level: float) -> np.ndarray:
    """Where a plane cuts triangles (n, 3, (x, y, value)): the ends (m, 4) of the pieces."""
    above = triangles[..., 2] > level
    cut = triangles[(above.sum(1) == 1) | (above.sum(1) == 2)]
    above = cut[..., 2] > level
    # The corner that is alone on its side, first.
    alone = np.where(above.sum(1) == 1, above.argmax(1), (~above).argmax(1))
    each = np.arange(len(cut))
    tip = cut[each, alone]
    ends = []
    for step in (1, 2):
        other = cut[each, (alone + step) % 3]
        share = (level - tip[:, 2]) / (other[:, 2] - tip[:, 2])
        ends.append(tip[:, :2] + share[:, None] * (other - tip)[:, :2])
    return np.hstack(ends)
