"""One look for all figures: colours, shapes, labels and fonts.

One variant and one side keep their colour and shape on every page; the colours are Okabe and Ito's, told
apart in all common forms of colour blindness.
"""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import polars as pl

from explorer.analysis import TRAJECTORY

SERIES_LABELS = {
    TRAJECTORY: "trajectory",
    "init_imp": "T(init, imp)",
    "rand_imp": "T(rand, imp)",
    "init_rand": "T(init, rand)",
    "regrown": "regrown, back up",
}

SERIES_COLOURS = {
    TRAJECTORY: "#333333",
    "init_imp": "#0072B2",
    "rand_imp": "#E69F00",
    "init_rand": "#CC79A7",
    "regrown": "#D55E00",
}

SERIES_SHAPES = {
    TRAJECTORY: "circle",
    "init_imp": "square",
    "rand_imp": "diamond",
    "init_rand": "triangle-up",
    "regrown": "cross",
}

SIDE_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
SIDE_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "circle", "square")
_FIRST_SIDE = 3
METHOD_LABELS = {"imp_wr": "IMP-WR", "imp_ct": "IMP-CT", "irp_wr": "IRP-WR"}
METHOD_COLOURS = {"imp_wr": "#0072B2", "imp_ct": "#E69F00", "irp_wr": "#CC79A7"}
METHOD_SHAPES = {"imp_wr": "square", "imp_ct": "diamond", "irp_wr": "triangle-up"}
NETWORK_LABELS = {"ffnn": "FFNN", "cnn": "CNN", "rescnn": "ResCNN", "odd_parity": "odd parity"}
_SYMBOLS = {"width_per_spin": "α", "field": "h"}
# The app's own, then those with all letters of our axes: Times and its likes lack most superscripts and ᵣ, which were
# then drawn in another font, 10² beside 10⁻⁵. macOS has STIX Two Text, nearly every Linux DejaVu Serif.
FONT = "Source Serif, STIX Two Text, Libertinus Serif, DejaVu Serif, serif"

# The paper is also what open marks are filled with.
INK, FAINT_INK, GRID, SHADE, PAPER = "#222222", "#555555", "#E8E8E8", "#009E73", "white"
# On colours of a scheme, which are the same in every theme.
ON_DARK_COLOUR, ON_PALE_COLOUR = "#FFFFFF", "#111111"
# Perceptually uniform, and told apart by readers with any colour vision.
SCHEME = "viridis"
# Of marks on paper its palest part is left out: at 0.75 its contrast with white is 2.
SCHEME_ON_PAPER = alt.SchemeParams(name=SCHEME, extent=[0, 0.75])


def side_colour(side: int) -> str:
    """The colour of a side, the same whichever sides stand beside it; repeats after eight."""
    return SIDE_COLOURS[(side - _FIRST_SIDE) % len(SIDE_COLOURS)]


def side_shape(side: int) -> str:
    return SIDE_SHAPES[(side - _FIRST_SIDE) % len(SIDE_SHAPES)]


def value_label(column: str, value) -> str:
    """A value of a column as a legend has it: α = 2.5, h = 3.04438, IMP-WR, FFNN."""
    if column in ("method", "network"):
        return {**METHOD_LABELS, **NETWORK_LABELS}.get(value, str(value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{_SYMBOLS.get(column, column)} = {text}"


@dataclass(frozen=True)
class Look:
    """Colour and shape of each value of `series`, `side` or another column, in the legend's order."""

    by: str
    values: tuple
    labels: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]

    @classmethod
    def of(cls, points: pl.DataFrame, by: str) -> Look:
        found = set(points[by])
        if by == "side":
            values = tuple(sorted(found))
            labels = tuple(f"L = {side}" for side in values)
            return cls(by, values, labels, tuple(map(side_colour, values)), tuple(map(side_shape, values)))
        if by != "series":
            # Ascending, and a method keeps its look on every page.
            values = tuple(sorted(found))
            colours, shapes = (
                tuple(own.get(value, others[k % len(others)]) for k, value in enumerate(values, start=1))
                for own, others in ((METHOD_COLOURS, SIDE_COLOURS), (METHOD_SHAPES, SIDE_SHAPES))
            )
            return cls(by, values, tuple(value_label(by, value) for value in values), colours, shapes)
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
        return alt.Legend(columns=2 if self.by == "series" else 4)

    def marks(self, chart: alt.Chart, is_open: str, **style) -> tuple[alt.Chart, alt.Chart]:
        """Two layers of points: filled ones, and open ones where the expression holds."""
        scale = alt.Scale(domain=self.labels, range=self.shapes)
        shape = alt.Shape("label:N", title=None, scale=scale, legend=self._legend)
        chart = chart.encode(color=self.colour, shape=shape)
        return (
            chart.transform_filter(f"!({is_open})").mark_point(filled=True, **style),
            chart.transform_filter(is_open).mark_point(filled=False, fill=PAPER, **style),
        )


def refuse_nothing(frame: pl.DataFrame, what: str) -> None:
    if frame.is_empty():
        raise ValueError(f"there are no {what} to draw")


def styled(chart: alt.TopLevelMixin, height: int = 420) -> alt.TopLevelMixin:
    """The chart in our look, as wide as the page lets it be."""
    # In place: `properties` copies the whole chart, all ticks of all its layers, before it sets anything.
    chart.width, chart.height, chart.config = "container", height, CONFIG
    return chart


# In one piece: Altair copies the whole chart, data included, for every `configure_…`.
CONFIG = alt.Config(
    font=FONT,
    background=PAPER,
    view=alt.ViewConfig(stroke=INK, strokeWidth=0.8),
    axis=alt.AxisConfig(
        labelColor=INK,
        titleColor=INK,
        tickColor=INK,
        domainColor=INK,
        labelFontSize=13,
        titleFontSize=15,
        titleFontWeight="normal",
        titlePadding=8,
        gridColor=GRID,
    ),
    legend=alt.LegendConfig(
        orient="top",
        labelFontSize=14,
        labelColor=INK,
        symbolSize=90,
        columnPadding=14,
        labelLimit=220,
        symbolOpacity=1,
    ),
    title=alt.TitleConfig(
        anchor="start", fontSize=17, subtitleFontSize=12, subtitleColor=FAINT_INK, offset=10
    ),
)
