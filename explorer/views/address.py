"""Selections that live in the page's address, so that a link reopens the view.

An address is input from outside: its values are plain texts, compared with the options at hand; one that
is none of them is said and replaced by the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

Option = TypeVar("Option")


def plain_text(option) -> str:
    """How an option stands in the address."""
    return f"{option:g}" if isinstance(option, float) else str(option)


def choose(
    label: str,
    key: str,
    options: Sequence[Option],
    default: Option,
    widget: Callable = st.selectbox,
    names: Callable[[Option], str] = plain_text,
    **layout,
) -> Option:
    """One of the options, kept in the address under `key` and over a change of page.

    Args:
        label: what is chosen, above the widget.
        key: its name in the address.
        options: at least one; told apart by their plain text.
        default: what is shown when the address says nothing.
        widget: `st.selectbox` or `st.radio`.
        names: how an option is shown.
        layout: further arguments of the widget.
    """
    by_text = {plain_text(option): option for option in options}
    text = _wanted(key, plain_text(default), by_text.__contains__, label, list(by_text))
    st.session_state[key] = text
    text = widget(label, list(by_text), key=key, format_func=lambda text: names(by_text[text]), **layout)
    _remember(key, text)
    return by_text[text]


def choose_range(
    label: str, key: str, options: Sequence[float], default: tuple[float, float]
) -> tuple[float, float]:
    """Two of ascending options, from–to, kept in the address as `from-to`."""
    by_text = {plain_text(option): option for option in options}

    def is_range(text: str) -> bool:
        low, _, high = text.partition("-")
        return low in by_text and high in by_text and by_text[low] < by_text[high]

    text = _wanted(key, "-".join(map(plain_text, default)), is_range, label, list(by_text))
    st.session_state[key] = tuple(text.split("-"))
    low, high = st.select_slider(label, list(by_text), key=key)
    _remember(key, f"{low}-{high}")
    return by_text[low], by_text[high]


def _wanted(key: str, default: str, is_allowed: Callable[[str], bool], label: str, allowed: list[str]) -> str:
    """What the widget shows: its own state, else the address, else the last choice on another page."""
    if key in st.session_state:
        state = st.session_state[key]
        text = "-".join(state) if isinstance(state, tuple) else state
        return text if is_allowed(text) else default
    asked = st.query_params.get(key)
    if asked is not None and not is_allowed(asked):
        shown = ", ".join(allowed[:12])
        st.info(
            f"The address asks for {key}={asked[:40]!r}; allowed for “{label}”: {shown}. Showing {default}."
        )
        return default
    text = asked if asked is not None else st.session_state.get(_last(key), default)
    return text if is_allowed(text) else default


def _remember(key: str, text: str) -> None:
    # Streamlit forgets a widget's state, and the address, when the page changes.
    st.session_state[_last(key)] = text
    if st.query_params.get(key) != text:
        st.query_params[key] = text


def _last(key: str) -> str:
    return f"last {key}"
