"""From a mark of a figure to its network's page."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import polars as pl
import streamlit as st

from explorer.charts.selection import NETWORK
from explorer.views import address, drawing, setting

PAGE = "views/networks.py"
HINT = "Click a mark to see its network."
_ASKED = "address of the network to open"


def show_chart(key: str, chart: alt.TopLevelMixin, headline: str, rows: int, networks: pl.DataFrame) -> None:
    """Draw a selectable chart; a click on a mark opens its network's page.

    Args:
        key: the chart's own, unique on the page.
        chart: from `charts.selectable`.
        headline, rows: as of `drawing.draw`.
        networks: rows of `states`, those that the chart's marks are of.
    """

    def follow() -> None:
        network = clicked(st.session_state[key]["selection"].get(NETWORK, []), networks)
        if network is None:
            return
        st.session_state[_ASKED] = link(network)
        # On the network's page itself, before its widgets are drawn: afterwards they can't be changed.
        st.session_state.update(link(network))

    drawing.draw(key, chart, headline, rows, on_select=follow, selection_mode=NETWORK)
    if _ASKED in st.session_state:
        st.switch_page(PAGE, query_params=st.session_state.pop(_ASKED))


def arrived() -> None:
    """On the network's page: what a click asked for is what is shown."""
    st.session_state.pop(_ASKED, None)


def clicked(selected: list[dict], networks: pl.DataFrame) -> dict | None:
    """The network of a clicked mark; of a point that averages several, the first replicate's; None: of neither.

    Args:
        selected: what the chart says: values of some of `charts.selection.NETWORK_FIELDS`.
        networks: rows of `states`.
    """
    wanted = {name: value for name, value in (selected[0] if selected else {}).items() if value is not None}
    # What is no mark, such as a reference line, has no level.
    if "level" not in wanted:
        return None
    found = networks.filter(*(pl.col(name) == value for name, value in wanted.items()))
    network = next(found.sort("replicate", "run_id").iter_rows(named=True), None)
    return None if network is None else network | _trajectory_from(network, networks)


def _trajectory_from(network: Mapping, networks: pl.DataFrame) -> dict:
    """The run and method by which a dense network is opened: a trajectory that it starts, whose level 0 it is."""
    if network["kind"] != "dense":
        return {}
    started = networks.filter(kind="trajectory", dense_run_id=network["run_id"]).sort("method", "run_id")
    return next(started.select("run_id", "method").iter_rows(named=True), {})


def link(network: Mapping) -> dict[str, str]:
    """The address of a network's page, as far as it is the network's: its setting, run and level."""
    own = {"run": network["run_id"], "level": network["level"]}
    return setting.address_of(network) | {key: address.plain_text(value) for key, value in own.items()}
