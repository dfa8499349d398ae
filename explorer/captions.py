"""What a figure says in words: headlines that state what is seen, captions with n and method.

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
from explorer.analysis.regions import EXPONENT, HIGH, LOW, MOST_MISFIT
from explorer.numbers import NONE, SUPERSCRIPTS, interval, interval_alone, with_error, with_two_errors
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


_RECORDED = "of the first 100 steps of a level all, then every tenth. Dashed: the reference energy."
TRAINING_CAPTION = (
    f"Each mark: the sampled energy before one training step, with one standard error; {_RECORDED}"
)
METHOD_TRAINING_CAPTION = (
    f"Each mark: the sampled energy before one training step; bands: one standard error; {_RECORDED} IMP-WR and IRP-WR "
    "start from the rewind point, IMP-CT from the trained weights of the level before."
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


def ticket_headline(summary: pl.DataFrame, window: tuple[float, float]) -> str:
    """What the tickets of one side show in a window of densities, in a sentence with its numbers.

    Args:
        summary: from `ratio_summary`, one side.
        window: the window it was made with.
    """
    if summary.is_empty():
        return "Relative error of the trajectory and its tickets"
    median = dict(zip(summary["numerator"], summary["median"], strict=True))
    what = {"init_rand": "with a random mask", "rand_imp": "with new initial weights"}
    clauses = [f"error × {short_factor(median[name])} {what[name]}" for name in what if name in median]
    return f"At {window[0]:g}–{window[1]:g} weights per spin: {', '.join(clauses)}"


def short_factor(ratio: float) -> str:
    """A factor as a headline has it: 0.35, 1.0, 31, 120, and its power of ten from 10⁴ on."""
    if ratio >= 1e4:
        return f"10{str(round(np.log10(ratio))).translate(SUPERSCRIPTS)}"
    if ratio >= 99.5:
        return f"{ratio:.0f}"
    return f"{ratio:.1f}" if 0.95 <= ratio < 9.95 else f"{ratio:.2g}"


def change_headline(points: pl.DataFrame, quantity: Quantity) -> str:
    """Between which densities a quantity changes most from one level to the next, side by side.

    Args:
        points: one point for each side and density, from `curve_points`.
    """
    where = []
    for (side,), curve in points.sort("side").group_by("side", maintain_order=True):
        if len(curve) > 1:
            curve = curve.sort("parameters_per_spin")
            densities = curve["parameters_per_spin"].to_numpy()
            step = int(np.argmax(np.abs(np.diff(curve["estimate"].to_numpy()))))
            where.append(
                f"{densities[step]:.3g}–{densities[step + 1]:.3g} (L\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{side})"
            )
    name = quantity.name.capitalize()
    return f"{name}: changes most at {_listed(where)} weights per spin" if where else name


# How a headline names the curves that a figure tells apart.
_CURVES = {"side": "L", "width_per_spin": "α"}


def extreme_headline(points: pl.DataFrame, quantity: Quantity, largest: bool, by: str = "side") -> str:
    """At which density a quantity is largest, or smallest, curve by curve.

    Args:
        points: one point for each curve and density, from `curve_points`.
        by: `side` or `width_per_spin`, what tells the curves apart.
    """
    extremes = points.sort("estimate", descending=largest).group_by(by, maintain_order=True).first()
    where = [_where(row, by) for row in extremes.sort(by).iter_rows(named=True)]
    name, which = quantity.name.capitalize(), "largest" if largest else "lowest"
    return f"{name}: {which} at {_listed(where)} weights per spin" if where else name


def plateau_headline(points: pl.DataFrame, factor: float, by: str) -> str:
    """Down to which density the error stays within a factor of its smallest, curve by curve.

    Args:
        points: one point for each curve and density, from `curve_points`; at least one.
        by: `side` or `width_per_spin`, what tells the curves apart.
    """
    good = points.filter(pl.col("estimate") <= factor * pl.col("estimate").min().over(by))
    sparsest = good.sort("parameters_per_spin").group_by(by, maintain_order=True).first()
    where = [_where(row, by) for row in sparsest.sort(by).iter_rows(named=True)]
    return f"Within a factor of {factor:g} of the smallest error down to {_listed(where)} weights per spin"


def _where(row: Mapping, by: str) -> str:
    equals = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
    return f"{row['parameters_per_spin']:.3g} ({_CURVES[by]}{equals}{row[by]:g})"


def size_headline(windows: pl.DataFrame, factor: float, sides: list[int]) -> str:
    """Where the sizes agree within a factor, in a sentence.

    Args:
        windows: from `agreement_windows`, made with the same factor.
        factor: what counted as agreement.
        sides: the sides compared.
    """
    if len(sides) < 2 or windows.is_empty():
        return "Energy error per spin against weights per spin"
    names = f"L = {', '.join(str(side) for side in sides)}"
    agree = windows.filter("agree")
    if agree.is_empty():
        return f"{names} nowhere agree within a factor of {factor:g}"
    spans = [
        f"{row['start']:.3g}" if row["densities"] == 1 else f"{row['start']:.3g}–{row['end']:.3g}"
        for row in agree.iter_rows(named=True)
    ]
    return f"{names} agree within a factor of {factor:g} at {_listed(spans)} weights per spin"


def agreement_headline(agreement: pl.DataFrame) -> str:
    """At which densities the sizes differ least and most, and by what factors.

    Args:
        agreement: from `size_agreement`, at least one row.
    """
    ordered = agreement.sort("factor", "parameters_per_spin").rows(named=True)
    least, most = (
        f"× {short_factor(row['factor'])} at {row['parameters_per_spin']:.3g}"
        for row in (ordered[0], ordered[-1])
    )
    return f"Sizes differ least by {least} and most by {most} weights per spin"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def replicate_headline(table: pl.DataFrame, labels: dict[str, str]) -> str:
    """Each variant's mean at the sparsest level, in a sentence.

    Args:
        table: from `analysis.replicate_table`, at least one row.
        labels: how variants are written.
    """
    sparsest = table.filter(pl.col("level") == pl.col("level").max())
    means = [
        f"{with_error(row['mean'], row['error'], 3)} of {labels[row['series']]}"
        for row in sparsest.iter_rows(named=True)
    ]
    return f"At {sparsest['parameters_per_spin'][0]:.3g} weights per spin: relative error {_listed(means)}"


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


def method_headline(ratios: pl.DataFrame, labels: dict[str, str]) -> str:
    """How much worse the other methods are than the reference, over all densities, in a sentence.

    Args:
        ratios: from `analysis.method_ratios`.
        labels: how methods are written.
    """
    if ratios.is_empty():
        return "Relative error by pruning method"
    medians = ratios.group_by("numerator", "denominator").agg(pl.col("ratio").median()).sort("numerator")
    clauses = [
        f"error × {short_factor(row['ratio'])} by {labels[row['numerator']]}"
        for row in medians.iter_rows(named=True)
    ]
    return f"Against {labels[medians['denominator'][0]]}, median over densities: {', '.join(clauses)}"


def equivalence_sentence(row: dict, alpha: float, labels: dict[str, str]) -> str:
    """The verdict on a pair of ticket variants, with the numbers that it rests on.

    Args:
        row: of `analysis.ticket_equivalence`.
        alpha: the level it was tested at.
        labels: how variants are written.
    """
    names = f"{labels[row['numerator']]} and {labels[row['denominator']]}"
    if row["reason"]:
        return f"{names} can't be tested: error × {short_factor(row['ratio'])}. {row['reason']}"
    verdict = {
        "equivalent": f"are equivalent within a factor of {row['margin']:g} (p = {row['p_equivalent']:.2g})",
        "different": f"differ (p = {row['p_different']:.2g}), and not by less than a factor of {row['margin']:g}",
        "undecided": f"are neither shown to be equivalent within a factor of {row['margin']:g} "
        f"(p = {row['p_equivalent']:.2g}) nor to differ (p = {row['p_different']:.2g})",
    }[row["verdict"]]
    effect = interval(row["ratio"], row["low"], row["high"])
    return (
        f"{names} {verdict}: error × {effect} at {1 - 2 * alpha:.0%}, n = {row['trajectories']} trajectories. "
        f"The smallest margin that passes at {alpha:.0%} is × {short_factor(row['smallest_margin'])}."
    )


def region_headline(found: Regions, quantity: Quantity) -> str:
    """With what power the curves fall between their plateaus, how many have which, and how many are of another form.

    Args:
        found: from `analysis.fit_regions`.
        quantity: what was fitted.
    """
    name, values, curves = quantity.name.capitalize(), found.values, len(found.curves)
    exponents = values.filter(pl.col("value") == EXPONENT)["estimate"]
    are = "is" if found.refused == 1 else "are"
    refused = [f"{found.refused} of {curves} {are} of another form"] if found.refused else []
    if exponents.is_empty():
        return f"{name}: no curve is shown to have one power law{''.join(f'; {text}' for text in refused)}"
    low, high = f"{exponents.min():.1f}", f"{exponents.max():.1f}"
    power = low if low == high else f"{low} to {high}"
    plateaus = [
        f"{(values['value'] == plateau).sum()} of {curves} reach a {plateau}" for plateau in (LOW, HIGH)
    ]
    where = "" if len(exponents) == curves else f" in {len(exponents)} of {curves} curves"
    return f"{name} falls with the power {power} of the weights{where}; {_listed(plateaus + refused)}"


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
# The fitted numbers of a collapse, as they are written.
_COLLAPSE = {"critical": "x_c", "a": "a", "b": "b"}


def collapse_headline(fit: Collapse, systematics: pl.DataFrame) -> str:
    """Critical point and exponents with both errors, and the quality, in a sentence.

    Args:
        systematics: from `analysis.systematic_errors` of the fit.
    """
    systematic = dict(systematics.select("parameter", "systematic_error").iter_rows())
    known = systematics["fits"].min() > 1
    found = []
    for name, symbol in _COLLAPSE.items():
        value, error = getattr(fit, name).value, getattr(fit, name).error
        if error > 0:
            text = with_two_errors(value, error, systematic[name]) if known else with_error(value, error)
            found.append(f"{symbol} = {text}")
    named = "errors statistical, then systematic" if known else "statistical errors alone"
    return f"Best collapse: {', '.join(found)} ({named}), S = {fit.quality:.2g}"


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
            f"{_listed([_COLLAPSE[name] for name in moved])} moves with these choices by more than {SURE_DEVIATION:g} "
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
        for name, symbol in _COLLAPSE.items()
    ]
    return table.select(
        pl.col("form").replace(names), "criterion", *numbers, pl.col("quality").alias("S"), "reason"
    )


def transfer_headline(table: pl.DataFrame) -> str:
    """How much transfer costs, and how much a random mask does, in one sentence.

    Args:
        table: from `analysis.mask_transfer`, of one side and level: one variant, and random masks.
    """
    is_random = pl.col("series") == "init_rand"
    other = table.filter(~is_random, pl.col("mask_field") != pl.col("field"))["ratio"].drop_nulls()
    random = table.filter(is_random)["ratio"].drop_nulls()
    clauses = [
        f"error × {short_factor(ratios.median())} ({short_factor(ratios.min())} to {short_factor(ratios.max())}) {what}"
        for ratios, what in ((other, "under a mask of another field"), (random, "under a random one"))
        if len(ratios)
    ]
    return f"Median over fields: {', '.join(clauses)}" if clauses else "Nothing to compare yet"


def branch_headline(differences: pl.DataFrame, name: str) -> str:
    """Where the two branches differ most, in a sentence.

    Args:
        differences: from `branch_differences`, at least one row.
        name: of the quantity.
    """
    most = differences.sort(pl.col("difference").abs()).row(-1, named=True)
    more = "higher" if most["difference"] > 0 else "lower"
    return (
        f"{name}: back up it is {more} by up to {abs(most['difference']):.2g}, "
        f"at {most['parameters_per_spin']:.3g} weights per spin"
    )


def transition_headline(transitions: pl.DataFrame) -> str:
    """Which sides (or fields) have a transition and where, in a sentence; else what is seen instead.

    Args:
        transitions: from `detect_transitions`.
    """
    several_fields = transitions["field"].n_unique() > 1
    found = transitions.filter(pl.col("verdict") == "transition")
    if found.is_empty():
        verdicts = transitions["verdict"].unique().sort().to_list()
        return f"No level step is shown to be a transition ({_listed(verdicts)})"
    where = [
        f"{_density_interval(row)} ({'h' if several_fields else 'L'}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
        f"{row['field' if several_fields else 'side']:g})"
        for row in found.iter_rows(named=True)
    ]
    return f"Transition at {_listed(where)} weights per spin"


def _density_interval(row: dict) -> str:
    return f"{row['parameters_per_spin']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"


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
    versions = _listed([str(version) for version in stale["numerics_version"].unique().sort()])
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


def network_headline(network: Mapping) -> str:
    """Where a network lies on its curve: its error, signed, and its density."""
    return (
        f"Level {network['level']}: relative error {short_number(network['relative_error'])} "
        f"at {network['parameters_per_spin']:.3g} weights per spin"
    )


def short_number(value: float) -> str:
    """A number of any size with two digits: 0.31, −0.02, 7.6·10⁻⁴."""
    if value == 0 or 1e-2 <= abs(value) < 1e3:
        return f"{value:.2g}".replace("-", "−")
    digits, power = f"{value:.1e}".replace("-", "−", value < 0).split("e")
    return f"{digits}·10{str(int(power)).translate(SUPERSCRIPTS)}"


def product_headline(table: pl.DataFrame, level: int, name: str, at: str) -> str:
    """How a mean of products falls from the nearest spins, or the smallest loop, to the farthest.

    Args:
        table: from `analysis.product_means`.
        level: the network that is told of.
        name: of the mean.
        at: what its distances are: r or k.
    """
    own = table.filter(pl.col("level") == level).sort("distance")
    first, last = (own.row(index, named=True) for index in (0, -1))
    equals = " = "
    ends = [
        f"{with_error(row['mean'], row['error'] or None, 3)} at {at}{equals}{row['distance']}"
        for row in ((first, last) if len(own) > 1 else (first,))
    ]
    return f"Level {level}: {name} {' and '.join(ends)}"


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


def filter_headline(counts: pl.DataFrame, units: int) -> str:
    """How many hidden units live, and what most of them are.

    Args:
        counts: from `analysis.class_counts`.
        units: of the layer, dead ones included.
    """
    live = counts["units"].sum()
    most = counts.sort("units", descending=True, maintain_order=True).row(0, named=True)
    which = f"{most['units']} of class “{most['class']}”"
    return f"{live} of {units} hidden units live: {which if most['units'] < live else f'all {which}'}"


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


def degree_headline(table: pl.DataFrame, of: str) -> str:
    """How broad degrees are beside chance, or how many are dead where that is more telling.

    Args:
        table: from `analysis.degree_distribution`, of units or of spins.
        of: "units" or "spins".
    """
    dead = table.filter(pl.col("degree") == 0)
    if of == "units":
        found, expected = dead["count"].sum(), dead["expected"].sum()
        return f"Hidden units without any weight: {found}, by chance {expected:.3g}"
    low, high = (
        table.filter(pl.col("count") > 0)["degree"].min(),
        table.filter(pl.col("count") > 0)["degree"].max(),
    )
    return f"Spins have {low} weights" if low == high else f"Spins have {low} to {high} weights"


def range_headline(table: pl.DataFrame) -> str:
    """What share of connected pairs are neighbours, and what chance gives.

    Args:
        table: from `analysis.range_distribution`, with at least one pair.
    """
    near = table.filter(pl.col("distance") == 1)
    share = near["pairs"].sum() / table["pairs"].sum()
    chance = near["expected"].sum() / table["expected"].sum()
    return (
        f"{share:.0%} of the pairs of spins that a unit connects are one step apart, by chance {chance:.0%}"
    )


def overlap_headline(table: pl.DataFrame) -> str:
    """The first statistic of two masks beside chance, and whether chance could give it.

    Args:
        table: from `analysis.compare_directly` or `analysis.compare_invariants`, with a value.
    """
    row = table.drop_nulls("value").row(0, named=True)
    if row["value"] > row["high"]:
        which = "more than chance"
    else:
        which = "less than chance" if row["value"] < row["low"] else "as by chance"
    return f"Two masks, {row['statistic']}: {row['value']:.2f}, {which} ({row['expected']:.2f})"


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


def parity_headline(table: pl.DataFrame, plaquettes: int) -> str:
    """What a network of the toric code has of the exact solution.

    Args:
        table: from `analysis.parity_table`, of one network.
        plaquettes: of the lattice.
    """
    odd = table.filter(pl.col("class") == "odd plaquette")["units"].sum()
    solved = round(table["solved"][0] * plaquettes)
    return f"{odd} odd-parity filters; {solved} of {plaquettes} plaquettes have one for each of their edges"


def strength_headline(built: pl.DataFrame, here: pl.DataFrame, exact: float | None) -> str:
    """How a network's error compares with the exact solution's of equal strength; of built ones, how it falls.

    Args:
        built: from `analysis.built_networks`.
        here: the row of the network that is shown, from `analysis.parity_table`; may be empty.
        exact: the closed form at its strength; None without one.
    """
    if not here.is_empty() and exact is not None and here["relative_error"][0] is not None:
        error, strength = here["relative_error"][0], here["strength"][0]
        return (
            f"This network: relative error {short_number(error)} at parity strength {strength:.2g}, "
            f"where the exact solution has {short_number(exact)}"
        )
    known = built.drop_nulls("relative_error").sort("closed_form", descending=True)
    if known.is_empty():
        return "Relative error against the magnitude of odd-parity filters"
    first, last = known.row(0, named=True), known.row(-1, named=True)
    return (
        f"The exact solution’s error falls from {short_number(first['closed_form'])} at a = {first['magnitude']:g} "
        f"to {short_number(last['closed_form'])} at a = {last['magnitude']:g}"
    )
