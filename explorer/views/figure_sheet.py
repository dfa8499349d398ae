"""All figures of the paper on one page, from whatever studies there are."""

import polars as pl
import streamlit as st

from explorer import analysis, charts, loading
from explorer.sheet import FIGURES, Figure, Panel
from explorer.views import figures, setting

COLUMNS = 2

st.title("Figure sheet", anchor=False)
if loading.selected() is None:
    setting.say_nothing_is_open()


@st.cache_resource(max_entries=64, ttl=600, show_spinner=False)
def states_of(path: str, fingerprint: str) -> pl.DataFrame:
    """The states of a study with what the figures show; empty where it cannot be read."""
    study = loading.open_study(path).study
    if study is None or study.states.is_empty():
        return pl.DataFrame()
    return analysis.own_masks(analysis.with_quantities(study.states))


def all_states() -> dict[str, pl.DataFrame]:
    """The states of every study in reach, by its name."""
    found = {
        name: states_of(path, loading.fingerprint(path))
        for name, path in loading.names_of(loading.in_reach()).items()
    }
    return {name: states for name, states in found.items() if not states.is_empty()}


def show(figure: Figure, panels: list[Panel]) -> None:
    """A figure: its panels side by side, and all of them in one file."""
    st.subheader(f"Fig. {figure.number}: {figure.question}", anchor=False)
    columns = st.columns(COLUMNS)
    for number, panel in enumerate(panels):
        with columns[number % COLUMNS]:
            st.markdown(f"**{chr(ord('a') + number)}  {panel.title}**")
            if panel.chart is None:
                st.info(panel.caption)
                continue
            st.altair_chart(panel.chart, theme=None, width="stretch", key=f"figure {figure.number} {number}")
            st.caption(panel.caption)
    drawn = [panel for panel in panels if panel.chart is not None]
    if drawn:
        figures.offer_drawing(
            f"figure-{figure.number}",
            charts.side_by_side([(panel.title, panel.chart) for panel in drawn], COLUMNS),
            figure.question,
            " ".join(f"{chr(ord('a') + n)}: {panel.caption}" for n, panel in enumerate(drawn)),
        )


st.markdown(
    "The figures of *Connectivity determines the capability of sparse neural network quantum states*, each from the "
    "study at hand that fits it best: the open one, run directories under `runs/`, the examples. Intervals: "
    "68 %, clustered by trajectory; each page has more of them."
)
with st.spinner("Reading all studies …"):
    studies = all_states()
for each in FIGURES:
    show(each, each.panels(studies))
