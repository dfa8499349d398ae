"""What the study holds, column by column, and all of it to take away."""

from pathlib import Path

import polars as pl
import streamlit as st

from explorer import loading
from explorer.bundle import packed_export
from explorer.views import address, figures, setting
from orchestrator.data_dictionary import EXPORTED, NO_WEIGHTS, Format
from orchestrator.store import StudyError
from orchestrator.tables import MASKS

SHOWN_ROWS = 200
# Read whole only to be exported.
LARGE = ("steps", "weights", "masks")

st.title("Data and export", anchor=False)
opened = loading.selected()
if opened is None or opened.study is None:
    setting.say_nothing_is_open()
study = opened.study


def offer(format: Format, label: str) -> None:
    """A button that makes the export when it is asked for; where it cannot be made, the sentence that says why."""
    name = f"{study.sweep}-{study.profile}-{format}"
    if not st.button(label, key=f"export {format}"):
        return
    try:
        with st.spinner("Writing the tables …"):
            contents = packed_export(study, format)
    except StudyError as error:
        st.error(f"{error}.")
        return
    st.download_button(
        f"Save {name}.zip ({len(contents) / 1e6:.1f} MB)", contents, f"{name}.zip", "application/zip"
    )


st.markdown(
    "One file a table, joined and documented: every row of `states` has its run's fields, its reference energy and "
    "its errors. The archive has a data dictionary beside the tables."
)
with st.container(horizontal=True):
    offer("parquet", "Pack all tables as Parquet")
    offer("csv", "Pack all tables as CSV")
st.caption(NO_WEIGHTS)
if (opened.path / "sweep.json").exists():
    st.markdown("The same from the command line, for a study of any size:")
    shipped = Path("sweeps", f"{study.sweep}.py")
    # A sweep of the user's may lie anywhere; its run directory does not say where.
    file = shipped if (loading.EXAMPLES.parent / shipped).exists() else "SWEEP.py"
    st.code(
        f"python -m orchestrator {file} --profile {study.profile} --out {opened.path} --export exported",
        language="bash",
    )

setting.show_stale_runs(study.runs)
tables = {table.name: table for table in EXPORTED}
name = address.choose("Table", "table", list(tables), "states")
table = tables[name]
st.subheader(f"{name}: a row is {table.row}", anchor=False)
keys = set(table.key)
figures.show_table(
    f"dictionary-{name}",
    pl.DataFrame(
        {
            "column": [column.name for column in EXPORTED[table]],
            "type": [str(column.type) for column in EXPORTED[table]],
            "unit": [column.unit for column in EXPORTED[table]],
            "key": [column.name in keys for column in EXPORTED[table]],
            "meaning": [column.description for column in EXPORTED[table]],
        }
    ),
)
if name in LARGE:
    # Masks are made from weights when they are exported.
    count = None if table is MASKS else study.row_count(table)
    if count is not None:
        st.markdown(f"**{count:,} rows**")
    st.caption("Rows of this table are in the export; the pages read of it what they show.")
else:
    rows = getattr(study, name)
    st.markdown(
        f"**{rows.height:,} rows**" + (f", the first {SHOWN_ROWS}:" if rows.height > SHOWN_ROWS else "")
    )
    st.dataframe(rows.head(SHOWN_ROWS), hide_index=True, key=f"rows {name}")
