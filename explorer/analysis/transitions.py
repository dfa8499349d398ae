"""Where a network's state changes along pruning levels, and whether that is a transition or a stuck optimisation.

The step between two levels has a place, the midpoint of ln n_r / N, and a width. Three measures of the change over
it are looked at (`CRITERIA`): the fidelity per spin, the fidelity susceptibility, which divides by the width squared,
and the jump of a magnetisation by the width. `detect_transitions` finds the largest step of a curve, asks whether
curves without a transition have one as large, and looks for what would tell a stuck optimisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from scipy import stats

from explorer.analysis.intervals import cluster_means, over_trajectories
from explorer.analysis.quantities import ROUNDING, TRAJECTORY, Quantity

REGROWN = "regrown"
BY_STEP = "one trajectory: its level step"
BY_REPLICATES = "t, over trajectories, at least the part of a step that neighbours leave open"

TRANSITION, MASKS, STUCK, UNDECIDED, NO_JUMP = (
    "transition",
    "of some masks",
    "stuck optimisation",
    "undecided",
    "no jump",
)
VERDICTS = (TRANSITION, MASKS, STUCK, UNDECIDED, NO_JUMP)

# A peak is sought where both sides have steps that say what is usual there.
EDGE_STEPS = 3
# Steps on each side, the nearest left out, whose medians are what is usual: about a factor of two in density.
_REACH = 6
FEWEST_STEPS = 2 * EDGE_STEPS + 5
# Probability below which a peak is more than chance.
SIGNIFICANCE = 0.05
_NULL_CURVES = 4000
_FLAT = 1e-9
# A jump persists where at least this part of it is left, and has vanished below the second.
PERSISTS, VANISHED = 0.5, 0.25
# The energy still falls where another training at the same rate would make up this part of the jump, beyond 3 σ.
DRIFT_SHARE, DRIFT_SIGMAS = 0.2, 3.0
# An interval wider than this in ln n_r is no place.
WIDEST = 1.5


@dataclass(frozen=True)
class Criterion:
    """A measure of how much the state changes over one level step.

    Attributes:
        column: where `level_steps` has it; its standard error is in `<column>_error`.
        name: in words.
        symbol: as an axis has it.
    """

    column: str
    name: str
    symbol: str


CRITERIA = {
    criterion.column: criterion
    for criterion in (
        Criterion("log_fidelity_per_spin", "fidelity loss per spin", "−ln F / N"),
        Criterion("susceptibility_per_spin", "fidelity susceptibility", "−2 ln F / N (Δ ln nᵣ)²"),
        Criterion("jump", "jump of the order parameter", "|Δm| / Δ ln nᵣ"),
    )
}
# Whose change tells the states apart; the energy where a magnetisation is none, as of the toric code.
ORDER_PARAMETERS = ("abs_magnetization_z", "magnetization_x", "error_per_spin")


def level_steps(states: pl.DataFrame, observable: str = ORDER_PARAMETERS[0]) -> pl.DataFrame:
    """What changes between neighbouring levels of each trajectory, from the dense network on.

    Args:
        states: networks of one setting (sides and fields may be several), from `with_quantities`.
        observable: column whose jump is taken, one of `ORDER_PARAMETERS`.

    Returns:
        side, field, cluster (the trajectory), level (the sparser one of the step), log_density (midpoint of
        ln n_r / N), half_step (half of Δ ln n_r), parameters_per_spin (exp of the midpoint), the columns of
        `CRITERIA`, each with `_error` (one standard error; fidelities that sampling finds above 1 are negative
        losses), observable_change (signed, towards sparse), energy_change (per spin, J), energy_drift and its
        error (J a training step), steps.
    """
    columns = (
        *("side", "field", "cluster", "level", "sites", "parameters_per_spin", "energy", observable),
        *(f"{observable}_error", "log_fidelity_per_spin", "log_fidelity_per_spin_error"),
        *("energy_drift", "energy_drift_error", "steps"),
    )
    states = states.select(*columns, "series", "kind", "dense_run_id")
    trajectories = states.filter(pl.col("series") == TRAJECTORY, pl.col("kind") != "dense")
    dense = states.filter(pl.col("kind") == "dense").drop("cluster")
    starts = trajectories.select("dense_run_id", "cluster").unique().join(dense, on="dense_run_id")
    levels = pl.concat([starts.select(columns), trajectories.select(columns)]).sort("cluster", "level")
    log_density = pl.col("parameters_per_spin").log()
    before = {name: pl.col(name).shift().over("cluster") for name in ("level", observable, "energy")}
    width = log_density.shift().over("cluster") - log_density
    change = pl.col(observable) - before[observable]
    change_error = (
        pl.col(f"{observable}_error").pow(2) + pl.col(f"{observable}_error").shift().over("cluster").pow(2)
    ).sqrt()
    return (
        levels.with_columns(
            is_step=pl.col("level") - before["level"] == 1,
            width=width,
            log_density=log_density + width / 2,
            observable_change=change,
            energy_change=(pl.col("energy") - before["energy"]) / pl.col("sites"),
            jump=change.abs() / width,
            jump_error=change_error / width,
            susceptibility_per_spin=2 * pl.col("log_fidelity_per_spin") / width**2,
            susceptibility_per_spin_error=2 * pl.col("log_fidelity_per_spin_error") / width**2,
        )
        .filter("is_step")
        .select(
            *("side", "field", "cluster", "level", "log_density"),
            *(
                (pl.col("width") / 2).alias("half_step"),
                pl.col("log_density").exp().alias("parameters_per_spin"),
            ),
            *[name for criterion in CRITERIA for name in (criterion, f"{criterion}_error")],
            *("observable_change", "energy_change", "energy_drift", "energy_drift_error", "steps"),
        )
        .sort("side", "field", "cluster", "level")
    )


def step_points(steps: pl.DataFrame, criterion: Criterion, confidence: float = 0.68) -> pl.DataFrame:
    """One point for each level step of each side and field: the geometric mean of a criterion over trajectories.

    Args:
        steps: from `level_steps`.

    Returns:
        side, field, level, parameters_per_spin, estimate, low, high (null without an interval), trajectories, negative
        (trajectories whose value is below zero, drawn at its magnitude), interval (how it was made).
    """
    quantity = Quantity(criterion.column, criterion.name, criterion.symbol, logarithmic=True)
    point = ("side", "field", "level", "parameters_per_spin")
    clusters = cluster_means(steps, quantity, (*point, "cluster"))
    points = over_trajectories(clusters, point, confidence, logarithmic=True)
    negative = clusters.group_by(point).agg(pl.col("negative").sum())
    return (
        points.join(negative, on=point, nulls_equal=True)
        .select(*point, "estimate", "low", "high", "trajectories", "negative", "interval")
        .sort("side", "field", "level")
    )


def lowest_energy_envelope(states: pl.DataFrame) -> pl.DataFrame:
    """The network of lowest energy at each density, over all seeds, variants and branches.

    Transfer tickets should be left out (`own_masks`): their masks come from other fields.

    Returns:
        side, field, level, parameters_per_spin, energy, energy_error, error_per_spin, magnetization_x,
        abs_magnetization_z, series, run_id (of the lowest one), networks (among how many), trajectories (from how
        many masks or random draws of them).
    """
    at = ("side", "field", "level", "parameters_per_spin")
    columns = (
        *(*at, "energy", "energy_error", "error_per_spin", "magnetization_x", "abs_magnetization_z"),
        *("series", "run_id"),
    )
    counted = states.group_by(at).agg(
        networks=pl.len().cast(pl.Int64), trajectories=pl.col("cluster").n_unique().cast(pl.Int64)
    )
    known = states.select(columns).filter(pl.col("energy").is_finite())
    lowest = known.sort("energy").unique(at, keep="first")
    return (
        lowest.join(counted, on=at, nulls_equal=True)
        .select(*columns, "networks", "trajectories")
        .sort("side", "field", "level")
    )


def branch_differences(states: pl.DataFrame, column: str) -> pl.DataFrame:
    """A column of the branch back up minus that of the way down, at the same mask of the same trajectory.

    Branches that turned at several levels count with their mean.

    Args:
        column: of `states`; an energy is divided by N.

    Returns:
        side, field, cluster, level, parameters_per_spin, difference, error (one standard error).
    """
    at = ("side", "field", "cluster", "level")
    per_site = pl.col("sites") if column == "energy" else 1
    values = states.select(
        *at,
        "series",
        "parameters_per_spin",
        value=pl.col(column) / per_site,
        error=pl.col(f"{column}_error") / per_site,
    )
    up = (
        values.filter(pl.col("series") == REGROWN)
        .group_by(*at, "parameters_per_spin")
        .agg(pl.col("value").mean(), pl.col("error").pow(2).sum().sqrt() / pl.len())
    )
    down = values.filter(pl.col("series") == TRAJECTORY).drop("series", "parameters_per_spin")
    return (
        up.join(down, on=at, suffix="_down", nulls_equal=True)
        .with_columns(
            difference=pl.col("value") - pl.col("value_down"),
            error=(pl.col("error").pow(2) + pl.col("error_down").pow(2)).sqrt(),
        )
        .select(*at, "parameters_per_spin", "difference", "error")
        .sort("side", "field", "cluster", "level")
    )


# --- the peak of a curve, and whether chance has one


def peak_prominence(curves: np.ndarray) -> np.ndarray:
    """By how many robust standard deviations each step stands above what is usual around it.

    Usual is the line between the medians of the `_REACH` − 1 steps on either side, the nearest left out, so that a
    slope is no peak. The deviation is 1.4826 times the median absolute deviation over the curve.

    Args:
        curves: (…, steps) logarithms of a criterion.

    Returns:
        (…, steps); NaN where a side has no steps.
    """
    left, left_at = _medians(curves, np.arange(-_REACH, -1))
    right, right_at = _medians(curves, np.arange(2, _REACH + 1))
    usual = left - (right - left) * left_at / (right_at - left_at)
    above = curves - usual
    centred = np.abs(above - np.nanmedian(above, axis=-1, keepdims=True))
    deviation = 1.4826 * np.nanmedian(centred, axis=-1, keepdims=True)
    # On a curve that is flat to rounding, anything above it stands out.
    flat = np.where(above > _FLAT, np.inf, np.where(np.isnan(above), np.nan, 0.0))
    varies = deviation > _FLAT
    return np.where(varies, above / np.where(varies, deviation, 1), flat)


def _medians(curves: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of the steps at some offsets from each, (…, steps), and their mean offsets (steps,); NaN: none there."""
    steps = curves.shape[-1]
    at = np.arange(steps)[:, None] + offsets
    there = (at >= 0) & (at < steps)
    values = np.where(there, curves[..., np.where(there, at, 0)], np.nan)
    medians, places = np.full(curves.shape, np.nan), np.full(steps, np.nan)
    some = there.any(1)
    medians[..., some] = np.nanmedian(values[..., some, :], axis=-1)
    places[some] = (there * offsets).sum(1)[some] / there.sum(1)[some]
    return medians, places


@lru_cache(maxsize=128)
def _chance_prominences(steps: int) -> np.ndarray:
    """Largest prominences of curves of independent normal values, ascending: what chance makes of so many steps.

    Prominence knows neither the offset nor the spread of a curve, and next to nothing of its slope, so these stand
    for all. A steep slope makes chance rarer than said, for it orders what the medians are taken of.
    """
    # A table, not a draw: the same for everyone who looks.
    curves = np.random.default_rng(steps).standard_normal((_NULL_CURVES, steps))
    return np.sort(peak_prominence(curves)[:, EDGE_STEPS:-EDGE_STEPS].max(1))


def chance_of_peaks(curves: np.ndarray) -> float:
    """Probability that curves without a transition have peaks as prominent as these, wherever inside they are.

    A curve without one is a smooth slope with independent, equal, normal deviations of its logarithm. Each curve
    has its own probability; Fisher's method combines them (R. A. Fisher, Statistical Methods for Research Workers,
    1932), so that trajectories may jump at different densities, and one that does not jump weighs little.

    Args:
        curves: (trajectories, steps) logarithms of a criterion.
    """
    by_chance = _chance_prominences(curves.shape[-1])
    inside = curves[:, EDGE_STEPS:-EDGE_STEPS]
    largest = EDGE_STEPS + np.argmax(inside, axis=1)
    prominences = np.take_along_axis(peak_prominence(curves), largest[:, None], axis=1)[:, 0]
    above = len(by_chance) - np.searchsorted(by_chance, prominences)
    chances = (above + 1) / (len(by_chance) + 1)
    return float(stats.chi2.sf(-2 * np.log(chances).sum(), 2 * len(curves)))


@dataclass(frozen=True)
class Peak:
    """The largest step of one curve.

    Attributes:
        step: its index.
        log_density: ln n_r / N of the peak, by the parabola through the logarithms of the step and its neighbours,
            never outside the step.
        half_step: half of its width in ln n_r.
        resolved: height of the larger neighbour in units of the peak's: 0 where the change lies within one step, whose
            place in it is unknown, 1 where the parabola has all it needs.
        height: of the step itself.
    """

    step: int
    log_density: float
    half_step: float
    resolved: float
    height: float


def find_peak(curve: np.ndarray, log_density: np.ndarray, half_step: np.ndarray) -> Peak:
    """The largest step inside a curve.

    Args:
        curve: (steps,) logarithms of a criterion, towards sparse; at least `FEWEST_STEPS`.
        log_density, half_step: (steps,) from `level_steps`.
    """
    step = EDGE_STEPS + int(np.argmax(curve[EDGE_STEPS:-EDGE_STEPS]))
    denser, peak, sparser = curve[step - 1 : step + 2]
    curvature = 2 * peak - denser - sparser
    shift = np.clip((sparser - denser) / (2 * curvature), -0.5, 0.5) if curvature > 0 else 0.0
    return Peak(
        step,
        float(log_density[step] - shift * 2 * half_step[step]),
        float(half_step[step]),
        float(min(1.0, np.exp(max(denser, sparser) - peak))),
        float(np.exp(peak)),
    )


def location_interval(peaks: list[Peak], confidence: float) -> tuple[float, float, float]:
    """Mean ln n_r / N of several curves' peaks, and the ends of its interval.

    Student's t over the curves, but at least `confidence` of half a step by the part that neighbours leave open: all
    curves have the same levels, so their peaks may fall into the same step and agree by that alone. A single
    curve has its whole step.
    """
    places = np.array([peak.log_density for peak in peaks])
    half_step = float(np.mean([peak.half_step for peak in peaks]))
    middle = float(places.mean())
    if len(peaks) == 1:
        return middle, middle - half_step, middle + half_step
    quantile = stats.t.ppf((1 + confidence) / 2, len(peaks) - 1)
    of_curves = float(quantile * places.std(ddof=1) / np.sqrt(len(peaks)))
    unresolved = 1 - float(np.mean([peak.resolved for peak in peaks]))
    half_width = max(of_curves, confidence * half_step * unresolved)
    return middle, middle - half_width, middle + half_width


def _height_interval(peaks: list[Peak], confidence: float) -> tuple[float, float | None, float | None]:
    logs = np.log([peak.height for peak in peaks])
    middle = float(np.exp(logs.mean()))
    if len(peaks) == 1:
        return middle, None, None
    half = float(stats.t.ppf((1 + confidence) / 2, len(peaks) - 1) * logs.std(ddof=1) / np.sqrt(len(peaks)))
    return middle, middle * float(np.exp(-half)), middle * float(np.exp(half))


def _curves(steps: pl.DataFrame, column: str) -> tuple[np.ndarray, pl.DataFrame]:
    """Logarithms of a criterion, (trajectories, levels), and the levels that all trajectories reach.

    A value below its error is drawn there: its logarithm would be noise, or not exist.
    """
    known = steps.filter(pl.col(column).is_finite())
    trajectories = known["cluster"].n_unique()
    common = known.filter(pl.len().over("level") == trajectories).sort("cluster", "level")
    floor = pl.max_horizontal(
        pl.col(column), pl.col(f"{column}_error").abs().fill_nan(0).fill_null(0), pl.lit(ROUNDING)
    )
    values = common.select(floor.log()).to_series().to_numpy()
    levels = common.unique("level").sort("level").select("level", "log_density", "half_step")
    return values.reshape(trajectories, -1) if trajectories else np.zeros((0, 0)), levels


# --- verdicts


@dataclass(frozen=True)
class _Evidence:
    """What is known of a jump, beside its peak; None: nothing is.

    Attributes:
        envelope: part of the observable's change that the lowest-energy envelope has.
        drift: part of the jump in energy that another training at the same drift would make up; 0 where the drift
            is not significant.
        upward: part of the observable's change that the branch back up has.
        above: by how much of the jump in energy the way down lies above the branch back up, at most, at one mask.
    """

    envelope: float | None
    drift: float | None
    upward: float | None
    above: float | None


def detect_transitions(
    states: pl.DataFrame,
    criterion: str = "log_fidelity_per_spin",
    confidence: float = 0.95,
    observable: str = ORDER_PARAMETERS[0],
) -> pl.DataFrame:
    """Where each side and field changes its state along pruning levels, and what speaks for a transition.

    Args:
        states: networks of one setting, sides and fields may be several, tickets and branches back up included;
            from `with_quantities`, own masks alone.
        criterion: a key of `CRITERIA`.
        confidence: probability that an interval covers.
        observable: one of `ORDER_PARAMETERS`, whose change the envelope and the branch back up must show, and
            which jumps where that is the criterion.

    Returns:
        side, field, parameters_per_spin (n_r / N of the peak; geometric mean over trajectories), low, high,
        log_density, half_step (of ln n_r), height, height_low, height_high (null for one trajectory), p_value
        (`chance_of_peaks`), trajectories, interval (how it was made), envelope_share, drift_share,
        upward_share, above_share (null where not known; see `reasons`), verdict (one of `VERDICTS`), reasons (sentences).
        Null but for side, field, trajectories and the verdict where there are too few levels.
    """
    steps, envelope = level_steps(states, observable), lowest_energy_envelope(states)
    # What branches are compared by; filtering all columns takes longer than the statistics.
    compared = ("side", "field", "cluster", "level", "series", "sites", "parameters_per_spin", "energy")
    states = states.select(*compared, "energy_error", observable)
    rows = []
    for (side, field), own in steps.group_by("side", "field", maintain_order=True):
        here = pl.col("side") == side, pl.col("field").eq_missing(pl.lit(field, pl.Float64))
        rows.append(
            {"side": side, "field": field}
            | _detect(own, criterion, confidence, observable, states.filter(*here), envelope.filter(*here))
        )
    return pl.DataFrame(rows, _TRANSITION_COLUMNS).sort("side", "field")


_TRANSITION_COLUMNS = {
    "side": pl.Int32,
    "field": pl.Float64,
    **dict.fromkeys(
        (
            "parameters_per_spin",
            "low",
            "high",
            "log_density",
            "half_step",
            "height",
            "height_low",
            "height_high",
        ),
        pl.Float64,
    ),
    "p_value": pl.Float64,
    "trajectories": pl.Int64,
    "interval": pl.String,
    **dict.fromkeys(("envelope_share", "drift_share", "upward_share", "above_share"), pl.Float64),
    "verdict": pl.String,
    "reasons": pl.String,
}


def _detect(
    steps: pl.DataFrame,
    criterion: str,
    confidence: float,
    observable: str,
    states: pl.DataFrame,
    envelope: pl.DataFrame,
) -> dict:
    """The row of one side and field."""
    curves, levels = _curves(steps, criterion)
    known = {"trajectories": len(curves)}
    if curves.shape[-1] < FEWEST_STEPS:
        reason = f"{curves.shape[-1]} level steps have a value; {FEWEST_STEPS} are needed to tell a peak from its surroundings."
        return known | {"verdict": UNDECIDED, "reasons": reason}
    places, half_steps = levels["log_density"].to_numpy(), levels["half_step"].to_numpy()
    peaks = [find_peak(curve, places, half_steps) for curve in curves]
    middle, low, high = location_interval(peaks, confidence)
    height, height_low, height_high = _height_interval(peaks, confidence)
    p_value = chance_of_peaks(curves)
    # A jump counts wherever a trajectory has it, and a step more on both sides.
    half_step = float(np.mean([peak.half_step for peak in peaks]))
    reach = 3 * half_step
    window = min(p.log_density for p in peaks) - reach, max(p.log_density for p in peaks) + reach
    evidence = _evidence(steps, states, envelope, observable, window)
    verdict, reasons = _verdict(
        p_value, high - low, evidence, _envelope_sentence(evidence.envelope, envelope, window)
    )
    return known | {
        "parameters_per_spin": float(np.exp(middle)),
        "low": float(np.exp(low)),
        "high": float(np.exp(high)),
        "log_density": middle,
        "half_step": half_step,
        "height": height,
        "height_low": height_low,
        "height_high": height_high,
        "p_value": p_value,
        "interval": BY_STEP if len(peaks) == 1 else BY_REPLICATES,
        "envelope_share": evidence.envelope,
        "drift_share": evidence.drift,
        "upward_share": evidence.upward,
        "above_share": evidence.above,
        "verdict": verdict,
        "reasons": " ".join(reasons),
    }


def _evidence(
    steps: pl.DataFrame,
    states: pl.DataFrame,
    envelope: pl.DataFrame,
    observable: str,
    window: tuple[float, float],
) -> _Evidence:
    inside = steps.filter(pl.col("log_density").is_between(*window))
    downward = inside.group_by("cluster").agg(pl.col("observable_change", "energy_change").sum())
    change, energy = downward["observable_change"].mean(), downward["energy_change"].mean()
    # Of one mask alone the envelope is the curve itself.
    several = envelope["networks"].max() > 1
    return _Evidence(
        _share(_change(envelope, observable, window), change) if several else None,
        _drift_share(inside, energy, int(states["sites"][0])),
        _upward_share(states, observable, window, change),
        _above_share(states, energy, window),
    )


def _change(levels: pl.DataFrame, observable: str, window: tuple[float, float]) -> float | None:
    """Change of an observable from the dense to the sparse end of a window; None where it is not reached."""
    log_density = pl.col("parameters_per_spin").log()
    ordered = levels.filter(log_density.is_between(*window)).sort("level")
    return None if len(ordered) < 2 else ordered[observable][-1] - ordered[observable][0]


def _upward_share(
    states: pl.DataFrame, observable: str, window: tuple[float, float], change: float | None
) -> float | None:
    """The change that branches back up have, over that on the way down between the same levels, means over trajectories.

    None where no branch crosses most of the change.
    """
    upward = states.filter(pl.col("series") == REGROWN)
    down = states.filter(pl.col("series") == TRAJECTORY)
    pairs = []
    for (cluster,), own in upward.group_by("cluster"):
        same = down.filter(pl.col("cluster") == cluster, pl.col("level").is_in(own["level"].to_list()))
        pair = _change(own, observable, window), _change(same, observable, window)
        if None not in pair:
            pairs.append(pair)
    if not pairs or not change:
        return None
    up, crossed = np.mean(pairs, axis=0)
    return float(up / crossed) if crossed / change >= PERSISTS else None


def _above_share(
    states: pl.DataFrame, energy_change: float | None, window: tuple[float, float]
) -> float | None:
    branches = branch_differences(states, "energy")
    inside = branches.filter(pl.col("parameters_per_spin").log().is_between(*window))
    if inside.is_empty() or not energy_change:
        return None
    # Beyond what measuring can hide.
    beyond = (-inside["difference"] - DRIFT_SIGMAS * inside["error"]).max()
    return max(0.0, beyond) / abs(energy_change)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _drift_share(inside: pl.DataFrame, energy_change: float | None, sites: int) -> float | None:
    """How much of the jump in energy another training at the same drift would make up; 0 where it does not fall."""
    known = inside.filter(pl.col("energy_drift").is_finite(), pl.col("energy_drift_error").is_finite())
    if known.is_empty() or not energy_change:
        return None
    drift = known["energy_drift"].mean()
    error = float(np.sqrt((known["energy_drift_error"] ** 2).sum())) / len(known)
    if drift > -DRIFT_SIGMAS * error:
        return 0.0
    return float(-drift * known["steps"].mean() / sites / abs(energy_change))


def _verdict(
    p_value: float, width: float, evidence: _Evidence, envelope_sentence: str
) -> tuple[str, list[str]]:
    """The verdict and its reasons: what is seen, then what it means.

    Args:
        width: of the location's interval, in ln n_r.
    """
    if p_value >= SIGNIFICANCE:
        branches = [] if evidence.upward is None else [_upward_sentence(evidence)]
        return NO_JUMP, [f"Chance has such peaks with probability {p_value:.2g}.", *branches]
    reasons = [
        f"Chance has such peaks with probability {p_value:.2g}.",
        *(envelope_sentence, _drift_sentence(evidence.drift), _upward_sentence(evidence)),
    ]
    persists = evidence.envelope is not None and evidence.envelope >= PERSISTS
    vanished = evidence.envelope is not None and evidence.envelope < VANISHED
    falls = evidence.drift is not None and evidence.drift >= DRIFT_SHARE
    returns = evidence.upward is not None and evidence.upward >= PERSISTS
    lags = evidence.above is not None and evidence.above >= PERSISTS
    if lags:
        return STUCK, [*reasons, "So the way down was stuck above what its own masks can reach."]
    if vanished and returns and not falls:
        return MASKS, [
            *reasons,
            "So it belongs to these masks, and other masks of these densities do without it.",
        ]
    if vanished:
        return STUCK, [*reasons, "So other networks of these densities do without it."]
    if falls:
        return (UNDECIDED if persists else STUCK), [*reasons, "Longer trainings would tell."]
    if width > WIDEST:
        return UNDECIDED, [
            *reasons,
            f"The trajectories jump at densities a factor {np.exp(width):.2g} apart.",
        ]
    if not persists:
        return UNDECIDED, [*reasons, "More seeds or tickets at these densities would tell."]
    if evidence.upward is not None and not returns:
        return UNDECIDED, [*reasons, "The branches do not agree."]
    return TRANSITION, reasons


def _envelope_sentence(share: float | None, envelope: pl.DataFrame, window: tuple[float, float]) -> str:
    if share is None:
        return "One network at each density: the lowest energy over seeds and variants is the curve itself."
    at = envelope.filter(pl.col("parameters_per_spin").log().is_between(*window))
    least, most = at["networks"].min(), at["networks"].max()
    networks = f"{least} networks" if least == most else f"{least} to {most} networks"
    return f"The lowest energies of {networks} at each density have {share:.0%} of its change."


def _drift_sentence(share: float | None) -> str:
    if share is None:
        return "No energy drift is recorded there."
    if share == 0:
        return "The energy does not drift down there, within 3 σ."
    return f"The energy still falls: another training at that rate would make up {share:.0%} of its jump."


def _upward_sentence(evidence: _Evidence) -> str:
    if evidence.upward is None:
        return "No branch back up crosses it."
    lies = f"up to {evidence.above:.0%} of its jump in energy" if evidence.above else "nowhere significantly"
    return (
        f"The branch back up, from sparse to dense, has {evidence.upward:.0%} of its change and lies lower by {lies} "
        "at the same mask."
    )
