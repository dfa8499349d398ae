"""The toric code's networks: how close trained filters come to the exact solution of odd-parity filters.

The exact solution has 4 or 8 filters of magnitude a on every plaquette (`nqs.toric_code.odd_parity_weights`); its
energy is a closed form in a times their number. So networks are compared at equal *parity strength*: the summed
magnitude of a plaquette's odd-parity filters over 8, which is a for eight filters and a / 2 for four.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from explorer.analysis.filters import TORIC_CLASSES, HiddenLayer, class_counts, filters
from nqs.toric_code import classify_filters, odd_parity_energy, solved_plaquettes

# Every plaquette with each of its edges as the odd one and both signs: the paper's solution (Table 1).
FULL_FILTERS = 8
# Its weights per spin: 8 filters of 4 weights on L² plaquettes of 2 L² spins; where the paper sees the drop.
FULL_WEIGHTS_PER_SPIN = FULL_FILTERS * 4 / 2


def built_networks(states: pl.DataFrame) -> pl.DataFrame:
    """Networks built of odd-parity filters, beside their closed form.

    Returns:
        run_id, side, magnitude a, filters (a plaquette), strength (a · filters / 8), relative_error,
        relative_error_error, variance, closed_form (relative error), closed_form_variance; by side and magnitude.
    """
    rows = []
    for row in states.filter(pl.col("network") == "odd_parity").iter_rows(named=True):
        settings = json.loads(row["network_parameters"])
        a, count = settings["magnitude"], int(settings["filters"])
        exact = odd_parity_energy(row["side"], a, count)
        own = (row["run_id"], row["side"], a, count, a * count / FULL_FILTERS)
        measured = (row["relative_error"], row["relative_error_error"], row["variance"])
        rows.append((*own, *measured, exact.relative_error, exact.variance))
    numbers = ("relative_error", "relative_error_error", "variance", "closed_form", "closed_form_variance")
    schema = {"run_id": pl.String, "side": pl.Int64, "magnitude": pl.Float64, "filters": pl.Int64}
    schema |= {name: pl.Float64 for name in ("strength", *numbers)}
    return pl.DataFrame(rows, schema, orient="row").sort("side", "magnitude")


def closed_form(side: int, strengths: np.ndarray) -> pl.DataFrame:
    """The exact solution's relative error and variance against its parity strength.

    Returns:
        side, strength, relative_error, variance (of the total energy).
    """
    found = [odd_parity_energy(side, float(a), FULL_FILTERS) for a in strengths]
    return pl.DataFrame(
        {
            "side": [side] * len(found),
            "strength": np.asarray(strengths, float),
            "relative_error": [each.relative_error for each in found],
            "variance": [each.variance for each in found],
        },
        schema_overrides={"side": pl.Int64},
    )


def parity_table(networks: Iterable[tuple[Mapping, HiddenLayer]]) -> pl.DataFrame:
    """Classes and strength of the filters of trained networks of the toric code, one row a network and class.

    Args:
        networks: rows of `states`, each with its hidden layer.

    Returns:
        run_id, level, side, parameters_per_spin, relative_error, strength (the summed mean |w| of odd-parity
        filters on plaquettes, over 8 L²), solved (share of plaquettes that have every odd edge), class, units.
    """
    tables = [_of_network(row, layer) for row, layer in networks]
    empty = pl.DataFrame(schema={**_PARITY, **_OF_FILTERS})
    return pl.concat([empty, *tables]).sort("run_id", "level", "class")


def _of_network(row: Mapping, layer: HiddenLayer) -> pl.DataFrame:
    table = filters(layer)
    odd = table.filter(pl.col("class") == "odd plaquette")
    # Nine tenths and more of Σ|w| is on the four weights of the plaquette, so the mean is over those.
    magnitudes = np.abs(layer.weights[:, odd["unit"].to_numpy()]).sum(0) * odd["share"].to_numpy() / 4
    solved = 0.0
    if not table.is_empty():
        solved = solved_plaquettes(layer.side, classify_filters(layer.side, layer.weights))
    names = ("run_id", "level", "side", "parameters_per_spin", "relative_error")
    own = pl.DataFrame([{name: row[name] for name in names}], _PARITY)
    own = own.with_columns(strength=float(magnitudes.sum()) / (FULL_FILTERS * layer.side**2), solved=solved)
    return own.join(class_counts(table).drop("share"), how="cross")


_PARITY = {
    "run_id": pl.String,
    "level": pl.Int64,
    "side": pl.Int64,
    "parameters_per_spin": pl.Float64,
    "relative_error": pl.Float64,
}
# What the filters themselves tell.
_OF_FILTERS = {
    "strength": pl.Float64,
    "solved": pl.Float64,
    "class": pl.Enum(TORIC_CLASSES),
    "units": pl.Int64,
}
