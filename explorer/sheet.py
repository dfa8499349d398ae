"""The figures of the paper, each drawn from the studies at hand that fit it best.

A figure is a list of panels; one that no study has the data of says what is missing, and which sweep has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import altair as alt
import numpy as np
import polars as pl

from explorer import analysis, captions, charts
from explorer.analysis import QUANTITIES

# The field at which most figures are, and what lies on its two sides.
CRITICAL_FIELD = 3.04438
CONFIDENCE = 0.68

Studies = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Attributes:
        title: what it shows.
        chart: None where no study has its data.
        caption: from which study, with n; or what is missing and which sweep has it.
    """

    title: str
    chart: alt.TopLevelMixin | None
    caption: str


@dataclass(frozen=True)
class Figure:
    """A figure of the paper.

    Attributes:
        number: as the paper counts it.
        question: what it answers.
        panels: made from the states of all studies (`analysis.with_quantities`), by the study's name.
    """

    number: int
    question: str
    panels: Callable[[Studies], list[Panel]]


def _best(
    studies: Studies, wanted: pl.Expr, score: Callable[[pl.DataFrame], tuple]
) -> tuple[str, pl.DataFrame]:
    """The study whose states of this kind have the highest score, and those states; none: an empty name."""
    found = {name: states.filter(wanted) for name, states in studies.items()}
    found = {name: states for name, states in found.items() if not states.is_empty()}
    if not found:
        return "", pl.DataFrame()
    name = max(found, key=lambda name: (score(found[name]), name))
    return name, found[name]


def _most_common_setting(states: pl.DataFrame, across: tuple[str, ...] = ()) -> pl.DataFrame:
    """The states of the one setting with most networks; `across` may vary."""
    for column in ("hamiltonian_name", "boundary", "field", "network", "width_per_spin", "method"):
        known = states.drop_nulls(column)
        if column in across or known.is_empty():
            continue
        value = known[column].value_counts(sort=True)[column][0]
        # Dense networks belong to every method.
        states = states.filter(
            (pl.col(column) == value) | ((column == "method") & (pl.col("kind") == "dense"))
        )
    return states


def _where(name: str, states: pl.DataFrame) -> str:
    first = states.row(0, named=True)
    side = "" if states["side"].n_unique() > 1 else f"{first['side']} × {first['side']}, "
    field = "" if first["field"] is None or states["field"].n_unique() > 1 else f"h = {first['field']:g}, "
    return f"{side}{field}from {name}."


def _curves(
    title: str, name: str, states: pl.DataFrame, column: str, by: str, horizontal: str, missing: str
) -> Panel:
    """A panel with one quantity against density, a curve for each value of a column."""
    if states.is_empty():
        return Panel(title, None, missing)
    quantity = QUANTITIES[column]
    own = () if by == "side" else (by,)
    points = analysis.curve_points(states, quantity, by=own, confidence=CONFIDENCE)
    if points.is_empty():
        return Panel(title, None, f"{name} has no value of the {quantity.name} yet.")
    networks = analysis.network_points(states, quantity, own)
    chart = charts.curves(points, networks, quantity, by, horizontal)
    return Panel(
        title, chart, f"{_where(name, states)} {captions.point_caption(points, quantity, CONFIDENCE)}"
    )


_OF_TICKETS = pl.col("series").is_in(analysis.VARIANTS)


def _tickets(studies: Studies) -> list[Panel]:
    panels = []
    for network, label in (("cnn", "CNN"), ("ffnn", "FFNN"), ("rescnn", "ResCNN")):
        wanted = (pl.col("network") == network) & pl.col("hamiltonian").ne("toric_code")
        name, states = _best(
            studies,
            wanted,
            lambda states: (states.filter(_OF_TICKETS)["series"].n_unique(), states["side"].max()),
        )
        if not states.is_empty():
            with_tickets = states.filter(_OF_TICKETS)
            side = (states if with_tickets.is_empty() else with_tickets)["side"].max()
            states = _most_common_setting(states.filter(pl.col("side") == side))
        missing = f"No study here has a {label}; sweeps/lottery_tickets.py trains it."
        panels.append(_curves(label, name, states, "relative_error", "series", "remaining", missing))
    return panels


_FFNN = (pl.col("network") == "ffnn") & (pl.col("hamiltonian") == "tfim") & (pl.col("kind") != "ticket")


def _widths_states(studies: Studies) -> tuple[str, pl.DataFrame]:
    name, states = _best(
        studies, _FFNN, lambda states: (states["width_per_spin"].n_unique(), states["side"].max())
    )
    if states.is_empty() or states["width_per_spin"].n_unique() < 2:
        return "", pl.DataFrame()
    states = states.filter(pl.col("side") == states["side"].max())
    return name, _most_common_setting(states, across=("width_per_spin",))


def _fields_states(studies: Studies, below: bool) -> tuple[str, pl.DataFrame]:
    where = pl.col("field") < CRITICAL_FIELD if below else pl.col("field") > CRITICAL_FIELD
    name, states = _best(
        studies, _FFNN & where, lambda states: (min(states["field"].n_unique(), 3), states["side"].max())
    )
    if states.is_empty() or states["field"].n_unique() < 2:
        return "", pl.DataFrame()
    states = states.filter(pl.col("side") == states["side"].max())
    return name, _most_common_setting(states, across=("field",))


_NO_WIDTHS = "No study here has several widths; sweeps/width_scaling.py trains them."
_NO_FIELDS = "No study here has several fields on this side of the transition; sweeps/fields.py trains them."


def _regions(studies: Studies, column: str = "relative_error") -> list[Panel]:
    panels = [_curves("Widths", *_widths_states(studies), column, "width_per_spin", "remaining", _NO_WIDTHS)]
    for title, below in (("Ferromagnet", True), ("Paramagnet", False)):
        name, states = _fields_states(studies, below)
        panels.append(_curves(title, name, states, column, "field", "remaining", _NO_FIELDS))
    return panels


def _sizes(studies: Studies) -> list[Panel]:
    name, states = _best(
        studies, _FFNN, lambda states: (states["side"].n_unique(), states["side"].max(), states.height)
    )
    if states.is_empty() or states["side"].n_unique() < 2:
        missing = "No study here has several sides; sweeps/finite_size.py trains them."
        return [Panel("Sizes", None, missing)]
    states = _most_common_setting(states)
    titles = {
        "error_per_spin": "Energy error",
        "magnetization_x": "Transverse magnetisation",
        "abs_magnetization_z": "Longitudinal magnetisation",
        "fidelity": "Fidelity with the level before",
    }
    return [
        _curves(title, name, states, column, "side", "parameters_per_spin", "")
        for column, title in titles.items()
    ]


_TORIC = (
    (pl.col("hamiltonian") == "toric_code")
    & pl.col("network").ne("odd_parity")
    & (pl.col("kind") != "ticket")
)


def _toric_states(studies: Studies) -> tuple[str, pl.DataFrame]:
    name, states = _best(studies, _TORIC, lambda states: (states["width_per_spin"].n_unique(), states.height))
    if states.is_empty():
        return name, states
    states = states.filter(pl.col("side") == states["side"].max())
    return name, _most_common_setting(states, across=("width_per_spin",))


_NO_TORIC = "No study here has the toric code; sweeps/toric_code.py prunes it."


def _toric(studies: Studies) -> list[Panel]:
    name, states = _toric_states(studies)
    return [
        _curves(title, name, states, column, "width_per_spin", "parameters_per_spin", _NO_TORIC)
        for column, title in (
            ("relative_error", "Energy error"),
            ("fidelity", "Fidelity with the level before"),
        )
    ]


def _methods(studies: Studies) -> list[Panel]:
    panels = []
    for network, label in (("ffnn", "FFNN"), ("cnn", "CNN")):
        name, states = _best(
            studies,
            pl.col("network") == network,
            lambda states: (states["method"].drop_nulls().n_unique(), states["side"].max()),
        )
        if not states.is_empty() and states["method"].drop_nulls().n_unique() < 2:
            states = states.clear()
        if not states.is_empty():
            states = states.filter(pl.col("side") == states["side"].max())
            states = analysis.of_methods(_most_common_setting(states, across=("method",)))
        missing = f"No study here prunes a {label} by several methods; sweeps/pruning_methods.py does."
        panels.append(_curves(label, name, states, "relative_error", "method", "remaining", missing))
    return panels


def _variances(studies: Studies) -> list[Panel]:
    name, states = _toric_states(studies)
    column, by = "variance_per_spin", "width_per_spin"
    toric = _curves("Toric code", name, states, column, by, "remaining", _NO_TORIC)
    return [*_regions(studies, column), toric]


def _parity(studies: Studies) -> list[Panel]:
    title = "Networks built of odd-parity filters"
    name, states = _best(
        studies, pl.col("network") == "odd_parity", lambda states: (states["side"].n_unique(), states.height)
    )
    if states.is_empty():
        return [
            Panel(title, None, "No study here has networks built of filters; sweeps/toric_exact.py has them.")
        ]
    built = analysis.built_networks(states)
    strengths = np.linspace(0.02, 1.02 * built["strength"].max(), 120)
    exact = pl.concat(
        [analysis.closed_form(side, strengths) for side in built["side"].unique().sort().to_list()]
    )
    # Beyond what was measured the closed form goes on to any energy.
    measured = built["relative_error"].abs()
    floor = measured.filter(measured > analysis.ROUNDING).min() or analysis.ROUNDING
    exact = exact.filter(pl.col("relative_error") >= floor / 10)
    chart = charts.parity_energy(exact, built, analysis.parity_table([]))
    return [
        Panel(
            title,
            chart,
            f"From {name}. Lines: the closed form; marks: measured, n = {built.height} networks.",
        )
    ]


FIGURES = (
    Figure(1, "What decides a sparse network's error: its connectivity or its initial weights?", _tickets),
    Figure(2, "How does the error grow with sparsity, for widths and for phases?", _regions),
    Figure(3, "Do curves of all sizes fall together in weights per spin?", _sizes),
    Figure(4, "Where does the toric code's network fail?", _toric),
    Figure(5, "Does it matter how one prunes?", _methods),
    Figure(6, "Does the variance tell the same as the error?", _variances),
    Figure(7, "How good is the exact solution of few weights?", _parity),
)
