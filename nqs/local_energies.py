"""Local energies E_loc(s) = Σ_s' H_ss' ψ(s')/ψ(s) from the flip ratios."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from nqs.hamiltonians import FlipForm, diagonal_energies, flip_coefficients_at


def flipped_energies(form: FlipForm, spins: Array, ratios: Array) -> Array:
    """Σ_k c_k(s) ψ(X_{F_k} s)/ψ(s) of each chain.

    Args:
        form: leading axes of its coefficients are several rows that share the ratios.
        spins: (sites, chains) ±1, in the dtype of the ratios.
        ratios: (flips, chains).

    Returns:
        (…, chains), units of J.
    """
    if not form.sign_coefficients.size:
        return form.flip_coefficients.astype(ratios.dtype) @ ratios
    coefficients = flip_coefficients_at(form, spins)
    # A flip that is not there may lead where ψ was never trained, and its ratio be infinite.
    return jnp.where(coefficients == 0, 0, coefficients * ratios).sum(-2)


def local_energies(form: FlipForm, spins: Array, log_ratios: Array) -> Array:
    """E_loc of each chain, (chains,), total, units of J.

    Args:
        spins: (sites, chains) ±1.
        log_ratios: (flips, chains) of the form's flips.
    """
    return diagonal_energies(form, spins) + flipped_energies(form, spins, jnp.exp(log_ratios))
