"""Metropolis chains of |ψ|², one persistent chain a sample, with the chain axis as the vector axis.

A sweep is N proposals of single flips and one of flipping all spins. All chains try the same random
site in a proposal: each single-site kernel keeps |ψ|², so, given any site sequence, independent
stationary chains stay independent and stationary. A random site, not a fixed order: with a fixed order
Metropolis acceptance is not ergodic where everything is accepted.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nqs.layouts import ListLayout


class Chains(NamedTuple):
    """Markov chains, one a column, with what flipping a spin needs.

    Attributes:
        spins: (sites, chains) ±1.
        theta: (units, chains), pre-activations W s of these spins; in the list layout of the live
            units and one dummy that stays 0.
    """

    spins: Array
    theta: Array


class SweepInfo(NamedTuple):
    """Attributes: accepted: fraction of single-flip proposals accepted, over all chains."""

    accepted: Array


def random_spins(key: Array, sites: int, chains: int) -> Array:
    """(sites, chains) float32, each spin ±1 with equal chance."""
    return jax.random.rademacher(key, (sites, chains), jnp.float32)


def chains_at(spins: Array, weights: Array) -> Chains:
    """Chains in the row layout: θ = W s afresh; weights (sites, hidden)."""
    return Chains(spins, weights.T @ spins)


def chains_in_lists(spins: Array, live: Array, layout: ListLayout) -> Chains:
    """Chains in the list layout; live (bucket,) weights."""
    dense = jnp.zeros((len(layout.unit_is_live), spins.shape[0]), live.dtype)
    return Chains(spins, dense.at[layout.weight_units, layout.weight_sites].add(live) @ spins)


def amplitude(theta: Array) -> Array:
    """log ψ of each chain: (chains,) from θ (units, chains)."""
    return jnp.maximum(theta, 0).sum(0)


def sweep_rows(key: Array, chains: Chains, weights: Array) -> tuple[Chains, SweepInfo]:
    """One sweep in the row layout: O(N · hidden) a chain; weights (sites, hidden)."""

    def propose(carry, inputs):
        chains, log_psi, accepted = carry
        site, threshold = inputs
        spin = chains.spins[site]
        theta = chains.theta - 2 * weights[site][:, None] * spin[None, :]
        new_log_psi = amplitude(theta)
        accept = threshold < 2 * (new_log_psi - log_psi)
        chains = Chains(
            chains.spins.at[site].set(jnp.where(accept, -spin, spin)),
            jnp.where(accept[None, :], theta, chains.theta),
        )
        return (chains, jnp.where(accept, new_log_psi, log_psi), accepted + accept.mean()), None

    return _sweep(key, chains, propose, amplitude(chains.theta))


def sweep_lists(key: Array, chains: Chains, live: Array, layout: ListLayout) -> tuple[Chains, SweepInfo]:
    """One sweep in the list layout: O(live weights) a chain; live (bucket,) weights."""
    padded = jnp.append(live, 0)[layout.weight_list]

    def propose(carry, inputs):
        chains, _, accepted = carry
        site, threshold = inputs
        units, spin = layout.unit_list[site], chains.spins[site]
        old = chains.theta[units]
        new = old - 2 * padded[site][:, None] * spin[None, :]
        accept = threshold < 2 * (amplitude(new) - amplitude(old))
        chains = Chains(
            chains.spins.at[site].set(jnp.where(accept, -spin, spin)),
            chains.theta.at[units].set(jnp.where(accept[None, :], new, old)),
        )
        return (chains, None, accepted + accept.mean()), None

    return _sweep(key, chains, propose, None)


def _sweep(key, chains, propose, log_psi):
    for_sites, for_thresholds, for_flip = jax.random.split(key, 3)
    sites, count = chains.spins.shape
    dtype = chains.theta.dtype
    tried = jax.random.randint(for_sites, (sites,), 0, sites)
    # log u is −Exponential; the log of a float32 uniform would be −∞ once in 8 million.
    thresholds = -jax.random.exponential(for_thresholds, (sites, count), dtype)
    carry = (chains, log_psi, jnp.zeros((), dtype))
    (chains, _, accepted), _ = jax.lax.scan(propose, carry, (tried, thresholds))
    chains = flip_all(chains, jax.random.logistic(for_flip, (count,), dtype))
    return chains, SweepInfo(accepted / sites)


def flip_all(chains: Chains, thresholds: Array) -> Chains:
    """Draw each chain's overall sign from the pair (s, −s): θ → −θ, and log ψ changes by −Σ θ exactly.

    Without it chains freeze in the ferromagnet, where single flips do not cross between the two
    magnetisations. Heat bath, not Metropolis: that would flip a symmetric state with certainty, and the
    sign would alternate from sweep to sweep instead of being drawn anew.

    Args:
        thresholds: (chains,) logistic numbers, log(u / (1 − u)) of a uniform u.
    """
    sign = jnp.where(thresholds < -2 * chains.theta.sum(0), -1, 1).astype(chains.theta.dtype)
    return Chains(chains.spins * sign, chains.theta * sign)


@partial(jax.jit, static_argnames="dtype")
def equilibrate(key: Array, spins: Array, weights: Array, sweeps: int, dtype=jnp.float32) -> Array:
    """Spins after so many sweeps at fixed weights (sites, hidden); the number is not compiled in."""
    weights = weights.astype(dtype)

    def one(index, chains):
        chains = chains_at(chains.spins, weights)
        return sweep_rows(jax.random.fold_in(key, index), chains, weights)[0]

    chains = Chains(spins.astype(dtype), jnp.zeros((weights.shape[1], spins.shape[1]), dtype))
    return jax.lax.fori_loop(0, sweeps, one, chains).spins.astype(spins.dtype)
