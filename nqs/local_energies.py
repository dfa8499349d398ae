"""Local energies E_loc(s) = Σ_s' H_ss' ψ(s')/ψ(s) from the flip ratios."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from nqs.hamiltonians import FlipForm, diagonal_energies


def flipped_energies(coefficients: Array, log_ratios: Array) -> Array:
    """Σ_k c_k ψ(X_{F_k} s)/ψ(s) of each chain.

    Args:
        coefficients: (…, flips), units of J; several rows share the ratios.
        log_ratios: (flips, chains).

    Returns:
        (…, chains).
    """
    return coefficients.astype(log_ratios.dtype) @ jnp.exp(log_ratios)


def local_energies(form: FlipForm, spins: Array, log_ratios: Array) -> Array:
    """E_loc of each chain, (chains,), total, units of J.

    Args:
        spins: (sites, chains) ±1.
        log_ratios: (flips, chains) of the form's flips.
    """
    return diagonal_energies(form, spins) + flipped_energies(form.flip_coefficients, log_ratios)
