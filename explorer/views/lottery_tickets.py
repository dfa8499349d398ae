"""Fig. 1: what decides a sparse network's error, its connectivity or its initial weights?"""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting

DENSITIES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 30, 50, 100, 200, 500, 1000)
# Where the paper's networks are sparse and still good: the headline's ratios are those of this window.
WINDOW = (5, 13)
MARGINS = (1.1, 1.25, 1.5, 2.0, 3.0)
WHAT_VARIED = (
    "Tickets of one trajectory share its mask: replicates of T(init, imp) differ in their chains, of "
    "T(rand, imp) in initial weights too, of T(init, rand) in their random masks."
)

st.title("Lottery tickets", anchor=False)
networks = setting.trained_networks("the errors of trajectories and tickets")
states = setting.choose_setting(analysis.own_masks(networks))

sides = states["side"].unique().sort().to_list()
with_tickets = states.filter(pl.col("kind") == "ticket")["side"].unique().sort().to_list()
columns = st.columns(5)
with columns[0]:
    side = setting.choose_side(sides, (with_tickets or sides)[-1])
with columns[1]:
    horizontal = setting.choose_horizontal("parameters_per_spin")
with columns[2]:
    confidence = setting.choose_confidence()
with columns[3]:
    low = address.choose("Headline: from nᵣ / N", "from", DENSITIES[:-1], WINDOW[0])
with columns[4]:
    above = [density for density in DENSITIES if density > low]
    high = address.choose("to nᵣ / N", "to", above, WINDOW[1] if WINDOW[1] in above else above[0])
window = (low, high)

states = states.filter(pl.col("side") == side)
setting.warn_of_mixed_settings(states)
own = f"states = analysis.own_masks(states).filter(pl.col('side') == {side})"
quantity = analysis.QUANTITIES["relative_error"]
points = analysis.curve_points(states, quantity, confidence=confidence)
ratios = analysis.ticket_ratios(states, confidence)
summary = analysis.ratio_summary(states, window, confidence)

if points.is_empty():
    st.info(f"Nothing here yet: side {side} has no network with a relative error.")
    st.stop()

figures.show_figure(
    f"lottery-tickets-L{side}",
    headlines.ticket_headline(summary, window),
    charts.curves(points, analysis.network_points(states, quantity), quantity, "series", horizontal),
    f"{captions.point_caption(points, quantity, confidence)} {WHAT_VARIED}",
    points,
    code=f"""{own}
quantity = analysis.QUANTITIES["relative_error"]
table = analysis.curve_points(states, quantity, confidence={confidence})
networks = analysis.network_points(states, quantity)
chart = charts.curves(table, networks, quantity, "series", {horizontal!r})""",
    select=states,
)
if ratios.is_empty():
    st.info("Ratios between ticket variants appear once two variants of one trajectory are trained.")
    st.stop()

figures.show_figure(
    f"ticket-ratios-L{side}",
    "How much worse than T(init, imp), within the same trajectory",
    charts.ratios(ratios),
    captions.ratio_caption(ratios, confidence),
    ratios,
    code=f"{own}\ntable = analysis.ticket_ratios(states, {confidence})\nchart = charts.ratios(table)",
)
st.markdown(f"**{window[0]:g} to {window[1]:g} weights per spin in one number**")
if summary.is_empty():
    st.info("No tickets of two variants lie in this window; choose a wider one.")
else:
    figures.show_table(f"ticket-summary-L{side}", summary)
    st.markdown("**Equivalent, or only not shown to differ?**")
    margin = address.choose(
        "Errors count as equal within a factor of", "margin", MARGINS, 1.5, widget=st.radio, horizontal=True
    )
    equivalence = analysis.ticket_equivalence(states, window, margin)
    for row in equivalence.iter_rows(named=True):
        st.markdown(f"- {headlines.equivalence_sentence(row, analysis.ALPHA, charts.SERIES_LABELS)}")
    st.caption(
        "Equivalence: two one-sided t tests over trajectories of ln error ratio, levels of the window averaged first; "
        f"the interval at {1 - 2 * analysis.ALPHA:.0%} lies within the margin where they pass. Difference: t test."
    )
    figures.show_table(f"ticket-equivalence-L{side}", equivalence)
