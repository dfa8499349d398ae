"""Fig. 3: do curves of all sides fall together in weights per spin, and what happens where they drop?"""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting, transitions

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
OWN = "states = analysis.own_masks(states).filter(pl.col('series') == analysis.TRAJECTORY)"

st.title("Finite size", anchor=False)
networks = setting.choose_setting(analysis.own_masks(setting.trained_networks("the curves of all sides")))
states = networks.filter(pl.col("series") == analysis.TRAJECTORY)
if states.is_empty():
    st.info("Nothing here yet: no dense network or trajectory of this setting is trained.")
    st.stop()

columns = st.columns(3)
with columns[0]:
    factor = address.choose("Sizes agree within a factor of", "factor", FACTORS, 3.0)
with columns[1]:
    confidence = setting.choose_confidence()
with columns[2]:
    fidelity = setting.choose_fidelity()
setting.warn_of_mixed_settings(states)


def points_of(quantity: analysis.Quantity) -> pl.DataFrame:
    """One point for each side and density."""
    return analysis.curve_points(states, quantity, by=(), confidence=confidence)


def show_quantity(
    quantity: analysis.Quantity, points: pl.DataFrame, headline: str, agreeing: pl.DataFrame | None = None
) -> None:
    """The figure of one quantity, all sides on one axis; a sentence where there is nothing to draw."""
    if points.is_empty():
        st.info(f"Nothing here yet: no network has a value of the {quantity.name}.")
        return
    networks = analysis.network_points(states, quantity)
    chart = charts.curves(points, networks, quantity, "side", agreeing=agreeing)
    caption = captions.point_caption(points, quantity, confidence)
    code = f"""{OWN}
quantity = analysis.QUANTITIES["{quantity.column}"]
table = analysis.curve_points(states, quantity, by=(), confidence={confidence})
chart = charts.curves(table, analysis.network_points(states, quantity), quantity, "side")"""
    figures.show_figure(quantity.column, headline, chart, caption, points, code)


def show_change(column: str) -> None:
    """The figure of a magnetisation, with where it jumps."""
    quantity = analysis.QUANTITIES[column]
    points = points_of(quantity)
    show_quantity(quantity, points, headlines.change_headline(points, quantity))


def show_fidelity(column: str) -> None:
    """The figure of the fidelity between neighbouring levels, with where they differ most."""
    quantity = analysis.QUANTITIES[column]
    points = points_of(quantity)
    headline = headlines.extreme_headline(points, quantity, largest=quantity.logarithmic)
    show_quantity(quantity, points, headline)


def show_agreement(agreement: pl.DataFrame) -> None:
    """By what factor the sizes differ."""
    if agreement.is_empty():
        st.info("Sizes are compared as soon as two sides have energy errors at overlapping densities.")
        return
    figures.show_figure(
        "size-agreement",
        headlines.agreement_headline(agreement),
        charts.agreement(agreement, factor),
        captions.agreement_caption(confidence, factor),
        agreement,
        f"""{OWN}
errors = analysis.curve_points(states, analysis.QUANTITIES["error_per_spin"], by=(), confidence={confidence})
table = analysis.size_agreement(errors)
chart = charts.agreement(table, {factor})""",
    )


error = analysis.QUANTITIES["error_per_spin"]
errors = points_of(error)
agreement = analysis.size_agreement(errors)
windows = analysis.agreement_windows(agreement, factor)
compared = errors["side"].unique().sort().to_list()
show_quantity(
    error, errors, headlines.size_headline(windows, factor, compared), agreeing=windows.filter("agree")
)
upper, lower = st.columns(2), st.columns(2)
with upper[0]:
    show_change("magnetization_x")
with upper[1]:
    show_change("abs_magnetization_z")
with lower[0]:
    show_fidelity(fidelity)
with lower[1]:
    show_agreement(agreement)
transitions.show_transitions(networks)
