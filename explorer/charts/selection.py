"""Marks that can be clicked: a chart says which network was meant."""

from __future__ import annotations

import altair as alt

# The selection's name in what the page gets back, and the columns by which a mark tells its network. A mark of one
# network has all of them; a point, which averages several, has its series and level alone.
NETWORK = "network"
NETWORK_FIELDS = ("run_id", "level", "series", "side")


def selectable(chart: alt.LayerChart) -> alt.LayerChart:
    """The chart with a selection of one mark, whose values are those of `NETWORK_FIELDS`."""
    selection = alt.selection_point(name=NETWORK, fields=list(NETWORK_FIELDS), toggle=False)
    return chart.add_params(selection)
