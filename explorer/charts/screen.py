"""Charts as a page shows them: described to screen readers, zoomed by wheel and drag, on a dark page in its colours.

Exports have none of this: they are drawn for paper from the charts as they were made.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import altair as alt

from explorer.charts.axes import zoomable_axis
from explorer.charts.lattice import BOND, PRUNED, ZERO
from explorer.charts.look import FAINT_INK, GRID, INK, PAPER, SERIES_COLOURS, SIDE_COLOURS
from explorer.charts.progress import STATUS_COLOURS

# Background of the dark theme (.streamlit/config.toml).
DARK_PAPER = "#1B1B1D"
# What is near black, near white or a pale grey on white is its counterpart on a dark page; hues are the same on both.
_ON_DARK = {
    PAPER: DARK_PAPER,
    INK: "#E6E6E6",
    FAINT_INK: "#B4B4B4",
    GRID: "#37373A",
    SERIES_COLOURS["trajectory"]: "#D6D6D6",
    SIDE_COLOURS[-1]: "#F4F4F4",
    STATUS_COLOURS["waiting"]: "#5C5C60",
    ZERO: "#3E3E42",
    BOND: "#4C4C50",
    PRUNED: "#66666A",
}
# With Ctrl, so that a page is scrolled past its charts; a pinch is a wheel with Ctrl to browsers.
_ZOOM = "wheel![event.ctrlKey]"
# Not from a mark, where a drag that ends would be a click, and not by a finger, which scrolls the page.
_FREE = "event.pointerType === 'mouse' && (!event.item || event.item.mark.marktype !== 'symbol')"
_MOVE = f"[pointerdown[{_FREE}], window:pointerup] > window:pointermove!"
ZOOM_HINT = "Charts: the wheel with Ctrl, or a pinch, zooms; dragging moves; a double click resets."


def on_screen(chart: alt.TopLevelMixin, headline: str, rows: int, dark: bool = False) -> alt.TopLevelMixin:
    """The chart for a page.

    Args:
        chart: from `explorer.charts`.
        headline: what it shows, in a sentence.
        rows: of its table.
        dark: whether the page is.
    """
    shown = _zoomable(chart)
    if dark:
        shown = _recoloured(shown)
    return _with(shown, description=description(chart, headline, rows))


def description(chart: alt.TopLevelMixin, headline: str, rows: int) -> str:
    """What a screen reader says of a chart: headline, axes, what is told apart, how much of it there is."""
    parts = [headline.rstrip(".")]
    for name, kind in (("x", "Horizontal"), ("y", "Vertical")):
        titled = (channel for channel in _channels(chart, name) if isinstance(channel["title"], str))
        if (channel := next(titled, None)) is not None:
            scale = ", logarithmic" if _is_logarithmic(channel) else ""
            parts.append(f"{kind}: {' '.join(channel['title'].split())}{scale}")
    for channel in _channels(chart, "color"):
        names = channel["scale"]["domain"] if isinstance(channel["scale"], alt.Scale) else alt.Undefined
        if isinstance(names, (list, tuple)) and names and isinstance(names[0], str):
            parts.append(f"Told apart: {', '.join(names)}")
            break
    parts.append(f"{rows} rows of data")
    return ". ".join(parts) + "."


def _zoomable(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """The chart with axes that wheel and drag change, where it has layers with continuous ones; else as it is."""
    if not isinstance(chart, alt.LayerChart):
        return chart
    for name in ("x", "y"):
        found = list(_channels(chart, name))
        if not found or any(
            channel["scale"] is None or not channel["shorthand"].endswith(":Q") for channel in found
        ):
            return chart
    first, *others = (_zoomable_layer(layer) for layer in chart.layer)
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom=_ZOOM, translate=_MOVE)
    return _with(chart, layer=[first.add_params(zoom), *others])


def _with(part: alt.SchemaBase, **properties) -> alt.SchemaBase:
    """A part with some properties changed; `copy` and `properties` of a layered chart copy every tick of every layer."""
    new = copy.copy(part)
    # Altair keeps a part's properties under this name, and only there.
    object.__setattr__(new, "_kwds", part._kwds | properties)
    return new


def _zoomable_layer(layer: alt.Chart) -> alt.Chart:
    """The layer, whose marks end at the frame when the axes move, and whose labels follow them."""
    shown = layer.copy(deep=False)
    # A mark without any property is its name alone.
    mark = alt.MarkDef(type=layer.mark) if isinstance(layer.mark, str) else layer.mark
    shown.mark, shown.encoding = mark.copy(deep=False), layer.encoding.copy(deep=False)
    shown.mark.clip = True
    for name in ("x", "y"):
        channel = layer.encoding[name]
        # Others have a column's name alone, or axes whose ticks Vega makes.
        if isinstance(channel, alt.SchemaBase) and _is_logarithmic(channel):
            low, high = channel["scale"]["domain"]
            channel = channel.copy(deep=False)
            channel.axis = zoomable_axis(channel["axis"], low, high, name)
            setattr(shown.encoding, name, channel)
    return shown


def _is_logarithmic(channel: alt.SchemaBase) -> bool:
    scale = channel._get("scale")
    return isinstance(scale, alt.Scale) and scale["type"] == "log"


def _channels(chart: alt.TopLevelMixin, name: str) -> Iterator:
    """The channels of this name of a chart's layers that draw a column."""
    for layer in getattr(chart, "layer", [chart]):
        channel = alt.Undefined if layer.encoding is alt.Undefined else layer.encoding[name]
        if isinstance(channel, alt.SchemaBase) and isinstance(channel._get("shorthand"), str):
            yield channel


def _recoloured(part):
    """A chart or a part of it in the dark page's colours; its data are shared, not copied."""
    if isinstance(part, str):
        return _ON_DARK.get(part, part)
    if isinstance(part, (list, tuple)):
        return [_recoloured(each) for each in part]
    if isinstance(part, dict):
        return {key: _of_dark(key, value) for key, value in part.items()}
    if isinstance(part, alt.SchemaBase):
        return _with(part, **{key: _of_dark(key, value) for key, value in part._kwds.items()})
    return part


def _of_dark(key: str, value):
    if key in ("data", "datasets"):
        return value
    # A scheme without its palest part is one without its darkest.
    if key == "extent" and isinstance(value, list):
        return [1 - value[1], 1 - value[0]]
    return _recoloured(value)
