"""Estimates and intervals clustered by trajectory.

Networks of one trajectory share a mask and initial weights, so tickets are first averaged within their
trajectory, and only trajectories count as independent.
"""

from __future__ import annotations

import polars as pl
from scipy import stats

from explorer.analysis.quantities import ROUNDING, Quantity

BY_TRAJECTORIES = "t, over trajectories"
BY_MEASUREMENT = "measurement error alone"
NO_INTERVAL = "none: one exact value"


def cluster_means(
    states: pl.DataFrame | pl.LazyFrame, quantity: Quantity, group: tuple[str, ...]
) -> pl.DataFrame:
    """Mean of the quantity (of ln |value| where logarithmic) within each group, with its error; groups as they come.

    In order, so that sums round the same way each time, and a browser has nothing to draw anew.
    """
    value, error = pl.col(quantity.column), pl.col(f"{quantity.column}_error")
    magnitude = value.abs().clip(lower_bound=ROUNDING)
    return (
        states.lazy()  # Of some 80 columns a few are needed.
        .filter(value.is_finite())
        .with_columns(
            mean=magnitude.log() if quantity.logarithmic else value,
            measurement_error=error.abs() / magnitude if quantity.logarithmic else error,
        )
        .group_by(group, maintain_order=True)
        .agg(
            pl.col("mean").mean(),
            measurement_error=error_of_mean("measurement_error"),
            networks=pl.len().cast(pl.Int64),
            negative=((value < 0) & quantity.logarithmic).sum().cast(pl.Int64),
            at_rounding=((value.abs() <= ROUNDING) & quantity.logarithmic).sum().cast(pl.Int64),
        )
        .collect()
    )


def error_of_mean(column: str) -> pl.Expr:
    """Standard error of the mean of independent values, from their standard errors."""
    return pl.col(column).pow(2).sum().sqrt() / pl.len()


def over_trajectories(
    clusters: pl.DataFrame, group: tuple[str, ...], confidence: float, logarithmic: bool
) -> pl.DataFrame:
    """Estimate and interval of each group from one row a trajectory: mean, measurement_error, networks.

    Where logarithmic, `mean` is a logarithm; estimate, low and high are its exponentials.
    """
    means = clusters.group_by(group, maintain_order=True).agg(
        pl.col("mean").mean(),
        spread=pl.col("mean").std(),
        measurement_error=error_of_mean("measurement_error"),
        trajectories=pl.len().cast(pl.Int64),
        networks=pl.col("networks").sum(),
    )
    counts = means["trajectories"].unique().to_list()
    quantile = {n: float(stats.t.ppf((1 + confidence) / 2, n - 1)) for n in counts if n > 1}
    of_trajectories = (
        pl.col("trajectories").replace_strict(quantile, default=None, return_dtype=pl.Float64)
        * pl.col("spread")
        / pl.col("trajectories").sqrt()
    )
    several = pl.col("trajectories") > 1
    measured = ~several & (pl.col("measurement_error") > 0).fill_null(False)
    of_measurement = float(stats.norm.ppf((1 + confidence) / 2)) * pl.col("measurement_error")
    if logarithmic:
        # ln(1 + x), not x: an error larger than its value stays a bar of that length upwards.
        of_measurement = of_measurement.log1p()
    half_width = pl.when(several).then(of_trajectories).when(measured).then(of_measurement)
    ends = (pl.col("mean"), pl.col("mean") - half_width, pl.col("mean") + half_width)
    estimate, low, high = (end.exp() if logarithmic else end for end in ends)
    return means.with_columns(
        estimate=estimate,
        low=low,
        high=high,
        interval=pl.when(several)
        .then(pl.lit(BY_TRAJECTORIES))
        .when(measured)
        .then(pl.lit(BY_MEASUREMENT))
        .otherwise(pl.lit(NO_INTERVAL)),
    )
