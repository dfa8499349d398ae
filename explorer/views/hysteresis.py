"""Both branches across a jump: pruned down without rewinding, and regrown back up through the same masks."""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting, transitions

QUANTITIES = ("error_per_spin", "variance_per_spin")

st.title("Hysteresis", anchor=False)
networks = analysis.own_masks(setting.trained_networks("both branches"))
if networks.filter(pl.col("series") == analysis.REGROWN).is_empty():
    st.info(
        "Nothing here yet: no branch of this study goes back up. sweeps/hysteresis.py has them: "
        "Sweep(…, regrowth=Regrowth(turns=[1.0]))."
    )
    st.stop()
states = setting.choose_setting(networks)
with_branch = states.filter(pl.col("series") == analysis.REGROWN)["side"].unique().sort().to_list()
if not with_branch:
    st.info("Nothing here yet: no branch of this setting goes back up.")
    st.stop()
columns = st.columns(4)
with columns[0]:
    side = setting.choose_side(with_branch)
with columns[1]:
    column = address.choose(
        "Energy as",
        "energy",
        QUANTITIES,
        QUANTITIES[0],
        names=lambda column: analysis.QUANTITIES[column].name,
    )
with columns[2]:
    order = transitions.choose_order()
with columns[3]:
    confidence = setting.choose_confidence()
states = states.filter(pl.col("side") == side)
turns = states["turned_at"].drop_nulls().unique().sort().to_list()
if len(turns) > 1:
    turn = address.choose("Branch that turned at level", "turn", turns, turns[-1])
    states = states.filter((pl.col("series") != analysis.REGROWN) | (pl.col("turned_at") == turn))
branches = states.filter(pl.col("series").is_in([analysis.TRAJECTORY, analysis.REGROWN]))
setting.warn_of_mixed_settings(branches)


def show_branches(quantity: analysis.Quantity) -> None:
    """A quantity of both branches against density."""
    points = analysis.curve_points(branches, quantity, confidence=confidence)
    if points.is_empty():
        st.info(f"Nothing here yet: no network has a value of the {quantity.name}.")
        return
    figures.show_figure(
        f"branches-{quantity.column}-L{side}",
        f"{quantity.name.capitalize()}: down and back up",
        charts.curves(points, analysis.network_points(branches, quantity), quantity, "series"),
        f"{captions.point_caption(points, quantity, confidence)} Down: each level from the weights of the level before. "
        "Back up: from those one level sparser, under the same masks.",
        points,
    )


def show_difference(column: str, symbol: str, name: str) -> None:
    """What the branch back up has more, within each trajectory."""
    table = analysis.branch_differences(branches, column)
    if table.is_empty():
        st.info("Nothing here yet: no mask has both branches.")
        return
    figures.show_figure(
        f"branch-difference-{column}-L{side}",
        headlines.branch_headline(table, name),
        charts.branch_differences(table, symbol),
        captions.branch_caption(table),
        table,
    )


left, right = st.columns(2)
with left:
    show_branches(analysis.QUANTITIES[column])
with right:
    if order.column != column:
        show_branches(order)
left, right = st.columns(2)
with left:
    show_difference("energy", "ΔE / N   (J)", "Energy per spin")
with right:
    show_difference(order.column, f"Δ{order.symbol}", order.name.capitalize())
transitions.show_verdict(states, order)
