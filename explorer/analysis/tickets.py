"""Ticket variants compared within their trajectory, and masks carried to another field."""

from __future__ import annotations

import polars as pl

from explorer.analysis.intervals import cluster_means, error_of_mean, over_trajectories
from explorer.analysis.quantities import QUANTITIES, TRANSFERRED, own_masks

TICKET_PAIRS = (("rand_imp", "init_imp"), ("init_rand", "init_imp"))


def ticket_ratios(states: pl.DataFrame, confidence: float = 0.68) -> pl.DataFrame:
    """How many times larger one ticket variant's relative error is than another's, by density.

    Compared within a trajectory (the same mask, initial weights and level), so what trajectories have
    in common drops out; the ratios' logarithms are then averaged over trajectories.

    Args:
        states: networks of one setting, from `with_quantities`.
        confidence: probability that the interval covers.

    Returns:
        numerator, denominator (variants, the pairs of `TICKET_PAIRS`), side, level, remaining, density,
        parameters_per_spin, ratio, low, high, trajectories, networks, interval.
    """
    point = ("numerator", "denominator", "side", "level", "remaining", "density", "parameters_per_spin")
    ratios = over_trajectories(_paired_differences(states), point, confidence, logarithmic=True)
    return (
        ratios.rename({"estimate": "ratio"})
        .select(*point, "ratio", "low", "high", "trajectories", "networks", "interval")
        .sort("numerator", "side", "parameters_per_spin")
    )


def ratio_summary(
    states: pl.DataFrame, window: tuple[float, float], confidence: float = 0.68
) -> pl.DataFrame:
    """The ticket ratios of a window of densities in one row for each pair of variants and side.

    Args:
        states: networks of one setting, from `with_quantities`.
        window: smallest and largest weights per spin that count, both included.
        confidence: probability that the interval of the geometric mean covers.

    Returns:
        numerator, denominator, side, median (of the ratios of all levels and trajectories), ratio (the
        geometric mean, trajectories first averaged over their levels), low, high, trajectories, levels,
        networks, interval.
    """
    pair = ("numerator", "denominator", "side")
    inside = _paired_differences(states).filter(pl.col("parameters_per_spin").is_between(*window))
    medians = inside.group_by(pair).agg(
        median=pl.col("mean").median().exp(), levels=pl.col("level").n_unique().cast(pl.Int64)
    )
    ratios = over_trajectories(window_differences(states, window), pair, confidence, logarithmic=True)
    return (
        ratios.rename({"estimate": "ratio"})
        .join(medians, on=pair)
        .select(
            *(*pair, "median", "ratio", "low", "high"), *("trajectories", "levels", "networks", "interval")
        )
        .sort("numerator", "side")
    )


def window_differences(states: pl.DataFrame, window: tuple[float, float]) -> pl.DataFrame:
    """Differences of ln error between variants, one row a trajectory, averaged over its levels of a window.

    Returns:
        numerator, denominator, side, cluster (the trajectory), mean, measurement_error, levels, networks.
    """
    inside = _paired_differences(states).filter(pl.col("parameters_per_spin").is_between(*window))
    return inside.group_by("numerator", "denominator", "side", "cluster").agg(
        pl.col("mean").mean(),
        measurement_error=error_of_mean("measurement_error"),
        levels=pl.col("level").n_unique().cast(pl.Int64),
        networks=pl.col("networks").sum(),
    )


def _paired_differences(states: pl.DataFrame) -> pl.DataFrame:
    """ln error(numerator) − ln error(denominator) within each trajectory and level."""
    at = ("side", "level", "remaining", "density", "parameters_per_spin", "cluster")
    tickets = states.filter(pl.col("kind") == "ticket")
    means = cluster_means(tickets, QUANTITIES["relative_error"], (*at, "series"))
    return pl.concat(
        [
            means.filter(pl.col("series") == numerator)
            .join(means.filter(pl.col("series") == denominator), on=at, suffix="_denominator")
            .select(
                *at,
                numerator=pl.lit(numerator),
                denominator=pl.lit(denominator),
                mean=pl.col("mean") - pl.col("mean_denominator"),
                measurement_error=(
                    pl.col("measurement_error").pow(2) + pl.col("measurement_error_denominator").pow(2)
                ).sqrt(),
                networks=pl.col("networks") + pl.col("networks_denominator"),
            )
            for numerator, denominator in TICKET_PAIRS
        ]
    )


def mask_transfer(states: pl.DataFrame, confidence: float = 0.68) -> pl.DataFrame:
    """Errors of tickets by the field of their mask and the field they are trained at, against their own mask's.

    Masks of another field come from other trajectories, so the interval of their ratio adds the logarithmic half-widths
    of the two errors in quadrature. Random masks are the control; they are compared within their trajectory.

    Args:
        states: networks of one setting but for the field, from `with_quantities`; Hamiltonians without a field
            are left out.
        confidence: probability that an interval covers.

    Returns:
        side, level, parameters_per_spin, field (trained at), mask_field, series (the variant; init_rand: a random
        mask), estimate, low, high (of the relative error), ratio (to the same variant under the field's own mask;
        a random mask's to init_imp), ratio_low, ratio_high (null under the own mask, where the ratio is 1, and where
        one of the two has no interval), trajectories, networks.
    """
    tickets = states.filter(pl.col("kind") == "ticket", pl.col("field").is_not_null())
    point = (
        "side",
        "level",
        "parameters_per_spin",
        "hamiltonian_parameters",
        "field",
        "mask_field",
        "series",
    )
    tickets = tickets.with_columns(transferred=TRANSFERRED)
    clusters = cluster_means(tickets, QUANTITIES["relative_error"], (*point, "transferred", "cluster"))
    errors = over_trajectories(clusters, (*point, "transferred"), confidence, logarithmic=True)
    errors = errors.with_columns(half_width=(pl.col("high") / pl.col("estimate")).log())
    own = ~pl.col("transferred")
    same = ["side", "level", "hamiltonian_parameters", "series"]
    of_own_mask = errors.filter(own).select(*same, own_estimate="estimate", own_half_width="half_width")
    half_width = pl.when("transferred").then(
        (pl.col("half_width").pow(2) + pl.col("own_half_width").pow(2)).sqrt()
    )
    ratio = pl.col("estimate") / pl.col("own_estimate")
    found = (
        errors.filter(pl.col("series") != "init_rand")
        .join(of_own_mask, on=same, how="left")
        .with_columns(ratio=ratio, ratio_low=ratio * (-half_width).exp(), ratio_high=ratio * half_width.exp())
    )
    random = errors.filter(pl.col("series") == "init_rand").join(
        _random_ratios(tickets, confidence), on=same, how="left"
    )
    columns = (
        *("side", "level", "parameters_per_spin", "field", "mask_field", "series", "estimate", "low", "high"),
        *("ratio", "ratio_low", "ratio_high", "trajectories", "networks"),
    )
    both = pl.concat([found.select(columns), random.select(columns)])
    return both.sort("side", "level", "series", "mask_field", "field")


def _random_ratios(tickets: pl.DataFrame, confidence: float) -> pl.DataFrame:
    """Ratios of init_rand to init_imp at each field: side, level, hamiltonian_parameters, series and the ratio."""
    empty = ticket_ratios(tickets.clear(), confidence).with_columns(
        hamiltonian_parameters=pl.lit(None, pl.String)
    )
    ratios = [
        ticket_ratios(group, confidence).with_columns(hamiltonian_parameters=pl.lit(parameters, pl.String))
        for (parameters,), group in own_masks(tickets).group_by("hamiltonian_parameters")
    ]
    return pl.concat([empty, *ratios]).select(
        *("side", "level", "hamiltonian_parameters", "ratio"),
        series="numerator",
        ratio_low="low",
        ratio_high="high",
    )
