"""The one network that a page is about: its run and its level, both kept in the address."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

from explorer import captions, loading
from explorer.views import address, setting
from orchestrator.store import StudyError

if TYPE_CHECKING:
    from nqs.tasks import NetworkWeights

# Where the paper's networks are sparse and still good; of networks that start with fewer weights, a third.
_SPARSE, _FRACTION = 10, 1 / 3


def choose_side(states: pl.DataFrame) -> pl.DataFrame:
    """The states of one side."""
    sides = states["side"].unique().sort().to_list()
    side = setting.choose_side(sides)
    return states.filter(pl.col("side") == side)


def choose_run(states: pl.DataFrame, label: str = "Run", key: str = "run") -> pl.DataFrame:
    """The networks of one run, by level; of a trajectory its dense network is level 0.

    Args:
        states: networks of one setting and side, at least one.
        label: what is chosen, above the widget.
        key: its name in the address.

    Returns:
        rows of `states`, with `of_run`: the run that was chosen, where run_id is the dense run's at level 0.
    """
    order = pl.col("kind").replace_strict({"trajectory": 0, "ticket": 1, "dense": 2}, return_dtype=pl.Int64)
    runs = states.unique("run_id").sort(
        order, "variant", "network_parameters", "level", "replicate", "run_id"
    )
    rows = {run["run_id"]: run for run in runs.iter_rows(named=True)}
    chosen = address.choose(
        label, key, list(rows), next(iter(rows)), names=lambda run_id: captions.run_name(rows[run_id])
    )
    own = pl.col("run_id") == chosen
    if rows[chosen]["kind"] == "trajectory":
        own |= pl.col("run_id") == rows[chosen]["dense_run_id"]
    return states.filter(own).with_columns(of_run=pl.lit(chosen)).sort("level")


def choose_level(networks: pl.DataFrame) -> dict:
    """The network of one level, by a slider where there are several.

    Args:
        networks: from `choose_run`.
    """
    rows = {row["level"]: row for row in networks.iter_rows(named=True)}
    if len(rows) == 1:
        return next(iter(rows.values()))
    level = address.choose(
        "Pruning level",
        "level",
        list(rows),
        telling_level(networks),
        widget=st.select_slider,
        names=lambda level: f"level {level}: {rows[level]['parameters_per_spin']:.3g} weights per spin",
    )
    return rows[level]


def telling_level(networks: pl.DataFrame) -> int:
    """The level that is shown first: nearest to 10 weights per spin, or to a third of the run's most, if that is less."""
    return nearest(networks, min(_SPARSE, networks["parameters_per_spin"].max() * _FRACTION))["level"]


def nearest(networks: pl.DataFrame, parameters_per_spin: float) -> dict:
    """The network nearest to a density; one whose weights an export left out comes after all that have them.

    Args:
        networks: rows of `states`, at least one.
    """
    distance = (pl.col("parameters_per_spin").log() - math.log(parameters_per_spin)).abs()
    without = pl.col("weights_left_out").fill_null(False)
    return networks.sort(without, distance, "level").row(0, named=True)


def weights_of(network: Mapping) -> NetworkWeights | None:
    """The live weights of a network by layer; None, with a sentence on the page, where they can't be read."""
    try:
        return read_weights(network)
    except StudyError as error:
        st.warning(str(error))
        return None


def read_weights(network: Mapping) -> NetworkWeights:
    """The live weights of a network by layer; only its own are read, not the table.

    Raises:
        StudyError: they can't be read, in a sentence.
    """
    run_id, level = network["run_id"], network["level"]
    try:
        weights = loading.selected().study.weights(run_id, level)
    except (StudyError, OSError, pl.exceptions.PolarsError) as error:
        raise StudyError(f"The weights of level {level} of run {run_id} can't be read: {error}") from None
    if not weights:
        raise StudyError(f"The table of weights has no row of level {level} of run {run_id}.")
    return weights
