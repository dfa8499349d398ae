"""Local energies E_loc(s) = Σ_s' H_ss' ψ(s')/ψ(s) from the flip ratios."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from nqs.hamiltonians import FlipForm


def diagonal_energies(form: FlipForm, spins: Array) -> Array:
    """d(s) for every chain: (chains,) from spins (sites, chains)."""
    products = _spin_products(spins, form.diagonal_sites)
    return form.diagonal_coefficients.astype(spins.dtype) @ products


def flip_coefficients_at(form: FlipForm, spins: Array) -> Array:
    """c_k(s) for every chain: (…, flips, chains) from spins (sites, chains).

    Leading axes are those of the form's coefficients, as of `observables.measured_form`.
    """
    products = _spin_products(spins, form.sign_sites)
    # Not as a matrix product, which may round its factors on GPUs: c + b is to be 0 where it is.
    signed = (form.sign_coefficients.astype(spins.dtype)[..., None] * products).sum(-2)
    return form.flip_coefficients.astype(spins.dtype)[..., None] + signed


def _spin_products(spins: Array, chosen: Array) -> Array:
    """Π s_i over each padded set: (…, chains) from sets (…, order)."""
    padded = jnp.concatenate([spins, jnp.ones((1, spins.shape[1]), spins.dtype)])
    return jnp.prod(padded[chosen], axis=-2)


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
