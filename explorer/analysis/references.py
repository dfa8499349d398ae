"""Reference energies: their uncertainty, the gap to the other flip sector, and how methods agree."""

from __future__ import annotations

import polars as pl

_WHERE = ("hamiltonian", "hamiltonian_parameters", "side", "boundary", "field")


def reference_energies(references: pl.DataFrame) -> pl.DataFrame:
    """The flip-even reference energies with their relative uncertainty, by Hamiltonian, side and field.

    Args:
        references: the table `references` of a study.

    Returns:
        hamiltonian, side, boundary, field, method, bond_dimension, energy, energy_error (J, total),
        relative_uncertainty (energy_error / |energy|), truncation_error, gap, gap_error, seconds, provenance.
    """
    return (
        references.filter(pl.col("parity").fill_null("even") == "even")
        .with_columns(relative_uncertainty=pl.col("energy_error") / pl.col("energy").abs())
        .select(
            *(
                "hamiltonian",
                "side",
                "boundary",
                "field",
                "method",
                "bond_dimension",
                "energy",
                "energy_error",
            ),
            *("relative_uncertainty", "truncation_error", "gap", "gap_error", "seconds", "provenance"),
        )
        .sort("hamiltonian", "side", "field", "relative_uncertainty")
    )


def gaps(references: pl.DataFrame) -> pl.DataFrame:
    """Gaps between the lowest states of the two flip sectors: the best known one of each Hamiltonian.

    Returns:
        hamiltonian, side, boundary, field, gap, gap_error (J), method; only Hamiltonians with a field.
    """
    return (
        references.filter(pl.col("gap").is_not_null(), pl.col("field").is_not_null())
        .sort("gap_error", nulls_last=True)
        .unique(_WHERE, keep="first", maintain_order=True)
        .select("hamiltonian", "side", "boundary", "field", "gap", "gap_error", "method")
        .sort("hamiltonian", "boundary", "side", "field")
    )


def gap_headline(gaps: pl.DataFrame) -> str:
    """Where the smallest gap is, in a sentence."""
    smallest = gaps.sort("gap").row(0, named=True)
    return f"The gap closes to {smallest['gap']:.2g} J at h = {smallest['field']:g}, L = {smallest['side']}"


def reference_differences(references: pl.DataFrame) -> pl.DataFrame:
    """Energies of one state by two methods or bond dimensions, each against the most certain one.

    Returns:
        hamiltonian, side, boundary, field, parity, method, bond_dimension, against (the other's method), difference
        (energy − the other's, J), difference_error (both errors in quadrature), deviation (difference in units of its
        error; null where that is zero).
    """
    state = (*_WHERE, "parity")
    certain = references.sort("energy_error", nulls_last=True)
    best = certain.unique(state, keep="first", maintain_order=True)
    best = best.select(
        *state, best_method="method", best_bond="bond_dimension", best="energy", best_error="energy_error"
    )
    error = (pl.col("energy_error").pow(2) + pl.col("best_error").pow(2)).sqrt()
    same = pl.col("method").eq_missing(pl.col("best_method")) & pl.col("bond_dimension").eq_missing(
        pl.col("best_bond")
    )
    return (
        references.join(best, on=state, nulls_equal=True)
        .filter(~same)
        .with_columns(difference=pl.col("energy") - pl.col("best"), difference_error=error)
        .with_columns(
            deviation=pl.when(pl.col("difference_error") > 0).then(
                pl.col("difference") / pl.col("difference_error")
            )
        )
        .select(
            *("hamiltonian", "side", "boundary", "field", "parity", "method", "bond_dimension"),
            pl.col("best_method").alias("against"),
            *("difference", "difference_error", "deviation"),
        )
        .sort("hamiltonian", "side", "field", "parity", "bond_dimension")
    )
