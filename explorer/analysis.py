"""From trained networks to the points of the figures: Polars in, Polars out, nothing of the app.

Every function takes the joined `states` of a study (one row a trained network, with its run's fields,
its reference energy and the ids by which it clusters) or what another function here made of them.

Intervals are clustered by trajectory: networks of one trajectory share a mask and initial weights, so
tickets are first averaged within their trajectory, and only trajectories count as independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

# A magnitude below the rounding of float64 is drawn there: its logarithm is of no meaning, or −∞.
ROUNDING = float(np.finfo(float).eps)

TRAJECTORY = "trajectory"
VARIANTS = ("init_imp", "rand_imp", "init_rand")
TICKET_PAIRS = (("rand_imp", "init_imp"), ("init_rand", "init_imp"))

# Never null, so that its negation keeps every other network, and tables from before there were any.
_TRANSFERRED = (pl.col("kind") == "ticket") & (
    pl.col("mask_hamiltonian_parameters") != pl.col("hamiltonian_parameters")
).fill_null(False)

# What one figure holds fixed: two networks that differ here are two studies, not two samples of one.
SETTINGS = (
    "hamiltonian",
    "hamiltonian_name",
    "boundary",
    "field",
    "network",
    "width_per_spin",
    "method",
    "samples",
    "learning_rate",
    "diagonal_shift",
    "pruning_ratio",
    "pretraining_steps",
    "steps_per_level",
    "ticket_steps",
)

BY_TRAJECTORIES = "t, over trajectories"
BY_MEASUREMENT = "measurement error alone"
NO_INTERVAL = "none: one exact value"


@dataclass(frozen=True)
class Quantity:
    """What a figure can show of a trained network.

    Attributes:
        column: where `with_quantities` has it; its standard error is in `<column>_error`.
        name: in words, as a menu or a title has it.
        symbol: as the axis has it.
        logarithmic: magnitudes are averaged and drawn on a logarithmic scale, negative ones marked.
    """

    column: str
    name: str
    symbol: str
    logarithmic: bool


# Statuses of runs that more training will finish.
UNFINISHED = ("waiting", "ready", "running")

QUANTITIES = {
    quantity.column: quantity
    for quantity in (
        Quantity("relative_error", "relative error of the energy", "|E − E₀| / |E₀|", True),
        Quantity("error_per_spin", "energy error per spin", "|E − E₀| / N   (J)", True),
        Quantity("variance_per_spin", "energy variance per spin", "Var H / N   (J²)", True),
        Quantity("magnetization_x", "transverse magnetisation", "⟨σˣ⟩", False),
        Quantity("abs_magnetization_z", "longitudinal magnetisation", "⟨|σᶻ|⟩", False),
        Quantity("fidelity", "fidelity with the level before", "F", False),
        Quantity("log_fidelity_per_spin", "fidelity loss per spin", "−ln F / N", True),
    )
}


def with_quantities(states: pl.DataFrame) -> pl.DataFrame:
    """The states with every column of `QUANTITIES`, and what a point of a figure is grouped by.

    Adds `series` (trajectory, which includes its dense network, or a ticket's variant), `cluster` (the
    trajectory a network belongs to, or its dense run), `variance_per_spin` and `log_fidelity_per_spin`,
    each with `_error` (null where there is none).
    """
    return states.with_columns(
        series=pl.when(pl.col("kind") == "ticket").then("variant").otherwise(pl.lit(TRAJECTORY)),
        cluster=pl.coalesce("trajectory_run_id", "dense_run_id", "run_id"),
        variance_per_spin=pl.col("variance") / pl.col("sites"),
        variance_per_spin_error=pl.lit(None, pl.Float64),
        log_fidelity_per_spin=-pl.col("log_fidelity") / pl.col("sites"),
        # d ln F = dF / F
        log_fidelity_per_spin_error=pl.col("fidelity_error") / pl.col("fidelity") / pl.col("sites"),
    )


def curve_points(
    states: pl.DataFrame, quantity: Quantity, by: tuple[str, ...] = ("series",), confidence: float = 0.68
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
    clusters = _cluster_means(states, quantity, (*point, "cluster"))
    points = _over_trajectories(clusters, point, confidence, quantity.logarithmic)
    marks = clusters.group_by(point).agg(pl.col("negative", "at_rounding").sum())
    points = points.join(marks, on=point)
    columns = ("estimate", "low", "high", "trajectories", "networks", "negative", "at_rounding", "interval")
    return points.select(*point, *columns).sort(*by, "side", "parameters_per_spin")


def network_points(states: pl.DataFrame, quantity: Quantity) -> pl.DataFrame:
    """Each trained network as a mark of its own: value (signed), magnitude as drawn, and whether negative."""
    value = pl.col(quantity.column)
    drawn = value.abs().clip(lower_bound=ROUNDING) if quantity.logarithmic else value
    return (
        states.filter(value.is_finite())
        .select(
            *("series", "side", "level", "remaining", "density", "parameters_per_spin"),
            *("replicate", "run_id", "cluster"),
            value=value,
            error=pl.col(f"{quantity.column}_error"),
            drawn=drawn,
            negative=(value < 0) & quantity.logarithmic,
        )
        .sort("series", "side", "parameters_per_spin", "run_id")
    )


def _cluster_means(states: pl.DataFrame, quantity: Quantity, group: tuple[str, ...]) -> pl.DataFrame:
    """Mean of the quantity (of ln |value| where logarithmic) within each group, with its error."""
    value, error = pl.col(quantity.column), pl.col(f"{quantity.column}_error")
    magnitude = value.abs().clip(lower_bound=ROUNDING)
    return (
        states.filter(value.is_finite())
        .with_columns(
            mean=magnitude.log() if quantity.logarithmic else value,
            measurement_error=error.abs() / magnitude if quantity.logarithmic else error,
        )
        .group_by(group)
        .agg(
            pl.col("mean").mean(),
            measurement_error=_error_of_mean("measurement_error"),
            networks=pl.len().cast(pl.Int64),
            negative=((value < 0) & quantity.logarithmic).sum().cast(pl.Int64),
            at_rounding=((value.abs() <= ROUNDING) & quantity.logarithmic).sum().cast(pl.Int64),
        )
    )


def _error_of_mean(column: str) -> pl.Expr:
    """Standard error of the mean of independent values, from their standard errors."""
    return pl.col(column).pow(2).sum().sqrt() / pl.len()


def _over_trajectories(
    clusters: pl.DataFrame, group: tuple[str, ...], confidence: float, logarithmic: bool
) -> pl.DataFrame:
    """Estimate and interval of each group from one row a trajectory: mean, measurement_error, networks.

    Where logarithmic, `mean` is a logarithm; estimate, low and high are its exponentials.
    """
    means = clusters.group_by(group).agg(
        pl.col("mean").mean(),
        spread=pl.col("mean").std(),
        measurement_error=_error_of_mean("measurement_error"),
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
    ratios = _over_trajectories(_paired_differences(states), point, confidence, logarithmic=True)
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
    of_trajectories = inside.group_by(*pair, "cluster").agg(
        pl.col("mean").mean(),
        measurement_error=_error_of_mean("measurement_error"),
        networks=pl.col("networks").sum(),
    )
    ratios = _over_trajectories(of_trajectories, pair, confidence, logarithmic=True)
    return (
        ratios.rename({"estimate": "ratio"})
        .join(medians, on=pair)
        .select(
            *(*pair, "median", "ratio", "low", "high"), *("trajectories", "levels", "networks", "interval")
        )
        .sort("numerator", "side")
    )


def _paired_differences(states: pl.DataFrame) -> pl.DataFrame:
    """ln error(numerator) − ln error(denominator) within each trajectory and level."""
    at = ("side", "level", "remaining", "density", "parameters_per_spin", "cluster")
    tickets = states.filter(pl.col("kind") == "ticket")
    means = _cluster_means(tickets, QUANTITIES["relative_error"], (*at, "series"))
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


def own_masks(states: pl.DataFrame) -> pl.DataFrame:
    """The states without transfer tickets, whose masks were found at another Hamiltonian."""
    return states.filter(~_TRANSFERRED)


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
    tickets = tickets.with_columns(transferred=_TRANSFERRED)
    clusters = _cluster_means(tickets, QUANTITIES["relative_error"], (*point, "transferred", "cluster"))
    errors = _over_trajectories(clusters, (*point, "transferred"), confidence, logarithmic=True)
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


def what_varied(states: pl.DataFrame) -> dict[str, list]:
    """Settings that should be one value in a figure and are several, with their values."""
    columns = [column for column in SETTINGS if column in states.columns]
    values = {column: states[column].drop_nulls().unique().sort().to_list() for column in columns}
    return {column: found for column, found in values.items() if len(found) > 1}


def sides_without_reference(states: pl.DataFrame) -> list[int]:
    """Sides with trained networks but no reference energy, so without an energy error."""
    missing = states.filter(pl.col("reference_energy").is_null())
    return missing["side"].unique().sort().to_list()


def below_reference(states: pl.DataFrame) -> pl.DataFrame:
    """Networks whose energy lies significantly below their reference; empty where an older export does not say.

    Returns:
        run_id, level, hamiltonian, side, field, energy, energy_error, reference_energy, reference_energy_error,
        reference_method.
    """
    return states.filter("below_reference").select(
        *("run_id", "level", "hamiltonian", "side", "field", "energy", "energy_error"),
        *("reference_energy", "reference_energy_error", "reference_method"),
    )


def status_counts(runs: pl.DataFrame) -> pl.DataFrame:
    """How many runs of each kind have each status: kind, status, runs."""
    return runs.group_by("kind", "status").agg(runs=pl.len().cast(pl.Int64)).sort("kind", "status")


def remaining_work(runs: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Training that is still to be done, by kind and side, at the step times measured so far.

    A blocked or failed run counts as not remaining: nothing trains it as things stand. Step times are
    means over what is committed of the same kind and side. A trajectory's later levels are cheaper than
    its first ones, so the seconds are an upper estimate while it runs.

    Returns:
        kind, side, runs (unfinished), steps (remaining), seconds_per_step and seconds (of one slot; null
        where nothing of this kind and side is measured yet).
    """
    planned = (
        pl.when(pl.col("kind") == "dense")
        .then("pretraining_steps")
        .when(pl.col("kind") == TRAJECTORY)
        .then(pl.col("levels") * pl.col("steps_per_level"))
        .otherwise("ticket_steps")
    )
    committed = states.group_by("run_id").agg(trained=pl.col("steps").sum())
    measured = states.group_by("kind", "side").agg(
        seconds_per_step=pl.col("wall_seconds").sum() / pl.col("steps").sum()
    )
    return (
        runs.filter(pl.col("status").is_in(UNFINISHED))
        .join(committed, on="run_id", how="left")
        .with_columns(left=(planned - pl.col("trained").fill_null(0)).clip(lower_bound=0))
        .group_by("kind", "side")
        .agg(runs=pl.len().cast(pl.Int64), steps=pl.col("left").sum().cast(pl.Int64))
        .join(measured, on=["kind", "side"], how="left")
        .with_columns(seconds=pl.col("steps") * pl.col("seconds_per_step"))
        .sort("kind", "side")
    )


# Causes before what they bring about.
_TROUBLES = ("failed", "diverged", "stale", "blocked")


def troubled_runs(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs that diverged, failed, are blocked or stale, with the sentence that says why.

    Returns:
        status, kind, side, variant, level, replicate, reason (null where none is recorded), run_id.
    """
    return (
        runs.filter(~pl.col("status").is_in((*UNFINISHED, "done")))
        .select("status", "kind", "side", "variant", "level", "replicate", "reason", "run_id")
        .sort(pl.col("status").replace_strict(_TROUBLES, range(4), default=4), "kind", "side", "run_id")
    )
