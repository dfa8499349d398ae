"""A figure on a page: headline, chart, caption, and behind it the table and the downloads."""

from __future__ import annotations

import io

import altair as alt
import polars as pl
import streamlit as st

from explorer import charts
from explorer.views import opening


def show_figure(
    name: str,
    headline: str,
    chart: alt.TopLevelMixin,
    caption: str,
    table: pl.DataFrame,
    code: str = "",
    select: pl.DataFrame | None = None,
) -> None:
    """Draw a chart with all that belongs to it.

    Args:
        name: of the files that are downloaded, without an ending; unique on the page.
        headline: a title that states what is seen.
        chart: from `explorer.charts`.
        caption: what points and intervals are, with n and method.
        table: the numbers drawn.
        code: Python lines that make `table` and `chart` from the page's `states`, for a notebook.
        select: rows of `states` whose marks the chart has; a click on one opens that network. None: no mark
            leads anywhere.
    """
    st.subheader(headline, anchor=False)
    if select is None:
        st.altair_chart(chart, theme=None, width="stretch", key=f"chart {name}")
        st.caption(caption)
    else:
        opening.show_chart(f"chart {name}", charts.selectable(chart), select)
        st.caption(f"{caption} {opening.HINT}")
    with st.expander("Table and downloads"):
        show_table(name, table)
        printed = charts.printed(chart, headline, caption)
        with st.container(horizontal=True):
            _download(f"{name}.png", "image/png", lambda: charts.png(printed))
            _download(f"{name}.svg", "image/svg+xml", lambda: charts.svg(printed).encode())
        if code:
            st.code(code, language="python")


def show_table(name: str, table: pl.DataFrame) -> None:
    """A table with its downloads as CSV and Parquet."""
    st.dataframe(table, hide_index=True, key=f"table {name}", column_config=_with_enough_digits(table))
    with st.container(horizontal=True):
        _download(f"{name}.csv", "text/csv", lambda: table.write_csv().encode())
        _download(f"{name}.parquet", "application/vnd.apache.parquet", lambda: _parquet(table))


def _with_enough_digits(table: pl.DataFrame) -> dict:
    """Formats for columns whose digits matter: the default of four places hides errors of 1e-5."""
    shown = {}
    for name, kind in table.schema.items():
        if not kind.is_float():
            continue
        if name in ("energy", "reference_energy"):
            shown[name] = st.column_config.NumberColumn(format="%.9f")
        elif "error" in name or name in ("mean", "low", "high"):
            shown[name] = st.column_config.NumberColumn(format="%.4g")
    return shown


def _parquet(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def _download(file_name: str, mime: str, data) -> None:
    """A button whose file is made when it is pressed, and which leaves the page as it is."""
    ending = file_name.rpartition(".")[2]
    label = {"csv": "CSV", "parquet": "Parquet", "png": "PNG", "svg": "SVG"}[ending]
    st.download_button(label, data, file_name, mime, key=f"download {file_name}", on_click="ignore")
