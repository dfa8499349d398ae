"""Curves against density: one point for each density, and each network as a mark of its own."""

from __future__ import annotations

import polars as pl

from explorer.analysis.intervals import cluster_means, over_trajectories
from explorer.analysis.quantities import ROUNDING, Quantity


def curve_points(
    states: pl.DataFrame | pl.LazyFrame,
    quantity: Quantity,
    by: tuple[str, ...] = ("series",),
    confidence: float = 0.68,
) -> pl.DataFrame:
    """One point for each density of each curve, with its interval.

    Logarithmic quantities are averaged as logarithms of magnitudes (a geometric mean), the others as
    they are. With two trajectories or more the interval is Student's t over the trajectories' means.
    With one it is the measurement error, on a log scale |v| · (1 + z σ/|v|)^±1, which keeps its bar
    above zero; an exact value (full summation) of a single trajectory has no interval.

    Args:
        states: networks of one setting, from `with_quantities`.
        quantity: what to show; networks without a finite value of it are left out.
        by: further columns that tell the curves apart, besides the side.
        confidence: probability that the interval covers.

    Returns:
        by…, side, level, remaining, density, parameters_per_spin, estimate, low, high (null without an
        interval), trajectories (independent ones), networks (all averaged), negative (networks whose
        value is below zero), at_rounding (networks drawn at `ROUNDING`), interval (how it was made).
    """
    point = (*by, "side", "level", "remaining", "density", "parameters_per_spin")
    clusters = cluster_means(states, quantity, (*point, "cluster"))
    points = over_trajectories(clusters, point, confidence, quantity.logarithmic)
    marks = clusters.group_by(point).agg(pl.col("negative", "at_rounding").sum())
    points = points.join(marks, on=point)
    columns = ("estimate", "low", "high", "trajectories", "networks", "negative", "at_rounding", "interval")
    return points.select(*point, *columns).sort(*by, "side", "parameters_per_spin")


def network_points(
    states: pl.DataFrame, quantity: Quantity, by: tuple[str, ...] = ("series",)
) -> pl.DataFrame:
    """Each trained network as a mark of its own: value (signed), magnitude as drawn, and whether negative.

    Args:
        states: networks of one setting, from `with_quantities`.
        quantity: what to show; networks without a finite value of it are left out.
        by: columns that tell the curves apart, besides the side.
    """
    value = pl.col(quantity.column)
    drawn = value.abs().clip(lower_bound=ROUNDING) if quantity.logarithmic else value
    return (
        states.lazy()
        .filter(value.is_finite())
        .select(
            *(*by, "side", "level", "remaining", "density", "parameters_per_spin"),
            *("replicate", "run_id", "cluster"),
            value=value,
            error=pl.col(f"{quantity.column}_error"),
            drawn=drawn,
            negative=(value < 0) & quantity.logarithmic,
        )
        .sort(*by, "side", "parameters_per_spin", "run_id")
        .collect()
    )
