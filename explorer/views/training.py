"""One run's training: energy against step, level by level."""

import polars as pl
import streamlit as st

from explorer import charts, loading
from explorer.views import address, figures, setting

st.title("Training", anchor=False)
states = setting.trained_networks("training curves")
study = loading.selected().study
recorded = states.filter(pl.col("run_id").is_in(study.steps["run_id"].unique().to_list()))
if recorded.is_empty():
    st.info("Nothing here yet: this directory has no table of training steps.")
    st.stop()


def run_name(run: dict) -> str:
    """A run in words, with its id."""
    variant = "" if run["variant"] is None else f" {run['variant']} at level {run['level']}"
    if variant and run["mask_field"] != run["field"] and run["mask_field"] is not None:
        variant += f" (mask of h = {run['mask_field']:g} at h = {run['field']:g})"
    return f"{run['side']} × {run['side']} {run['kind']}{variant}, replicate {run['replicate']} · {run['run_id']}"


runs = recorded.unique("run_id").sort("side", "kind", "variant", "level", "replicate", "run_id")
names = {run["run_id"]: run_name(run) for run in runs.iter_rows(named=True)}
run_id = address.choose("Run", "run", list(names), next(iter(names)), names=names.get)
run = runs.row(by_predicate=pl.col("run_id") == run_id, named=True)
steps = study.steps.filter(pl.col("run_id") == run_id).sort("level", "step")
figures.show_figure(
    f"training-{run_id}",
    f"Energy of {names[run_id]}",
    charts.training_curve(steps, run["sites"], run["reference_energy"]),
    "Each mark: the sampled energy before one training step, with one standard error; of the first 100 "
    "steps of a level all, then every tenth. Dashed: the reference energy.",
    steps,
    code=f"""table = study.steps.filter(pl.col("run_id") == "{run_id}").sort("level", "step")
run = states.filter(pl.col("run_id") == "{run_id}").row(0, named=True)
chart = charts.training_curve(table, run["sites"], run["reference_energy"])""",
)
