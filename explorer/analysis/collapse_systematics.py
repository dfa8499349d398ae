"""What a collapse owes to choices: the window, the smallest size, and the form of the scaling law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from explorer.analysis.collapse import (
    CONTINUOUS,
    FEWEST_SIDES,
    FIRST_ORDER,
    Collapse,
    NoCollapse,
    ScalingForm,
    fit_data,
)
from explorer.analysis.scaling_process import PHYSICS

# A number that moves by more standard errors of the difference has a correction to scaling; below it may be chance.
SURE_DEVIATION = 3.0
FORMS = {"continuous": CONTINUOUS, "first order": FIRST_ORDER}


def collapse_choices(fit: Collapse, shares: Sequence[float] = (1.0, 0.7, 0.5)) -> pl.DataFrame:
    """The fit again for narrower scaling windows and larger smallest sides.

    Corrections to scaling fall with L and grow with |X|, X = (x − x_c) L^a, so numbers that move along this
    table have more error than their intervals say.

    Args:
        fit: whose data, form, x_c and a decide what is in a window.
        shares: of the largest |X|; a window keeps the points with |X| up to that.

    Returns:
        share, window (largest |X|), smallest_side, sides, points, critical, a, b (null without a fit), each with
        `_error`, quality, reason (why there is no fit; empty where there is one).
    """
    rows, parameters = fit.data.rows, fit.maximum.parameters
    units = fit.data.units
    growth = (rows.side / units.size) ** parameters[1]
    distance = np.abs((rows.control - units.centre) / units.half_width - parameters[0]) * growth
    table = []
    for share in shares:
        for smallest in fit.sides[: len(fit.sides) - FEWEST_SIDES + 1]:
            chosen = (distance <= share * distance.max()) & (rows.side >= smallest)
            data = fit.data.keep(chosen)
            row = {"share": share, "window": share * distance.max() * fit.data.scales(parameters)[0]}
            row |= {"smallest_side": smallest, "sides": len(np.unique(data.side)), "points": len(data.side)}
            table.append(row | _numbers(fit_data(data, fit.form, fit.confidence)))
    return pl.DataFrame(table, schema_overrides={"smallest_side": pl.Int64} | _NUMBERS)


def systematic_errors(choices: pl.DataFrame) -> pl.DataFrame:
    """The range that fitted numbers span over the choices, and whether that is more than chance.

    A part of the data has a larger error than all of it, and the variance of their difference is that of the part
    less that of the whole (Hausman, Econometrica 46, 1251, 1978).

    Args:
        choices: from `collapse_choices`; its first row has all data.

    Returns:
        parameter (critical, a, b), low, high, systematic_error (half of the range), deviation (the largest from the
        fit of all data, in standard errors of the difference; beyond `SURE_DEVIATION` it is not chance), fits (choices with one).
    """
    fitted = choices.filter(pl.col("reason") == "")
    rows = []
    for name in PHYSICS:
        values, errors = fitted[name].to_numpy(), fitted[f"{name}_error"].to_numpy()
        # Of a part that is nearly the whole the difference of variances says little, and chance can turn its sign.
        difference = np.maximum(np.sqrt(np.maximum(errors**2 - errors[:1] ** 2, 0)), 0.5 * errors[:1])
        deviations = np.abs(values - values[:1]) / np.where(difference > 0, difference, np.inf)
        low, high = (
            end(values, initial=np.nan if len(values) == 0 else values[0]) for end in (np.min, np.max)
        )
        rows.append((name, low, high, (high - low) / 2, deviations.max(initial=0.0), len(values)))
    schema = ("parameter", "low", "high", "systematic_error", "deviation", "fits")
    return pl.DataFrame(rows, schema, orient="row")


def compare_forms(fit: Collapse, forms: Mapping[str, ScalingForm] | None = None) -> pl.DataFrame:
    """Forms of the scaling law on the data of a fit, the best first.

    Args:
        fit: whose data are fitted.
        forms: by name; `FORMS`, the continuous one and that of first order, unless given.

    Returns:
        form, fitted (how many of x_c, a, b), log_likelihood, criterion (Akaike's, 2 fitted − 2 ln likelihood, less
        that of the best: a form with 10 more has next to no support), critical, a, b, each with `_error`, quality,
        reason.
    """
    table = []
    for name, form in (forms or FORMS).items():
        other = fit_data(fit.data, form, fit.confidence)
        likelihood = None if isinstance(other, NoCollapse) else other.log_likelihood
        row = {"form": name, "fitted": len(form.free), "log_likelihood": likelihood}
        table.append(row | _numbers(other))
    frame = pl.DataFrame(table, schema_overrides={"log_likelihood": pl.Float64} | _NUMBERS)
    criterion = 2 * pl.col("fitted") - 2 * pl.col("log_likelihood")
    frame = frame.with_columns(criterion=criterion - criterion.min())
    names = ("form", "fitted", "log_likelihood", "criterion")
    return frame.select(*names, pl.exclude(*names)).sort("criterion", nulls_last=True)


_NUMBERS = {name: pl.Float64 for one in PHYSICS for name in (one, f"{one}_error")} | {"quality": pl.Float64}


def _numbers(fit: Collapse | NoCollapse) -> dict[str, float | str | None]:
    if isinstance(fit, NoCollapse):
        return dict.fromkeys(_NUMBERS) | {"reason": fit.reason}
    numbers = {}
    for name in PHYSICS:
        estimate = getattr(fit, name)
        numbers |= {name: estimate.value, f"{name}_error": estimate.error}
    return numbers | {"quality": fit.quality, "reason": ""}
