"""Charts as files for a paper or a talk."""

from __future__ import annotations

import json
import textwrap

import altair as alt
import vl_convert


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
