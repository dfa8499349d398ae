"""One run's training: energy against step, level by level."""

import polars as pl
import streamlit as st

from explorer import captions, charts, loading
from explorer.views import address, figures, setting, story

SHOWN = {"energy": "energy", "error": "distance from the reference"}

st.title("Training", anchor=False)
states = setting.choose_setting(setting.trained_networks("training curves"))
study = loading.selected().study

columns = st.columns([1, 1, 3])
with columns[0]:
    sides = states["side"].unique().sort().to_list()
    side = setting.choose_side(sides)
states = states.filter(pl.col("side") == side)
with columns[1]:
    kinds = [kind for kind in charts.KINDS if kind in set(states["kind"])]
    kind = address.choose("Kind", "kind", kinds, kinds[0])
runs = states.filter(pl.col("kind") == kind).unique("run_id").sort("variant", "level", "replicate", "run_id")
names = {run["run_id"]: captions.run_name(run) for run in runs.iter_rows(named=True)}
with columns[2]:
    run_id = address.choose("Run", "run", list(names), next(iter(names)), names=names.get)
run = runs.row(by_predicate=pl.col("run_id") == run_id, named=True)
steps = study.steps_of(run_id).sort("level", "step")
if steps.is_empty():
    st.info("Nothing here yet: no training step of this run is recorded here.")
    st.stop()
shown = "energy"
if (reference := run["reference_energy"]) is not None:
    shown = address.choose(
        "Shown", "curve", list(SHOWN), shown, widget=st.radio, names=SHOWN.get, horizontal=True
    )
above = shown == "error"
figures.show_figure(
    f"training-{run_id}",
    f"Energy of {names[run_id]}",
    charts.training_curve(steps, run["sites"], reference, above),
    captions.TRAINING_ERROR_CAPTION if above else captions.TRAINING_CAPTION,
    steps,
    code=f"""table = study.steps_of("{run_id}").sort("level", "step")
run = states.filter(pl.col("run_id") == "{run_id}").row(0, named=True)
chart = charts.training_curve(table, run["sites"], run["reference_energy"], {above})""",
)
story.show_story(run_id)
