"""Replicates of ticket variants side by side, with the interval of their mean."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.analysis import Quantity
from explorer.charts.axes import channel, seen_by
from explorer.charts.curves import network_tooltip
from explorer.charts.look import Look, refuse_nothing, styled


def replicates(table: pl.DataFrame, networks: pl.DataFrame, quantity: Quantity) -> alt.LayerChart:
    """Every ticket by level and variant; a tick at the mean, a thin bar over replicates, a wide pale one clustered.

    Args:
        table: from `analysis.replicate_table`, one side.
        networks: from `analysis.network_points`, tickets of the same side.
        quantity: a logarithmic one; what reaches below zero is cut at the frame.

    Raises:
        ValueError: there are no tickets.
    """
    refuse_nothing(table, "tickets")
    look = Look.of(table, "series")
    at = pl.col("parameters_per_spin").round_sig_figs(3).cast(pl.String)
    ascending = table.sort("parameters_per_spin", descending=True)
    order = ascending.select(at)["parameters_per_spin"].unique(maintain_order=True).to_list()
    clustered = {"low": "clustered_low", "high": "clustered_high"}
    everything = pl.concat([table.select("low", "high"), table.select(**clustered)])
    marks = pl.concat([networks["drawn"], table["mean"].abs()])
    seen = seen_by(marks, everything)

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, quantity.symbol, seen)

    # A logarithmic axis has no place for an end below zero: the bar goes to the frame.
    floor = marks.min() / 1e3
    ends = ("low", "high", "clustered_low", "clustered_high")
    drawn = table.with_columns(pl.col(ends).clip(lower_bound=floor), pl.col("mean").abs(), at=at)
    x = alt.X("at:N", title="weights per spin   nᵣ / N", sort=order, axis=alt.Axis(labelAngle=0))
    offset = alt.XOffset("label:N", sort=list(look.labels))
    base = alt.Chart(look.labelled(drawn)).encode(x=x, xOffset=offset, color=look.colour)
    single = alt.Chart(look.labelled(networks.with_columns(at=at))).encode(x=x, xOffset=offset)
    tooltip = [
        alt.Tooltip("label:N", title="variant"),
        *(alt.Tooltip(f"{name}:Q", format=".3e") for name in ("mean", *ends)),
        alt.Tooltip("replicates:Q"),
        alt.Tooltip("trajectories:Q"),
    ]
    return styled(
        alt.layer(
            base.transform_filter("isValid(datum.clustered_low)")
            .mark_rule(strokeWidth=9, opacity=0.18, clip=True)
            .encode(y=y("clustered_low"), y2="clustered_high:Q"),
            base.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.8, clip=True)
            .encode(y=y("low"), y2="high:Q"),
            *look.marks(
                single.encode(y=y("drawn"), tooltip=network_tooltip(quantity)),
                "datum.negative",
                size=26,
                opacity=0.55,
                strokeWidth=0.8,
            ),
            base.mark_tick(thickness=2.5, size=22, orient="horizontal").encode(y=y("mean"), tooltip=tooltip),
        )
    )
