"""A figure on a page: headline, chart, caption, and behind it the table and the downloads."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import polars as pl
import streamlit as st

from explorer import charts, loading
from explorer.bundle import bundle, parquet, program
from explorer.views import address, drawing, opening, setting

_MIMES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "zip": "application/zip",
}
_PRINT, _FIRST_PRINT = "print", next(iter(charts.PRINTS))
SHEET_LABEL = "The whole sheet as PDF"
_LABELS = {"parquet": "Parquet", "zip": "all of it, with the code"}

ROWS_A_PAGE = 1000
# Parts of names of columns whose values may be of any size.
_SMALL = ("error", "mean", "low", "high", "uncertainty", "difference", "deviation", "gap")


def choose_print() -> None:
    """Ask for what size all pages' figures are downloaded at."""
    address.choose(
        "Figures are downloaded for a",
        _PRINT,
        list(charts.PRINTS),
        _FIRST_PRINT,
        names=lambda key: charts.PRINTS[key].name,
    )


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
        code: Python lines that make `table` and `chart` from the states that the page's setting chose.
        select: rows of `states` whose marks the chart has; a click on one opens that network. None: no mark
            leads anywhere.
    """
    st.subheader(headline, anchor=False)
    if select is None:
        drawing.draw(f"chart {name}", chart, headline, len(table))
        st.caption(caption)
    else:
        opening.show_chart(f"chart {name}", charts.selectable(chart), headline, len(table), select)
        st.caption(f"{caption} {opening.HINT}")
    with st.expander("Table and downloads"):
        show_table(name, table)
        size = _print()
        again = program(name, loading.selected().path, [*setting.lines(), code]) if code else None
        with st.container(horizontal=True):
            _offer_files(name, lambda: chart, headline, caption)
            _download(f"{name}.zip", lambda: bundle(chart, size, headline, caption, table, again))
        if again is not None:
            st.caption("The same numbers in a notebook:")
            st.code("\n".join([*setting.lines(), code]), language="python")


def offer_drawing(name: str, make: Callable[[], alt.TopLevelMixin], headline: str, caption: str) -> None:
    """Downloads of a chart that stands on the page in parts, and is made when it is asked for."""
    with st.container(horizontal=True):
        _offer_files(name, make, headline, caption)


def offer_sheet(name: str, make: Callable[[], str]) -> None:
    """The download of a page of figures, a drawing with a size of its own."""
    _download(f"{name}.pdf", lambda: charts.pdf(make()), SHEET_LABEL)


def _print() -> charts.Print:
    return charts.PRINTS[st.session_state.get(_PRINT, _FIRST_PRINT)]


def _offer_files(name: str, make: Callable[[], alt.TopLevelMixin], headline: str, caption: str) -> None:
    size = _print()

    def drawing() -> str:
        return charts.printed(make(), size, headline, caption)

    _download(f"{name}.pdf", lambda: charts.pdf(drawing()))
    _download(f"{name}.svg", lambda: drawing().encode())
    _download(f"{name}.png", lambda: charts.png(drawing()))


def show_table(name: str, table: pl.DataFrame) -> None:
    """A table with its downloads as CSV and Parquet, which have all of it; a long one is shown a page at a time."""
    st.dataframe(
        _page_of(name, table), hide_index=True, key=f"table {name}", column_config=_with_enough_digits(table)
    )
    with st.container(horizontal=True):
        _download(f"{name}.csv", lambda: table.write_csv().encode())
        _download(f"{name}.parquet", lambda: parquet(table))


def _page_of(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """At most `ROWS_A_PAGE` rows: all that is given goes to the browser, with every selection, whether it is seen or not."""
    if len(table) <= ROWS_A_PAGE:
        return table
    first = address.choose(
        "Rows",
        f"rows-{name}",
        range(0, len(table), ROWS_A_PAGE),
        0,
        names=lambda first: f"{first + 1}–{min(first + ROWS_A_PAGE, len(table))} of {len(table)}",
    )
    return table[first : first + ROWS_A_PAGE]


def _with_enough_digits(table: pl.DataFrame) -> dict:
    """Formats for columns whose digits matter: the default of four places hides errors of 1e-5."""
    shown = {}
    for name, kind in table.schema.items():
        if not kind.is_float():
            continue
        if name in ("energy", "reference_energy"):
            shown[name] = st.column_config.NumberColumn(format="%.9f")
        elif any(part in name for part in _SMALL):
            shown[name] = st.column_config.NumberColumn(format="%.4g")
    return shown


def _download(file_name: str, data, label: str | None = None) -> None:
    """A button whose file is made when it is pressed, and which leaves the page as it is."""
    ending = file_name.rpartition(".")[2]
    st.download_button(
        label or _LABELS.get(ending, ending.upper()),
        data,
        file_name,
        _MIMES[ending],
        key=f"download {file_name}",
        # Of many buttons of one name, it says which file this is.
        help=file_name,
        on_click="ignore",
    )
