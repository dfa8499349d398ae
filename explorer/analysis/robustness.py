"""Replicates of ticket variants at chosen levels (Table 2): mean, interval over replicates, and the clustered one.

Replicates of one trajectory share its mask and initial weights. An interval over all of them, as the paper prints,
says how well the mean of these very masks is known; the clustered one says how well that of the method is.
"""

from __future__ import annotations

import polars as pl
from scipy import stats

from explorer.analysis.quantities import VARIANTS, Quantity

# Table 2 prints 99.9 % intervals.
TABLE_CONFIDENCE = 0.999


def replicate_table(
    states: pl.DataFrame, quantity: Quantity, confidence: float = TABLE_CONFIDENCE
) -> pl.DataFrame:
    """Mean of a quantity over the replicates of each ticket variant and level, with both intervals.

    Means are arithmetic, of the signed values, as in the paper.

    Args:
        states: networks of one setting, from `with_quantities`.
        quantity: what to average; tickets without a finite value of it are left out.
        confidence: probability that an interval covers.

    Returns:
        side, level, remaining, density, parameters_per_spin, series (the variant), mean, error (one standard error
        over replicates), low, high (Student's t over replicates; null for one), clustered_low, clustered_high
        (Student's t over the trajectories' means, about `clustered_mean`; null for one trajectory),
        clustered_mean (trajectories weigh the same), replicates, trajectories.
    """
    point = ("side", "level", "remaining", "density", "parameters_per_spin", "series")
    value = pl.col(quantity.column)
    tickets = states.filter(pl.col("kind") == "ticket", value.is_finite()).with_columns(value=value)
    replicates = _mean_and_interval(tickets, point, confidence)
    means = tickets.group_by(*point, "cluster").agg(pl.col("value").mean())
    clustered = _mean_and_interval(means, point, confidence)
    order = pl.col("series").replace_strict(
        VARIANTS, range(len(VARIANTS)), default=None, return_dtype=pl.Int64
    )
    return (
        replicates.rename({"n": "replicates"})
        .join(
            clustered.select(
                *point,
                clustered_mean="mean",
                clustered_low="low",
                clustered_high="high",
                trajectories="n",
            ),
            on=point,
        )
        .select(
            *(*point, "mean", "error", "low", "high", "clustered_mean", "clustered_low", "clustered_high"),
            *("replicates", "trajectories"),
        )
        .sort("side", "level", order)
    )


def _mean_and_interval(values: pl.DataFrame, point: tuple[str, ...], confidence: float) -> pl.DataFrame:
    """mean, error, low, high and n of the column `value`; null but for mean and n where n is 1."""
    means = values.group_by(point).agg(
        mean=pl.col("value").mean(),
        error=pl.col("value").std() / pl.len().sqrt(),
        n=pl.len().cast(pl.Int64),
    )
    counts = [n for n in means["n"].unique().to_list() if n > 1]
    quantiles = {n: float(stats.t.ppf((1 + confidence) / 2, n - 1)) for n in counts}
    half_width = pl.col("n").replace_strict(quantiles, default=None, return_dtype=pl.Float64) * pl.col(
        "error"
    )
    return means.with_columns(low=pl.col("mean") - half_width, high=pl.col("mean") + half_width)
