"""Field × density and size × density: a quantity in colours and contours, with transitions on top."""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting, transitions

DRAWINGS = {"measured": "as measured", "interpolated": "interpolated"}
UPWARDS = {"field": "field h", "side": "side L"}


st.title("Phase diagram", anchor=False)
networks = analysis.own_masks(setting.trained_networks("phase diagrams"))
trajectories = networks.select("series", "field", "side").filter(pl.col("series") == analysis.TRAJECTORY)
axes = [
    name
    for name, across in (("field", "side"), ("side", "field"))
    if trajectories.filter(pl.col(name).is_not_null())
    .group_by(across)
    .agg(pl.col(name).n_unique())[name]
    .max()
    not in (None, 1)
]
if not axes:
    st.info(
        "Nothing here yet: this study has one field and one side. sweeps/phase_diagram.py trains several fields, "
        "sweeps/finite_size.py several sides."
    )
    st.stop()

columns = st.columns(4)
with columns[0]:
    vertical = address.choose("Upwards", "vertical", axes, axes[0], names=UPWARDS.get)
states = setting.choose_setting(networks, across=(vertical,))
with columns[1]:
    column = address.choose(
        "Colour",
        "quantity",
        list(analysis.QUANTITIES),
        "relative_error",
        names=lambda column: analysis.QUANTITIES[column].name,
    )
with columns[2]:
    drawing = address.choose("Drawn", "drawn", list(DRAWINGS), "measured", names=DRAWINGS.get)
with columns[3]:
    if vertical == "field":
        sides = states["side"].unique().sort().to_list()
        side = setting.choose_side(sides)
        states = states.filter(pl.col("side") == side)
columns = st.columns(3)
with columns[0]:
    contours = address.switch("Contours", "contours", True)
with columns[1]:
    dots = address.switch("Measured points", "dots", False)
with columns[2]:
    places = address.switch("Transitions", "transitions", True)
columns = st.columns(3)
with columns[0]:
    criterion = transitions.choose_criterion()
with columns[1]:
    order = transitions.choose_order()
with columns[2]:
    confidence = transitions.choose_confidence()
curves = states.filter(pl.col("series") == analysis.TRAJECTORY)
setting.warn_of_mixed_settings(curves, across=(vertical,))

quantity = analysis.QUANTITIES[column]
points = analysis.phase_points(states, quantity, vertical)
if points.is_empty():
    st.info(f"Nothing here yet: no trajectory of this setting has a value of the {quantity.name}.")
    st.stop()
grid = analysis.interpolated(points, quantity, vertical)
cells = points if drawing == "measured" else analysis.grid_cells(*grid)
lines = (
    analysis.contour_lines(*grid, analysis.contour_levels(grid[2], quantity.logarithmic))
    if contours
    else None
)
found = analysis.detect_transitions(states, criterion.column, confidence, order.column)


def _jumps() -> str:
    jumps = found.filter(pl.col("verdict") != analysis.NO_JUMP).height
    return f"{jumps} of {len(found)} {vertical}s have a jump beyond chance."


figures.show_figure(
    f"phase-diagram-{vertical}-{column}",
    f"{quantity.name.capitalize()} over weights per spin and {'field' if vertical == 'field' else 'side'}",
    charts.phase_diagram(cells, points, quantity, vertical, lines, found if places else None, dots),
    f"{'Geometric means' if quantity.logarithmic else 'Means'} over {captions.how_many(points['trajectories'])} trajectories "
    f"at {points[vertical].n_unique()} {vertical}s, "
    + (
        "each in the cell around it. "
        if drawing == "measured"
        else "linear in ln nᵣ and upwards between them. "
    )
    + ("White: contours of the interpolation. " if contours else "")
    + (
        f"{analysis.DECADES} decades of colour; what lies lower has the last one. "
        if quantity.logarithmic
        else ""
    )
    + (
        f"Red: {_jumps()} {captions.transition_caption(found, criterion.symbol, confidence)}"
        if places
        else ""
    ),
    points,
    code=f"""quantity = analysis.QUANTITIES[{column!r}]
table = analysis.phase_points(states, quantity, {vertical!r})
grid = analysis.interpolated(table, quantity, {vertical!r})
lines = analysis.contour_lines(*grid, analysis.contour_levels(grid[2], quantity.logarithmic))
transitions = analysis.detect_transitions(states, {criterion.column!r}, {confidence}, {order.column!r})
chart = charts.phase_diagram(table, table, quantity, {vertical!r}, lines, transitions)""",
)
if found["parameters_per_spin"].drop_nulls().is_empty():
    st.info(f"No transitions yet: {transitions.first_reason(found)}")
    st.stop()
figures.show_figure(
    f"transitions-by-{vertical}",
    headlines.transition_headline(found),
    charts.transition_places(found, vertical),
    captions.transition_caption(found, criterion.symbol, confidence),
    found,
)
