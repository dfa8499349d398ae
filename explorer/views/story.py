"""A run's story, as `--explain` tells it, where a page shows one run."""

from __future__ import annotations

from pathlib import Path

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
        st.code(_told(str(path), loading.fingerprint(path), run_id), language=None, wrap_lines=True)
    except (StudyError, OSError) as error:
        st.warning(f"{error}.")


@st.cache_data(max_entries=32, show_spinner="Reading the plan …")
def _told(path: str, fingerprint: str, run_id: str) -> str:
    """The story, told anew when a file of the study changed."""
    return story_text(Path(path), run_id)
