"""How far a study is, as bars."""

from __future__ import annotations

import altair as alt
import polars as pl

from explorer.charts.look import refuse_nothing, styled

KINDS = ("dense", "trajectory", "ticket")
STATUS_COLOURS = {
    "done": "#009E73",
    "running": "#0072B2",
    "ready": "#56B4E9",
    "waiting": "#D9D9D9",
    "diverged": "#E69F00",
    "failed": "#D55E00",
    "blocked": "#CC79A7",
    "stale": "#7F7F7F",
}


def run_states(counts: pl.DataFrame) -> alt.Chart:
    """How many runs of each kind are in which state, as stacked bars.

    Args:
        counts: from `analysis.status_counts`.

    Raises:
        ValueError: no run is planned.
    """
    refuse_nothing(counts, "planned runs")
    states = list(STATUS_COLOURS)
    chart = (
        alt.Chart(counts.with_columns(order=pl.col("status").replace_strict(states, range(len(states)))))
        .mark_bar(height={"band": 0.62})
        .encode(
            y=alt.Y("kind:N", title=None, sort=list(KINDS), axis=alt.Axis(domain=False, ticks=False)),
            x=alt.X("runs:Q", title="runs", axis=alt.Axis(tickMinStep=1, format="d")),
            color=alt.Color(
                "status:N",
                title=None,
                scale=alt.Scale(domain=states, range=list(STATUS_COLOURS.values())),
                legend=alt.Legend(values=[s for s in states if s in set(counts["status"])]),
            ),
            order="order:Q",
            tooltip=["kind:N", "status:N", "runs:Q"],
        )
    )
    return styled(chart, height=230)
