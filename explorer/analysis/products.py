"""Means of products of spins that are recorded with a network: spin–spin correlations, Wilson loops."""

from __future__ import annotations

import polars as pl
from scipy import stats

from explorer.analysis.quantities import Quantity

CORRELATION, LOOPS = "correlation_z", "wilson_loops"
STAR = Quantity("star", "star expectation value", "⟨A⟩", logarithmic=False)
PLAQUETTE = Quantity("plaquette", "plaquette expectation value", "⟨B⟩", logarithmic=False)


def product_means(networks: pl.DataFrame, column: str, confidence: float = 0.68) -> pl.DataFrame:
    """One row for each network and distance r, or side k of a loop.

    Args:
        networks: rows of a study's states; those without the column's values are left out.
        column: `CORRELATION`, ⟨σz_i σz_i+r⟩ along the axes, or `LOOPS`, ⟨Π σz⟩ around k × k plaquettes.
        confidence: of the intervals, normal from the standard errors; an exact mean has none.

    Returns:
        run_id, level, parameters_per_spin, estimator, distance (r or k, from 1), mean, error, low, high; by level
        and distance.
    """
    half_width = float(stats.norm.ppf((1 + confidence) / 2)) * pl.col("error")
    exact = pl.col("error") == 0
    return (
        networks.filter(pl.col(column).list.len() > 0)
        .select(
            *("run_id", "level", "parameters_per_spin", "estimator"),
            distance=pl.int_ranges(1, pl.col(column).list.len() + 1),
            mean=column,
            error=f"{column}_error",
        )
        .explode("distance", "mean", "error")
        .with_columns(
            low=pl.when(~exact).then(pl.col("mean") - half_width),
            high=pl.when(~exact).then(pl.col("mean") + half_width),
        )
        .sort("level", "distance")
    )


def beside_dense_and_sparsest(networks: pl.DataFrame, level: int) -> pl.DataFrame:
    """Of a run's networks the one of a level, the densest and the sparsest: what pruning did so far, and does at last."""
    return networks.filter(pl.col("level").is_in([level, networks["level"].min(), networks["level"].max()]))
