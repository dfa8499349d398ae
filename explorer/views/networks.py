"""One network: its filters on the lattice, where it lies on its curve, and how its mask differs from chance."""

import numpy as np
import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, chosen, figures, opening, panels, setting, story

# So that the same two masks have the same chance whenever they are looked at.
CHANCE_SEED, CONFIDENCE = 0, 0.95
# Matching 128 units 100 times takes 0.1 s, 800 units 9 s: fewer draws give the same interval, more coarsely.
DRAWS, DRAWS_OF_MANY, MANY_UNITS = 100, 20, 300
NO_OTHER = "none"

st.title("Networks", anchor=False)
opening.arrived()
states = setting.choose_setting(setting.trained_networks("the filters of a network"))
upper = st.columns([1, 3])
with upper[0]:
    states = chosen.choose_side(states)
with upper[1]:
    networks = chosen.choose_run(states)
network = chosen.choose_level(networks)


def curve_of_run() -> pl.DataFrame:
    """The networks on the shown one's curve: its run's, and of a ticket also those of its trajectory.

    The dense network counts as a level of the trajectory, so that a click on it stays with that run.
    """
    own = networks
    if network["kind"] == "ticket":
        parents = pl.col("run_id").is_in([network["trajectory_run_id"], network["dense_run_id"]])
        trajectory = states.filter(parents).with_columns(of_run=pl.lit(network["trajectory_run_id"]))
        own = pl.concat([trajectory, networks])
    return own.with_columns(run_id="of_run")


def show_curve() -> None:
    """The energy error of the run's levels, with the one that is looked at; a click goes to another."""
    quantity = analysis.QUANTITIES["relative_error"]
    own = curve_of_run()
    marks = analysis.network_points(own, quantity)
    here = marks.filter(run_id=networks["of_run"][0], level=network["level"])
    if here.is_empty():
        st.info("This network has no relative error: its reference energy is not known, so it has no curve.")
        return
    points = analysis.curve_points(own, quantity)
    chart = charts.with_ring(
        charts.curves(points, marks, quantity, "series"), here, f"level {network['level']}"
    )
    figures.show_figure(
        "network-on-its-curve",
        headlines.network_headline(network),
        chart,
        captions.CURVE_OF_NETWORK_CAPTION,
        points,
        select=own,
    )


def show_distributions(layer: analysis.HiddenLayer) -> None:
    """Degrees and ranges beside those of random masks of the same density."""
    degrees = analysis.degree_distribution(layer)
    ranges = analysis.range_distribution(layer)
    titles = {
        "units": ("live weights of a hidden unit", "hidden units"),
        "spins": ("live weights of a spin", "spins"),
    }
    for column, (of, axes) in zip(st.columns(2), titles.items(), strict=True):
        with column:
            table = degrees.filter(pl.col("of") == of)
            chart = charts.against_chance(table, "degree", "count", axes)
            figures.show_figure(
                f"degrees-of-{of}",
                headlines.degree_headline(table, of),
                chart,
                captions.CHANCE_CAPTION,
                table,
            )
    if not ranges.is_empty() and ranges["pairs"].sum():
        axes = ("steps between two spins of a unit", "pairs of live weights")
        figures.show_figure(
            "ranges",
            headlines.range_headline(ranges),
            charts.against_chance(ranges, "distance", "pairs", axes),
            captions.range_caption(layer.is_toric_code),
            ranges,
        )


@st.cache_data(max_entries=64, show_spinner="Drawing random masks …")
def invariants(first: np.ndarray, second: np.ndarray, draws: int) -> pl.DataFrame:
    """What two masks share whatever their units are called, beside so many random masks."""
    generator = np.random.default_rng(CHANCE_SEED)
    return analysis.compare_invariants(generator, first, second, draws, CONFIDENCE)


def choose_other() -> dict | None:
    """A network to compare masks with: another run's, at the density nearest to that of the one shown."""
    # What is not pruned has no mask.
    others = states.filter(pl.col("run_id") != networks["of_run"][0], pl.col("kind") != "dense")
    is_ticket = pl.col("kind") == "ticket"
    runs = others.unique("run_id").sort(is_ticket, "variant", "level", "replicate", "run_id")
    names = {NO_OTHER: "no other network"}
    names |= {run["run_id"]: captions.run_name(run) for run in runs.iter_rows(named=True)}
    if len(names) == 1:
        return None
    run_id = address.choose("Compare its mask with", "other", list(names), list(names)[1], names=names.get)
    levels = others.filter(pl.col("run_id") == run_id)
    return None if levels.is_empty() else chosen.nearest(levels, network["parameters_per_spin"])


def show_comparison(layer: analysis.HiddenLayer) -> None:
    """The overlap with another network's mask, beside chance."""
    other = choose_other()
    weights = None if other is None else chosen.weights_of(other)
    second = None if weights is None else analysis.hidden_layer(weights, other)
    if second is None:
        return
    if second.mask.shape != layer.mask.shape or not (second.mask.any() and layer.mask.any()):
        st.info("These two masks can't be compared: one has no live weight, or they are of other shapes.")
        return
    draws = DRAWS if layer.mask.shape[1] <= MANY_UNITS else DRAWS_OF_MANY
    same_start = other["dense_run_id"] == network["dense_run_id"]
    if same_start:
        table = analysis.compare_directly(layer.mask, second.mask, CONFIDENCE)
    else:
        table = invariants(layer.mask, second.mask, draws)
    if table["value"].null_count() == len(table):
        st.info(
            "Every statistic of these two masks is the same for all spins, so there is nothing to compare."
        )
        return
    figures.show_figure(
        "masks-compared",
        headlines.overlap_headline(table),
        charts.mask_comparison(table),
        captions.overlap_caption(same_start, CONFIDENCE, draws, other),
        table,
    )


weights = chosen.weights_of(network)
layer = None if weights is None else analysis.hidden_layer(weights, network)
kernels = pl.DataFrame() if weights is None else analysis.kernels(weights)
if layer is not None:
    panels.show_filters(layer)
elif not kernels.is_empty():
    panels.show_kernels(kernels)
elif weights is not None:
    st.info("This network has no layer of filters on the spins; its weights are in the table of the export.")
show_curve()
is_toric_code = network["hamiltonian"] == "toric_code"
panels.show_products(networks, network, panels.WILSON_LOOPS if is_toric_code else panels.CORRELATIONS)
if layer is not None and layer.mask.any():
    show_distributions(layer)
    show_comparison(layer)
story.show_story(networks["of_run"][0])
