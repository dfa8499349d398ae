"""The three regions of the error against density, with the fits drawn over what was measured."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.analysis import Quantity
from explorer.analysis.regions import BOUNDARIES, HIGH, LOW, LOWER, UPPER, Regions
from explorer.charts.axes import channel, seen_by
from explorer.charts.curves import HORIZONTAL, network_tooltip, point_tooltip
from explorer.charts.look import INK, Look, refuse_nothing, styled

REGION_AXES = HORIZONTAL | {"density": "density   nᵣ / n₀"}
BY_AXES = {"width_per_spin": "width per spin   α", "field": "transverse field   h"}
_BOUNDARY_SHAPES = {UPPER: "triangle-up", LOWER: "triangle-down"}


def regions(
    points: pl.DataFrame,
    networks: pl.DataFrame,
    found: Regions,
    quantity: Quantity,
    by: str,
    horizontal: str = "parameters_per_spin",
    fits: bool = True,
    plateaus: bool = True,
    boundaries: bool = True,
) -> alt.LayerChart:
    """Curves of all values of a column, their fits, the plateaus as horizontal lines, the boundaries as vertical ones.

    Args:
        points: from `analysis.curve_points`, one side.
        networks: from `analysis.network_points`, with the column `by`.
        found: from `analysis.fit_regions`, of the same horizontal axis.
        quantity: a logarithmic one.
        by: the column that colours tell apart.
        horizontal: a key of `REGION_AXES`.
        fits: draw the fitted curves.
        plateaus: draw the fitted plateaus beyond their boundaries.
        boundaries: draw the boundaries.

    Raises:
        ValueError: there are no points.
    """
    refuse_nothing(points, f"points of the {quantity.name}")
    look = Look.of(points, by)
    x = channel(alt.X, horizontal, REGION_AXES[horizontal], points[horizontal])
    seen = seen_by(pl.concat([points["estimate"], networks["drawn"]]), points)

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, quantity.symbol, seen)

    base, measured = alt.Chart(look.labelled(points)), alt.Chart(look.labelled(networks))
    layers = [
        base.transform_filter("isValid(datum.low)")
        .mark_area(opacity=0.14, clip=True)
        .encode(x=x, y=y("low"), y2="high:Q", color=look.colour)
    ]
    if not fits:
        layers.append(
            base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y("estimate"), color=look.colour)
        )
    layers += look.marks(
        measured.encode(x=x, y=y("drawn"), tooltip=network_tooltip(quantity)),
        "datum.negative",
        size=10,
        opacity=0.35,
        strokeWidth=0.8,
    )
    layers += look.marks(
        base.encode(x=x, y=y("estimate"), tooltip=point_tooltip(quantity)),
        "datum.negative > 0",
        size=40,
        opacity=1,
        strokeWidth=1.4,
    )
    if fits and not found.lines.is_empty():
        lines = alt.Chart(look.labelled(found.lines))
        layers.append(lines.mark_line(strokeWidth=2, clip=True).encode(x=x, y=y("fitted"), color=look.colour))
    if plateaus:
        flat = look.labelled(_plateau_lines(found, points, by, horizontal))
        rule = alt.Chart(flat).mark_rule(strokeDash=[2, 3], strokeWidth=1.4, clip=True)
        layers.append(rule.encode(x=_same_axis(x, "start"), x2="end:Q", y=y("estimate"), color=look.colour))
    if boundaries:
        edges = look.labelled(found.values.filter(pl.col("value").is_in(BOUNDARIES)))
        rule = alt.Chart(edges).mark_rule(strokeDash=[6, 4], strokeWidth=1.2, opacity=0.75, clip=True)
        layers.append(rule.encode(x=_same_axis(x, "estimate"), color=look.colour, tooltip=_value_tooltip(by)))
    return styled(alt.layer(*layers))


def region_boundaries(found: Regions, by: str, horizontal: str = "parameters_per_spin") -> alt.LayerChart:
    """Both boundaries with their intervals against the column that the curves differ by.

    Raises:
        ValueError: no curve has a boundary.
    """
    edges = found.values.filter(pl.col("value").is_in(BOUNDARIES))
    refuse_nothing(edges, "boundaries")
    # Room for a few labelled ticks where the boundaries lie close together.
    room = pl.Series([edges["estimate"].min() / 1.5, edges["estimate"].max() * 1.5])
    seen = pl.concat([seen_by(edges["estimate"], edges), room])
    title = BY_AXES.get(by, by)
    if by == "field":
        x = channel(alt.X, by, title, edges[by], logarithmic=False)
    else:
        x = alt.X(f"{by}:O", title=title, axis=alt.Axis(labelAngle=0))

    def y(field: str) -> alt.Y:
        return channel(alt.Y, field, f"boundary   {REGION_AXES[horizontal].split('   ')[1]}", seen)

    shape = alt.Shape(
        "value:N",
        title=None,
        scale=alt.Scale(domain=list(_BOUNDARY_SHAPES), range=list(_BOUNDARY_SHAPES.values())),
    )
    base = alt.Chart(edges)
    mark = base.mark_point(filled=True, color=INK, size=70, opacity=1)
    return styled(
        alt.layer(
            base.mark_rule(color=INK, strokeWidth=1.4, clip=True).encode(x=x, y=y("low"), y2="high:Q"),
            base.mark_line(color=INK, strokeWidth=0.9, opacity=0.5).encode(
                x=x, y=y("estimate"), detail="value:N"
            ),
            mark.encode(x=x, y=y("estimate"), shape=shape, tooltip=_value_tooltip(by)),
        ),
        height=320,
    )


def _plateau_lines(found: Regions, points: pl.DataFrame, by: str, horizontal: str) -> pl.DataFrame:
    """Plateaus from the end of the densities to their boundary: by, estimate, start, end."""
    ends = points.group_by(by).agg(first=pl.col(horizontal).min(), last=pl.col(horizontal).max())
    edges = found.values.filter(pl.col("value").is_in(BOUNDARIES)).select(
        by, edge="estimate", value=pl.col("value").replace_strict({LOWER: HIGH, UPPER: LOW})
    )
    return (
        found.values.join(edges, on=[by, "value"])
        .join(ends, on=by)
        .select(
            by,
            "estimate",
            start=pl.when(pl.col("value") == HIGH).then(pl.col("first").cast(pl.Float64)).otherwise("edge"),
            end=pl.when(pl.col("value") == HIGH).then("edge").otherwise(pl.col("last").cast(pl.Float64)),
        )
    )


def _same_axis(x: alt.X, field: str) -> alt.X:
    """The axis with another field; its ticks and domain stay."""
    other = x.copy()
    other.shorthand = f"{field}:Q"
    return other


def _value_tooltip(by: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip(f"{by}:N"),
        alt.Tooltip("value:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("estimate", "low", "high")),
    ]
