"""Local energies E_loc(s) = Σ_s' H_ss' ψ(s')/ψ(s) and the flip ratios they are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from nqs.hamiltonians import FlipForm, diagonal_energies
from nqs.layouts import ListLayout
from nqs.sampling import Chains, amplitude


def flipped_rows(form: FlipForm, chains: Chains, weights: Array) -> Array:
    """Σ_k c_k ψ(X_{F_k} s)/ψ(s) of each chain in the row layout; weights (sites, hidden).

    The coefficients may have several rows, (rows, flips): the ratios are the costly part, and the sums
    (rows, chains) share them.
    """
    log_psi = amplitude(chains.theta)
    # Site lists are padded with index `sites`: a spin whose weights are 0.
    rows = jnp.concatenate([weights, jnp.zeros((1, weights.shape[1]), weights.dtype)])
    spins = jnp.concatenate([chains.spins, jnp.ones((1, chains.spins.shape[1]), chains.spins.dtype)])

    def add(total, inputs):
        coefficient, flipped = inputs
        theta = chains.theta
        for site in flipped:
            theta = theta - 2 * rows[site][:, None] * spins[site][None, :]
        return total + coefficient[..., None] * jnp.exp(amplitude(theta) - log_psi), None

    coefficients = jnp.asarray(form.flip_coefficients, chains.theta.dtype)
    start = jnp.zeros((*coefficients.shape[:-1], len(log_psi)), log_psi.dtype)
    return jax.lax.scan(add, start, (coefficients.T, form.flip_sites))[0]


def flipped_lists(form: FlipForm, chains: Chains, live: Array, layout: ListLayout) -> Array:
    """The same in the list layout, for a form whose flips are single spins; live (bucket,) weights."""
    padded = jnp.append(live, 0)[layout.weight_list]

    def add(total, inputs):
        coefficient, site = inputs
        old = chains.theta[layout.unit_list[site]]
        new = old - 2 * padded[site][:, None] * chains.spins[site][None, :]
        return total + coefficient * jnp.exp(amplitude(new) - amplitude(old)), None

    coefficients = form.flip_coefficients.astype(chains.theta.dtype)
    start = jnp.zeros(chains.spins.shape[1], chains.theta.dtype)
    return jax.lax.scan(add, start, (coefficients, form.flip_sites[:, 0]))[0]


def local_energies(form: FlipForm, chains: Chains, flipped: Array) -> Array:
    """E_loc of each chain, (chains,), total, units of J; `flipped` from one of the functions above."""
    return diagonal_energies(form, chains.spins) + flipped
