"""Curves against density: one quantity by series or side, ratios of variants, agreement of sides.

Marks are what was measured, lines only guide the eye. On a logarithmic axis a value below zero is drawn at
its magnitude as an open mark, and none is dropped.
"""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.analysis import TRAJECTORY, Quantity, thinned
from explorer.charts.axes import channel, seen_by
from explorer.charts.look import INK, SHADE, Look, refuse_nothing, styled

HORIZONTAL = {"parameters_per_spin": "weights per spin   nᵣ / N", "remaining": "remaining weights   nᵣ"}


def curves(
    points: pl.DataFrame,
    networks: pl.DataFrame,
    quantity: Quantity,
    by: str,
    horizontal: str = "parameters_per_spin",
    agreeing: pl.DataFrame | None = None,
) -> alt.LayerChart:
    """A quantity against density: one curve for each series or side, its intervals, every network.

    Args:
        points: from `analysis.curve_points`.
        networks: from `analysis.network_points`, drawn small and faint, as many as `analysis.thinned` leaves; may be
            empty.
        quantity: what `estimate` is.
        by: the column that colour and shape tell apart: `series`, `side`, `field` and the like.
        horizontal: a key of `HORIZONTAL`.
        agreeing: stretches to shade, with columns start and end in units of `horizontal`.

    Raises:
        ValueError: there are no points.
    """
    refuse_nothing(points, f"points of the {quantity.name}")
    look = Look.of(points, by)
    x = channel(alt.X, horizontal, HORIZONTAL[horizontal], points[horizontal])
    networks = thinned(networks, "drawn", (by, "parameters_per_spin"))
    marks = pl.concat([points["estimate"], networks["drawn"]])
    seen = seen_by(marks, points, quantity.logarithmic)
    # A band follows the many levels of a trajectory; the few of a ticket get bars, to show where they are.
    banded = f"datum.series == '{TRAJECTORY}'" if by == "series" else "true"

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, quantity.symbol, seen, quantity.logarithmic)

    measured, base = alt.Chart(look.labelled(networks)), alt.Chart(look.labelled(points))
    interval = base.transform_filter("isValid(datum.low)").encode(
        x=x, y=y("low"), y2="high:Q", color=look.colour
    )
    layers = [
        interval.transform_filter(banded).mark_area(opacity=0.16, clip=True),
        interval.transform_filter(f"!({banded})").mark_rule(strokeWidth=1.5, clip=True),
        base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y("estimate"), color=look.colour),
        *look.marks(
            measured.encode(x=x, y=y("drawn"), tooltip=network_tooltip(quantity)),
            "datum.negative",
            size=12,
            opacity=0.5,
            strokeWidth=0.8,
        ),
        *look.marks(
            base.encode(x=x, y=y("estimate"), tooltip=point_tooltip(quantity)),
            "datum.negative > 0",
            size=44,
            opacity=1,
            strokeWidth=1.4,
        ),
    ]
    if agreeing is not None and not agreeing.is_empty():
        shade = alt.Chart(agreeing).mark_rect(color=SHADE, opacity=0.09)
        start = channel(alt.X, "start", HORIZONTAL[horizontal], points[horizontal])
        layers.insert(0, shade.encode(x=start, x2="end:Q"))
    return styled(alt.layer(*layers))


def ratios(
    table: pl.DataFrame,
    by: str = "series",
    reference: str = "T(init, imp)",
    horizontal: str = "parameters_per_spin",
) -> alt.LayerChart:
    """Relative errors of ticket variants, or of methods, over those of one of them, against density.

    Args:
        table: from `analysis.ticket_ratios`, of one side, or from `analysis.method_ratios`.
        by: what its `numerator` is: `series` or `method`.
        reference: the denominator, as the axis has it.
        horizontal: a key of `HORIZONTAL`.

    Raises:
        ValueError: there are no ratios.
    """
    refuse_nothing(table, "ratios")
    table = table.with_columns(pl.col("numerator").alias(by))
    look = Look.of(table, by)
    x = channel(alt.X, horizontal, HORIZONTAL[horizontal], table[horizontal])
    seen = seen_by(pl.concat([table["ratio"], pl.Series([1.0])]), table)

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, f"error / error of {reference}", seen)

    base = alt.Chart(look.labelled(table))
    equal = alt.Chart(pl.DataFrame({"ratio": [1.0]})).mark_rule(color=INK, strokeDash=[4, 3])
    tooltip = [
        alt.Tooltip("label:N", title="variant"),
        *DENSITY_TOOLTIP,
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("ratio", "low", "high")),
        alt.Tooltip("trajectories:Q"),
        alt.Tooltip("networks:Q"),
        alt.Tooltip("interval:N"),
    ]
    return styled(
        alt.layer(
            equal.encode(y=y("ratio")),
            base.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=1.5, clip=True)
            .encode(x=x, y=y("low"), y2="high:Q", color=look.colour),
            base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y("ratio"), color=look.colour),
            *look.marks(base.encode(x=x, y=y("ratio"), tooltip=tooltip), "false", size=50, opacity=1),
        )
    )


def agreement(table: pl.DataFrame, factor: float) -> alt.LayerChart:
    """The factor between the sizes against weights per spin, with the factor that counts as agreement.

    Args:
        table: from `analysis.size_agreement`.
        factor: drawn as a dashed line.

    Raises:
        ValueError: there is nothing to compare.
    """
    refuse_nothing(table, "sizes to compare")
    x = channel(alt.X, "parameters_per_spin", HORIZONTAL["parameters_per_spin"], table["parameters_per_spin"])
    # Below 1 the interval only says that another side may be the largest.
    table = table.with_columns(pl.col("low").clip(lower_bound=1.0))
    seen = seen_by(pl.concat([table["factor"], pl.Series([1.0, factor])]), table)

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, "largest / smallest over sides", seen)

    base = alt.Chart(table)
    threshold = alt.Chart(pl.DataFrame({"factor": [factor]})).mark_rule(color=SHADE, strokeDash=[4, 3])
    tooltip = [
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("factor", "low", "high")),
        alt.Tooltip("largest_side:Q", title="largest: L ="),
        alt.Tooltip("smallest_side:Q", title="smallest: L ="),
        alt.Tooltip("sides:Q", title="sides compared"),
    ]
    return styled(
        alt.layer(
            threshold.encode(y=y("factor")),
            base.transform_filter("isValid(datum.high)")
            .mark_area(color=INK, opacity=0.12, clip=True)
            .encode(x=x, y=y("low"), y2="high:Q"),
            base.mark_line(color=INK, strokeWidth=1.1).encode(x=x, y=y("factor")),
            base.mark_point(color=INK, fill=INK, size=22, opacity=1).encode(
                x=x, y=y("factor"), tooltip=tooltip
            ),
        )
    )


DENSITY_TOOLTIP = (
    alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
    alt.Tooltip("remaining:Q", title="nᵣ"),
    alt.Tooltip("level:Q"),
)


def point_tooltip(quantity: Quantity) -> list[alt.Tooltip]:
    number = ".3e" if quantity.logarithmic else ".5f"
    return [
        alt.Tooltip("label:N", title="curve"),
        *DENSITY_TOOLTIP,
        alt.Tooltip("estimate:Q", title=quantity.symbol, format=number),
        alt.Tooltip("low:Q", format=number),
        alt.Tooltip("high:Q", format=number),
        alt.Tooltip("trajectories:Q"),
        alt.Tooltip("networks:Q"),
        alt.Tooltip("negative:Q", title="below zero"),
        alt.Tooltip("interval:N"),
    ]


def network_tooltip(quantity: Quantity) -> list[alt.Tooltip]:
    number = ".3e" if quantity.logarithmic else ".5f"
    return [
        alt.Tooltip("run_id:N", title="run"),
        *DENSITY_TOOLTIP,
        alt.Tooltip("replicate:Q"),
        alt.Tooltip("value:Q", title="value, signed", format=number),
        alt.Tooltip("error:Q", title="standard error", format=number),
    ]
