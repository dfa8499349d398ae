"""Pruning methods that start from the same dense networks, compared in pairs (Fig. 5)."""

from __future__ import annotations

import polars as pl

from explorer.analysis.intervals import cluster_means, over_trajectories
from explorer.analysis.quantities import TRAJECTORY, Quantity

# What the others are compared with: magnitude pruning with rewinding, the paper's own.
REFERENCE_METHOD = "imp_wr"


def of_methods(states: pl.DataFrame) -> pl.DataFrame:
    """Trajectories, with their dense network as level 0 of every method that starts from it.

    Args:
        states: networks of one setting but for the method, from `with_quantities`.
    """
    trajectories = states.filter(pl.col("kind") == "trajectory", pl.col("series") == TRAJECTORY)
    starts = trajectories.select("dense_run_id", "method").unique(maintain_order=True)
    dense = states.filter(pl.col("kind") == "dense").drop("method").join(starts, on="dense_run_id")
    return pl.concat([dense.select(states.columns), trajectories])


def method_ratios(
    states: pl.DataFrame,
    quantity: Quantity,
    confidence: float = 0.68,
    reference: str = REFERENCE_METHOD,
) -> pl.DataFrame:
    """How many times larger a quantity is by one method than by another, at each number of remaining weights.

    Compared within a dense run: the same initial weights, the same pre-training. The logarithms are averaged over
    dense runs, and the interval is Student's t over them.

    Args:
        states: from `of_methods`, one side.
        quantity: a logarithmic one.
        confidence: probability that the interval covers.
        reference: the method in the denominator.

    Returns:
        numerator (the method), denominator, level, remaining, density, parameters_per_spin, ratio, low, high (null
        without an interval), trajectories (pairs), networks, interval.
    """
    at = ("level", "remaining", "density", "parameters_per_spin", "dense_run_id")
    # At level 0 all methods have the same network.
    pruned = states.filter(pl.col("level") > 0)
    means = cluster_means(pruned, quantity, (*at, "method"))
    others = means.filter(pl.col("method") != reference)
    pairs = others.join(means.filter(pl.col("method") == reference), on=at, suffix="_reference").select(
        *at,
        numerator="method",
        denominator=pl.lit(reference),
        mean=pl.col("mean") - pl.col("mean_reference"),
        measurement_error=(
            pl.col("measurement_error").pow(2) + pl.col("measurement_error_reference").pow(2)
        ).sqrt(),
        networks=pl.col("networks") + pl.col("networks_reference"),
    )
    point = ("numerator", "denominator", *at[:-1])
    return (
        over_trajectories(pairs, point, confidence, logarithmic=True)
        .rename({"estimate": "ratio"})
        .select(*point, "ratio", "low", "high", "trajectories", "networks", "interval")
        .sort("numerator", "parameters_per_spin")
    )
