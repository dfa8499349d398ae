"""What a figure can show of a trained network, and what of a study it holds fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

# A magnitude below the rounding of float64 is drawn there: its logarithm is of no meaning, or −∞.
ROUNDING = float(np.finfo(float).eps)
TRAJECTORY = "trajectory"
VARIANTS = ("init_imp", "rand_imp", "init_rand")

# Never null, so that its negation keeps every other network, and tables from before there were any.
TRANSFERRED = (pl.col("kind") == "ticket") & (
    pl.col("mask_hamiltonian_parameters") != pl.col("hamiltonian_parameters")
).fill_null(False)

# What one figure holds fixed: two networks that differ here are two studies, not two samples of one.
SETTINGS = (
    "hamiltonian",
    "hamiltonian_name",
    "boundary",
    "field",
    "network",
    "width_per_spin",
    "method",
    "samples",
    "learning_rate",
    "diagonal_shift",
    "pruning_ratio",
    "pretraining_steps",
    "steps_per_level",
    "ticket_steps",
)


@dataclass(frozen=True)
class Quantity:
    """What a figure can show of a trained network.

    Attributes:
        column: where `with_quantities` has it; its standard error is in `<column>_error`.
        name: in words, as a menu or a title has it.
        symbol: as the axis has it.
        logarithmic: magnitudes are averaged and drawn on a logarithmic scale, negative ones marked.
    """

    column: str
    name: str
    symbol: str
    logarithmic: bool


QUANTITIES = {
    quantity.column: quantity
    for quantity in (
        Quantity("relative_error", "relative error of the energy", "|E − E₀| / |E₀|", True),
        Quantity("error_per_spin", "energy error per spin", "|E − E₀| / N   (J)", True),
        Quantity("variance_per_spin", "energy variance per spin", "Var H / N   (J²)", True),
        # N Var H / (E − E∞)² of Wu et al., Science 386, 296 (2024), with E∞ = Tr H / 2ᴺ, which is 0 here.
        Quantity("v_score", "V-score", "N Var H / E²", True),
        Quantity("magnetization_x", "transverse magnetisation", "⟨σˣ⟩", False),
        Quantity("abs_magnetization_z", "longitudinal magnetisation", "⟨|σᶻ|⟩", False),
        Quantity("fidelity", "fidelity with the level before", "F", False),
        Quantity("log_fidelity_per_spin", "fidelity loss per spin", "−ln F / N", True),
    )
}


def with_quantities(states: pl.DataFrame) -> pl.DataFrame:
    """The states with every column of `QUANTITIES`, and what a point of a figure is grouped by.

    Adds `series` (trajectory, which includes its dense network, or a ticket's variant), `cluster` (the
    trajectory a network belongs to, or its dense run), `variance_per_spin` and `log_fidelity_per_spin`,
    these and `v_score` with `_error` (null where there is none).
    """
    return states.with_columns(
        series=pl.when(pl.col("kind") == "ticket").then("variant").otherwise(pl.lit(TRAJECTORY)),
        cluster=pl.coalesce("trajectory_run_id", "dense_run_id", "run_id"),
        variance_per_spin=pl.col("variance") / pl.col("sites"),
        variance_per_spin_error=pl.lit(None, pl.Float64),
        v_score_error=pl.lit(None, pl.Float64),
        log_fidelity_per_spin=-pl.col("log_fidelity") / pl.col("sites"),
        # d ln F = dF / F
        log_fidelity_per_spin_error=pl.col("fidelity_error") / pl.col("fidelity") / pl.col("sites"),
    )


def own_masks(states: pl.DataFrame) -> pl.DataFrame:
    """The states without transfer tickets, whose masks were found at another Hamiltonian."""
    return states.filter(~TRANSFERRED)


def what_varied(states: pl.DataFrame) -> dict[str, list]:
    """Settings that should be one value in a figure and are several, with their values."""
    columns = [column for column in SETTINGS if column in states.columns]
    values = {column: states[column].drop_nulls().unique().sort().to_list() for column in columns}
    return {column: found for column, found in values.items() if len(found) > 1}


def sides_without_reference(states: pl.DataFrame) -> list[int]:
    """Sides with trained networks but no reference energy, so without an energy error."""
    missing = states.filter(pl.col("reference_energy").is_null())
    return missing["side"].unique().sort().to_list()


def below_reference(states: pl.DataFrame) -> pl.DataFrame:
    """Networks whose energy lies significantly below their reference; empty where an older export does not say.

    Returns:
        run_id, level, hamiltonian, side, field, energy, energy_error, reference_energy, reference_energy_error,
        reference_method.
    """
    return states.filter("below_reference").select(
        *("run_id", "level", "hamiltonian", "side", "field", "energy", "energy_error"),
        *("reference_energy", "reference_energy_error", "reference_method"),
    )
