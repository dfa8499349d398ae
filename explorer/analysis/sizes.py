"""Whether curves of all sides fall together at equal weights per spin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


def size_agreement(points: pl.DataFrame) -> pl.DataFrame:
    """By what factor the sizes differ at equal weights per spin.

    Each side's curve is interpolated linearly in log–log between its measured densities, never beyond
    them; the factor at a density is that between the largest and the smallest of the sides there. Its
    interval adds the logarithmic half-widths of the two in quadrature.

    Args:
        points: one point for each side and density, positive estimates, from `curve_points`.

    Returns:
        parameters_per_spin (every measured density that at least two sides reach), sides (how many
        reach it), largest_side, smallest_side (whose value that is), factor, low, high (null where one
        of the two has no interval).
    """
    curves = {
        side: _LogLogCurve.of(curve.sort("parameters_per_spin"))
        for (side,), curve in points.sort("side").group_by("side", maintain_order=True)
    }
    rows = []
    for density in points["parameters_per_spin"].unique().sort().to_list():
        reached = {side: curve.at(density) for side, curve in curves.items() if curve.reaches(density)}
        if len(reached) < 2:
            continue
        largest = max(reached, key=lambda side: reached[side][0])
        smallest = min(reached, key=lambda side: reached[side][0])
        difference = reached[largest][0] - reached[smallest][0]
        half_width = float(np.hypot(reached[largest][1], reached[smallest][1]))
        rows.append((density, len(reached), largest, smallest, difference, half_width))
    schema = {
        "parameters_per_spin": pl.Float64,
        "sides": pl.Int64,
        "largest_side": pl.Int64,
        "smallest_side": pl.Int64,
        "difference": pl.Float64,
        "half_width": pl.Float64,
    }
    table = pl.DataFrame(rows, schema, orient="row").with_columns(pl.col("half_width").fill_nan(None))
    return table.select(
        *("parameters_per_spin", "sides", "largest_side", "smallest_side"),
        factor=pl.col("difference").exp(),
        low=(pl.col("difference") - pl.col("half_width")).exp(),
        high=(pl.col("difference") + pl.col("half_width")).exp(),
    )


@dataclass(frozen=True)
class _LogLogCurve:
    """ln estimate and its half-width against ln density, ascending; NaN half-width where there is none."""

    log_density: np.ndarray
    log_estimate: np.ndarray
    half_width: np.ndarray

    @classmethod
    def of(cls, curve: pl.DataFrame) -> _LogLogCurve:
        half_width = (curve["high"] / curve["estimate"]).log().fill_null(float("nan"))
        return cls(
            curve["parameters_per_spin"].log().to_numpy(),
            curve["estimate"].log().to_numpy(),
            half_width.to_numpy(),
        )

    def reaches(self, density: float) -> bool:
        # A hair of room, since ln of an end point must count as inside.
        return self.log_density[0] - 1e-12 <= np.log(density) <= self.log_density[-1] + 1e-12

    def at(self, density: float) -> tuple[float, float]:
        where = np.log(density)
        return (
            float(np.interp(where, self.log_density, self.log_estimate)),
            float(np.interp(where, self.log_density, self.half_width)),
        )


def agreement_windows(agreement: pl.DataFrame, factor: float) -> pl.DataFrame:
    """Stretches of density in which all sides agree within a factor, and those in which they don't.

    Args:
        agreement: from `size_agreement`; densities that fewer sides reach than the most are left out.
        factor: what counts as agreement.

    Returns:
        agree, start, end (first and last measured weights per spin of the stretch), densities (how many),
        worst (largest factor in it), ascending.
    """
    return (
        agreement.filter(pl.col("sides") == pl.col("sides").max())
        .sort("parameters_per_spin")
        .with_columns(agree=pl.col("factor") <= factor)
        .group_by(pl.col("agree").rle_id().alias("stretch"), "agree")
        .agg(
            start=pl.col("parameters_per_spin").min(),
            end=pl.col("parameters_per_spin").max(),
            densities=pl.len().cast(pl.Int64),
            worst=pl.col("factor").max(),
        )
        .sort("stretch")
        .drop("stretch")
    )
