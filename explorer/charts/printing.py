"""Charts as files for a paper or a talk: at the width of a column, with text of the right size there."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import vl_convert

from explorer.charts.look import CONFIG
from explorer.charts.streams import data_written

_POINTS_PER_MM = 72 / 25.4
# Font size of legends on a page, px; axes have one less and one more.
_TEXT_PX = 14
_PNG_PER_INCH = 300
_TALLEST = 0.72  # of the width
# A panel's frame beside others.
_PANEL_PX = 380
_SIZE = re.compile(r'<svg ([^>]*?)width="([\d.]+)" height="([\d.]+)"')


@dataclass(frozen=True)
class Print:
    """Where a figure is printed.

    Attributes:
        name: as a menu has it.
        width_mm: of the whole figure, axes and legend included.
        text_points: size of its text there.
        captioned: whether title and caption are part of the figure; in a paper they stand beside it.
    """

    name: str
    width_mm: float
    text_points: float
    captioned: bool = False

    @property
    def width_px(self) -> float:
        """Width at which a page would show text of the same proportion."""
        return self.width_mm * _POINTS_PER_MM * _TEXT_PX / self.text_points


# Column widths of the journals of the American Physical Society.
PRINTS = {
    "single": Print("single column, 86 mm", 86, 8),
    "double": Print("double column, 178 mm", 178, 8),
    "slide": Print("slide, 254 mm, with its caption", 254, 14, captioned=True),
}


def side_by_side(panels: Sequence[tuple[str, alt.TopLevelMixin]], columns: int) -> alt.ConcatChart:
    """Charts as the lettered panels of one figure, each with its own legend.

    Args:
        panels: title and chart of each.
        columns: panels in a row.
    """
    parts = [panel(number, title, chart) for number, (title, chart) in enumerate(panels)]
    for part in parts:
        # A part has no configuration of its own.
        part.config = alt.Undefined
    together = alt.concat(*parts, columns=columns, config=CONFIG)
    return together.resolve_scale(color="independent", shape="independent")


def panel(number: int, title: str, chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """A chart of a panel's size with its letter and title, as the one after `number` others of a figure."""
    part = chart.copy()
    # It has no page to fill.
    part.autosize = alt.Undefined
    heading = alt.TitleParams(f"{chr(ord('a') + number)}  {title}")
    return part.properties(width=_PANEL_PX, height=_TALLEST * _PANEL_PX, title=heading)


def printed(chart: alt.TopLevelMixin, size: Print, title: str, caption: str) -> str:
    """The chart as an SVG drawing of a printed size, white behind it.

    Args:
        title, caption: drawn where `size.captioned`.
    """
    width = size.width_px
    chart = chart.copy()
    if hasattr(chart, "width"):  # charts side by side have widths of their own
        fit = alt.AutoSizeParams(type="fit-x", contains="padding")
        height = chart.height if isinstance(chart.height, (int, float)) else _TALLEST * width
        chart = chart.properties(width=width, height=min(height, _TALLEST * width), autosize=fit)
    if size.captioned:
        characters = int(width / 7)
        chart = chart.properties(
            title=alt.TitleParams(
                textwrap.wrap(title, int(characters * 0.8)), subtitle=textwrap.wrap(caption, characters)
            )
        )
    return scaled(vl_convert.vegalite_to_svg(specification(chart)), size.width_mm)


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as an SVG drawing of the size that it has itself."""
    return vl_convert.vegalite_to_svg(specification(chart))


def png(drawing: str) -> bytes:
    """A printed drawing as a PNG image, 300 pixels an inch."""
    return vl_convert.svg_to_png(drawing, ppi=_PNG_PER_INCH)


def pdf(drawing: str) -> bytes:
    """A printed drawing as a PDF page of its size."""
    return vl_convert.svg_to_pdf(drawing)


def specification(chart: alt.TopLevelMixin) -> str:
    """The chart in Vega-Lite, with its data."""
    # Altair refuses more than 5000 rows by default; a study's networks may be more.
    with data_written("default", max_rows=None):
        return json.dumps(chart.to_dict())


def size_px(drawing: str) -> tuple[float, float]:
    """Width and height that a drawing states."""
    _, width, height = _SIZE.search(drawing).groups()
    return float(width), float(height)


def scaled(drawing: str, width_mm: float) -> str:
    """The drawing at a width, its own coordinates kept; a unit without a name is a point to PDF and to PNG."""
    width, height = size_px(drawing)
    points = width_mm * _POINTS_PER_MM
    size = f'width="{points:.2f}" height="{points * height / width:.2f}"'
    return _SIZE.sub(rf"<svg \1{size}", drawing, count=1)
