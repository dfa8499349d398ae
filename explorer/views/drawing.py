"""A chart on a page, as its theme and a reader's screen have it."""

from __future__ import annotations

import altair as alt
import streamlit as st

from explorer import charts


def draw(key: str, chart: alt.TopLevelMixin, headline: str, rows: int, **selection) -> None:
    """Draw a chart as wide as its place.

    Args:
        key: unique on the page.
        headline: what it shows, for readers who don't see it.
        rows: of its table.
        selection: what `st.vega_lite_chart` is to do with clicks.
    """
    # None before the browser has said.
    dark = st.context.theme.type == "dark"
    shown = charts.on_screen(chart, headline, rows, dark)
    st.vega_lite_chart(charts.in_streams(shown), theme=None, width="stretch", key=key, **selection)
