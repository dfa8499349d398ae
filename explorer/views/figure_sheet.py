"""All figures of the paper on one page, from whatever studies there are."""

from pathlib import Path
from string import ascii_lowercase

import streamlit as st

from explorer import charts, loading
from explorer.sheet import FIGURES, Figure, Panel, states_of
from explorer.views import drawing, figures, setting

COLUMNS = 2

st.title("Figure sheet", anchor=False)
if loading.selected() is None:
    setting.say_nothing_is_open()


@st.cache_resource(max_entries=4, show_spinner="Reading all studies …")
def panels_of(
    studies: dict[str, str], fingerprints: list[str | None], dark: bool
) -> list[list[tuple[Panel, dict | None]]]:
    """The panels of every figure with their drawings, made anew when a study changed."""
    states = {}
    for name, path in studies.items():
        study = loading.open_study(Path(path)).study
        if study is not None and not study.states.is_empty():
            states[name] = states_of(study)
    return [
        [
            (
                panel,
                None if panel.chart is None else drawing.drawn(panel.chart, panel.title, panel.rows, dark),
            )
            for panel in figure.panels(states)
        ]
        for figure in FIGURES
    ]


def heading(figure: Figure) -> str:
    """A figure's number and question."""
    return f"Fig. {figure.number}: {figure.question}"


def show(figure: Figure, panels: list[tuple[Panel, dict | None]]) -> None:
    """A figure: its panels side by side, and all of them in one file."""
    st.subheader(heading(figure), anchor=False)
    letters = iter(ascii_lowercase)  # of what is drawn, here and in the files alike
    for number, (panel, specification) in enumerate(panels):
        # A row at a time, so that a narrow screen has them in order.
        if number % COLUMNS == 0:
            row = st.columns(COLUMNS)
        with row[number % COLUMNS]:
            if specification is None:
                st.markdown(f"**{panel.title}**")
                st.info(panel.caption)
                continue
            st.markdown(f"**{next(letters)}  {panel.title}**")
            drawing.show(f"figure {figure.number} {number}", specification)
            st.caption(f"**{panel.differs}** {panel.caption}")
    drawn = [panel for panel, specification in panels if specification is not None]
    if drawn:
        figures.offer_drawing(
            f"figure-{figure.number}",
            lambda: charts.side_by_side([(panel.title, panel.chart) for panel in drawn], COLUMNS),
            figure.question,
            " ".join(
                f"{letter}: {panel.differs} {panel.caption}"
                for letter, panel in zip(ascii_lowercase, drawn, strict=False)
            ),
        )


def whole_sheet(found: list[list[tuple[Panel, dict | None]]]) -> str:
    """All panels that are drawn, figure by figure, as one drawing."""
    drawn = []
    for figure, panels in zip(FIGURES, found, strict=True):
        parts = [
            charts.SheetPanel(panel.title, panel.chart, (panel.differs, panel.caption))
            for panel, _ in panels
            if panel.chart is not None
        ]
        if parts:
            drawn.append(charts.SheetFigure(heading(figure), parts))
    return charts.sheet(drawn)


st.markdown(
    "The figures of *Connectivity determines the capability of sparse neural network quantum states*, each from the "
    "study at hand that fits it best: the open one, run directories under `runs/`, the examples. Intervals: "
    "68 %, clustered by trajectory; each page has more of them."
)
studies = {name: str(path) for name, path in loading.names_of(loading.in_reach()).items()}
# Of what was read: a study that is still being copied is another one when it is whole.
fingerprints = [loading.open_study(Path(path)).fingerprint for path in studies.values()]
found = panels_of(studies, fingerprints, drawing.is_dark())
if any(specification is not None for panels in found for _, specification in panels):
    figures.offer_sheet("figure-sheet", lambda: whole_sheet(found))
for each, panels in zip(FIGURES, found, strict=True):
    show(each, panels)
