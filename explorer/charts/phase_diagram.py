"""A quantity over density and field or side: colours, contours, what was measured, and transitions on top."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer import analysis
from explorer.analysis import VERDICTS, Quantity
from explorer.charts.axes import channel, tick_labels
from explorer.charts.curves import HORIZONTAL
from explorer.charts.look import INK, ON_DARK_COLOUR, PAPER, SCHEME, refuse_nothing, styled
from explorer.charts.transitions import verdict_marks
from explorer.numbers import SUPERSCRIPTS

VERTICAL = {"field": "transverse field   h / J", "side": "side   L"}
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
        transitions: from `analysis.detect_transitions`; what is no jump is not drawn, the others with their
            intervals. None: none are drawn.
        dots: whether measured points are marked.

    Raises:
        ValueError: there is nothing to draw.
    """
    refuse_nothing(cells, f"points of the {quantity.name}")
    ends = pl.concat([cells["left"], cells["right"]])
    # A side has room around it, since sizes are few.
    rows = points if vertical == "side" else cells
    lowest, highest = rows["bottom"].min(), rows["top"].max()

    def x(field: str) -> alt.X:
        return channel(alt.X, field, HORIZONTAL["parameters_per_spin"], ends)

    def y(field: str) -> alt.Y:
        scale = alt.Scale(domain=[lowest, highest], nice=False, zero=False)
        sides = {}
        if vertical == "side":
            sides = {"values": points["side"].unique().sort().to_list(), "format": "d", "labelOverlap": False}
        return alt.Y(f"{field}:Q", title=VERTICAL[vertical], scale=scale, axis=alt.Axis(grid=False, **sides))

    number = ".2e" if quantity.logarithmic else ".4f"
    layers = [
        alt.Chart(_overlapping(cells))
        .mark_rect(clip=True, strokeWidth=0)
        .encode(
            x=x("left"),
            x2="right:Q",
            y=y("bottom"),
            y2="top:Q",
            color=_colour(cells, quantity),
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


def _overlapping(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells, each a pixel or two beyond its right and upper neighbour's edge: else gaps of the page show there."""
    width = (cells["right"].max() / cells["left"].min()) ** 0.004
    height = 0.008 * (cells["top"].max() - cells["bottom"].min())
    return cells.with_columns(
        right=(pl.col("right") * width).clip(upper_bound=cells["right"].max()),
        top=(pl.col("top") + height).clip(upper_bound=cells["top"].max()),
    ).sort("bottom", "left", descending=[True, True])


def _colour(cells: pl.DataFrame, quantity: Quantity) -> alt.Color:
    """The scheme over the cells' values; of a logarithmic quantity the upper decades, all below in the last colour."""
    values = cells["estimate"].drop_nans()
    legend = {"type": "gradient", "gradientLength": 230, "titleLimit": 230}
    if not quantity.logarithmic:
        scale = alt.Scale(scheme=SCHEME)
        return alt.Color(
            "estimate:Q",
            title=quantity.symbol,
            scale=scale,
            legend=alt.Legend(tickCount=5, format="~g", **legend),
        )
    high = values.max()
    low = max(values.min(), high / 10**analysis.DECADES)
    powers = {tick: label for tick, label in tick_labels(low, high).items() if label.startswith("10")}
    # Few enough for a narrow legend; where there is no power of ten the values' own ticks.
    labels = dict(list((powers or tick_labels(low, high)).items())[:: 1 + len(powers) // 5])
    text = " : ".join(f"abs(datum.value / {tick!r} - 1) < 1e-6 ? '{label}'" for tick, label in labels.items())
    return alt.Color(
        "estimate:Q",
        title=quantity.symbol,
        scale=alt.Scale(scheme=SCHEME, type="log", domain=[low, high], clamp=True),
        legend=alt.Legend(
            values=list(labels), labelExpr=f"{text} : ''" if text else "''", labelOverlap="greedy", **legend
        ),
    )


def _contour_layers(contours: pl.DataFrame, x, y, quantity: Quantity) -> list[alt.Chart]:
    pieces = alt.Chart(contours).mark_rule(color=ON_DARK_COLOUR, strokeWidth=1.1, opacity=0.9, clip=True)
    # One number a line; neighbours have theirs at different heights, so that they stay apart.
    lines = contours.sort("contour", "vertical").partition_by("contour", maintain_order=True)
    shares = [0.2 + 0.6 * (place % 3) / 2 for place in range(len(lines))]
    rows = [
        line.row(int(share * (len(line) - 1)), named=True) for line, share in zip(lines, shares, strict=True)
    ]
    labels = [contour_label(row["contour"], quantity.logarithmic) for row in rows]
    numbers = alt.Chart(pl.DataFrame(rows).with_columns(label=pl.Series(labels))).encode(
        x=x("parameters_per_spin"), y=y("vertical"), text="label:N"
    )
    style = {"fontSize": 13, "clip": True}
    return [
        pieces.encode(
            x=x("parameters_per_spin"), x2="parameters_per_spin_2:Q", y=y("vertical"), y2="vertical_2:Q"
        ),
        numbers.mark_text(stroke=PAPER, strokeWidth=4, strokeJoin="round", opacity=0.85, **style),
        numbers.mark_text(color=INK, **style),
    ]


def contour_label(level: float, logarithmic: bool) -> str:
    """A contour's number: 0.35, or 10⁻⁴ and 3·10⁻⁴."""
    if not logarithmic or 1e-2 <= level < 1e3:
        return f"{level:g}"
    digit, exponent = f"{level:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return power if digit == "1" else f"{digit}·{power}"


def _dots(points: pl.DataFrame, x, y, quantity: Quantity, vertical: str) -> alt.Chart:
    number = ".3e" if quantity.logarithmic else ".5f"
    return (
        alt.Chart(points)
        .mark_point(filled=True, fill=PAPER, stroke=INK, strokeWidth=0.5, size=11, opacity=0.8)
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
    found = transitions.drop_nulls(["parameters_per_spin", vertical]).filter(
        pl.col("verdict") != analysis.NO_JUMP
    )
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
        *verdict_marks(marks, found, _ON_TOP, size=70, legend="bottom"),
    ]
