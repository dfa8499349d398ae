"""Masks found at one field and trained at another: is connectivity a property of the phase?"""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting

VARIANTS = ("init_imp", "rand_imp")

st.title("Mask transfer", anchor=False)
networks = setting.trained_networks("tickets trained under masks of other fields")
if analysis.own_masks(networks).height == networks.height:
    st.info(
        "Nothing here yet: this study trains no mask at another field than its own. "
        "sweeps/mask_transfer.py does: its tickets have transfer=True."
    )
    st.stop()
states = setting.choose_setting(networks, across=("field",))
if analysis.mask_transfer(states).is_empty():
    st.info(
        "Nothing here yet: no ticket of this setting has a field and a relative error. Relative errors need reference "
        "energies; python -m orchestrator SWEEP --plan says which are missing."
    )
    st.stop()

sides = states.filter(pl.col("kind") == "ticket")["side"].unique().sort().to_list()
columns = st.columns(4)
with columns[0]:
    side = setting.choose_side(sides)
with columns[1]:
    confidence = setting.choose_confidence()
states = states.filter(pl.col("side") == side)
setting.warn_of_mixed_settings(states, across=("field",))
table = analysis.mask_transfer(states, confidence)
densities = dict(table.select("level", "parameters_per_spin").unique().sort("level").iter_rows())
found = [variant for variant in VARIANTS if variant in set(table["series"])]
if not found:
    st.info(f"Nothing here yet: side {side} has no ticket under a mask that was found by pruning.")
    st.stop()
with columns[2]:
    level = address.choose(
        "Weights per spin nᵣ / N",
        "level",
        list(densities),
        next(iter(densities)),
        names=lambda level: f"{densities[level]:.3g}",
    )
with columns[3]:
    variant = address.choose("Ticket", "variant", found, found[0], names=charts.SERIES_LABELS.get)

shown = table.filter(pl.col("level") == level, pl.col("series").is_in([variant, "init_rand"]))
if shown["ratio"].drop_nulls().is_empty():
    st.info("Ratios appear once a field's own mask and another one are trained at it.")
    st.stop()
figures.show_figure(
    f"mask-transfer-L{side}-level{level}-{variant}",
    headlines.transfer_headline(shown),
    charts.mask_transfer(shown),
    captions.transfer_caption(shown, charts.SERIES_LABELS[variant], confidence),
    shown,
    code=f"""table = analysis.mask_transfer(states.filter(pl.col("side") == {side}), {confidence})
table = table.filter(pl.col("level") == {level}, pl.col("series").is_in(["{variant}", "init_rand"]))
chart = charts.mask_transfer(table)""",
)
