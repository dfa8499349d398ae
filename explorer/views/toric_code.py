"""Fig. 4 and 7: where the toric code's networks fail, and how close their filters are to the exact solution."""

import numpy as np
import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines, loading
from explorer.views import address, chosen, figures, panels, setting
from orchestrator.store import StudyError

LINES = ("shown", "hidden")
# By how much an error may grow and still count as that of the plateau.
GOOD_FACTOR = 10
WIDTH = "width_per_spin"

st.title("Toric code", anchor=False)
every = setting.trained_networks("the toric code's curves and filters")
toric = analysis.own_masks(every.filter(pl.col("hamiltonian") == "toric_code"))
if toric.is_empty():
    st.info(
        "This study has no network of the toric code. sweeps/toric_code.py trains and prunes them, "
        "sweeps/toric_exact.py measures networks built of odd-parity filters; choose one of these studies in the sidebar."
    )
    st.stop()
built = analysis.built_networks(toric)
pruned = toric.filter(pl.col("network") != "odd_parity")


def show_against_density(
    states: pl.DataFrame, quantity: analysis.Quantity, confidence: float, line: bool
) -> None:
    """One quantity of all widths against weights per spin."""
    points = analysis.curve_points(states, quantity, by=(WIDTH,), confidence=confidence)
    if points.is_empty():
        st.info(f"Nothing here yet: no network has a value of the {quantity.name}.")
        return
    networks = analysis.network_points(states, quantity)
    networks = networks.join(states.select("run_id", "level", WIDTH), on=["run_id", "level"])
    chart = charts.curves(points, networks, quantity, WIDTH)
    if line:
        label = f"{analysis.FULL_WEIGHTS_PER_SPIN:g} per spin"
        chart = charts.with_vertical_line(chart, analysis.FULL_WEIGHTS_PER_SPIN, label)
    if quantity.column == "relative_error":
        headline = headlines.plateau_headline(points, GOOD_FACTOR, WIDTH)
    else:
        headline = headlines.extreme_headline(points, quantity, quantity.logarithmic, WIDTH)
    caption = captions.point_caption(points, quantity, confidence)
    figures.show_figure(quantity.column, headline, chart, caption, points, select=states)


def show_curves(states: pl.DataFrame) -> None:
    """Fig. 4: energy error and fidelity; and which half of the energy breaks, stars or plaquettes."""
    trajectories = states.filter(pl.col("series") == analysis.TRAJECTORY)
    columns = st.columns(3)
    with columns[0]:
        confidence = setting.choose_confidence()
    with columns[1]:
        fidelity = setting.choose_fidelity()
    with columns[2]:
        line = address.choose(
            "Exact solution’s 16 weights per spin", "line", LINES, LINES[0], widget=st.radio, horizontal=True
        )
    quantities = (
        *(analysis.QUANTITIES[name] for name in ("relative_error", fidelity)),
        *(analysis.STAR, analysis.PLAQUETTE),
    )
    for columns in (st.columns(2), st.columns(2)):
        for column in columns:
            quantity, *quantities = quantities
            with column:
                show_against_density(trajectories, quantity, confidence, line == LINES[0])


@st.cache_data(max_entries=2048, show_spinner=False)
def parity_of_network(path: str, run_id: str, level: int, _network: dict) -> pl.DataFrame:
    """Classes and strength of a committed network, which never change; what can't be read is asked for again."""
    layer = analysis.hidden_layer(chosen.read_weights(_network), _network)
    return analysis.parity_table([] if layer is None else [(_network, layer)])


def parity_of_run(networks: pl.DataFrame) -> pl.DataFrame:
    """Classes and strength at the levels of a run; those that can't be read are left out and told."""
    path, tables, problems = str(loading.selected().path), [analysis.parity_table([])], []
    for row in networks.iter_rows(named=True):
        try:
            tables.append(parity_of_network(path, row["run_id"], row["level"], row))
        except StudyError as error:
            problems.append(str(error))
    if problems:
        st.warning(f"The filters of {len(problems)} of {len(networks)} levels are missing. {problems[0]}")
    return pl.concat(tables).sort("level", "class")


def show_network(states: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The filters of a chosen network, and their classes over the levels of its run.

    Returns:
        the table of the classes, and its rows of the chosen network; both empty where no weights can be read.
    """
    widths = states[WIDTH].unique().sort().to_list()
    columns = st.columns([1, 3])
    with columns[0]:
        width = address.choose("Width per spin α", WIDTH, widths, widths[0])
    with columns[1]:
        networks = chosen.choose_run(states.filter(pl.col(WIDTH) == width))
    network = chosen.choose_level(networks)
    panels.show_products(networks, network, panels.WILSON_LOOPS)
    parity = parity_of_run(networks)
    here = parity.filter(pl.col("level") == network["level"])
    weights = chosen.weights_of(network)
    layer = None if weights is None else analysis.hidden_layer(weights, network)
    if layer is None:
        return parity, here
    panels.show_filters(layer)
    figures.show_figure(
        "filter-classes-by-level",
        headlines.parity_headline(here, layer.side**2),
        charts.filter_classes(parity, network["parameters_per_spin"] if len(networks) > 1 else None),
        "Live hidden units of each class at the levels of this run; classes that never occur are left out. Odd and "
        "even: 90% of Σ|w| on the four edges of one plaquette or star, the smallest of the four at least 0.3 of "
        "the largest, and their product negative or positive. Dashed: the level that is shown.",
        parity,
    )
    return parity, here


def show_energies(parity: pl.DataFrame, sides: list[int], here: pl.DataFrame) -> None:
    """Fig. 7: energy against the magnitude of odd-parity filters, with the closed form."""
    trained = parity.unique(["run_id", "level"]).drop("class", "units").sort("level")
    strongest = max([*built["strength"], *trained["strength"], 1.0])
    strengths = np.linspace(0.02, 1.02 * strongest, 120)
    exact = pl.concat([analysis.closed_form(side, strengths) for side in sides])
    # Beyond what was measured the closed form goes on to any energy.
    measured = pl.concat([built["relative_error"], trained["relative_error"]]).abs()
    floor = measured.filter(measured > analysis.ROUNDING).min() or analysis.ROUNDING
    exact = exact.filter(pl.col("relative_error") >= floor / 10)
    strength = here["strength"].to_numpy()[:1]
    exact_here = (
        None if here.is_empty() else analysis.closed_form(here["side"][0], strength)["relative_error"][0]
    )
    figures.show_figure(
        "energy-against-parity",
        headlines.strength_headline(built, here, exact_here),
        charts.parity_energy(exact, built, trained),
        "Lines: closed form of the exact solution with eight odd-parity filters of magnitude a on every plaquette, "
        "whose parity strength is a (four filters: a / 2). Circles and other marks of a side: networks built so; "
        "open triangles: sampling saw no broken plaquette, and the bound of the error is drawn. "
        "Black: the levels of the chosen run; their strength is the mean over all plaquettes, so that a bare "
        "plaquette puts them above the line, and filters of other classes may put them below it.",
        pl.concat([built, trained], how="diagonal_relaxed"),
    )


parity = here = analysis.parity_table([])
sides = built["side"].unique().to_list()
if not pruned.is_empty():
    of_setting = setting.choose_setting(pruned, across=(WIDTH,))
    with st.columns(4)[0]:
        shown = chosen.choose_side(of_setting)
    setting.warn_of_mixed_settings(shown, across=(WIDTH,))
    show_curves(shown)
    parity, here = show_network(shown)
    sides.append(shown["side"][0])
show_energies(parity, sorted(set(sides)), here)
