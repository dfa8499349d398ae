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
    text = _wanted(key, plain_text(default), list(by_text), label)
    st.session_state[key] = text
    text = widget(label, list(by_text), key=key, format_func=lambda text: names(by_text[text]), **layout)
    _remember(key, text)
    return by_text[text]


def switch(label: str, key: str, default: bool) -> bool:
    """Whether a layer of a figure is drawn, kept in the address like any choice."""
    state = "on" if default else "off"
    return choose(label, key, ("on", "off"), state, widget=st.radio, horizontal=True) == "on"


def _wanted(key: str, default: str, allowed: list[str], label: str) -> str:
    """What the widget shows: its own state, else the address, else the last choice on another page."""
    if key in st.session_state:
        text = st.session_state[key]
        return text if text in allowed else default
    asked = st.query_params.get(key)
    if asked is not None and asked not in allowed:
        shown = ", ".join(allowed[:12])
        st.info(
            f"The address asks for {key}={asked[:40]!r}; allowed for “{label}”: {shown}. Showing {default}."
        )
        return default
    text = asked if asked is not None else st.session_state.get(_last(key), default)
    return text if text in allowed else default


def _remember(key: str, text: str) -> None:
    # Streamlit forgets a widget's state, and the address, when the page changes.
    st.session_state[_last(key)] = text
    if st.query_params.get(key) != text:
        st.query_params[key] = text


def _last(key: str) -> str:
    return f"last {key}"
