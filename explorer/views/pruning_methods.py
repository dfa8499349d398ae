"""Fig. 5: magnitude pruning with and without rewinding, and random pruning, from the same dense networks."""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines, loading
from explorer.views import address, figures, setting

st.title("Pruning methods", anchor=False)
networks = analysis.own_masks(setting.trained_networks("curves of the pruning methods"))
if networks["method"].drop_nulls().n_unique() < 2:
    st.info(
        "Nothing here yet: this study prunes by one method. sweeps/pruning_methods.py prunes by three from the same "
        "dense networks."
    )
    st.stop()
chosen = setting.choose_setting(networks, across=("method",))
states = analysis.of_methods(chosen)
if states.is_empty():
    st.info("Nothing here yet: no trajectory of this setting has a level.")
    st.stop()
sides = states["side"].unique().sort().to_list()
columns = st.columns(3)
with columns[0]:
    side = setting.choose_side(sides)
with columns[1]:
    horizontal = setting.choose_horizontal("remaining")
with columns[2]:
    confidence = setting.choose_confidence()
states = states.filter(pl.col("side") == side)
setting.warn_of_mixed_settings(states, across=("method",))
own = f"states = analysis.of_methods(analysis.own_masks(states)).filter(pl.col('side') == {side})"
quantity = analysis.QUANTITIES["relative_error"]
points = analysis.curve_points(states, quantity, ("method",), confidence)
if points.is_empty():
    st.info(f"Nothing here yet: no network of this setting has a value of the {quantity.name}.")
    st.stop()
ratios = analysis.method_ratios(states, quantity, confidence)
figures.show_figure(
    f"pruning-methods-L{side}",
    headlines.method_headline(ratios, charts.METHOD_LABELS),
    charts.curves(
        points, analysis.network_points(states, quantity, ("method",)), quantity, "method", horizontal
    ),
    f"{captions.point_caption(points, quantity, confidence)} All methods start from the same dense networks.",
    points,
    code=f"""{own}
quantity = analysis.QUANTITIES["relative_error"]
table = analysis.curve_points(states, quantity, ("method",), {confidence})
networks = analysis.network_points(states, quantity, ("method",))
chart = charts.curves(table, networks, quantity, "method", {horizontal!r})""",
)
if ratios.is_empty():
    st.info(
        f"Ratios appear once {charts.METHOD_LABELS[analysis.REFERENCE_METHOD]} and another method have pruned the same "
        "dense network."
    )
else:
    reference = charts.METHOD_LABELS[analysis.REFERENCE_METHOD]
    figures.show_figure(
        f"method-ratios-L{side}",
        f"How much worse than {reference}, from the same dense network",
        charts.ratios(ratios, "method", reference, horizontal),
        captions.method_ratio_caption(ratios, confidence),
        ratios,
        code=f"""{own}
table = analysis.method_ratios(states, analysis.QUANTITIES["relative_error"], {confidence})
chart = charts.ratios(table, "method", {reference!r}, {horizontal!r})""",
    )

recorded = states.filter(pl.col("level") > 0)
if recorded.is_empty():
    st.info("Nothing here yet: no level of these trajectories is trained.")
    st.stop()
densities = dict(recorded.select("level", "parameters_per_spin").unique().sort("level").iter_rows())
replicates = recorded["replicate"].unique().sort().to_list()
columns = st.columns(3)
with columns[0]:
    level = address.choose(
        "Training at weights per spin",
        "level",
        list(densities),
        list(densities)[len(densities) // 2],
        names=lambda level: f"{densities[level]:.3g} (level {level})",
    )
with columns[1]:
    replicate = address.choose(
        "Dense network", "replicate", replicates, replicates[0], names="replicate {}".format
    )
runs = recorded.filter(pl.col("level") == level, pl.col("replicate") == replicate)
if runs.is_empty():
    st.info(f"Nothing here yet: replicate {replicate} has not reached level {level}.")
    st.stop()
# Only these runs' steps are read: a study may have millions.
study = loading.selected().study
shown = pl.concat(
    [
        study.steps_of(run["run_id"])
        .filter(pl.col("level") == level)
        .sort("step")
        .with_columns(method=pl.lit(run["method"]))
        for run in runs.sort("method").iter_rows(named=True)
    ]
)
if shown.is_empty():
    st.info("Nothing here yet: this directory has no training steps of this level.")
    st.stop()
first = runs.row(0, named=True)
figures.show_figure(
    f"method-training-L{side}-level{level}-replicate{replicate}",
    f"Training at {densities[level]:.3g} weights per spin, replicate {replicate}",
    charts.training_by_method(shown, first["sites"], first["reference_energy"]),
    captions.METHOD_TRAINING_CAPTION,
    shown,
)
