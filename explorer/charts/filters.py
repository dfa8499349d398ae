"""Statistics of a network's filters: distributions and overlaps beside chance, classes against density."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.axes import channel
from explorer.charts.curves import HORIZONTAL
from explorer.charts.look import INK, SHADE, SIDE_COLOURS, SIDE_SHAPES, refuse_nothing, styled

_NETWORK, _CHANCE = "this network", "random mask ± 1σ"


def against_chance(table: pl.DataFrame, across: str, count: str, titles: tuple[str, str]) -> alt.LayerChart:
    """Counts as bars, and beside each what a random mask has, with its standard deviation.

    Args:
        table: from `analysis.degree_distribution` (of units or of spins) or `analysis.range_distribution`.
        across: the column of the horizontal axis, whole numbers.
        count: the column of what was counted.
        titles: of the horizontal and the vertical axis.

    Raises:
        ValueError: there is nothing to draw.
    """
    refuse_nothing(table, "counts")
    table = table.with_columns(
        low=(pl.col("expected") - pl.col("spread")).clip(lower_bound=0),
        high=pl.col("expected") + pl.col("spread"),
        network=pl.lit(_NETWORK),
        chance=pl.lit(_CHANCE),
    )
    # Many degrees share their labels: every fifth is enough.
    axis = alt.Axis(labelAngle=0, labelOverlap=True)
    x = alt.X(f"{across}:O", title=titles[0], axis=axis)
    scale = alt.Scale(domain=[_NETWORK, _CHANCE], range=["#56B4E9", INK])
    tooltip = [
        alt.Tooltip(f"{across}:Q"),
        alt.Tooltip(f"{count}:Q"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("expected", "spread")),
    ]

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=titles[1])

    def colour(field: str) -> alt.Color:
        return alt.Color(f"{field}:N", title=None, scale=scale, legend=alt.Legend(columns=2))

    base = alt.Chart(table)
    return styled(
        alt.layer(
            base.mark_bar(opacity=0.75).encode(x=x, y=y(count), color=colour("network"), tooltip=tooltip),
            base.mark_rule(strokeWidth=1.4).encode(x=x, y=y("low"), y2="high:Q", color=colour("chance")),
            base.mark_point(filled=True, size=34, opacity=1).encode(
                x=x, y=y("expected"), color=colour("chance"), tooltip=tooltip
            ),
        ),
        height=280,
    )


def mask_comparison(table: pl.DataFrame) -> alt.LayerChart:
    """What two masks share, a row a statistic: the value as a mark, chance as its mean and interval.

    Args:
        table: from `analysis.compare_directly` or `analysis.compare_invariants`.

    Raises:
        ValueError: nothing could be compared.
    """
    table = table.drop_nulls("value")
    refuse_nothing(table, "statistics of two masks")
    labels = {"value": "these two masks", "expected": "chance"}
    scale = alt.Scale(domain=list(labels.values()), range=["#D55E00", INK])
    low = min(0.0, table["low"].min(), table["value"].min())
    # Room for half a mark, since a padding does not widen a domain that is given.
    x_scale = alt.Scale(domain=[low - 0.03, max(1.0, table["high"].max()) + 0.03], nice=False)
    y = alt.Y("statistic:N", title=None, sort=table["statistic"].to_list(), axis=alt.Axis(labelLimit=150))
    base = alt.Chart(
        table.with_columns(pl.lit(label).alias(f"{name} label") for name, label in labels.items())
    )
    legend = alt.Legend(columns=2, symbolType="square")
    tooltip = [
        alt.Tooltip("statistic:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("value", "expected", "low", "high", "p_value")),
    ]

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title="shared, or correlation", scale=x_scale)

    def colour(name: str) -> alt.Color:
        return alt.Color(f"{name} label:N", title=None, scale=scale, legend=legend)

    return styled(
        alt.layer(
            base.mark_rule(strokeWidth=6, opacity=0.25).encode(
                x=x("low"), x2="high:Q", y=y, color=colour("expected")
            ),
            base.mark_tick(thickness=3, size=18, opacity=1).encode(
                x=x("expected"), y=y, color=colour("expected"), tooltip=tooltip
            ),
            base.mark_point(filled=True, shape="diamond", size=110, opacity=1).encode(
                x=x("value"), y=y, color=colour("value"), tooltip=tooltip
            ),
        ),
        height=60 + 45 * len(table),
    )


def filter_classes(table: pl.DataFrame, current: float | None = None) -> alt.LayerChart:
    """Hidden units of each class against weights per spin, a line a class that occurs.

    Args:
        table: parameters_per_spin, class, units: from `analysis.parity_table`, of one trajectory.
        current: weights per spin of the level that is looked at, marked by a line; None: none is.

    Raises:
        ValueError: there are no filters.
    """
    occurring = table.filter((pl.col("units") > 0).any().over("class"))
    refuse_nothing(occurring, "filters")
    kinds = [kind for kind in table.schema["class"].categories if kind in set(occurring["class"])]
    drawn = occurring.with_columns(pl.col("class").cast(pl.String))
    x = channel(alt.X, "parameters_per_spin", HORIZONTAL["parameters_per_spin"], drawn["parameters_per_spin"])
    legend = alt.Legend(columns=3)
    colour = alt.Color(
        "class:N", title=None, scale=alt.Scale(domain=kinds, range=SIDE_COLOURS[: len(kinds)]), legend=legend
    )
    shape = alt.Shape(
        "class:N", title=None, scale=alt.Scale(domain=kinds, range=SIDE_SHAPES[: len(kinds)]), legend=legend
    )
    y = alt.Y("units:Q", title="hidden units", axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(drawn).encode(x=x, y=y, color=colour)
    tooltip = [
        alt.Tooltip("class:N"),
        alt.Tooltip("units:Q"),
        alt.Tooltip("level:Q"),
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
    ]
    layers = [
        base.mark_line(strokeWidth=1.1, opacity=0.7),
        base.mark_point(filled=True, size=44, opacity=1).encode(shape=shape, tooltip=tooltip),
    ]
    if current is not None:
        layers.insert(0, vertical_line(current, x, SHADE))
    return styled(alt.layer(*layers), height=340)


def vertical_line(at: float, x: alt.X, colour: str = INK, dash: tuple[int, int] = (4, 3)) -> alt.Chart:
    """A dashed line at a value of the horizontal axis."""
    line = alt.Chart(pl.DataFrame({"parameters_per_spin": [at]}))
    return line.mark_rule(color=colour, strokeWidth=1.6, strokeDash=list(dash)).encode(x=x)


def with_vertical_line(chart: alt.LayerChart, at: float, label: str) -> alt.LayerChart:
    """A chart against weights per spin with a labelled dashed line.

    Args:
        chart: from `curves`, against parameters_per_spin.
        at: where the line is; must be on the chart's axis to be seen.
        label: beside the line.
    """
    x = _x_of(chart)
    text = alt.Chart(pl.DataFrame({"parameters_per_spin": [at], "label": [label]}))
    text = text.mark_text(align="left", dx=5, y=10, fontSize=12, color=INK)
    return _above(chart, vertical_line(at, x), text.encode(x=x, text="label:N"))


def with_ring(chart: alt.LayerChart, network: pl.DataFrame, label: str) -> alt.LayerChart:
    """A chart of curves with a ring around one network.

    Args:
        chart: from `curves`, against parameters_per_spin.
        network: one row of `analysis.network_points`.
        label: beside the ring.
    """
    x = _x_of(chart)
    y = next(layer.encoding.y for layer in chart.layer if layer.mark.type == "point")
    base = alt.Chart(network.select("parameters_per_spin", "drawn", label=pl.lit(label)))
    ring = base.mark_point(filled=False, color=SHADE, size=320, strokeWidth=3, opacity=1).encode(x=x, y=y)
    text = base.mark_text(align="left", dx=14, dy=-12, fontSize=13, fontWeight="bold", color=SHADE)
    return _above(chart, ring, text.encode(x=x, y=y, text="label:N"))


def _x_of(chart: alt.LayerChart) -> alt.X:
    return next(layer.encoding.x for layer in chart.layer if layer.mark.type == "point")


def _above(chart: alt.LayerChart, *layers: alt.Chart) -> alt.LayerChart:
    """The styled chart with further layers on top."""
    chart = chart.copy(deep=True)
    for layer in layers:
        chart += layer
    return chart
