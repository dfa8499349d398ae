"""A run's story, as `--explain` tells it, where a page shows one run."""

from __future__ import annotations

import streamlit as st

from explorer import loading
from explorer.views import address
from orchestrator.store import StudyError
from orchestrator.story import story_text


def show_story(run_id: str) -> None:
    """Ask whether the story of a run is told, and tell it: the plan and its schedule are read for it."""
    if not address.switch("This run’s story", "story", False):
        return
    path = loading.selected().path
    if not (path / "sweep.json").exists():
        st.info("An export has no stories: what waits for what, attempts and logs stay in the run directory.")
        return
    try:
        # Not kept: what runs now, and the end of its log, change without a table that does.
        with st.spinner("Reading the plan …"):
            told = story_text(path, run_id)
    except (StudyError, OSError) as error:
        st.warning(f"{error}.")
        return
    st.code(told, language=None, wrap_lines=True)
