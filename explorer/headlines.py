"""What a figure shows in one sentence: its headline, with every number from the table that the figure draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from explorer.analysis import (
    Collapse,
    Quantity,
    Regions,
)
from explorer.analysis.regions import EXPONENT, HIGH, LOW, WIDEST_EXPONENT
from explorer.numbers import SUPERSCRIPTS, interval, with_error, with_two_errors

# What a collapse fits, as it is written.
FITTED_OF_COLLAPSE = {"critical": "x_c", "a": "a", "b": "b"}
_CURVES = {"side": "L", "width_per_spin": "α"}


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
    return f"{name}: changes most at {listed(where)} weights per spin" if where else name


def extreme_headline(points: pl.DataFrame, quantity: Quantity, largest: bool, by: str = "side") -> str:
    """At which density a quantity is largest, or smallest, curve by curve.

    Args:
        points: one point for each curve and density, from `curve_points`.
        by: `side` or `width_per_spin`, what tells the curves apart.
    """
    extremes = points.sort("estimate", descending=largest).group_by(by, maintain_order=True).first()
    where = [_where(row, by) for row in extremes.sort(by).iter_rows(named=True)]
    name, which = quantity.name.capitalize(), "largest" if largest else "lowest"
    return f"{name}: {which} at {listed(where)} weights per spin" if where else name


def plateau_headline(points: pl.DataFrame, factor: float, by: str) -> str:
    """Down to which density the error stays within a factor of its smallest, curve by curve.

    Args:
        points: one point for each curve and density, from `curve_points`; at least one.
        by: `side` or `width_per_spin`, what tells the curves apart.
    """
    good = points.filter(pl.col("estimate") <= factor * pl.col("estimate").min().over(by))
    sparsest = good.sort("parameters_per_spin").group_by(by, maintain_order=True).first()
    where = [_where(row, by) for row in sparsest.sort(by).iter_rows(named=True)]
    return f"Within a factor of {factor:g} of the smallest error down to {listed(where)} weights per spin"


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
    return f"{names} agree within a factor of {factor:g} at {listed(spans)} weights per spin"


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


def listed(parts: list[str]) -> str:
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
    return f"At {sparsest['parameters_per_spin'][0]:.3g} weights per spin: relative error {listed(means)}"


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
    fitted = values.filter(pl.col("value") == EXPONENT)
    is_open = (pl.col("high") > WIDEST_EXPONENT * pl.col("low")).fill_null(False)
    exponents, unknown = fitted.filter(~is_open)["estimate"], fitted.filter(is_open).height
    are = "is" if found.refused == 1 else "are"
    refused = [f"{found.refused} of {curves} {are} of another form"] if found.refused else []
    if unknown:
        refused.append(f"the power of {unknown} is not known to a factor of {WIDEST_EXPONENT:g}")
    if exponents.is_empty():
        return f"{name}: no curve is shown to have one power law{''.join(f'; {text}' for text in refused)}"
    low, high = f"{exponents.min():.1f}", f"{exponents.max():.1f}"
    power = low if low == high else f"{low} to {high}"
    plateaus = [
        f"{(values['value'] == plateau).sum()} of {curves} reach a {plateau}" for plateau in (LOW, HIGH)
    ]
    where = "" if len(exponents) == curves else f" in {len(exponents)} of {curves} curves"
    return f"{name} falls with the power {power} of the weights{where}; {listed(plateaus + refused)}"


def collapse_headline(fit: Collapse, systematics: pl.DataFrame) -> str:
    """Critical point and exponents with both errors, and the quality, in a sentence.

    Args:
        systematics: from `analysis.systematic_errors` of the fit.
    """
    systematic = dict(systematics.select("parameter", "systematic_error").iter_rows())
    known = systematics["fits"].min() > 1
    found = []
    for name, symbol in FITTED_OF_COLLAPSE.items():
        value, error = getattr(fit, name).value, getattr(fit, name).error
        if error > 0:
            text = with_two_errors(value, error, systematic[name]) if known else with_error(value, error)
            found.append(f"{symbol} = {text}")
    named = "errors statistical, then systematic" if known else "statistical errors alone"
    return f"Best collapse: {', '.join(found)} ({named}), S = {fit.quality:.2g}"


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
        return f"No level step is shown to be a transition ({listed(verdicts)})"
    where = [
        f"{_density_interval(row)} ({'h' if several_fields else 'L'}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
        f"{row['field' if several_fields else 'side']:g})"
        for row in found.iter_rows(named=True)
    ]
    return f"Transition at {listed(where)} weights per spin"


def _density_interval(row: dict) -> str:
    return f"{row['parameters_per_spin']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"


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
