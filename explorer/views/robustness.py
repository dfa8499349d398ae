"""Table 2: replicates of each ticket variant at chosen levels, with the paper's intervals and clustered ones."""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting

st.title("Robustness", anchor=False)
states = setting.choose_setting(analysis.own_masks(setting.trained_networks("replicates of tickets")))
tickets = states.filter(pl.col("kind") == "ticket", pl.col("relative_error").is_finite())
if tickets.is_empty():
    st.info(
        "Nothing here yet: no ticket of this setting has a relative error. sweeps/robustness.py trains six of "
        "each variant at chosen levels."
    )
    st.stop()
sides = tickets["side"].unique().sort().to_list()
columns = st.columns(3)
with columns[0]:
    side = setting.choose_side(sides)
with columns[1]:
    confidence = address.choose(
        "Intervals",
        "replicate_confidence",
        (0.68, 0.95, 0.99, analysis.TABLE_CONFIDENCE),
        analysis.TABLE_CONFIDENCE,
        names=lambda share: f"{share * 100:g} %",
    )
tickets = tickets.filter(pl.col("side") == side)
setting.warn_of_mixed_settings(tickets)
quantity = analysis.QUANTITIES["relative_error"]
table = analysis.replicate_table(tickets, quantity, confidence)
own = f"states = analysis.own_masks(states).filter(pl.col('kind') == 'ticket', pl.col('side') == {side})"
figures.show_figure(
    f"robustness-L{side}",
    headlines.replicate_headline(table, charts.SERIES_LABELS),
    charts.replicates(table, analysis.network_points(tickets, quantity), quantity),
    captions.replicate_caption(table, confidence),
    table,
    code=f"""{own}
quantity = analysis.QUANTITIES["relative_error"]
table = analysis.replicate_table(states, quantity, {confidence})
chart = charts.replicates(table, analysis.network_points(states, quantity), quantity)""",
)
st.subheader("As the paper prints it", anchor=False)
figures.show_table(f"table-2-L{side}", captions.replicate_texts(table, confidence, charts.SERIES_LABELS))
st.caption(
    "Digits in parentheses: one standard error over replicates, in units of the last digit. What varied: chains for "
    "T(init, imp), initial weights too for T(rand, imp), masks for T(init, rand)."
)
