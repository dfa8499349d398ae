"""Filters drawn where their spins are, as small multiples that fit whatever width there is.

All panels lie in one view: their number in a row and their size follow from the view's width, as expressions of
the chart itself, so the same chart fits a page, a phone and a printed column. Positions are pixels, without axes.
"""

from __future__ import annotations

from typing import NamedTuple

import altair as alt
import numpy as np
import polars as pl

from explorer.charts.look import INK, PAPER, SHADE, refuse_nothing, styled
from nqs.lattices import Lattice, places

# Okabe and Ito's blue and vermilion over a grey that is seen on white.
NEGATIVE, ZERO, POSITIVE = "#0072B2", "#E4E4E4", "#D55E00"
BOND, PRUNED = "#C8C8C8", "#B4B4B4"
# Of a panel: the drawing's left and upper end and its extent; the label is above.
_LEFT, _TOP, _EXTENT = 0.14, 0.24, 0.70
_LARGEST_CELL = 170
# Of the height, what the legend takes.
_LEGEND = 70
# What is seen twice, on both ends of a periodic lattice, is fainter there.
_COPY_OPACITY = 0.4


class Drawing(NamedTuple):
    """Where a lattice is drawn, in lattice spacings.

    Attributes:
        sites: site, x, y, x2, y2 (the two ends of an edge; equal where sites are vertices), copy (a second
            drawing of the same site on the far end of a periodic lattice).
        bonds: x, y, x2, y2: the lines of the lattice below its sites.
        on_edges: whether sites are edges.
        size: extent (width, height), both at least 1.
    """

    sites: pl.DataFrame
    bonds: pl.DataFrame
    on_edges: bool
    size: tuple[int, int]


def drawing_of(lattice: Lattice) -> Drawing:
    """How a lattice is drawn: spins as vertices, or as edges where their midpoints lie between vertices.

    On a periodic lattice edges that start at 0 are drawn again at L, where they are the far side of the last
    plaquettes, and bonds around the boundary as stubs on both ends.
    """
    on_edges = bool((lattice.points % 2).any())
    return _edges(lattice) if on_edges else _vertices(lattice)


def _edges(lattice: Lattice) -> Drawing:
    side, rows = lattice.period // 2, []
    for site, point in enumerate(lattice.points):
        along = point % 2
        # The direction across an edge in which it may be drawn again.
        shift = lattice.period * (1 - along) * (point == 0)
        copies = [np.zeros(2, int), shift] if shift.any() else [shift]
        for copy, offset in enumerate(copies):
            start, end = (point - along + offset) / 2, (point + along + offset) / 2
            rows.append((site, *start.tolist(), *end.tolist(), bool(copy)))
    return Drawing(pl.DataFrame(rows, _SITES, orient="row"), pl.DataFrame(schema=_BONDS), True, (side, side))


def _vertices(lattice: Lattice) -> Drawing:
    points = np.zeros((len(lattice.points), 2))
    points[:, : lattice.points.shape[1]] = lattice.points / 2
    sites = [(site, x, y, x, y, False) for site, (x, y) in enumerate(points.tolist())]
    bonds = []
    for first, second in zip(*np.nonzero(np.triu(lattice.distances == 1)), strict=True):
        start, end = points[first], points[second]
        if np.abs(end - start).sum() == 1:
            bonds.append((*start.tolist(), *end.tolist()))
        else:  # around the boundary
            stub = 0.35 * np.sign(end - start)
            bonds += [(*start.tolist(), *(start - stub).tolist()), (*end.tolist(), *(end + stub).tolist())]
    width, height = (int(max(extent, 1)) for extent in points.max(0))
    return Drawing(
        pl.DataFrame(sites, _SITES, orient="row"),
        pl.DataFrame(bonds, _BONDS, orient="row"),
        False,
        (width, height),
    )


_BONDS = pl.Schema({name: pl.Float64 for name in ("x", "y", "x2", "y2")})
_SITES = pl.Schema({"site": pl.Int64, **_BONDS, "copy": pl.Boolean})


def filters_on_lattice(
    table: pl.DataFrame, weights: pl.DataFrame, lattice: Lattice, largest: float
) -> alt.LayerChart:
    """One panel a hidden unit: its live weights in colour on the spins, pruned ones as small grey marks.

    Args:
        table: from `analysis.filters`, the units in the order in which they are drawn.
        weights: from `analysis.filter_weights`, of the same units.
        lattice: where the spins are; of the toric code odd and even filters have their plaquette or star shaded.
        largest: the colours' scale is −largest … largest.

    Raises:
        ValueError: there are no units.
    """
    refuse_nothing(table, "live hidden units")
    drawing = drawing_of(lattice)
    panels = table.select("unit", panel=pl.int_range(pl.len()))
    placed = weights.join(panels, on="unit").join(drawing.sites, on="site")
    marks = _within(placed, drawing.size).with_columns(
        opacity=pl.when("copy").then(pl.lit(_COPY_OPACITY)).otherwise(1.0)
    )
    bonds = _within(drawing.bonds.join(panels, how="cross"), drawing.size)
    colour = _weight_colour(largest)
    tooltip = [
        *(alt.Tooltip(f"{name}:Q") for name in ("unit", "site")),
        alt.Tooltip("weight:Q", format=".3g"),
    ]
    live, pruned = marks.drop_nulls("weight"), marks.filter(pl.col("weight").is_null())
    layers = [_shaded(table.join(panels, on="unit"), drawing)] if drawing.on_edges else []
    if not bonds.is_empty():
        layers.append(_segments(bonds, 0.012, color=BOND))
    if drawing.on_edges:
        layers += [
            _segments(pruned, 0.012, color=PRUNED, strokeDash=[2, 2]),
            # An outline shows weights near zero; a copy has none, since it would show through.
            _segments(live.filter(~pl.col("copy")), 0.068, color=INK),
            _segments(live, 0.05).encode(color=colour, opacity=_opacity(), tooltip=tooltip),
        ]
    else:
        # Circles of a chain of many spins must not overlap.
        width = 0.45 * _EXTENT / max(drawing.size)
        layers += [
            _circles(pruned, 0.3 * width, color=PRUNED),
            _circles(live, width, stroke=INK, strokeWidth=0.7).encode(color=colour, tooltip=tooltip),
        ]
    layers.append(_labels(table.join(panels, on="unit"), "class"))
    return _in_panels(layers, len(table))


def kernel_tiles(table: pl.DataFrame, largest: float) -> alt.LayerChart:
    """One panel a kernel of a convolution: its entries as tiles of colour, pruned ones white with a grey mark.

    Args:
        table: from `analysis.kernels`, of one layer.
        largest: the colours' scale is −largest … largest.

    Raises:
        ValueError: there are no kernels.
    """
    refuse_nothing(table, "kernels")
    panels = table.select("filter", "channel").unique().sort("filter", "channel").with_row_index("panel")
    height, width = int(table["row"].max()) + 1, int(table["column"].max()) + 1
    channels = table["channel"].n_unique()
    placed = table.join(panels, on=["filter", "channel"]).with_columns(
        x=pl.col("column").cast(float), y=(height - 1 - pl.col("row")).cast(float)
    )
    placed = _within(placed.with_columns(x2=pl.col("x") + 1, y2=pl.col("y") + 1), (width, height))
    middle = placed.with_columns(u=(pl.col("u") + pl.col("u2")) / 2, v=(pl.col("v") + pl.col("v2")) / 2)
    tooltip = [alt.Tooltip(f"{name}:Q") for name in ("filter", "channel", "row", "column")]
    tooltip.append(alt.Tooltip("weight:Q", format=".3g"))
    name = "filter " + pl.col("filter").cast(pl.String)
    if channels > 1:
        name = pl.col("channel").cast(pl.String) + " → " + pl.col("filter").cast(pl.String)
    live = placed.drop_nulls("weight")
    layers = [
        _rectangles(placed, color=PAPER, stroke=BOND),
        _rectangles(live, stroke=PAPER).encode(color=_weight_colour(largest), tooltip=tooltip),
        _circles(middle.filter(pl.col("weight").is_null()), 0.025, color=PRUNED),
        _labels(panels.with_columns(name=name), "name"),
    ]
    return _in_panels(layers, len(panels))


def _within(frame: pl.DataFrame, size: tuple[int, int]) -> pl.DataFrame:
    """The frame with u, v, u2, v2: its ends in shares of a panel, v downwards, the drawing centred."""
    span = max(size)
    left, top = (_EXTENT * (1 - extent / span) / 2 for extent in size)

    def across(x: str) -> pl.Expr:
        return _LEFT + left + _EXTENT * pl.col(x) / span

    def down(y: str) -> pl.Expr:
        return _TOP + top + _EXTENT * (size[1] - pl.col(y)) / span

    return frame.with_columns(u=across("x"), u2=across("x2"), v=down("y"), v2=down("y2"))


def _shaded(table: pl.DataFrame, drawing: Drawing) -> alt.Chart:
    """The plaquettes and stars of clean filters."""
    side = drawing.size[0]
    kind = pl.col("class").cast(pl.String)
    # Plaquettes and stars are both counted as the vertices are.
    x, y = (
        (pl.col("place") % side**2).replace_strict(dict(enumerate(along)), return_dtype=pl.Float64)
        for along in places(side).T.tolist()
    )
    is_star = kind.str.ends_with("star")
    clean = table.filter(is_star | kind.str.ends_with("plaquette")).with_columns(star=is_star)
    # A star is shaded around its vertex, a plaquette between its edges.
    placed = clean.with_columns(
        x=pl.when("star").then(x - 0.5).otherwise(x), y=pl.when("star").then(y - 0.5).otherwise(y)
    )
    placed = placed.with_columns(x2=pl.col("x") + 1, y2=pl.col("y") + 1)
    return _rectangles(_within(placed, drawing.size), color=SHADE, opacity=0.16)


def _weight_colour(largest: float) -> alt.Color:
    scale = alt.Scale(domain=[-largest, 0, largest], range=[NEGATIVE, ZERO, POSITIVE])
    legend = alt.Legend(orient="top", gradientLength=180, format=".2g", tickCount=3, padding=12)
    return alt.Color("weight:Q", title="weight", scale=scale, legend=legend)


def _opacity() -> alt.Opacity:
    return alt.Opacity("opacity:Q", scale=None)


def _segments(frame: pl.DataFrame, thickness: float, **style) -> alt.Chart:
    stroke = alt.expr(f"max(1, {thickness} * cell)")
    chart = _placed(frame).mark_rule(strokeWidth=stroke, strokeCap="round", **style)
    return chart.encode(x=_pixels(alt.X, "px"), y=_pixels(alt.Y, "py"), x2="px2:Q", y2="py2:Q")


def _rectangles(frame: pl.DataFrame, **style) -> alt.Chart:
    chart = _placed(frame).mark_rect(**style)
    return chart.encode(x=_pixels(alt.X, "px"), y=_pixels(alt.Y, "py"), x2="px2:Q", y2="py2:Q")


def _circles(frame: pl.DataFrame, diameter: float, **style) -> alt.Chart:
    chart = _placed(frame).mark_point(
        shape="circle", filled=True, opacity=1, size=alt.expr(f"pow(max(3, {diameter} * cell), 2)"), **style
    )
    return chart.encode(x=_pixels(alt.X, "px"), y=_pixels(alt.Y, "py"))


def _labels(frame: pl.DataFrame, column: str) -> alt.Chart:
    placed = frame.with_columns(u=pl.lit(0.5), v=pl.lit(0.1), u2=pl.lit(0.5), v2=pl.lit(0.1))
    details = [name for name in ("unit", "degree", "norm", "range", "share") if name in frame.columns]
    # A column without any value, as the range where there is no lattice, has nothing to say.
    details = [name for name in details if placed[name].null_count() < len(placed)]
    placed = placed.select(
        "panel", *details, pl.col(column).cast(pl.String).alias("text"), *("u", "v", "u2", "v2")
    )
    tooltip = [alt.Tooltip(f"{name}:Q", format=".3g") for name in details]
    size = alt.expr("max(8, min(13, 0.115 * cell))")
    chart = _placed(placed).mark_text(
        fontSize=size, baseline="middle", color=INK, limit=alt.expr("0.98 * cell")
    )
    chart = chart.encode(x=_pixels(alt.X, "px"), y=_pixels(alt.Y, "py"), text="text:N")
    return chart.encode(tooltip=tooltip) if tooltip else chart


def _placed(frame: pl.DataFrame) -> alt.Chart:
    """Pixels of what lies at (u, v), (u2, v2) in its panel."""
    columns = [name for name in frame.columns if frame.schema[name] != pl.Boolean]
    frame = frame.select(
        pl.col(name).cast(pl.String) if frame.schema[name] == pl.Enum else name for name in columns
    )
    return alt.Chart(frame).transform_calculate(
        px="(datum.panel % columns + datum.u) * cell",
        px2="(datum.panel % columns + datum.u2) * cell",
        py="(floor(datum.panel / columns) + datum.v) * cell",
        py2="(floor(datum.panel / columns) + datum.v2) * cell",
    )


def _pixels(kind: type, field: str):
    return kind(f"{field}:Q", scale=None, axis=None)


def _in_panels(layers: list[alt.Chart], count: int) -> alt.LayerChart:
    """The layers in one view whose panels are as large as its width and height allow."""
    height = _LEGEND + int(min(np.ceil(count / 8) * 125, 900))
    # Either neighbour of the ideal number in a row may give the larger panels; others hardly do.
    ideal = f"sqrt({count} * width / height)"
    few, many = f"max(1, floor({ideal}))", f"min({count}, ceil({ideal}))"

    def cell(columns: str) -> str:
        return f"min(width / ({columns}), height / ceil({count} / ({columns})), {_LARGEST_CELL})"

    parameters = [
        alt.param(name="columns", expr=f"{cell(few)} >= {cell(many)} ? {few} : {many}"),
        alt.param(name="cell", expr=cell("columns")),
    ]
    chart = styled(alt.layer(*layers).add_params(*parameters), height)
    return chart.configure_view(stroke=None)
