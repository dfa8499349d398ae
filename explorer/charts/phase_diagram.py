"""A quantity over density and field or side: colours, contours, what was measured, and transitions on top."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.analysis import VERDICTS, Quantity
from explorer.charts.axes import channel
from explorer.charts.curves import HORIZONTAL
from explorer.charts.look import INK, refuse_nothing, styled
from explorer.charts.transitions import verdict_marks

VERTICAL = {"field": "transverse field   h / J", "side": "side   L"}
# Perceptually uniform, and told apart by readers with any colour vision.
SCHEME = "viridis"
# Seen on every colour of the scheme.
_ON_TOP = "#D62728"


def phase_diagram(
    cells: pl.DataFrame,
    points: pl.DataFrame,
    quantity: Quantity,
    vertical: str,
    contours: pl.DataFrame | None = None,
    transitions: pl.DataFrame | None = None,
    dots: bool = True,
) -> alt.LayerChart:
    """Colours of a quantity over weights per spin and field (or side).

    Args:
        cells: rectangles (left, right, bottom, top) with `estimate`: from `analysis.phase_points` as measured, or from
            `analysis.grid_cells` interpolated.
        points: from `analysis.phase_points`: what was measured.
        vertical: field or side.
        contours: from `analysis.contour_lines`; None: none are drawn.
        transitions: from `analysis.detect_transitions`, drawn with their intervals; None: none are drawn.
        dots: whether measured points are marked.

    Raises:
        ValueError: there is nothing to draw.
    """
    refuse_nothing(cells, f"points of the {quantity.name}")
    ends = pl.concat([cells["left"], cells["right"]])
    lowest, highest = points["bottom"].min(), points["top"].max()

    def x(field: str) -> alt.X:
        return channel(alt.X, field, HORIZONTAL["parameters_per_spin"], ends)

    def y(field: str) -> alt.Y:
        scale = alt.Scale(domain=[lowest, highest], nice=False, zero=False)
        sides = (
            {"values": points["side"].unique().sort().to_list(), "format": "d"} if vertical == "side" else {}
        )
        return alt.Y(f"{field}:Q", title=VERTICAL[vertical], scale=scale, axis=alt.Axis(grid=False, **sides))

    number = ".2e" if quantity.logarithmic else ".4f"
    colour = alt.Color(
        "estimate:Q",
        title=quantity.symbol,
        scale=alt.Scale(scheme=SCHEME, type="log" if quantity.logarithmic else "linear"),
        legend=alt.Legend(
            format="~e" if quantity.logarithmic else "~g", gradientLength=260, tickCount=5, titleLimit=260
        ),
    )
    layers = [
        alt.Chart(cells)
        .mark_rect(clip=True, strokeWidth=0)
        .encode(
            x=x("left"),
            x2="right:Q",
            y=y("bottom"),
            y2="top:Q",
            color=colour,
            tooltip=[
                alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
                alt.Tooltip("estimate:Q", title=quantity.symbol, format=number),
            ],
        )
    ]
    if contours is not None and not contours.is_empty():
        layers += _contour_layers(contours, x, y, quantity)
    if dots:
        layers.append(_dots(points, x, y, quantity, vertical))
    if transitions is not None:
        layers += _transition_layers(transitions, ends, x, y, vertical)
    return styled(alt.layer(*layers), height=440 if vertical == "field" else 300)


def _contour_layers(contours: pl.DataFrame, x, y, quantity: Quantity) -> list[alt.Chart]:
    pieces = alt.Chart(contours).mark_rule(color="white", strokeWidth=1.1, opacity=0.9, clip=True)
    # One number a line, in its middle.
    ordered = contours.sort("contour", "vertical")
    middles = ordered.group_by("contour", maintain_order=True).agg(
        pl.col("parameters_per_spin", "vertical").get(pl.len() // 2)
    )
    text = alt.Chart(middles).mark_text(
        color="white", fontSize=12, fontWeight="bold", dy=-7, stroke="#222222", strokeWidth=0.4
    )
    return [
        pieces.encode(
            x=x("parameters_per_spin"), x2="parameters_per_spin_2:Q", y=y("vertical"), y2="vertical_2:Q"
        ),
        text.encode(
            x=x("parameters_per_spin"),
            y=y("vertical"),
            text=alt.Text("contour:Q", format="~e" if quantity.logarithmic else "~g"),
        ),
    ]


def _dots(points: pl.DataFrame, x, y, quantity: Quantity, vertical: str) -> alt.Chart:
    number = ".3e" if quantity.logarithmic else ".5f"
    return (
        alt.Chart(points)
        .mark_point(filled=True, fill="white", stroke=INK, strokeWidth=0.5, size=11, opacity=0.8)
        .encode(
            x=x("parameters_per_spin"),
            y=y(vertical),
            tooltip=[
                *(alt.Tooltip("side:Q", title="L"), alt.Tooltip("field:Q", title="h")),
                alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
                *(alt.Tooltip(f"{name}:Q", format=number) for name in ("estimate", "low", "high")),
                *(alt.Tooltip("trajectories:Q"), alt.Tooltip("interval:N")),
            ],
        )
    )


def _transition_layers(transitions: pl.DataFrame, ends: pl.Series, x, y, vertical: str) -> list[alt.Chart]:
    found = transitions.drop_nulls(["parameters_per_spin", vertical])
    if found.is_empty():
        return []
    found = found.with_columns(pl.col("low", "high").clip(ends.min(), ends.max()))
    base = alt.Chart(found)
    tooltip = [
        *(alt.Tooltip("side:Q", title="L"), alt.Tooltip("field:Q", title="h")),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("parameters_per_spin", "low", "high")),
        *(alt.Tooltip("verdict:N"), alt.Tooltip("reasons:N")),
    ]
    marks = base.encode(x=x("parameters_per_spin"), y=y(vertical), tooltip=tooltip)
    return [
        # A line of transitions joins what is one.
        base.transform_filter(f"datum.verdict == '{VERDICTS[0]}'")
        .mark_line(color=_ON_TOP, strokeWidth=1.6, strokeDash=[5, 3], clip=True)
        .encode(x=x("parameters_per_spin"), y=y(vertical), order=f"{vertical}:Q"),
        base.mark_rule(color=_ON_TOP, strokeWidth=1.8).encode(x=x("low"), x2="high:Q", y=y(vertical)),
        *verdict_marks(marks, found, _ON_TOP, size=70),
    ]
