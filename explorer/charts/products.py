"""Means of products of spins against the distance between them, or against the side of a loop."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.look import INK, Look, refuse_nothing, styled


def products(table: pl.DataFrame, titles: tuple[str, str], exact: float | None = None) -> alt.LayerChart:
    """Means with their intervals, a colour a level.

    Args:
        table: from `analysis.product_means`, of one run.
        titles: of the horizontal and the vertical axis.
        exact: drawn as a dashed line, the value in the ground state.

    Raises:
        ValueError: there are no means.
    """
    refuse_nothing(table, "means of products")
    look = Look.of(table, "level")
    x = alt.X("distance:O", title=titles[0], axis=alt.Axis(labelAngle=0))

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=titles[1], scale=alt.Scale(zero=True))

    base = alt.Chart(look.labelled(table))
    tooltip = [
        alt.Tooltip("label:N", title="network"),
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        alt.Tooltip("distance:Q"),
        alt.Tooltip("mean:Q", format=".5f"),
        alt.Tooltip("error:Q", title="standard error", format=".2g"),
        alt.Tooltip("estimator:N"),
    ]
    layers = [
        base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y("mean"), color=look.colour),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, y=y("low"), y2="high:Q", color=look.colour),
        *look.marks(base.encode(x=x, y=y("mean"), tooltip=tooltip), "false", size=60, opacity=1),
    ]
    if exact is not None:
        rule = alt.Chart(pl.DataFrame({"mean": [exact]})).mark_rule(color=INK, strokeDash=[4, 3])
        layers.insert(0, rule.encode(y=y("mean")))
    return styled(alt.layer(*layers), height=320)
