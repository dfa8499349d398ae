"""What is known of the Hamiltonians themselves."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.axes import channel
from explorer.charts.look import PAPER, refuse_nothing, side_colour, side_shape, styled


def gaps(table: pl.DataFrame) -> alt.LayerChart:
    """Gap between the flip sectors against field, a colour a side.

    Args:
        table: from `analysis.gaps`; gaps that are zero within their error have no place on the logarithmic axis and
            are drawn at their error.

    Raises:
        ValueError: there are no gaps.
    """
    refuse_nothing(table, "gaps")
    # At ten digits a gap of 1e-12 is rounding.
    drawn = pl.max_horizontal("gap", "gap_error", pl.lit(1e-12))
    low = pl.max_horizontal(pl.col("gap") - pl.col("gap_error"), pl.col("drawn") / 10)
    table = table.with_columns(
        drawn=drawn,
        label=pl.format("L = {}", "side"),
        open=pl.col("gap") <= pl.col("gap_error").fill_null(0.0),
    ).with_columns(low=low, high=pl.col("drawn") + pl.col("gap_error"))
    sides = table["side"].unique().sort().to_list()
    labels = [f"L = {side}" for side in sides]
    colour = alt.Color(
        "label:N", title=None, scale=alt.Scale(domain=labels, range=[side_colour(side) for side in sides])
    )
    shape = alt.Shape(
        "label:N", title=None, scale=alt.Scale(domain=labels, range=[side_shape(s) for s in sides])
    )
    x = channel(alt.X, "field", "transverse field   h / J", table["field"], logarithmic=False)
    y = channel(alt.Y, "drawn", "gap   (J)", table["drawn"])
    tooltip = [
        "label:N",
        "field:Q",
        "boundary:N",
        alt.Tooltip("gap:Q", format=".4e"),
        alt.Tooltip("gap_error:Q", format=".1e"),
        "method:N",
    ]
    base = alt.Chart(table).encode(x=x, color=colour, detail="boundary:N")
    return styled(
        alt.layer(
            base.mark_line(strokeWidth=1.1, opacity=0.7).encode(y=y),
            base.transform_filter("isValid(datum.high)")
            .mark_rule(strokeWidth=1.3, clip=True)
            .encode(y=channel(alt.Y, "low", "gap   (J)", table["drawn"]), y2="high:Q"),
            base.transform_filter("!datum.open")
            .mark_point(filled=True, size=44, opacity=1)
            .encode(y=y, shape=shape, tooltip=tooltip),
            base.transform_filter("datum.open")
            .mark_point(filled=False, fill=PAPER, size=44, opacity=1)
            .encode(y=y, shape=shape, tooltip=tooltip),
        )
    )
