"""Several figures on one printed page: their panels side by side, with headings above and captions below.

Panels are drawn one by one and put together as SVG: in one Vega-Lite view their groups would lie deeper in one another
than the 24 that a PDF may have.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import altair as alt

from explorer.charts.look import FONT, INK
from explorer.charts.printing import panel, scaled, size_px, svg

# A2, upright.
_WIDTH_MM = 420
_COLUMNS, _COLUMN_PX, _ROW_GAP_PX, _MARGIN_PX = 4, 490, 34, 24
_HEADING_PX, _TEXT_PX, _LINE_PX = 20, 12, 15.5
# Of a line of text in a column.
_CHARACTERS = 70
_CONTENT = re.compile(r"<svg [^>]*>(.*)</svg>", re.DOTALL)


class SheetPanel(NamedTuple):
    """A panel of a sheet.

    Attributes:
        title: above it, after its letter.
        chart: from `explorer.charts`.
        texts: below it, each on lines of its own.
    """

    title: str
    chart: alt.TopLevelMixin
    texts: Sequence[str]


class SheetFigure(NamedTuple):
    """A figure of a sheet: its heading and at least one panel."""

    heading: str
    panels: Sequence[SheetPanel]


def sheet(figures: Sequence[SheetFigure]) -> str:
    """The figures in their order as one SVG drawing of A2's width, several in a row where they have room."""
    parts, top = [], float(_MARGIN_PX)
    for row in _rows(figures):
        column, heights = 0, []
        for figure in row:
            left = _MARGIN_PX + column * _COLUMN_PX
            parts.append(_text(left, top + _HEADING_PX, [figure.heading], _HEADING_PX, "bold"))
            for number, each in enumerate(figure.panels):
                drawn, height = _panel(number, each)
                left = _MARGIN_PX + (column + number) * _COLUMN_PX
                parts.append(f'<g transform="translate({left},{top + 1.6 * _HEADING_PX})">{drawn}</g>')
                heights.append(height)
            column += len(figure.panels)
        top += 1.6 * _HEADING_PX + max(heights) + _ROW_GAP_PX
    width = 2 * _MARGIN_PX + _COLUMNS * _COLUMN_PX
    page = f'<rect width="{width}" height="{top:.1f}" fill="white"/>{"".join(parts)}'
    return scaled(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
        f'height="{top:.1f}" viewBox="0 0 {width} {top:.1f}">{page}</svg>',
        _WIDTH_MM,
    )


def _rows(figures: Sequence[SheetFigure]) -> Iterator[list[SheetFigure]]:
    """Figures that stand beside each other."""
    row, room = [], _COLUMNS
    for figure in figures:
        if row and len(figure.panels) > room:
            yield row
            row, room = [], _COLUMNS
        row.append(figure)
        room -= len(figure.panels)
    if row:
        yield row


def _panel(number: int, each: SheetPanel) -> tuple[str, float]:
    """A panel with its texts, as the content of a drawing, and its height.

    Drawings may share the names of their clips: the frames are equal.
    """
    drawing = svg(panel(number, each.title, each.chart))
    height = size_px(drawing)[1]
    (content,) = _CONTENT.search(drawing).groups()
    lines = [line for text in each.texts for line in textwrap.wrap(text, _CHARACTERS)]
    below = _text(0, height + _LINE_PX, lines, _TEXT_PX)
    return content + below, height + (len(lines) + 1) * _LINE_PX


def _text(left: float, top: float, lines: Sequence[str], size: float, weight: str = "normal") -> str:
    """Lines of text, the first on the height `top`."""
    spans = (
        f'<tspan x="{left}" dy="{_LINE_PX * bool(k)}">{escape(line)}</tspan>' for k, line in enumerate(lines)
    )
    style = f'font-family="{FONT}" font-size="{size}px" font-weight="{weight}" fill="{INK}"'
    return f'<text x="{left}" y="{top:.1f}" {style}>{"".join(spans)}</text>'
