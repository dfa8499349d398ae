"""What the figures' pages ask first: an open study with trained networks, and one setting of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, loading
from explorer.views import address

# Of the session: the lines of code that choose the page's states.
_LINES = "lines of the setting"

FIDELITIES = ("fidelity", "log_fidelity_per_spin")
CONFIDENCES = (0.68, 0.9, 0.95, 0.99)
START_COMMAND = "python -m orchestrator sweeps/finite_size.py --profile laptop"


def trained_networks(what: str) -> pl.DataFrame:
    """The committed states with their quantities; where there are none, say so and end the page.

    Args:
        what: what the page would show, as the sentence has it.
    """
    opened = loading.selected()
    if opened is None or opened.study is None:
        say_nothing_is_open()
    states = opened.study.states
    if states.is_empty():
        st.info(
            f"Nothing here yet: {what} appear as soon as the first network is trained. "
            "The overview shows how far the sweep is."
        )
        st.stop()
    st.session_state[_LINES] = ["states = analysis.with_quantities(study.states)"]
    return analysis.with_quantities(states)


def lines() -> list[str]:
    """Python lines that make the page's states from `study`, as far as they are chosen here."""
    return list(st.session_state[_LINES])


def origin() -> tuple[str, ...]:
    """What the page's states, as they are chosen here, come from: all that decides them, as the key of a cache."""
    shown = loading.selected()
    return (str(shown.path), shown.fingerprint, *lines())


def say_nothing_is_open() -> None:
    """End the page with what to do when no study can be shown."""
    st.info(
        "Nothing here yet: no study could be opened. This one takes minutes on two cores, and the app "
        "shows it while it runs:"
    )
    st.code(START_COMMAND, language="bash")
    st.stop()


# What a figure shows one of, in the order in which it is asked.
_CHOICES = {
    "hamiltonian": "Hamiltonian",
    "hamiltonian_name": "Model",
    "field": "Transverse field h",
    "network": "Network",
    "width_per_spin": "Width per spin α",
    "method": "Pruning method",
}


def choose_setting(states: pl.DataFrame, across: tuple[str, ...] = ()) -> pl.DataFrame:
    """The states of one Hamiltonian, network and method; asks only where the study has several.

    Dense networks belong to every method.

    Args:
        across: columns of which the page shows all values.
    """
    for column, label in _CHOICES.items():
        if column in across:
            continue
        values = states[column].drop_nulls()
        if values.is_empty():
            continue
        chosen = _only_or_chosen(label, column, values)
        shared = pl.col("kind") == "dense" if column == "method" else pl.lit(False)
        states = states.filter((pl.col(column) == chosen) | shared)
        also_dense = ' | (pl.col("kind") == "dense")' if column == "method" else ""
        st.session_state[_LINES].append(
            f"states = states.filter((pl.col({column!r}) == {chosen!r}){also_dense})"
        )
    return states


def address_of(network: Mapping) -> dict[str, str]:
    """The setting and side of a row of `states`, as an address has them."""
    values = {column: network[column] for column in (*_CHOICES, "side")}
    return {column: address.plain_text(value) for column, value in values.items() if value is not None}


def _only_or_chosen(label: str, key: str, values: pl.Series):
    options = values.unique().sort().to_list()
    return options[0] if len(options) == 1 else address.choose(label, key, options, options[0])


def choose_confidence() -> float:
    """Confidence of the intervals; 68 % is one standard error, widened for the few trajectories there are."""
    return address.choose(
        "Intervals", "confidence", CONFIDENCES, CONFIDENCES[0], names=lambda share: f"{share:.0%}"
    )


def choose_side(sides: Sequence[int], default: int | None = None) -> int:
    """One of the sides, ascending; the largest unless another is the default."""
    largest = sides[-1] if default is None else default
    return address.choose("Side", "side", sides, largest, names=lambda side: f"{side} × {side}")


def choose_horizontal(default: str) -> str:
    """What curves are drawn against: a key of `charts.HORIZONTAL`."""
    names = {"parameters_per_spin": "nᵣ / N", "remaining": "nᵣ"}
    return address.choose("Horizontal axis", "x", list(charts.HORIZONTAL), default, names=names.get)


def choose_fidelity() -> str:
    """The fidelity between neighbouring levels as it is, or as its loss per spin: the column of `analysis.QUANTITIES`."""
    return address.choose(
        "Fidelity as",
        "fidelity",
        FIDELITIES,
        FIDELITIES[0],
        widget=st.radio,
        names=lambda column: analysis.QUANTITIES[column].symbol,
        horizontal=True,
    )


def warn_of_mixed_settings(states: pl.DataFrame, across: tuple[str, ...] = ()) -> None:
    """Say which settings differ between the networks of one figure, and which sides lack a reference.

    Args:
        across: columns of which the figure shows all values.
    """
    for name, values in analysis.what_varied(states.drop(across)).items():
        listed = ", ".join(address.plain_text(value) for value in values)
        st.warning(f"{name} is not one value in these figures: {listed}. The intervals include what it does.")
    missing = analysis.sides_without_reference(states)
    if missing:
        sides = ", ".join(str(side) for side in missing)
        st.warning(f"No reference energy for L = {sides}: these sides have no energy error yet.")


def show_stale_runs(runs: pl.DataFrame) -> None:
    """Which runs older code trained, where there are any."""
    stale = analysis.stale_runs(runs)
    if stale.is_empty():
        return
    st.warning(captions.stale_sentence(stale, len(runs)))
    with st.expander("Stale runs"):
        st.dataframe(stale, hide_index=True, key="stale runs")
