"""From points to Altair charts: pure functions that look the same on a page, in print and in a talk.

Marks are what was measured, lines only guide the eye. On a logarithmic axis a value below zero is drawn
at its magnitude as an open mark, and none is dropped. One variant and one side keep their colour and
shape on every page; the colours are Okabe and Ito's, told apart in all common forms of colour blindness.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import altair as alt
import polars as pl
import vl_convert

from explorer.analysis import TRAJECTORY, Quantity
from explorer.captions import SUPERSCRIPTS, short_factor

SERIES_LABELS = {
    TRAJECTORY: "trajectory",
    "init_imp": "T(init, imp)",
    "rand_imp": "T(rand, imp)",
    "init_rand": "T(init, rand)",
}
SERIES_COLOURS = {
    TRAJECTORY: "#333333",
    "init_imp": "#0072B2",
    "rand_imp": "#E69F00",
    "init_rand": "#CC79A7",
}
SERIES_SHAPES = {
    TRAJECTORY: "circle",
    "init_imp": "square",
    "rand_imp": "diamond",
    "init_rand": "triangle-up",
}

# How far beyond the marks intervals may stretch a logarithmic axis; what reaches further is cut.
INTERVAL_ROOM = 10.0

# The control row of transferred masks.
RANDOM_MASK = "random"

KINDS = ("dense", "trajectory", "ticket")
STATUS_COLOURS = {
    "done": "#009E73",
    "running": "#0072B2",
    "ready": "#56B4E9",
    "waiting": "#D9D9D9",
    "diverged": "#E69F00",
    "failed": "#D55E00",
    "blocked": "#CC79A7",
    "stale": "#7F7F7F",
}

_SIDE_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
_SIDE_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "circle", "square")
_FIRST_SIDE = 3

HORIZONTAL = {"parameters_per_spin": "weights per spin   nᵣ / N", "remaining": "remaining weights   nᵣ"}

_FONT = "Source Serif, STIX Two Text, Times New Roman, Liberation Serif, DejaVu Serif, serif"
_INK, _GRID, _SHADE = "#222222", "#E8E8E8", "#009E73"


def side_colour(side: int) -> str:
    """The colour of a side, the same whichever sides stand beside it; repeats after eight."""
    return _SIDE_COLOURS[(side - _FIRST_SIDE) % len(_SIDE_COLOURS)]


def side_shape(side: int) -> str:
    return _SIDE_SHAPES[(side - _FIRST_SIDE) % len(_SIDE_SHAPES)]


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
        networks: from `analysis.network_points`, drawn small and faint; may be empty.
        quantity: what `estimate` is.
        by: `series` or `side`, what colour and shape tell apart.
        horizontal: a key of `HORIZONTAL`.
        agreeing: stretches to shade, with columns start and end in units of `horizontal`.

    Raises:
        ValueError: there are no points.
    """
    _refuse_nothing(points, f"points of the {quantity.name}")
    look = _Look.of(points, by)
    x = _channel(alt.X, horizontal, HORIZONTAL[horizontal], points[horizontal])
    marks = pl.concat([points["estimate"], networks["drawn"]])
    seen = _seen(marks, points, quantity.logarithmic)
    # A band follows the many levels of a trajectory; the few of a ticket get bars, to show where they are.
    banded = f"datum.series == '{TRAJECTORY}'" if by == "series" else "true"

    def y(field: str) -> alt.Y:
        return _channel(alt.Y, field, quantity.symbol, seen, quantity.logarithmic)

    measured, base = alt.Chart(look.labelled(networks)), alt.Chart(look.labelled(points))
    interval = base.transform_filter("isValid(datum.low)").encode(
        x=x, y=y("low"), y2="high:Q", color=look.colour
    )
    layers = [
        interval.transform_filter(banded).mark_area(opacity=0.16, clip=True),
        interval.transform_filter(f"!({banded})").mark_rule(strokeWidth=1.5, clip=True),
        base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y("estimate"), color=look.colour),
        *look.marks(
            measured.encode(x=x, y=y("drawn"), tooltip=_network_tooltip(quantity)),
            "datum.negative",
            size=12,
            opacity=0.5,
            strokeWidth=0.8,
        ),
        *look.marks(
            base.encode(x=x, y=y("estimate"), tooltip=_point_tooltip(quantity)),
            "datum.negative > 0",
            size=44,
            opacity=1,
            strokeWidth=1.4,
        ),
    ]
    if agreeing is not None and not agreeing.is_empty():
        shade = alt.Chart(agreeing).mark_rect(color=_SHADE, opacity=0.09)
        start = _channel(alt.X, "start", HORIZONTAL[horizontal], points[horizontal])
        layers.insert(0, shade.encode(x=start, x2="end:Q"))
    return _styled(alt.layer(*layers))


def ratios(table: pl.DataFrame) -> alt.LayerChart:
    """Ticket variants' relative errors over those of `init_imp`, against weights per spin.

    Args:
        table: from `analysis.ticket_ratios`, of one side.

    Raises:
        ValueError: there are no ratios.
    """
    _refuse_nothing(table, "ticket ratios")
    table = table.with_columns(series="numerator")
    look = _Look.of(table, "series")
    x = _channel(
        alt.X, "parameters_per_spin", HORIZONTAL["parameters_per_spin"], table["parameters_per_spin"]
    )
    seen = _seen(pl.concat([table["ratio"], pl.Series([1.0])]), table)

    def y(field: str) -> alt.Y:
        return _channel(alt.Y, field, "error / error of T(init, imp)", seen)

    base = alt.Chart(look.labelled(table))
    equal = alt.Chart(pl.DataFrame({"ratio": [1.0]})).mark_rule(color=_INK, strokeDash=[4, 3])
    tooltip = [
        alt.Tooltip("label:N", title="variant"),
        *_DENSITY_TOOLTIP,
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("ratio", "low", "high")),
        alt.Tooltip("trajectories:Q"),
        alt.Tooltip("networks:Q"),
        alt.Tooltip("interval:N"),
    ]
    return _styled(
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
    _refuse_nothing(table, "sizes to compare")
    x = _channel(
        alt.X, "parameters_per_spin", HORIZONTAL["parameters_per_spin"], table["parameters_per_spin"]
    )
    # Below 1 the interval only says that another side may be the largest.
    table = table.with_columns(pl.col("low").clip(lower_bound=1.0))
    seen = _seen(pl.concat([table["factor"], pl.Series([1.0, factor])]), table)

    def y(field: str) -> alt.Y:
        return _channel(alt.Y, field, "largest / smallest over sides", seen)

    base = alt.Chart(table)
    threshold = alt.Chart(pl.DataFrame({"factor": [factor]})).mark_rule(color=_SHADE, strokeDash=[4, 3])
    tooltip = [
        alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("factor", "low", "high")),
        alt.Tooltip("largest_side:Q", title="largest: L ="),
        alt.Tooltip("smallest_side:Q", title="smallest: L ="),
        alt.Tooltip("sides:Q", title="sides compared"),
    ]
    return _styled(
        alt.layer(
            threshold.encode(y=y("factor")),
            base.transform_filter("isValid(datum.high)")
            .mark_area(color=_INK, opacity=0.12, clip=True)
            .encode(x=x, y=y("low"), y2="high:Q"),
            base.mark_line(color=_INK, strokeWidth=1.1).encode(x=x, y=y("factor")),
            base.mark_point(color=_INK, fill=_INK, size=22, opacity=1).encode(
                x=x, y=y("factor"), tooltip=tooltip
            ),
        )
    )


def run_states(counts: pl.DataFrame) -> alt.Chart:
    """How many runs of each kind are in which state, as stacked bars.

    Args:
        counts: from `analysis.status_counts`.

    Raises:
        ValueError: no run is planned.
    """
    _refuse_nothing(counts, "planned runs")
    states = list(STATUS_COLOURS)
    chart = (
        alt.Chart(counts.with_columns(order=pl.col("status").replace_strict(states, range(len(states)))))
        .mark_bar(height={"band": 0.62})
        .encode(
            y=alt.Y("kind:N", title=None, sort=list(KINDS), axis=alt.Axis(domain=False, ticks=False)),
            x=alt.X("runs:Q", title="runs", axis=alt.Axis(tickMinStep=1, format="d")),
            color=alt.Color(
                "status:N",
                title=None,
                scale=alt.Scale(domain=states, range=list(STATUS_COLOURS.values())),
                legend=alt.Legend(values=[s for s in states if s in set(counts["status"])]),
            ),
            order="order:Q",
            tooltip=["kind:N", "status:N", "runs:Q"],
        )
    )
    return _styled(chart, height=230)


def mask_transfer(table: pl.DataFrame) -> alt.LayerChart:
    """Errors over those of the field's own mask: field of training across, field of the mask upwards.

    Args:
        table: from `analysis.mask_transfer`, of one side and level: one variant, and random masks.

    Raises:
        ValueError: no ticket has a ratio.
    """
    table = table.drop_nulls("ratio")
    _refuse_nothing(table, "transferred masks")
    fields = [f"{field:g}" for field in sorted(set(table["field"]) | set(table["mask_field"]))]
    found_at = pl.col("mask_field").map_elements("{:g}".format, return_dtype=pl.String)
    table = table.with_columns(
        trained=pl.col("field").map_elements("{:g}".format, return_dtype=pl.String),
        mask=pl.when(pl.col("series") == "init_rand").then(pl.lit(RANDOM_MASK)).otherwise(found_at),
        factor=pl.col("ratio").map_elements(short_factor, return_dtype=pl.String),
        decades=pl.col("ratio").log10(),
    )
    widest = max(1.0, float(table["decades"].abs().max()))
    base = alt.Chart(table).encode(
        x=alt.X("trained:N", sort=fields, title="trained at h", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("mask:N", sort=[RANDOM_MASK, *reversed(fields)], title="mask found at h"),
    )
    colour = alt.Color(
        "decades:Q",
        title="log₁₀ of the ratio",
        scale=alt.Scale(scheme="blueorange", domain=[-widest, widest], domainMid=0),
    )
    tooltip = [
        *(alt.Tooltip("trained:N", title="trained at h"), alt.Tooltip("mask:N", title="mask found at h")),
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("ratio", "ratio_low", "ratio_high")),
        alt.Tooltip("estimate:Q", title="relative error", format=".3e"),
        *(alt.Tooltip("trajectories:Q"), alt.Tooltip("networks:Q")),
    ]
    dark = f"abs(datum.decades) > {0.6 * widest}"
    text = alt.condition(dark, alt.value("white"), alt.value(_INK))
    return _styled(
        alt.layer(
            base.mark_rect(stroke="white", strokeWidth=2).encode(color=colour, tooltip=tooltip),
            base.mark_text(fontSize=15).encode(text="factor:N", color=text),
        )
    )


def training_curve(steps: pl.DataFrame, sites: int, reference: float | None) -> alt.LayerChart:
    """Energy per spin against training step of one run, a colour a level, with the reference energy.

    Args:
        steps: rows of the table `steps` of one run.
        sites: number of spins N.
        reference: total reference energy, drawn as a dashed line; None where there is none.

    Raises:
        ValueError: no step is recorded.
    """
    _refuse_nothing(steps, "training steps")
    per_spin = steps.select(
        "level",
        "step",
        energy=pl.col("energy") / sites,
        low=(pl.col("energy") - pl.col("energy_error")) / sites,
        high=(pl.col("energy") + pl.col("energy_error")) / sites,
        acceptance="acceptance",
    )
    x = _channel(alt.X, "step", "training step", steps["step"])
    y = alt.Y("energy:Q", title="E / N   (J)", scale=alt.Scale(zero=False, nice=False, padding=8))
    legend = alt.Legend(format="d", tickMinStep=1) if per_spin["level"].n_unique() > 1 else None
    colour = alt.Color("level:Q", title="level", scale=alt.Scale(scheme="viridis"), legend=legend)
    base = alt.Chart(per_spin)
    layers = [
        base.mark_rule(opacity=0.35).encode(x=x, y=y, y2="high:Q", color=colour),
        base.mark_rule(opacity=0.35).encode(x=x, y=y, y2="low:Q", color=colour),
        base.mark_point(size=14, filled=True, opacity=0.8).encode(
            x=x,
            y=y,
            color=colour,
            tooltip=[
                "level:Q",
                "step:Q",
                alt.Tooltip("energy:Q", title="E / N", format=".6f"),
                alt.Tooltip("acceptance:Q", format=".2f"),
            ],
        ),
    ]
    if reference is not None:
        line = alt.Chart(pl.DataFrame({"energy": [reference / sites]}))
        layers.append(line.mark_rule(color=_INK, strokeDash=[4, 3]).encode(y=y))
    return _styled(alt.layer(*layers))


def printed(chart: alt.TopLevelMixin, title: str, caption: str, width: int = 640) -> alt.TopLevelMixin:
    """The chart for a paper or a talk: with its title, its caption and a width of its own."""
    characters = width // 7
    return chart.properties(
        width=width,
        title=alt.TitleParams(
            textwrap.wrap(title, int(characters * 0.85)), subtitle=textwrap.wrap(caption, characters)
        ),
    )


def png(chart: alt.TopLevelMixin, scale: float = 2.0) -> bytes:
    """The chart as a PNG image, `scale` pixels a point."""
    return vl_convert.vegalite_to_png(_specification(chart), scale=scale)


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as an SVG drawing."""
    return vl_convert.vegalite_to_svg(_specification(chart))


def _specification(chart: alt.TopLevelMixin) -> str:
    # Altair refuses more than 5000 rows by default; a study's networks may be more.
    with alt.data_transformers.enable("default", max_rows=None):
        return json.dumps(chart.to_dict())


@dataclass(frozen=True)
class _Look:
    """Colour and shape of each value of `series` or `side`, in the legend's order."""

    by: str
    values: tuple
    labels: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]

    @classmethod
    def of(cls, points: pl.DataFrame, by: str) -> _Look:
        found = set(points[by])
        if by == "side":
            values = tuple(sorted(found))
            labels = tuple(f"L = {side}" for side in values)
            return cls(by, values, labels, tuple(map(side_colour, values)), tuple(map(side_shape, values)))
        values = tuple(series for series in SERIES_LABELS if series in found)
        tables = (SERIES_LABELS, SERIES_COLOURS, SERIES_SHAPES)
        return cls(by, values, *(tuple(table[v] for v in values) for table in tables))

    def labelled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with `label`, in the order in which it is drawn: a trajectory lies below its tickets."""
        label = pl.col(self.by).replace_strict(self.values, self.labels, return_dtype=pl.String)
        order = pl.col(self.by).replace_strict(self.values, range(len(self.values)), return_dtype=pl.Int64)
        return frame.with_columns(label=label).sort(order, maintain_order=True)

    @property
    def _scale(self) -> alt.Scale:
        return alt.Scale(domain=self.labels, range=self.colours)

    @property
    def colour(self) -> alt.Color:
        return alt.Color("label:N", title=None, scale=self._scale, legend=self._legend)

    @property
    def _legend(self) -> alt.Legend:
        # Few entries a line, so that a narrow screen shows them all.
        return alt.Legend(columns=4 if self.by == "side" else 2)

    def marks(self, chart: alt.Chart, is_open: str, **style) -> tuple[alt.Chart, alt.Chart]:
        """Two layers of points: filled ones, and open ones where the expression holds."""
        scale = alt.Scale(domain=self.labels, range=self.shapes)
        shape = alt.Shape("label:N", title=None, scale=scale, legend=self._legend)
        chart = chart.encode(color=self.colour, shape=shape)
        return (
            chart.transform_filter(f"!({is_open})").mark_point(filled=True, **style),
            chart.transform_filter(is_open).mark_point(filled=False, fill="white", **style),
        )


def _refuse_nothing(frame: pl.DataFrame, what: str) -> None:
    if frame.is_empty():
        raise ValueError(f"there are no {what} to draw")


def _seen(marks: pl.Series, intervals: pl.DataFrame, logarithmic: bool = True) -> pl.Series:
    """What a vertical axis must span: all marks, and intervals (columns low, high) near them.

    Student's t over two trajectories at 95 % has a half-width of nine times their spread; on a
    logarithmic axis that would press what was measured into a line.
    """
    ends = pl.concat([intervals["low"], intervals["high"]]).drop_nulls()
    if logarithmic:
        ends = ends.clip(marks.min() / INTERVAL_ROOM, marks.max() * INTERVAL_ROOM)
    return pl.concat([marks, ends])


def _channel(kind: type, field: str, title: str, seen: pl.Series, logarithmic: bool = True):
    """An x or y channel that spans what is seen, logarithmic with the ticks of a paper's figure."""
    if not logarithmic:
        scale = alt.Scale(zero=False, nice=False, padding=8)
        return kind(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))
    seen = seen.drop_nulls()
    low, high = seen.min(), seen.max()
    # Room for half a mark at both ends; whole decades would leave much of the frame empty.
    room = max(1.06, (high / low) ** 0.03)
    return kind(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[low / room, high * room], nice=False),
        axis=_logarithmic_axis(low / room, high * room),
    )


def tick_labels(low: float, high: float) -> dict[float, str]:
    """Labelled ticks of a logarithmic axis: powers of ten, and 2, 3, 5 where decades are few."""
    digits = (1,) if _is_wide(low, high) else (1, 2, 3, 5)
    return {tick: _tick_label(tick, low, high) for tick in _ticks(low, high, digits)}


def _logarithmic_axis(low: float, high: float) -> alt.Axis:
    """Ticks at 1 … 9 of each decade, fewer where decades are many; the labelled ones are long."""
    labels = tick_labels(low, high)
    # Vega computes ticks in floating point, so a label finds its tick by ratio.
    is_tick = {tick: f"abs(datum.value / {tick!r} - 1) < 1e-6" for tick in labels}
    text = " : ".join(f"{is_tick[tick]} ? '{label}'" for tick, label in labels.items())
    is_labelled = " || ".join(is_tick.values()) or "false"
    return alt.Axis(
        values=_ticks(low, high, range(1, 10) if math.log10(high / low) < 8 else (1,)),
        labelExpr=f"{text} : ''" if text else "''",
        labelOverlap="greedy",
        gridOpacity=alt.condition(is_labelled, alt.value(1), alt.value(0)),
        tickSize=alt.condition(is_labelled, alt.value(5), alt.value(2.5)),
    )


def _ticks(low: float, high: float, digits: Iterable[int]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def _is_wide(low: float, high: float) -> bool:
    return math.log10(high / low) > 3.5


def _tick_label(tick: float, low: float, high: float) -> str:
    if 1e-2 <= tick < 1e4 and not _is_wide(low, high):
        return f"{tick:g}"
    digit, exponent = f"{tick:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return power if digit == "1" else f"{digit}·{power}"


_DENSITY_TOOLTIP = (
    alt.Tooltip("parameters_per_spin:Q", title="nᵣ / N", format=".3g"),
    alt.Tooltip("remaining:Q", title="nᵣ"),
    alt.Tooltip("level:Q"),
)


def _point_tooltip(quantity: Quantity) -> list[alt.Tooltip]:
    number = ".3e" if quantity.logarithmic else ".5f"
    return [
        alt.Tooltip("label:N", title="curve"),
        *_DENSITY_TOOLTIP,
        alt.Tooltip("estimate:Q", title=quantity.symbol, format=number),
        alt.Tooltip("low:Q", format=number),
        alt.Tooltip("high:Q", format=number),
        alt.Tooltip("trajectories:Q"),
        alt.Tooltip("networks:Q"),
        alt.Tooltip("negative:Q", title="below zero"),
        alt.Tooltip("interval:N"),
    ]


def _network_tooltip(quantity: Quantity) -> list[alt.Tooltip]:
    number = ".3e" if quantity.logarithmic else ".5f"
    return [
        alt.Tooltip("run_id:N", title="run"),
        *_DENSITY_TOOLTIP,
        alt.Tooltip("replicate:Q"),
        alt.Tooltip("value:Q", title="value, signed", format=number),
        alt.Tooltip("error:Q", title="standard error", format=number),
    ]


def _styled(chart: alt.TopLevelMixin, height: int = 420) -> alt.TopLevelMixin:
    return (
        chart.properties(width="container", height=height)
        .configure(font=_FONT, background="white")
        .configure_view(stroke=_INK, strokeWidth=0.8)
        .configure_axis(
            labelColor=_INK,
            titleColor=_INK,
            tickColor=_INK,
            domainColor=_INK,
            labelFontSize=13,
            titleFontSize=15,
            titleFontWeight="normal",
            titlePadding=8,
            gridColor=_GRID,
        )
        .configure_legend(
            orient="top",
            labelFontSize=14,
            labelColor=_INK,
            symbolSize=90,
            columnPadding=14,
            labelLimit=220,
            symbolOpacity=1,
        )
        .configure_title(anchor="start", fontSize=17, subtitleFontSize=12, subtitleColor="#555555", offset=10)
    )
