"""Do the sizes collapse: critical density and exponents of finite-size scaling."""

import polars as pl
import streamlit as st

from explorer import analysis, charts
from explorer.views import address, figures, setting

QUANTITIES = ("abs_magnetization_z", "magnetization_x", "log_fidelity_per_spin", "fidelity", "relative_error")
FORMS = {
    "continuous": "continuous: x_c, a and b fitted",
    "fixed_b": "b = 0: x_c and a fitted",
    "first_order": "first order: a = 2, b = 0",
}
DENSITIES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 1000.0)
CONFIDENCE = 0.95

st.title("Scaling collapse", anchor=False)
states = setting.choose_setting(analysis.own_masks(setting.trained_networks("the collapse of all sides")))
states = states.filter(pl.col("series") == analysis.TRAJECTORY)
columns = st.columns(5)
with columns[0]:
    column = address.choose(
        "Quantity A", "quantity", QUANTITIES, QUANTITIES[0], names=lambda key: analysis.QUANTITIES[key].name
    )
with columns[1]:
    logarithmic = address.choose(
        "Control x", "control", ("log", "linear"), "log", names={"log": "ln nᵣ / N", "linear": "nᵣ / N"}.get
    )
with columns[2]:
    form_name = address.choose("Form", "form", list(FORMS), next(iter(FORMS)), names=FORMS.get)
with columns[3]:
    low = address.choose("From nᵣ / N", "from", DENSITIES[:-1], 1.0)
with columns[4]:
    above = [density for density in DENSITIES if density > low]
    high = address.choose("to nᵣ / N", "to", above, 16.0 if 16.0 in above else above[0])
setting.warn_of_mixed_settings(states)

forms = {
    "continuous": analysis.CONTINUOUS,
    "fixed_b": analysis.ScalingForm(b=0.0),
    "first_order": analysis.FIRST_ORDER,
}
st.latex(r"A(x, L) = L^b\, f\big((x - x_c)\, L^a\big)")


@st.cache_data(max_entries=64, show_spinner="Fitting the collapse …")
def fitted(
    origin: tuple[str, ...],
    _points: pl.DataFrame,
    column: str,
    logarithmic: bool,
    form_name: str,
    window: tuple[float, float],
) -> analysis.Collapse | analysis.NoCollapse:
    """The fit, kept as long as neither the data nor the choice changes; Streamlit's hash of points is a sample's."""
    return analysis.collapse(
        _points,
        value=column,
        log_control=logarithmic,
        form=forms[form_name],
        window=window,
        confidence=CONFIDENCE,
    )


columns = ("side", "parameters_per_spin", "cluster", column, f"{column}_error")
points = (
    states.select(columns).filter(pl.col(column).is_finite()).sort("side", "parameters_per_spin", "cluster")
)
fit = fitted(setting.origin(), points, column, logarithmic == "log", form_name, (low, high))
if isinstance(fit, analysis.NoCollapse):
    st.info(f"No collapse can be told. {fit.reason}")
    st.stop()

scaled, curve = analysis.collapsed_points(fit), analysis.scaling_function(fit)
control = "(ln x − ln x_c) Lᵃ" if fit.log_control else "(x − x_c) Lᵃ"
symbol = analysis.QUANTITIES[column].symbol
lines = f"""states = analysis.own_masks(states).filter(pl.col("series") == analysis.TRAJECTORY)
states = states.filter(pl.col({column!r}).is_finite())
fit = analysis.collapse(
    states.select({", ".join(map(repr, columns))}).sort("side", "parameters_per_spin", "cluster"),
    value={column!r}, log_control={fit.log_control}, form=analysis.{fit.form!r}, window=({low}, {high}),
)
table = analysis.collapsed_points(fit)
chart = charts.collapse(table, analysis.scaling_function(fit), ({control!r}, {f"{symbol} L⁻ᵇ"!r}))"""
trajectories = ", ".join(f"{count} at L = {side}" for side, count in fit.clusters.items())
figures.show_figure(
    f"collapse-{column}",
    analysis.collapse_headline(fit),
    charts.collapse(scaled, curve, (control, f"{symbol} L⁻ᵇ")),
    f"Marks: means over trajectories ({trajectories}) with one standard error, scaled by the fit. Line and band: the "
    f"scaling function as a Gaussian process, {fit.confidence:.0%}. Intervals of the fit: {fit.confidence:.0%}, {fit.interval}. "
    f"Houdayer and Hartmann's S = {fit.quality:.2f} over {fit.quality_points} of {fit.points} points: about 1 where errors "
    "explain the scatter about one curve; larger where the sizes do not collapse, or where the curve bends between points.",
    scaled,
    lines,
)
st.markdown("**The forms on the same points**")
rows = []
for name, text in FORMS.items():
    other = fitted(setting.origin(), points, column, logarithmic == "log", name, (low, high))
    rows.append({"form": text} | analysis.collapse_row(other))
figures.show_table(f"collapse-forms-{column}", pl.DataFrame(rows, infer_schema_length=None))
st.caption(
    "Forms compare by the likelihood of the same points: a difference of 2 or more in its logarithm for each further "
    "parameter speaks for the richer form. Corrections to scaling are in none of these intervals: see how they move with "
    "the window and without the smallest side."
)
