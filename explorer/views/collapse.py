"""Do the sizes collapse: critical density and exponents of finite-size scaling."""

from typing import NamedTuple

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
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


class Choice(NamedTuple):
    """What a fit is kept by: the study and its states chosen, and what is fitted of them."""

    origin: tuple[str, ...]
    column: str
    logarithmic: bool
    form: str
    window: tuple[float, float]


@st.cache_data(max_entries=64, show_spinner="Fitting the collapse …")
def fitted(choice: Choice, _points: pl.DataFrame) -> analysis.Collapse | analysis.NoCollapse:
    """The fit, kept as long as neither the data nor the choice changes; Streamlit's hash of points is a sample's."""
    return analysis.collapse(
        _points,
        value=choice.column,
        log_control=choice.logarithmic,
        form=forms[choice.form],
        window=choice.window,
        confidence=CONFIDENCE,
    )


@st.cache_data(max_entries=64, show_spinner="Fitting other windows, smallest sides and forms …")
def other_fits(choice: Choice, _fit: analysis.Collapse) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Windows and smallest sides, and forms, of the fit with this choice."""
    return analysis.collapse_choices(_fit), analysis.compare_forms(_fit, forms)


columns = ("side", "parameters_per_spin", "cluster", column, f"{column}_error")
points = (
    states.select(columns).filter(pl.col(column).is_finite()).sort("side", "parameters_per_spin", "cluster")
)
choice = Choice(setting.origin(), column, logarithmic == "log", form_name, (low, high))
fit = fitted(choice, points)
if isinstance(fit, analysis.NoCollapse):
    st.info(f"No collapse can be told. {fit.reason}")
    st.stop()

choices, compared = other_fits(choice, fit)
systematics = analysis.systematic_errors(choices)
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
figures.show_figure(
    f"collapse-{column}",
    headlines.collapse_headline(fit, systematics),
    charts.collapse(scaled, curve, (control, f"{symbol} L⁻ᵇ")),
    captions.collapse_caption(fit, systematics),
    scaled,
    lines,
)
st.markdown("**What narrower windows and larger smallest sides have**")
figures.show_table(f"collapse-choices-{column}", choices)
st.markdown("**The forms on the same points**")
figures.show_table(f"collapse-forms-{column}", captions.collapse_forms(compared, FORMS))
st.caption(captions.FORMS_COMPARED)
