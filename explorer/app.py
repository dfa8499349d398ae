"""The app: which study is open, and the list of pages.

    streamlit run explorer/app.py [-- DIRECTORY]

opens a run directory or an export; without one the newest run directory under runs/, else the examples.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
# Streamlit puts this script's folder on the path, not the checkout that holds the packages.
sys.path.insert(0, str(CHECKOUT))

import streamlit as st
from altair.utils.schemapi import debug_mode

from explorer import charts, loading
from explorer.views import address, figures

# A damaged disk has thousands.
MOST_PROBLEMS = 5
# How soon a page has what a running sweep commits.
WATCH_SECONDS = 5

PAGES = [
    st.Page("views/overview.py", title="Overview", icon=":material/monitoring:", default=True),
    st.Page(
        "views/lottery_tickets.py",
        title="Lottery tickets",
        url_path="lottery_tickets",
        icon=":material/confirmation_number:",
    ),
    st.Page(
        "views/scaling_regions.py",
        title="Scaling regions",
        url_path="scaling_regions",
        icon=":material/stacked_line_chart:",
    ),
    st.Page(
        "views/pruning_methods.py",
        title="Pruning methods",
        url_path="pruning_methods",
        icon=":material/content_cut:",
    ),
    st.Page("views/robustness.py", title="Robustness", url_path="robustness", icon=":material/table_chart:"),
    st.Page("views/finite_size.py", title="Finite size", url_path="finite_size", icon=":material/grid_on:"),
    st.Page("views/collapse.py", title="Scaling collapse", url_path="collapse", icon=":material/compress:"),
    st.Page("views/phase_diagram.py", title="Phase diagram", url_path="phase_diagram", icon=":material/map:"),
    st.Page("views/hysteresis.py", title="Hysteresis", url_path="hysteresis", icon=":material/sync_alt:"),
    st.Page(
        "views/mask_transfer.py",
        title="Mask transfer",
        url_path="mask_transfer",
        icon=":material/swap_horiz:",
    ),
    st.Page("views/networks.py", title="Networks", url_path="networks", icon=":material/hub:"),
    st.Page(
        "views/toric_code.py",
        title="Toric code",
        url_path="toric_code",
        icon=":material/radio_button_checked:",
    ),
    st.Page("views/training.py", title="Training", url_path="training", icon=":material/show_chart:"),
    st.Page(
        "views/figure_sheet.py", title="Figure sheet", url_path="figure_sheet", icon=":material/dashboard:"
    ),
    st.Page("views/references.py", title="References", url_path="references", icon=":material/straighten:"),
    st.Page("views/data.py", title="Data and export", url_path="data", icon=":material/download:"),
]


def choose_study() -> None:
    """Open the directory that the command line or the sidebar asks for, and tell its problems."""
    argument = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        studies = loading.find_studies(argument)
    except ValueError as error:
        st.error(str(error))
        studies = loading.find_studies(None)
    if not studies:
        loading.select(None)
        loading.look()
        return
    names = loading.names_of(studies)
    with st.sidebar:
        chosen = address.choose("Study", "study", list(names), next(iter(names)))
        figures.choose_print()
        st.caption(charts.ZOOM_HINT)
        st.button("Read again", help="New results of a running sweep also come in with every selection.")
    loading.select(names[chosen])
    tell(loading.look().problems)


def tell(problems: Sequence[str]) -> None:
    """Show what could not be read; of many problems the first."""
    for problem in problems[:MOST_PROBLEMS]:
        st.warning(problem)
    if (more := len(problems) - MOST_PROBLEMS) > 0:
        st.warning(f"And {more} more like these; `python -m orchestrator SWEEP --status` lists them all.")


def watch() -> None:
    """Draw the page anew where the study has new results; selections stay, as they are the session's."""
    if loading.has_changed():
        st.rerun()


st.set_page_config(page_title="Pruned neural quantum states", page_icon="✂", layout="wide")
page = st.navigation(PAGES, expanded=True)
choose_study()
# Before the page, which may end the script.
st.fragment(watch, run_every=WATCH_SECONDS)()
# Altair would check each part of a chart as it is made, a quarter of a page's time; a download checks the whole.
with debug_mode(False):
    page.run()
