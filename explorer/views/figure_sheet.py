"""All figures of the paper on one page, from whatever studies there are."""

from pathlib import Path

import streamlit as st

from explorer import analysis, charts, loading
from explorer.sheet import FIGURES, Figure, Panel
from explorer.views import figures, setting

COLUMNS = 2

st.title("Figure sheet", anchor=False)
if loading.selected() is None:
    setting.say_nothing_is_open()


@st.cache_resource(max_entries=2, show_spinner="Reading all studies …")
def panels_of(studies: dict[str, str], fingerprints: list[str]) -> list[list[tuple[Panel, dict | None]]]:
    """The panels of every figure with their drawings, made anew when a study changed."""
    states = {}
    for name, path in studies.items():
        study = loading.open_study(Path(path)).study
        if study is not None and not study.states.is_empty():
            states[name] = analysis.own_masks(analysis.with_quantities(study.states))
    return [
        [
            (panel, None if panel.chart is None else charts.on_screen(panel.chart))
            for panel in figure.panels(states)
        ]
        for figure in FIGURES
    ]


def show(figure: Figure, panels: list[tuple[Panel, dict | None]]) -> None:
    """A figure: its panels side by side, and all of them in one file."""
    st.subheader(f"Fig. {figure.number}: {figure.question}", anchor=False)
    for number, (panel, drawing) in enumerate(panels):
        # A row at a time, so that a narrow screen has them in order.
        if number % COLUMNS == 0:
            row = st.columns(COLUMNS)
        with row[number % COLUMNS]:
            st.markdown(f"**{chr(ord('a') + number)}  {panel.title}**")
            if drawing is None:
                st.info(panel.caption)
                continue
            figures.draw(f"figure {figure.number} {number}", drawing)
            st.caption(panel.caption)
    drawn = [panel for panel, drawing in panels if drawing is not None]
    if drawn:
        figures.offer_drawing(
            f"figure-{figure.number}",
            lambda: charts.side_by_side([(panel.title, panel.chart) for panel in drawn], COLUMNS),
            figure.question,
            " ".join(f"{chr(ord('a') + n)}: {panel.caption}" for n, panel in enumerate(drawn)),
        )


st.markdown(
    "The figures of *Connectivity determines the capability of sparse neural network quantum states*, each from the "
    "study at hand that fits it best: the open one, run directories under `runs/`, the examples. Intervals: "
    "68 %, clustered by trajectory; each page has more of them."
)
studies = {name: str(path) for name, path in loading.names_of(loading.in_reach()).items()}
found = panels_of(studies, [loading.fingerprint(Path(path)) for path in studies.values()])
for each, panels in zip(FIGURES, found, strict=True):
    show(each, panels)
