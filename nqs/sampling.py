"""Markov chains of |ψ|², one persistent chain a sample, with the chain axis as the vector axis.

A sweep makes every move once, in an order that is random and the same for all chains, and then draws the
overall sign. Each draw is by heat bath: the flipped configuration s' is taken with chance
π(s') / (π(s) + π(s')), π = |ψ|². Every such draw keeps π, so, given any order, independent stationary chains
stay independent and stationary. Not Metropolis: where it accepts everything, a sweep of single flips turns s
into −s and nothing else, and with random sites all chains flip a nearly free spin together, so that its bias
changes sign and hardly shrinks.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nqs import cpu_kernels
from nqs.activations import ACTIVATIONS
from nqs.layouts import ListLayout, RowLayout
from nqs.moves import Moves, allowed
from nqs.tied_layouts import TiedLayout


class Chains(NamedTuple):
    """Markov chains, one a column, with what flipping a spin needs.

    Attributes:
        spins: (sites, chains) ±1.
        theta: (units, chains), pre-activations W s of these spins; in the list layout of the live
            units, then of nothing; in the tied layout of all units, then of the dummy.
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
        thresholds: (proposals, chains) logistic numbers, log(u / (1 − u)) of a uniform u; a proposal is
            accepted where this is below 2 Δ log ψ.
        signs: (chains,) the same, for the overall signs.
        exchange: int32 scalar, as in `Moves`.
    """

    sites: Array
    thresholds: Array
    signs: Array
    exchange: Array


def random_spins(key: Array, sites: int, chains: int, balanced: bool = False) -> Array:
    """(sites, chains) float32, each spin ±1 with equal chance.

    Args:
        balanced: Σσz = 0 in every chain, each such configuration with equal chance: where the chains of
            exchange moves start.

    Raises:
        ValueError: balanced spins of an odd number of sites.
    """
    if balanced:
        if sites % 2:
            raise ValueError(f"{sites} spins cannot be balanced; an even number can")
        halves = jnp.repeat(jnp.array([1, -1], jnp.float32), sites // 2)
        columns = jnp.broadcast_to(halves[:, None], (sites, chains))
        return jax.random.permutation(key, columns, axis=0, independent=True)
    return jax.random.rademacher(key, (sites, chains), jnp.float32)


def amplitude(theta: Array, activation: str = "relu") -> Array:
    """log ψ of each chain: (chains,) from θ (units, chains); `activation` is a name of `nqs.activations`."""
    return ACTIVATIONS[activation](theta).sum(0)


def amplitude_of(chains: Chains, layout: RowLayout | ListLayout | TiedLayout) -> Array:
    """log ψ of each chain, (chains,), with the layout's activation."""
    return amplitude(chains.theta, _activation_of(layout))


def log_psi(weights: Array, layout: RowLayout | ListLayout | TiedLayout, spins: Array) -> Array:
    """log ψ of each chain, (chains,), of any spins (sites, chains)."""
    theta = _network(weights, layout).preactivations(spins)
    return amplitude(theta, _activation_of(layout))


def draw_proposals(key: Array, moves: Moves, chains: int, dtype) -> Proposals:
    """The random numbers of a sweep: each move once, in random order."""
    for_order, for_thresholds = jax.random.split(key)
    count = len(moves.sites)
    order = jax.random.permutation(for_order, jnp.arange(count, dtype=jnp.int32))
    thresholds = logistic(for_thresholds, (count + 1, chains), dtype)
    # Moves may be numpy's, which a traced order cannot index; and the compiled loops read 32 bits.
    sites, exchange = jnp.asarray(moves.sites, jnp.int32)[order], jnp.asarray(moves.exchange, jnp.int32)
    return Proposals(sites, thresholds[:-1], thresholds[-1], exchange)


def logistic(key: Array, shape: tuple[int, ...], dtype) -> Array:
    """log(u / (1 − u)) of uniform u: below 2 Δ log ψ with the chance of heat bath.

    A float32 uniform is 0 once in 8 million draws. It stands for all values below 2⁻²³, not for a number
    that accepts anything: one chain sent where |ψ|² vanishes has a local energy that ruins its step.
    """
    return jnp.maximum(jax.random.logistic(key, shape, dtype), -16)


def sweep(
    proposals: Proposals | None,
    spins: Array,
    weights: Array,
    layout: RowLayout | ListLayout | TiedLayout,
    flips: Array | None = None,
) -> Sampled:
    """One sweep of the chains at fixed weights, then the ratios of the flips that are asked for.

    Args:
        proposals: None: no sweep, the chains stay where they are.
        spins: (sites, chains) ±1, of the weights' type.
        weights: (sites, hidden) in the row layout, (bucket,) in the others.
        flips: (flips, width) int32, sets of sites, padded with the index `sites`.
    """
    count = spins.shape[1]
    if flips is None:
        flips = jnp.zeros((0, 1), jnp.int32)
    if not isinstance(layout, TiedLayout) and layout.lists is not None:
        return _compiled_sweep(proposals, spins, weights, layout, flips)
    network = _network(weights, layout)
    chains, accepted = Chains(spins, network.preactivations(spins)), jnp.zeros((), weights.dtype)
    if proposals is not None:
        (chains, accepted), _ = jax.lax.scan(
            partial(_propose, network, proposals.exchange),
            (chains, accepted),
            (proposals.sites, proposals.thresholds),
        )
        chains = draw_signs(chains, proposals.signs)
        accepted = accepted / len(proposals.sites)
    if not len(flips):
        return Sampled(chains, jnp.zeros((0, count), weights.dtype), accepted)
    log_ratios = jax.lax.map(partial(network.log_ratio, chains), flips)
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
            jnp.zeros((0, 1), jnp.int32),
            jnp.zeros((0, count), spins.dtype),
            jnp.zeros(count, spins.dtype),
            jnp.int32(0),
        )
    new_spins, theta, log_ratios, accepted = cpu_kernels.sweep_and_ratios(
        spins, theta, lists.starts, lists.units, values, hidden, *proposals, flips
    )
    tried = max(1, len(proposals.sites)) * count
    return Sampled(Chains(new_spins, theta), log_ratios, (accepted[0] / tried).astype(spins.dtype))


def _network(weights: Array, layout: RowLayout | ListLayout | TiedLayout) -> _Rows | _Lists:
    if isinstance(layout, RowLayout):
        return _Rows(weights)
    return _Lists(weights, layout, _activation_of(layout))


def _activation_of(layout: RowLayout | ListLayout | TiedLayout) -> str:
    return layout.activation if isinstance(layout, TiedLayout) else "relu"


class _Rows:
    """Flips in the row layout: every hidden unit is touched."""

    def __init__(self, weights: Array):
        self._weights = weights
        # Site lists are padded with index `sites`: a spin whose weights are 0.
        self._rows = jnp.concatenate([weights, jnp.zeros((1, weights.shape[1]), weights.dtype)])

    def preactivations(self, spins: Array) -> Array:
        return self._weights.T @ spins

    def log_ratio(self, chains: Chains, flipped: Array) -> Array:
        """The change of log ψ (chains,) by a flip of the set of sites."""
        return amplitude(self._flipped(chains, flipped)) - amplitude(chains.theta)

    def flip(self, chains: Chains, flipped: Array, accept: Array) -> Array:
        """θ after a flip of the set of sites, in those chains that accept it."""
        return jnp.where(accept, self._flipped(chains, flipped), chains.theta)

    def _flipped(self, chains: Chains, flipped: Array) -> Array:
        theta = chains.theta
        spins = _with_padding(chains.spins)
        for site in flipped:
            theta = theta - 2 * self._rows[site][:, None] * spins[site][None, :]
        return theta


class _Lists:
    """Flips in the list and in the tied layout: only the site's own units are touched."""

    def __init__(self, weights: Array, layout: ListLayout | TiedLayout, activation: str):
        self._rows, self._units = layout.units, layout.padded.units
        self._weights = jnp.append(weights, 0)[layout.padded.weights]
        self._activation = ACTIVATIONS[activation]

    def preactivations(self, spins: Array) -> Array:
        sites = jnp.arange(len(spins))[:, None]
        dense = jnp.zeros((self._rows, len(spins)), self._weights.dtype)
        # The padding of all lists writes the same zero.
        return dense.at[self._units[:-1], sites].set(self._weights[:-1]) @ spins

    def log_ratio(self, chains: Chains, flipped: Array) -> Array:
        """The change of log ψ (chains,) by a flip of the set of sites."""
        theta, change = chains.theta, jnp.zeros(chains.spins.shape[1], chains.theta.dtype)
        spins = _with_padding(chains.spins)
        for site in flipped:
            units, old, new = self._flipped(theta, spins, site)
            theta = theta.at[units].set(new)
            # One sum of differences: two sums, each with its own pass, take XLA twice as long on CPUs.
            change = change + (self._activation(new) - self._activation(old)).sum(0)
        return change

    def flip(self, chains: Chains, flipped: Array, accept: Array) -> Array:
        """θ after a flip of the set of sites, in those chains that accept it."""
        theta = chains.theta
        spins = _with_padding(chains.spins)
        for site in flipped:
            units, old, new = self._flipped(theta, spins, site)
            theta = theta.at[units].set(jnp.where(accept, new, old))
        return theta

    def _flipped(self, theta: Array, spins: Array, site: Array) -> tuple[Array, Array, Array]:
        """The site's units, and their θ before and after a flip of it."""
        units = self._units[site]
        old = theta[units]
        return units, old, old - 2 * self._weights[site][:, None] * spins[site][None, :]


def _with_padding(spins: Array) -> Array:
    return jnp.concatenate([spins, jnp.ones((1, spins.shape[1]), spins.dtype)])


def _propose(network, exchange, carry, inputs):
    chains, accepted = carry
    flipped, threshold = inputs
    accept = threshold < 2 * network.log_ratio(chains, flipped)
    accept = accept & allowed(chains.spins, flipped, exchange)
    theta = network.flip(chains, flipped, accept)
    signs = jnp.where(accept, -1, 1).astype(chains.spins.dtype)
    # A padding index is out of bounds and is dropped.
    spins = chains.spins.at[flipped].multiply(signs, mode="drop")
    return (Chains(spins, theta), accepted + accept.mean(dtype=accepted.dtype)), None


def draw_signs(chains: Chains, thresholds: Array) -> Chains:
    """Draw each chain's overall sign from the pair (s, −s): θ → −θ, and log ψ changes by −Σ θ exactly,
    for every activation of `nqs.activations`.

    Without it chains freeze in the ferromagnet, where single flips do not cross between the two
    magnetisations. Heat bath, not Metropolis: that would flip a symmetric state with certainty, and the
    sign would alternate from sweep to sweep instead of being drawn anew.

    Args:
        thresholds: (chains,) logistic numbers.
    """
    sign = jnp.where(thresholds < -2 * chains.theta.sum(0), -1, 1).astype(chains.theta.dtype)
    return Chains(chains.spins * sign, chains.theta * sign)


@partial(jax.jit, static_argnames="dtype")
def equilibrate(
    key: Array,
    moves: Moves,
    spins: Array,
    weights: Array,
    layout: RowLayout | ListLayout | TiedLayout,
    sweeps: int,
    dtype=jnp.float32,
) -> Array:
    """Spins (sites, chains) after so many sweeps at fixed weights; the number is not compiled in."""
    weights = weights.astype(dtype)

    def one(index, spins):
        proposals = draw_proposals(jax.random.fold_in(key, index), moves, spins.shape[1], dtype)
        return sweep(proposals, spins, weights, layout).chains.spins

    return jax.lax.fori_loop(0, sweeps, one, spins.astype(dtype)).astype(spins.dtype)
