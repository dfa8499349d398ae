"""The figures of the paper, each drawn from the studies at hand that fit it best.

A figure is a list of panels; one that no study has the data of says what is missing, and which sweep has it.
Each says how its data differ from what the paper drew (arXiv 2505.22734).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import polars as pl

from explorer import analysis, captions, charts, headlines
from explorer.analysis import QUANTITIES
from orchestrator.store import Study

# The field at which most figures are, and what lies on its two sides.
CRITICAL_FIELD = 3.04438
CONFIDENCE = 0.68

Studies = Mapping[str, pl.DataFrame]
# Values by column of the states.
Values = Mapping[str, Sequence[float]]

# What the paper's panels of pruned networks have in common, and how a difference is written.
_PAPER: Values = {
    "side": (10,),
    "field": (CRITICAL_FIELD,),
    "width_per_spin": (5,),
    "pretraining_steps": (10_000,),
    "steps_per_level": (1000,),
    "samples": (1024,),
}
_PAPER_TICKETS: Values = {"ticket_steps": (10_000,)}
_PAPER_TORIC: Values = {**_PAPER, "side": (3,), "width_per_spin": (4, 8, 16, 32)}
_PAPER_TRAJECTORIES = 1
_WRITTEN = {
    "side": "L = {}",
    "field": "h = {}",
    "width_per_spin": "α = {}",
    "initial_parameters": "{} weights before pruning",
    "pretraining_steps": "{} steps of pre-training",
    "steps_per_level": "{} a level",
    "ticket_steps": "{} of a ticket",
    "samples": "{} samples",
}


@dataclass(frozen=True)
class Panel:
    """One panel of a figure.

    Attributes:
        title: what it shows.
        chart: None where no study has its data.
        caption: from which study, with n; or what is missing and which sweep has it.
        differs: in what its data are not the paper's; empty without a chart.
        rows: of what is drawn.
    """

    title: str
    chart: alt.TopLevelMixin | None
    caption: str
    differs: str = ""
    rows: int = 0


@dataclass(frozen=True)
class Figure:
    """A figure of the paper.

    Attributes:
        number: as the paper counts it.
        question: what it answers.
        panels: made from the states of all studies (`states_of`), by the study's name.
    """

    number: int
    question: str
    panels: Callable[[Studies], list[Panel]]


def states_of(study: Study) -> pl.DataFrame:
    """What the panels are made from: networks under their own masks with their quantities, and the study's profile."""
    states = analysis.own_masks(analysis.with_quantities(study.states))
    return states.with_columns(profile=pl.lit(study.profile))


def differences(states: pl.DataFrame, paper: Values) -> str:
    """In what the networks of a panel are not the paper's, in a line: values here, the paper's in parentheses.

    Args:
        states: from `states_of`, those that are drawn; at least one.
        paper: what the paper has, by column.
    """
    profile, found = states["profile"][0], []
    for column, theirs in paper.items():
        ours = states[column].drop_nulls().unique().sort().to_list()
        if ours and ours != list(theirs):
            found.append(_WRITTEN[column].format(_listed(ours)) + f" ({_listed(theirs)})")
    trajectories = states.filter(kind="trajectory")
    if not trajectories.is_empty():
        curves = trajectories.group_by("side", "field", "width_per_spin", "method")
        each = curves.agg(pl.col("run_id").n_unique())["run_id"]
        count = captions.how_many(each).removeprefix("n = ")
        if count != str(_PAPER_TRAJECTORIES):
            found.append(f"{count} trajectories a curve ({_PAPER_TRAJECTORIES})")
    if not found:
        return f"Profile {profile}: as in the paper."
    return f"Profile {profile}, in parentheses the paper’s: {', '.join(found)}."


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,g}" if value < 1e5 else f"{value:,}" for value in values)


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
    title: str,
    name: str,
    states: pl.DataFrame,
    column: str,
    by: str,
    horizontal: str,
    missing: str,
    paper: Values,
    with_regions: bool = False,
) -> Panel:
    """A panel with one quantity against density, a curve for each value of a column, and its regions where asked."""
    if states.is_empty():
        return Panel(title, None, missing)
    quantity = QUANTITIES[column]
    own = () if by == "side" else (by,)
    points = analysis.curve_points(states, quantity, by=own, confidence=CONFIDENCE)
    if points.is_empty():
        return Panel(title, None, f"{name} has no value of the {quantity.name} yet.")
    networks = analysis.network_points(states, quantity, own)
    sentences = [_where(name, states), captions.point_caption(points, quantity, CONFIDENCE)]
    if with_regions:
        found = analysis.fit_regions(states, quantity, by, horizontal, CONFIDENCE)
        chart = charts.regions(points, networks, found, quantity, by, horizontal)
        sentences.append(f"{headlines.region_headline(found, quantity)}. {captions.REGION_LINES}.")
    else:
        chart = charts.curves(points, networks, quantity, by, horizontal)
    return Panel(title, chart, " ".join(sentences), differences(states, paper), len(points))


_OF_TICKETS = pl.col("series").is_in(analysis.VARIANTS)


def _tickets(studies: Studies) -> list[Panel]:
    panels = []
    # Weights before pruning, of networks that do not grow with the lattice.
    own = {
        "cnn": _PAPER | {"initial_parameters": (36,)},
        "ffnn": _PAPER,
        "rescnn": _PAPER | {"initial_parameters": (18_576,)},
    }
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
        paper = own[network] | _PAPER_TICKETS
        panels.append(_curves(label, name, states, "relative_error", "series", "remaining", missing, paper))
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
    def panel(title: str, name: str, states: pl.DataFrame, by: str, missing: str, own: Values) -> Panel:
        paper = _PAPER | own
        # Of the variances, Fig. 6, the paper has no regions, and their fits would double the page's time.
        with_regions = column == "relative_error"
        return _curves(title, name, states, column, by, "remaining", missing, paper, with_regions)

    widths = _widths_states(studies)
    panels = [panel("Widths", *widths, "width_per_spin", _NO_WIDTHS, {"width_per_spin": (1, 2.5, 5)})]
    for title, below, fields in (("Ferromagnet", True, (0.1, 1, 2)), ("Paramagnet", False, (4, 5, 6))):
        found = _fields_states(studies, below)
        panels.append(panel(title, *found, "field", _NO_FIELDS, {"field": fields}))
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
    paper = _PAPER | {"side": range(4, 11), "width_per_spin": (8,)}
    return [
        _curves(title, name, states, column, "side", "parameters_per_spin", "", paper)
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
        _curves(title, name, states, column, "width_per_spin", "parameters_per_spin", _NO_TORIC, _PAPER_TORIC)
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
        panels.append(_curves(label, name, states, "relative_error", "method", "remaining", missing, _PAPER))
    return panels


def _variances(studies: Studies) -> list[Panel]:
    name, states = _toric_states(studies)
    column, by = "variance_per_spin", "width_per_spin"
    toric = _curves("Toric code", name, states, column, by, "remaining", _NO_TORIC, _PAPER_TORIC)
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
            differences(states, {"side": (3,)}),
            built.height,
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
