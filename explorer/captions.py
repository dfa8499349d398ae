"""What a figure is, in words: captions with n and method, and the tables that are made of texts.

Every number in a sentence comes from the table that the figure draws.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import polars as pl

from explorer.analysis import (
    BY_MEASUREMENT,
    BY_REPLICATES,
    BY_STEP,
    BY_TRAJECTORIES,
    MOST_MARKS,
    NO_INTERVAL,
    REGION_VALUES,
    ROUNDING,
    SURE_DEVIATION,
    Collapse,
    Quantity,
    Regions,
)
from explorer.analysis.collapse import FEWEST_SIDES
from explorer.analysis.regions import MOST_MISFIT
from explorer.headlines import FITTED_OF_COLLAPSE, listed
from explorer.numbers import NONE, interval, interval_alone, with_error
from nqs.identity import NUMERICS_VERSION

# How a caption says what a chart does with intervals of many decades.
CUT = "cut where they reach a decade beyond all marks"
# What the lines of `charts.regions` are.
NO_REGIONS = f"Curves that the form misses by more than their scatter and a factor of {np.exp(MOST_MISFIT):.2g} have none."
REGION_LINES = (
    "Lines: least-squares fits of plateau, power law and plateau; dotted: plateaus, dashed: boundaries"
)


def point_caption(points: pl.DataFrame, quantity: Quantity, confidence: float) -> str:
    """What points, intervals and open marks of a figure are, with n: the sentence below it."""
    mean = "geometric means of magnitudes" if quantity.logarithmic else "means"
    points_are = (
        f"Points: {mean} over {how_many(points['trajectories'])} independent trajectories "
        f"({how_many(points['networks'])} networks a point); small marks: {_marks_are(points)}."
    )
    sentences = [points_are]
    scale = " of the logarithm" if quantity.logarithmic else ""
    cut = f"; {CUT}" if quantity.logarithmic else ""
    methods = set(points["interval"])
    if BY_TRAJECTORIES in methods:
        sentences.append(f"Intervals: {confidence:.0%}, Student's t over trajectories{scale}{cut}.")
    if BY_MEASUREMENT in methods:
        sentences.append(f"Where there is one trajectory: {confidence:.0%} from its measurement error alone.")
    if NO_INTERVAL in methods:
        sentences.append("An exact value of one trajectory has no interval.")
    if points["negative"].sum():
        sentences.append("Open marks: below zero, drawn at their magnitude.")
    if points["at_rounding"].sum():
        sentences.append(f"Magnitudes under the rounding of float64 are drawn at {ROUNDING:.1e}.")
    return " ".join(sentences)


def interval_sentence(confidence: float, over: str, cut: bool = True) -> str:
    """How intervals of logarithms over independent trajectories are made, the same on every page.

    Args:
        over: what is independent: trajectories, or dense runs.
        cut: whether the chart cuts them.
    """
    ends = f"; {CUT}" if cut else ""
    return (
        f"Intervals: {confidence:.0%}, Student's t over {over} of the logarithm, or the measurement error where there "
        f"is one{ends}."
    )


def ratio_caption(ratios: pl.DataFrame, confidence: float) -> str:
    """What ratios of ticket variants are, with n.

    Args:
        ratios: from `analysis.ticket_ratios`.
    """
    return (
        "Ratios of relative errors at equal trajectory and level, tickets averaged first; geometric means over "
        f"{how_many(ratios['trajectories'])} trajectories. {interval_sentence(confidence, 'trajectories')}"
    )


def method_ratio_caption(ratios: pl.DataFrame, confidence: float) -> str:
    """What ratios of pruning methods are, with n.

    Args:
        ratios: from `analysis.method_ratios`.
    """
    return (
        "Ratios of relative errors at equal level within a dense run; geometric means over "
        f"{how_many(ratios['trajectories'])} dense runs. {interval_sentence(confidence, 'dense runs')}"
    )


def agreement_caption(confidence: float, factor: float) -> str:
    """How sizes are compared between their densities, and what the band is."""
    return (
        "Ratio of the largest to the smallest error per spin over all sides that reach a density, interpolated linearly "
        f"in log–log between measured densities, never beyond. Band: {confidence:.0%}, the two curves' half-widths added "
        f"in quadrature; cut at 1, and a decade beyond all marks. Dashed: the factor {factor:g} that counts as agreement."
    )


def step_caption(points: pl.DataFrame, confidence: float) -> str:
    """What level steps and the bars of their largest are, with n.

    Args:
        points: from `analysis.step_points`.
    """
    return (
        f"Each step at the midpoint of ln nᵣ; geometric means over {how_many(points['trajectories'])} trajectories. "
        f"{interval_sentence(0.68, 'trajectories', cut=False)} Bars: the {confidence:.0%} interval of the place of the "
        "largest step, at its height. Open marks: losses that sampling finds negative."
    )


def envelope_caption(lowest: pl.DataFrame) -> str:
    """What the lowest energies are taken over, with n.

    Args:
        lowest: from `analysis.lowest_energy_envelope`.
    """
    return (
        "Marks: at each density the network of lowest energy over all seeds and variants "
        f"({how_many(lowest['networks'])} networks of {how_many(lowest['trajectories'])} trajectories). "
        "Broad lines: means of the trajectories. A jump that only these have is one of stuck or unlucky networks."
    )


DRIFT_CAPTION = (
    "Slope of the training energy over the last fifth of a level's steps, in units of its standard error, a mark "
    "each trained network. Dashed: 0 and −3, below which an energy was still falling."
)


def branch_caption(table: pl.DataFrame) -> str:
    """What differences between the branches are, with n.

    Args:
        table: from `analysis.branch_differences`.
    """
    return (
        f"Differences at the same mask, a mark each trajectory (n = {table['cluster'].n_unique()}); bars: one standard "
        "error, none where both are summed exactly. Below zero in energy: the way down was stuck above."
    )


_RECORDED = "of the first 100 steps of a level all, then every tenth; an export may have fewer."
TRAINING_CAPTION = (
    f"Each mark: the sampled energy before one training step, with one standard error; {_RECORDED} Dashed: the "
    "reference energy."
)
TRAINING_ERROR_CAPTION = (
    "Each mark: how far the sampled energy before one training step is from the reference, with one standard error of the "
    "sampled energy; open marks are below the reference, on whose both sides samples scatter once a training is as near as "
    f"their error; {_RECORDED}"
)
METHOD_TRAINING_CAPTION = (
    f"Each mark: the sampled energy before one training step; bands: one standard error; {_RECORDED} Dashed: the "
    "reference energy. IMP-WR and IRP-WR start from the rewind point, IMP-CT from the trained weights of the level before."
)


def replicate_caption(table: pl.DataFrame, confidence: float) -> str:
    """What the means and both kinds of bars of replicates are, with n.

    Args:
        table: from `analysis.replicate_table`.
    """
    return (
        f"Small marks: each ticket; long marks: arithmetic means over {how_many(table['replicates'])} replicates of "
        f"{how_many(table['trajectories'])} trajectories. Thin bars: {confidence * 100:g} %, Student's t over all "
        "replicates, as Table 2 prints; wide pale bars: the same over trajectories, which share a mask (none for one "
        "trajectory). Student's t over two trajectories is wide: 637 standard errors at 99.9 %. Bars "
        f"{CUT}, and at the frame where they reach below zero."
    )


def transfer_caption(table: pl.DataFrame, ticket: str, confidence: float) -> str:
    """What the ratios of mask transfer are, with n.

    Args:
        table: from `analysis.mask_transfer`.
        ticket: how the variant is written.
    """
    return (
        f"Numbers: relative error of {ticket} over that under the mask of the field it is trained at, geometric means "
        f"over {how_many(table['trajectories'])} trajectories of the mask's field. Row “random”: T(init, rand) over "
        f"T(init, imp) of the same trajectory. Intervals ({confidence:.0%}) are in the table: Student's t over "
        "trajectories of the logarithms; for masks of another field those of both errors, in quadrature."
    )


def region_caption(found: Regions, confidence: float) -> str:
    """What lines of region fits are, and how their intervals are made."""
    made = ", ".join(sorted(set(found.curves["interval"].drop_nulls())))
    return f"{REGION_LINES}, with {confidence:.0%} intervals in the table: {made}. {NO_REGIONS}"


def boundary_caption(confidence: float) -> str:
    """What the boundaries are, and their bars."""
    return (
        "Upper boundary: below it the error rises from the low-error plateau; lower boundary: below it lies the "
        f"high-error plateau. Bars: {confidence:.0%}; {CUT}. Curves without a plateau have no boundary there."
    )


CURVE_OF_NETWORK_CAPTION = (
    "Each mark: a network of this run, and of a ticket also those of its trajectory; the ring: the one that is shown. "
    "Intervals: 68%, of its measurement alone; an exact value has none."
)
CHANCE_CAPTION = (
    "Bars: this network. Marks: the exact expectation of a random mask with as many live weights (drawn without "
    "replacement: hypergeometric), with one standard deviation of such masks."
)


def range_caption(is_toric_code: bool) -> str:
    """What pairs and distances of ranges are."""
    along = ", from edge to edge of a vertex or plaquette" if is_toric_code else ""
    return f"{CHANCE_CAPTION} A pair is two spins of one hidden unit; their distance is counted in steps along bonds{along}."


def _marks_are(points: pl.DataFrame) -> str:
    if points["networks"].sum() <= MOST_MARKS:
        return "each network"
    return "of each point's networks the lowest, the highest and some between"


def how_many(values: pl.Series) -> str:
    """Counts as a caption has them: n = 3, or n = 3–5."""
    low, high = values.min(), values.max()
    return f"n = {low}" if low == high else f"n = {low}–{high}"


# How a headline names the curves that a figure tells apart.
def replicate_texts(table: pl.DataFrame, confidence: float, labels: dict[str, str]) -> pl.DataFrame:
    """The table as the paper prints it: mean with error, and both intervals, as texts.

    Args:
        table: from `analysis.replicate_table`.
        confidence: what its intervals were made with.
        labels: how variants are written.
    """
    rows = [
        {
            "weights per spin": f"{row['parameters_per_spin']:.3g}",
            "ticket": labels[row["series"]],
            "mean": with_error(row["mean"], row["error"], 3),
            f"{confidence * 100:g} % over replicates": interval_alone(row["low"], row["high"]),
            f"{confidence * 100:g} % over trajectories": interval_alone(
                row["clustered_low"], row["clustered_high"]
            ),
            "replicates": row["replicates"],
            "trajectories": row["trajectories"],
        }
        for row in table.iter_rows(named=True)
    ]
    return pl.DataFrame(rows)


def region_table(found: Regions, by: str, names: list[str]) -> pl.DataFrame:
    """A row a curve: each fitted number with its interval as text, n, and what could not be fitted.

    Args:
        found: from `analysis.fit_regions`.
        by: the column that tells its curves apart.
        names: how the curves are written, one for each row of `found.curves`.
    """
    texts = {
        (row[by], row["value"]): interval(row["estimate"], row["low"], row["high"])
        for row in found.values.iter_rows(named=True)
    }
    return found.curves.select(
        pl.Series("curve", names, pl.String),
        *(
            pl.Series(value, [texts.get((curve, value), NONE) for curve in found.curves[by]], pl.String)
            for value in REGION_VALUES
        ),
        *("densities", "trajectories", "networks"),
        pl.Series("bends w", [interval(width, None, None) for width in found.curves["width"]], pl.String),
        pl.Series(
            "misfit p", [interval(p, None, None) for p in found.curves["misfit_probability"]], pl.String
        ),
        *("interval", "remark"),
    )


FORMS_COMPARED = (
    "Criterion: Akaike's, less that of the best form, on the same points; a form with 10 more has next to no support. "
    "Errors here are statistical alone."
)


def collapse_caption(fit: Collapse, systematics: pl.DataFrame) -> str:
    """What marks, band, errors and S of a collapse are, with n."""
    trajectories = ", ".join(f"{count} at L = {side}" for side, count in fit.clusters.items())
    marks = (
        f"Marks: means over trajectories ({trajectories}) with one standard error, scaled by the fit. Line and band: "
        f"the scaling function as a Gaussian process, {fit.confidence:.0%}. Statistical errors: one standard error, "
        f"{fit.interval}."
    )
    quality = (
        f"Houdayer and Hartmann's S = {fit.quality:.2f} over {fit.quality_points} of {fit.points} points: about 1 where "
        "errors explain the scatter about one curve; larger where the sizes do not collapse, or where the curve bends "
        "between points."
    )
    choices = systematics["fits"].min()
    if choices > 1:
        what = "the window and the smallest side" if len(fit.sides) > FEWEST_SIDES else "the window"
        varied = f"Systematic errors: half of the range over {choices} choices of {what}."
    else:
        varied = "No narrower window and no larger smallest side has a fit: the systematic error is unknown."
    sentences = [marks, varied, quality]
    moved = systematics.filter(pl.col("deviation") > SURE_DEVIATION)["parameter"]
    if len(moved):
        sentences.append(
            f"{listed([FITTED_OF_COLLAPSE[name] for name in moved])} moves with these choices by more than {SURE_DEVIATION:g} "
            "standard errors of the difference: corrections to scaling."
        )
    return " ".join(sentences)


def collapse_forms(table: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """Forms of the scaling law as text: criterion, numbers with statistical errors, S, and why one has no fit.

    Args:
        table: from `analysis.compare_forms`.
        names: how the forms are written.
    """
    numbers = [
        pl.Series(
            symbol,
            [
                f"{row[name]:g} (held)"
                if row[f"{name}_error"] == 0
                else with_error(row[name], row[f"{name}_error"])
                for row in table.iter_rows(named=True)
            ],
            pl.String,
        )
        for name, symbol in FITTED_OF_COLLAPSE.items()
    ]
    return table.select(
        pl.col("form").replace(names), "criterion", *numbers, pl.col("quality").alias("S"), "reason"
    )


def transition_caption(transitions: pl.DataFrame, criterion: str, confidence: float) -> str:
    """How places, intervals and verdicts of transitions are made, with n.

    Args:
        criterion: its symbol.
    """
    place = (
        f"Place: the largest step of {criterion} between neighbouring levels, by a parabola through its neighbours, "
        f"geometric mean over {how_many(transitions['trajectories'])} trajectories."
    )
    sentences = [place]
    methods = set(transitions["interval"].drop_nulls())
    if BY_REPLICATES in methods:
        sentences.append(f"Intervals: {confidence:.0%}, {BY_REPLICATES}.")
    if BY_STEP in methods:
        sentences.append("Of one trajectory: the level step itself.")
    sentences.append(
        "Filled marks: transitions that the lowest-energy envelope shares. Reasons of each verdict are in the table."
    )
    return " ".join(sentences)


def stale_sentence(stale: pl.DataFrame, runs: int) -> str:
    """How many runs older code trained, which, and what that means.

    Args:
        stale: from `analysis.stale_runs`, at least one row.
        runs: of the study, in all.
    """
    versions = listed([str(version) for version in stale["numerics_version"].unique().sort()])
    return (
        f"{len(stale)} of {runs} runs are stale: they were trained by numerics version {versions}, and this program has "
        f"{NUMERICS_VERSION}. They count as done and are in all figures, but the same run trained today would give other "
        "numbers. A new --out trains them anew."
    )


def run_name(run: Mapping) -> str:
    """A run in words, with its id.

    Args:
        run: one of its rows of `states`.
    """
    what = run["kind"]
    if what == "trajectory":
        what = f"trajectory {run['method']}"
    if run["network"] == "odd_parity":
        built = json.loads(run["network_parameters"])
        what = f"built of {built['filters']:g} odd-parity filters a plaquette, a = {built['magnitude']:g}"
    if run["variant"] is not None:
        what = f"ticket {run['variant']} at level {run['level']}"
        if run["mask_field"] is not None and run["mask_field"] != run["field"]:
            what += f" (mask of h = {run['mask_field']:g} at h = {run['field']:g})"
    return f"{run['side']} × {run['side']} {what}, replicate {run['replicate']} · {run['run_id']}"


def product_caption(table: pl.DataFrame, what: str) -> str:
    """What the means are and how well they are known, with the density of each level.

    Args:
        table: from `analysis.product_means`.
        what: the mean, in words.
    """
    levels = table.unique("level").sort("level")
    densities = ", ".join(
        f"level {level}: {density:.3g}"
        for level, density in levels.select("level", "parameters_per_spin").iter_rows()
    )
    estimators = set(table["estimator"])
    known = {
        ("full_summation",): "Exact sums over all configurations, so without intervals.",
        ("sampling",): "Intervals: 68%, from the spread of the chains' means.",
    }.get(
        tuple(estimators),
        "Exact sums have no interval; of sampled means it is 68%, from the spread of the chains' means.",
    )
    return f"{what} of this run's densest, sparsest and shown networks (weights per spin at {densities}). {known}"


def filter_caption(is_toric_code: bool, periodic: bool) -> str:
    """What a drawing of filters shows."""
    marks = "edges" if is_toric_code else "circles"
    panel = (
        f"One panel a hidden unit, named by its class: {marks} in the colour of their weight, on one symmetric "
        "scale for all units; grey: pruned."
    )
    sentences = [panel]
    if is_toric_code:
        sentences.append(
            "Shaded: the plaquette or star that carries 90% of an odd or even filter. The lattice is periodic: the "
            "upper and the right boundary are the lower and the left one again, drawn faint."
        )
    elif periodic:
        sentences.append("The lattice is periodic: bonds that leave on one side come in on the other.")
    return " ".join(sentences)


def overlap_caption(same_start: bool, confidence: float, draws: int, other: Mapping) -> str:
    """How two masks were compared, and with what chance.

    Args:
        same_start: whether both networks started from the same initial weights.
        draws: random masks, where not.
        other: the row of the second network.
    """
    with_what = (
        f"Compared with {run_name(other)}, level {other['level']}, "
        f"{other['parameters_per_spin']:.3g} weights per spin."
    )
    if same_start:
        how = (
            "Both started from the same initial weights, so masks are compared unit by unit. "
            f"Bars: {confidence:.0%} of two independent random masks of these densities (hypergeometric, exact)."
        )
    else:
        how = (
            "They started from other initial weights, so their units have no common names: compared is what no "
            "permutation of units changes, the best match of the units, how many units connect each pair of spins, "
            f"and the weights of each spin (correlations). Bars: {confidence:.0%} of {draws} random masks whose "
            "units have the second one's degrees, matched in the same way (mean and spread, normal)."
        )
    return f"{with_what} {how}"
