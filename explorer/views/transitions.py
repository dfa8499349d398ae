"""The part of a page that says where the state changes along pruning levels, and what kind of change that is."""

from __future__ import annotations

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures

# Enough for a claim; other figures' intervals may be narrower ones.
CONFIDENCES = (0.95, 0.68, 0.99)


def choose_criterion() -> analysis.Criterion:
    """By which measure of a level step the transition is sought."""
    column = address.choose(
        "Transition by",
        "criterion",
        list(analysis.CRITERIA),
        next(iter(analysis.CRITERIA)),
        names=lambda column: analysis.CRITERIA[column].name,
    )
    return analysis.CRITERIA[column]


def choose_order() -> analysis.Quantity:
    """What tells the states apart: its jump counts, and the lowest energies must share it."""
    column = address.choose(
        "Order parameter",
        "order",
        analysis.ORDER_PARAMETERS,
        analysis.ORDER_PARAMETERS[0],
        names=lambda column: analysis.QUANTITIES[column].name,
    )
    return analysis.QUANTITIES[column]


def choose_confidence() -> float:
    """Of the places of transitions."""
    return address.choose(
        "Interval of the place",
        "place_confidence",
        CONFIDENCES,
        CONFIDENCES[0],
        names=lambda share: f"{share:.0%}",
    )


def show_transitions(states: pl.DataFrame) -> None:
    """Critical densities of all sides with verdicts; the criteria's curves; the lowest energies and the drift.

    Args:
        states: networks of one setting and field, tickets and branches back up included.
    """
    st.header("Where is the transition", anchor=False)
    columns = st.columns(3)
    with columns[0]:
        criterion = choose_criterion()
    with columns[1]:
        order = choose_order()
    with columns[2]:
        confidence = choose_confidence()
    if not _show_places(states, criterion, order, confidence):
        return
    steps = analysis.level_steps(states, order.column)
    left, right = st.columns(2)
    with left:
        _show_criterion("log_fidelity_per_spin", states, steps, confidence, order)
    with right:
        other = criterion.column if criterion.column == "jump" else "susceptibility_per_spin"
        _show_criterion(other, states, steps, confidence, order)
    left, right = st.columns(2)
    with left:
        show_envelope(states, order)
    with right:
        show_drift(steps)


def show_verdict(states: pl.DataFrame, order: analysis.Quantity) -> None:
    """The places of level steps and their verdicts alone, with what chooses them.

    Args:
        states: networks of one setting.
        order: chosen on the page already.
    """
    st.header("Is it a transition", anchor=False)
    columns = st.columns(3)
    with columns[0]:
        criterion = choose_criterion()
    with columns[1]:
        confidence = choose_confidence()
    _show_places(states, criterion, order, confidence)


def _show_places(
    states: pl.DataFrame, criterion: analysis.Criterion, order: analysis.Quantity, confidence: float
) -> bool:
    """The figure of places and verdicts; whether there is one."""
    transitions = analysis.detect_transitions(states, criterion.column, confidence, order.column)
    if transitions["parameters_per_spin"].drop_nulls().is_empty():
        st.info(f"Not yet: {first_reason(transitions)}")
        return False
    figures.show_figure(
        "transition-places",
        headlines.transition_headline(transitions),
        charts.transition_places(transitions),
        captions.transition_caption(transitions, criterion.symbol, confidence),
        transitions,
        code=f"""table = analysis.detect_transitions(states, {criterion.column!r}, {confidence}, {order.column!r})
chart = charts.transition_places(table)""",
    )
    for row in transitions.iter_rows(named=True):
        st.markdown(f"**{row['side']} × {row['side']}: {row['verdict']}.** {row['reasons']}")
    return True


def first_reason(transitions: pl.DataFrame) -> str:
    """Why no side has a place: the sentence of one of them."""
    return "no trajectory has two levels." if transitions.is_empty() else transitions["reasons"][0]


def _show_criterion(
    column: str, states: pl.DataFrame, steps: pl.DataFrame, confidence: float, order: analysis.Quantity
) -> None:
    criterion = analysis.CRITERIA[column]
    points = analysis.step_points(steps, criterion)
    if points.is_empty():
        st.info(f"Nothing here yet: no level step has a value of the {criterion.name}.")
        return
    figures.show_figure(
        f"steps-{column}",
        f"{criterion.name.capitalize()} by level step",
        charts.level_steps(
            points, analysis.detect_transitions(states, column, confidence, order.column), criterion
        ),
        captions.step_caption(points, confidence),
        points,
    )


def show_envelope(states: pl.DataFrame, order: analysis.Quantity) -> None:
    """The order parameter of the lowest energies over seeds and variants."""
    lowest = analysis.lowest_energy_envelope(states)
    curves = states.filter(pl.col("series") == analysis.TRAJECTORY)
    points = analysis.curve_points(curves, order, by=())
    figures.show_figure(
        f"lowest-energies-{order.column}",
        f"{order.name.capitalize()} of the lowest energies",
        charts.envelope(points, lowest, order),
        captions.envelope_caption(lowest),
        lowest,
    )


def show_drift(steps: pl.DataFrame) -> None:
    """Whether trainings had settled."""
    known = steps.filter(pl.col("energy_drift").is_finite(), pl.col("energy_drift_error") > 0)
    if known.is_empty():
        st.info("Nothing here yet: no network has an energy drift.")
        return
    figures.show_figure(
        "energy-drift",
        "Does the energy still fall?",
        charts.energy_drift(known),
        captions.DRIFT_CAPTION,
        known,
    )
