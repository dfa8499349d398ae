"""Sizes on one scaling function, and the band that the Gaussian process leaves open."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.look import INK, Look, refuse_nothing, styled


def collapse(points: pl.DataFrame, curve: pl.DataFrame, titles: tuple[str, str]) -> alt.LayerChart:
    """Scaled data of all sides, with the fitted scaling function and its band.

    Args:
        points: from `analysis.collapsed_points`.
        curve: from `analysis.scaling_function`.
        titles: of the horizontal and the vertical axis.

    Raises:
        ValueError: there are no points.
    """
    refuse_nothing(points, "collapsed points")
    look = Look.of(points, "side")
    table = look.labelled(
        points.with_columns(
            lower=pl.col("scaled_value") - pl.col("scaled_error"),
            upper=pl.col("scaled_value") + pl.col("scaled_error"),
        )
    )
    scale = alt.Scale(zero=False, nice=False, padding=8)
    x = alt.X("scaled_control:Q", title=titles[0], scale=scale)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=titles[1], scale=scale)

    process, data = alt.Chart(curve).encode(x=x), alt.Chart(table).encode(x=x, color=look.colour)
    tooltip = [
        alt.Tooltip("label:N", title="side"),
        *(
            alt.Tooltip(f"{name}:Q", format=".4g")
            for name in ("control", "value", "scaled_value", "scaled_error")
        ),
        alt.Tooltip("clusters:Q", title="trajectories"),
    ]
    return styled(
        alt.layer(
            process.mark_area(color=INK, opacity=0.14).encode(y=y("low"), y2="high:Q"),
            process.mark_line(color=INK, strokeWidth=1.1, opacity=0.8).encode(y=y("mean")),
            data.mark_rule(strokeWidth=1.1, opacity=0.7).encode(y=y("lower"), y2="upper:Q"),
            *look.marks(data.encode(y=y("scaled_value"), tooltip=tooltip), "false", size=36, opacity=0.9),
        )
    )
