"""Fig. 2 and 6: a low-error plateau, a power law and a high-error plateau, by width, field or network."""

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures, setting

COMPARED = {
    "width_per_spin": "width per spin",
    "field": "field",
    "network": "network",
    "method": "pruning method",
    "side": "side",
}
QUANTITIES = ("relative_error", "variance_per_spin", "error_per_spin", "v_score")
MOST_BOUNDARIES = 4

st.title("Scaling regions", anchor=False)
networks = analysis.own_masks(setting.trained_networks("the regions of the error"))
networks = networks.filter(pl.col("series") == analysis.TRAJECTORY)
found = [column for column in COMPARED if networks[column].drop_nulls().n_unique() > 1] or ["field"]
columns = st.columns(4)
with columns[0]:
    by = address.choose("Colours", "by", found, found[0], names=COMPARED.get)
with columns[1]:
    column = address.choose(
        "Upwards",
        "quantity",
        [name for name in QUANTITIES if name in analysis.QUANTITIES],
        QUANTITIES[0],
        names=lambda name: analysis.QUANTITIES[name].name,
    )
with columns[2]:
    horizontal = address.choose(
        "Horizontal axis",
        "x",
        list(charts.REGION_AXES),
        "parameters_per_spin",
        names=lambda name: charts.REGION_AXES[name].split("   ")[1],
    )
with columns[3]:
    confidence = setting.choose_confidence()
columns = st.columns(4)
with columns[0]:
    fits = address.switch("Fits", "fits", True)
with columns[1]:
    plateaus = address.switch("Plateaus", "plateaus", True)
with columns[2]:
    # Two lines a curve: of many curves they are the second figure's.
    few = networks[by].drop_nulls().n_unique() <= MOST_BOUNDARIES
    boundaries = address.switch("Boundaries", "boundaries", few)

# Convolutions have no width, so networks are compared at whatever width each has.
across = ("network", "width_per_spin") if by == "network" else (by,)
states = setting.choose_setting(networks, across).filter(
    pl.col(by).is_not_null() | (pl.col("kind") == "dense")
)
if by == "method":
    # A dense network is the start of every method; it is drawn with none.
    states = states.filter(pl.col("method").is_not_null())
sides = states["side"].unique().sort().to_list()
if not sides:
    st.info("Nothing here yet: no dense network or trajectory of this setting is trained.")
    st.stop()
own = f"states = analysis.own_masks(states).filter(pl.col('series') == 'trajectory', pl.col({by!r}).is_not_null())"
if by != "side":
    with columns[3]:
        side = setting.choose_side(sides)
    states = states.filter(pl.col("side") == side)
    own += f".filter(pl.col('side') == {side})"
states = states.filter(pl.col(by).is_not_null())
setting.warn_of_mixed_settings(states, across)

quantity = analysis.QUANTITIES[column]
curves_by = () if by == "side" else (by,)
points = analysis.curve_points(states, quantity, curves_by, confidence)
if points.is_empty():
    st.info(f"Nothing here yet: no network of this setting has a value of the {quantity.name}.")
    st.stop()


@st.cache_data(max_entries=32, show_spinner="Fitting the regions …")
def fitted_regions(
    origin: tuple[str, ...], _states: pl.DataFrame, column: str, by: str, horizontal: str, confidence: float
) -> analysis.Regions:
    """The fits, kept as long as neither the data nor the choice changes; Streamlit's hash of states is a sample's."""
    return analysis.fit_regions(_states, analysis.QUANTITIES[column], by, horizontal, confidence)


regions = fitted_regions((*setting.origin(), own), states, column, by, horizontal, confidence)
fitted = f"""{own}
quantity = analysis.QUANTITIES[{column!r}]
regions = analysis.fit_regions(states, quantity, {by!r}, {horizontal!r}, {confidence})
"""
method = captions.region_caption(regions, confidence)
figures.show_figure(
    f"scaling-regions-{column}-by-{by}",
    headlines.region_headline(regions, quantity),
    charts.regions(
        points,
        analysis.network_points(states, quantity, curves_by),
        regions,
        quantity,
        by,
        horizontal,
        fits=fits,
        plateaus=plateaus,
        boundaries=boundaries,
    ),
    f"{captions.point_caption(points, quantity, confidence)} {method if fits or plateaus or boundaries else ''}",
    points,
    code=f"""{fitted}table = analysis.curve_points(states, quantity, {curves_by!r}, {confidence})
networks = analysis.network_points(states, quantity, {curves_by!r})
chart = charts.regions(table, networks, regions, quantity, {by!r}, {horizontal!r}, {fits}, {plateaus}, {boundaries})""",
)

st.subheader("What the fits found", anchor=False)
names = [charts.value_label(by, value) for value in regions.curves[by]]
figures.show_table(f"region-fits-{column}-by-{by}", captions.region_table(regions, by, names))
for name, remark in zip(names, regions.curves["remark"], strict=True):
    if remark:
        st.caption(f"{name}: {remark}")

if regions.values.filter(pl.col("value").is_in(analysis.BOUNDARIES)).is_empty():
    st.info("No curve has a boundary between a plateau and a power law.")
    st.stop()
figures.show_figure(
    f"region-boundaries-{column}-by-{by}",
    f"Where the power law ends, by {COMPARED[by]}",
    charts.region_boundaries(regions, by, horizontal),
    captions.boundary_caption(confidence),
    regions.values,
    code=f"""{fitted}table = regions.values
chart = charts.region_boundaries(regions, {by!r}, {horizontal!r})""",
)
