"""The open study: how far it is, what remains, what went wrong."""

import polars as pl
import streamlit as st

from explorer import analysis, charts, loading
from explorer.views import address, figures, setting, story

REFRESH_SECONDS = 5
ALL = "all"
APP_COMMAND = "streamlit run explorer/app.py"
FIRST_COLUMNS = (
    *("status", "kind", "side", "variant", "level", "replicate", "levels_done", "levels_wanted"),
    *("wall_seconds", "run_id"),
)

st.title("Overview", anchor=False)
opened = loading.selected()
if opened is None or opened.study is None:
    setting.say_nothing_is_open()


def welcome() -> None:
    """What a first-time visitor sees: what this is, and how to have a study of one's own."""
    st.info(
        "This is an example that came with the program; the sidebar has more of them, and a page for each figure. "
        "Three commands make a study of your own, show it while it runs, and take its tables away:"
    )
    st.code(
        "\n".join((setting.START_COMMAND, APP_COMMAND, f"{setting.START_COMMAND} --export finite_size")),
        "bash",
    )


def show_progress() -> None:
    """Counts, remaining work and the bars; runs again by itself while the sweep runs."""
    now = loading.selected()
    if now is None or now.study is None:
        return
    runs, states = now.study.runs_now(), now.study.states
    if runs.is_empty():
        st.info("Nothing here yet: no run is planned or finished in this directory.")
        return
    finished = runs.filter(pl.col("status").is_in(("done", "diverged")))
    work = analysis.remaining_work(runs, states)
    with st.container(horizontal=True):
        st.metric("Runs finished", f"{len(finished)} of {len(runs)}")
        st.metric("Networks trained", f"{len(states)}")
        st.metric("Running now", f"{(runs['status'] == 'running').sum()}")
        st.metric("Diverged", f"{(runs['status'] == 'diverged').sum()}")
        st.metric("Failed", f"{(runs['status'] == 'failed').sum()}")
    counts = analysis.status_counts(runs)
    figures.show_figure("runs-by-status", _headline(work), charts.run_states(counts), _caption(work), counts)
    if not work.is_empty():
        with st.expander("Remaining work by kind and side"):
            figures.show_table("remaining-work", work)


def _headline(work: pl.DataFrame) -> str:
    if work.is_empty():
        return "Nothing is left to train"
    return f"{work['runs'].sum()} runs and {work['steps'].sum():,} training steps are left"


def _caption(work: pl.DataFrame) -> str:
    if work.is_empty():
        return "Every planned run by kind and status. A diverged run counts as finished."
    measured = work["seconds"].sum()
    unknown = work.filter(pl.col("seconds").is_null())["steps"].sum()
    sentence = f"At the step times measured so far about {_duration(measured)} of one slot remain"
    if unknown:
        sentence += f", and {unknown:,} steps of a kind and side not measured yet"
    return f"{sentence}. Pruned levels get cheaper, so this is an upper estimate."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if opened.path.resolve().parent == loading.EXAMPLES.resolve():
    welcome()
unfinished = opened.study.runs["status"].is_in(analysis.UNFINISHED).any()
st.fragment(show_progress, run_every=REFRESH_SECONDS if unfinished else None)()

setting.show_stale_runs(opened.study.runs)
troubled = analysis.troubled_runs(opened.study.runs)
if not troubled.is_empty():
    st.subheader("Runs that did not end as planned", anchor=False)
    figures.show_table("troubled-runs", troubled)
    run_ids = troubled["run_id"].to_list()
    run_id = address.choose("Log of", "log", run_ids, run_ids[0])
    lines = opened.study.log_tail(run_id)
    st.code("\n".join(lines) if lines else "No log of this run is here.", language=None)
    story.show_story(run_id)

below = analysis.below_reference(opened.study.states)
if not below.is_empty():
    st.subheader("Networks below their reference", anchor=False)
    st.warning(
        "These energies lie more than five standard errors below the reference energy, where no variational energy "
        "can be: the reference or the measurement is wrong. Relative errors of these networks mean nothing."
    )
    figures.show_table("below-reference", below)

runs = opened.study.runs_now()
if not runs.is_empty():
    st.subheader("All runs", anchor=False)
    statuses = runs["status"].unique().sort().to_list()
    status = address.choose("Status", "status", [ALL, *statuses], ALL)
    shown = runs if status == ALL else runs.filter(pl.col("status") == status)
    figures.show_table("runs", shown.select(*FIRST_COLUMNS, pl.exclude(FIRST_COLUMNS)))
