"""Metropolis chains of |ψ|², one persistent chain a sample, with the chain axis as the vector axis.

A sweep is N proposals of single flips and one draw of the overall sign. All chains try the same random
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

from nqs import cpu_kernels
from nqs.layouts import ListLayout, RowLayout


class Chains(NamedTuple):
    """Markov chains, one a column, with what flipping a spin needs.

    Attributes:
        spins: (sites, chains) ±1.
        theta: (units, chains), pre-activations W s of these spins; in the list layout of the live
            units, then of nothing.
    """

    spins: Array
    theta: Array


class Sampled(NamedTuple):
    """What a sweep leaves.

    Attributes:
        chains: after it.
        log_ratios: (flips, chains), log ψ(X_F s) − log ψ(s) of each set F that was asked for.
        accepted: fraction of proposals accepted, over all chains.
    """

    chains: Chains
    log_ratios: Array
    accepted: Array


class Proposals(NamedTuple):
    """The random numbers of one sweep.

    Attributes:
        sites: (proposals, width) int32, the spins that each proposal flips.
        thresholds: (proposals, chains), a proposal is accepted where this is below 2 Δ log ψ.
        signs: (chains,) logistic numbers, log(u / (1 − u)) of a uniform u, that draw the overall signs.
    """

    sites: Array
    thresholds: Array
    signs: Array


def random_spins(key: Array, sites: int, chains: int) -> Array:
    """(sites, chains) float32, each spin ±1 with equal chance."""
    return jax.random.rademacher(key, (sites, chains), jnp.float32)


def amplitude(theta: Array) -> Array:
    """log ψ of each chain: (chains,) from θ (units, chains)."""
    return jnp.maximum(theta, 0).sum(0)


def draw_proposals(key: Array, sites: int, chains: int, dtype) -> Proposals:
    """The random numbers of a sweep of single flips."""
    for_sites, for_thresholds, for_flip = jax.random.split(key, 3)
    return Proposals(
        jax.random.randint(for_sites, (sites, 1), 0, sites, jnp.int32),
        # log u is −Exponential; the log of a float32 uniform would be −∞ once in 8 million.
        -jax.random.exponential(for_thresholds, (sites, chains), dtype),
        jax.random.logistic(for_flip, (chains,), dtype),
    )


def sweep(
    proposals: Proposals | None,
    spins: Array,
    weights: Array,
    layout: RowLayout | ListLayout,
    flips: Array | None = None,
) -> Sampled:
    """One sweep of the chains at fixed weights, then the ratios of the flips that are asked for.

    Args:
        proposals: None: no sweep, the chains stay where they are.
        spins: (sites, chains) ±1, of the weights' type.
        weights: (sites, hidden) in the row layout, (bucket,) in the list layout.
        flips: (flips, width) int32, sets of sites, padded with the index `sites`.
    """
    count = spins.shape[1]
    if flips is None:
        flips = jnp.zeros((0, 1), jnp.int32)
    if layout.lists is not None:
        return _compiled_sweep(proposals, spins, weights, layout, flips)
    rows = isinstance(layout, RowLayout)
    network = _Rows(weights) if rows else _Lists(weights, layout)
    chains, accepted = Chains(spins, network.preactivations(spins)), jnp.zeros((), weights.dtype)
    if proposals is not None:
        (chains, accepted), _ = jax.lax.scan(
            partial(_propose, network), (chains, accepted), (proposals.sites, proposals.thresholds)
        )
        chains = draw_signs(chains, proposals.signs)
        accepted = accepted / len(proposals.sites)
    if not len(flips):
        return Sampled(chains, jnp.zeros((0, count), weights.dtype), accepted)
    log_ratios = jax.lax.map(lambda flipped: network.flip(chains, flipped)[1], flips)
    return Sampled(chains, log_ratios, accepted)


def _compiled_sweep(proposals, spins, weights, layout, flips) -> Sampled:
    count, lists = spins.shape[1], layout.lists
    if isinstance(layout, RowLayout):
        # A product of full rows is faster than the lists while most of W is live, and never slow.
        theta, values, hidden = weights.T @ spins, weights.ravel()[lists.positions], weights.shape[1]
    else:
        theta, values, hidden = None, weights, layout.units
    if proposals is None:
        proposals = Proposals(
            jnp.zeros((0, 1), jnp.int32), jnp.zeros((0, count), spins.dtype), jnp.zeros(count, spins.dtype)
        )
    new_spins, theta, log_ratios, accepted = cpu_kernels.sweep_and_ratios(
        spins, theta, lists.starts, lists.units, values, hidden, *proposals, flips
    )
    tried = max(1, len(proposals.sites)) * count
    return Sampled(Chains(new_spins, theta), log_ratios, (accepted[0] / tried).astype(spins.dtype))


class _Rows:
    """Flips in the row layout: every hidden unit is touched."""

    def __init__(self, weights: Array):
        self._weights = weights
        # Site lists are padded with index `sites`: a spin whose weights are 0.
        self._rows = jnp.concatenate([weights, jnp.zeros((1, weights.shape[1]), weights.dtype)])

    def preactivations(self, spins: Array) -> Array:
        return self._weights.T @ spins

    def flip(self, chains: Chains, flipped: Array) -> tuple[Array, Array]:
        """θ after flipping the set of sites, and the change of log ψ."""
        theta = chains.theta
        spins = _with_padding(chains.spins)
        for site in flipped:
            theta = theta - 2 * self._rows[site][:, None] * spins[site][None, :]
        return theta, amplitude(theta) - amplitude(chains.theta)


class _Lists:
    """Flips in the list layout: only the site's own units are touched."""

    def __init__(self, weights: Array, layout: ListLayout):
        self._layout, self._units = layout, layout.padded.units
        self._live = weights
        self._weights = jnp.append(weights, 0)[layout.padded.weights]

    def preactivations(self, spins: Array) -> Array:
        layout = self._layout
        dense = jnp.zeros((layout.units, len(spins)), self._live.dtype)
        return dense.at[layout.weight_units, layout.weight_sites].add(self._live) @ spins

    def flip(self, chains: Chains, flipped: Array) -> tuple[Array, Array]:
        """θ after flipping the set of sites, and the change of log ψ."""
        theta, change = chains.theta, jnp.zeros(chains.spins.shape[1], chains.theta.dtype)
        spins = _with_padding(chains.spins)
        for site in flipped:
            units = self._units[site]
            old = theta[units]
            new = old - 2 * self._weights[site][:, None] * spins[site][None, :]
            theta, change = theta.at[units].set(new), change + amplitude(new) - amplitude(old)
        return theta, change


def _with_padding(spins: Array) -> Array:
    return jnp.concatenate([spins, jnp.ones((1, spins.shape[1]), spins.dtype)])


def _propose(network, carry, inputs):
    chains, accepted = carry
    flipped, threshold = inputs
    theta, change = network.flip(chains, flipped)
    accept = threshold < 2 * change
    signs = jnp.where(accept, -1, 1).astype(chains.spins.dtype)
    # A padding index is out of bounds and is dropped.
    spins = chains.spins.at[flipped].multiply(signs, mode="drop")
    return (
        Chains(spins, jnp.where(accept, theta, chains.theta)),
        accepted + accept.mean(dtype=accepted.dtype),
    ), None


def draw_signs(chains: Chains, thresholds: Array) -> Chains:
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
def equilibrate(
    key: Array,
    spins: Array,
    weights: Array,
    layout: RowLayout | ListLayout,
    sweeps: int,
    dtype=jnp.float32,
) -> Array:
    """Spins (sites, chains) after so many sweeps at fixed weights; the number is not compiled in."""
    weights = weights.astype(dtype)

    def one(index, spins):
        proposals = draw_proposals(jax.random.fold_in(key, index), *spins.shape, dtype)
        return sweep(proposals, spins, weights, layout).chains.spins

    return jax.lax.fori_loop(0, sweeps, one, spins.astype(dtype)).astype(spins.dtype)
