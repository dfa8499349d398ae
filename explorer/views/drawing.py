"""A chart on a page, as its theme and a reader's screen have it."""

from __future__ import annotations

import altair as alt
import streamlit as st

from explorer import charts


def is_dark() -> bool:
    """Whether the page is; not before the browser has said."""
    return st.context.theme.type == "dark"


def drawn(chart: alt.TopLevelMixin, headline: str, rows: int, dark: bool) -> dict:
    """The chart as `show` takes it.

    Args:
        headline: what it shows, for readers who don't see it.
        rows: of its table.
        dark: whether the page is.
    """
    return charts.in_streams(charts.on_screen(chart, headline, rows, dark))


def show(key: str, specification: dict, **selection) -> None:
    """A chart as wide as its place.

    Args:
        key: unique on the page.
        specification: from `drawn`.
        selection: what `st.vega_lite_chart` is to do with clicks.
    """
    st.vega_lite_chart(specification, theme=None, width="stretch", key=key, **selection)


def draw(key: str, chart: alt.TopLevelMixin, headline: str, rows: int, **selection) -> None:
    """Draw and show a chart; the arguments are those of `drawn` and `show`."""
    show(key, drawn(chart, headline, rows, is_dark()), **selection)
