"""Fig. 7: energy against the magnitude of odd-parity filters, trained and built ones beside the closed form."""

from __future__ import annotations

import dataclasses

import altair as alt
import polars as pl

from explorer.analysis import ROUNDING
from explorer.charts.axes import channel, seen_by
from explorer.charts.look import INK, PAPER, Look, refuse_nothing, styled

_BOUND = "triangle-down"
# Trained networks have one look, whatever their side; no lattice has this one.
_TRAINED = 0


def parity_energy(exact: pl.DataFrame, built: pl.DataFrame, trained: pl.DataFrame) -> alt.LayerChart:
    """Relative error against parity strength: the closed form as lines, networks as marks, a colour a side.

    Args:
        exact: from `analysis.closed_form`, of one or more sides.
        built: from `analysis.built_networks`; may be empty. Where sampling saw no broken plaquette the bound of its
            error is drawn, as an open triangle.
        trained: from `analysis.parity_table`, one row a network; may be empty.

    Raises:
        ValueError: there is no closed form to compare with.
    """
    refuse_nothing(exact, "values of the closed form")
    built, trained = _drawn(built), _drawn(trained).with_columns(side=pl.lit(_TRAINED, pl.Int64))
    marks = pl.concat([exact["relative_error"], built["drawn"], trained["drawn"]])
    ends = pl.concat([built.select("low", "high"), trained.select("low", "high")])
    seen = seen_by(marks, ends)
    sides = pl.concat([each.select(pl.col("side").cast(pl.Int64)) for each in (exact, built)])
    look = Look.of(sides, "side")
    if not trained.is_empty():
        look = _with_trained(look)
    x = alt.X(
        "strength:Q",
        title="parity strength: Σ |w| of a plaquette's odd filters / 32",
        scale=alt.Scale(zero=True, nice=False, padding=8),
    )

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, "|E − E₀| / |E₀|", seen)

    layers = [
        alt.Chart(look.labelled(exact))
        .mark_line(strokeWidth=1.4, opacity=0.8)
        .encode(x=x, y=y("relative_error"), color=look.colour)
    ]
    for table, size, tooltip in (
        (built, 44, ("side", "magnitude", "filters", "relative_error", "closed_form", "run_id")),
        (trained, 60, ("level", "parameters_per_spin", "relative_error", "strength", "solved", "run_id")),
    ):
        if not table.is_empty():
            layers += _marks(table, look, x, y, size, tooltip)
    return styled(alt.layer(*layers))


def _with_trained(look: Look) -> Look:
    return dataclasses.replace(
        look,
        values=(*look.values, _TRAINED),
        labels=(*look.labels, "trained network, each level"),
        colours=(*look.colours, INK),
        shapes=(*look.shapes, "diamond"),
    )


def _drawn(table: pl.DataFrame) -> pl.DataFrame:
    """Networks as drawn: an error below its own uncertainty stands at that, as a bound."""
    uncertain = pl.col("relative_error_error") if "relative_error_error" in table.columns else pl.lit(0.0)
    value = pl.col("relative_error").abs()
    is_bound = value <= uncertain
    has_bar = (uncertain > 0) & ~is_bound
    return table.drop_nulls("relative_error").with_columns(
        drawn=pl.when(is_bound).then(uncertain).otherwise(value).clip(lower_bound=ROUNDING),
        bound=is_bound & (uncertain > ROUNDING),
        low=pl.when(has_bar).then(value - uncertain),
        high=pl.when(has_bar).then(value + uncertain),
    )


def _marks(
    table: pl.DataFrame, look: Look, x: alt.X, y, size: int, names: tuple[str, ...]
) -> list[alt.Chart]:
    tooltip = [
        alt.Tooltip(f"{name}:{'N' if name == 'run_id' else 'Q'}", format="" if name == "run_id" else ".3g")
        for name in names
    ]
    base = alt.Chart(look.labelled(table)).encode(x=x)
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.2, clip=True)
    open_ones = base.transform_filter("datum.bound").mark_point(
        filled=False, fill=PAPER, shape=_BOUND, size=size, strokeWidth=1.2, opacity=1
    )
    closed = base.transform_filter("!datum.bound")
    (filled, _) = look.marks(closed.encode(y=y("drawn"), tooltip=tooltip), "false", size=size, opacity=1)
    return [
        bars.encode(y=y("low"), y2="high:Q", color=look.colour),
        open_ones.encode(y=y("drawn"), color=look.colour, tooltip=tooltip),
        filled,
    ]
