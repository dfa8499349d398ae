"""Sweeps and flip ratios of relu networks on CPUs: a compiled loop over blocks of chains, called by jax.

XLA makes a dozen small loops of one proposal, each of them over all chains, and how well each is
vectorised depends on the shapes by luck (a factor of eight between neighbouring sizes). Here a block of
chains goes through all proposals and all flips while its θ stays in the cache. Every site has its list of
live weights, of any length: no padding, and one program serves every density.

numba, which NetKet needs anyway, compiles the loops for the processor at hand, and XLA calls them through
its foreign function interface. `sampling` and `local_energies` do the same in jax, for other devices.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numba
import numpy as np
from jax import Array

from nqs.xla_calls import FRAME_WORDS, GIVEN, MADE, answers_metadata, matrix, registered, vector, words

# Chains of a block: enough to fill the vector units, few enough for θ to stay in half a megabyte of cache.
_MOST_CHAINS, _LEAST_CHAINS, _CACHE_BYTES = 256, 64, 1 << 19

# Rounding may follow the order of additions that is fastest; NaN and infinity keep their meaning, since a
# training that diverged has to show.
_compiled = numba.njit(boundscheck=False, error_model="numpy", fastmath={"nsz", "contract"}, cache=True)


@_compiled
def _add_log_ratio(theta, spin, first, last, units, weights, total):
    """Add to total (chains,) what flipping one spin does to log ψ; its weights are entries first … last."""
    zero, two = theta.dtype.type(0), theta.dtype.type(2)
    entry = first
    # Four rows at a time: `total` is read and written once for them.
    while entry + 4 <= last:
        w0, w1 = two * weights[entry], two * weights[entry + 1]
        w2, w3 = two * weights[entry + 2], two * weights[entry + 3]
        row0, row1 = theta[units[entry]], theta[units[entry + 1]]
        row2, row3 = theta[units[entry + 2]], theta[units[entry + 3]]
        for x in range(len(total)):
            t0, t1, t2, t3, s = row0[x], row1[x], row2[x], row3[x], spin[x]
            total[x] += (
                (max(t0 - w0 * s, zero) - max(t0, zero)) + (max(t1 - w1 * s, zero) - max(t1, zero))
            ) + ((max(t2 - w2 * s, zero) - max(t2, zero)) + (max(t3 - w3 * s, zero) - max(t3, zero)))
        entry += 4
    while entry < last:
        w0, row0 = two * weights[entry], theta[units[entry]]
        for x in range(len(total)):
            total[x] += max(row0[x] - w0 * spin[x], zero) - max(row0[x], zero)
        entry += 1


@_compiled
def _flip(theta, spin, first, last, units, weights, sign):
    """θ − 2 sign · w · spin: after a flip of `spin` (chains,), or for sign −1 before it; 0 changes nothing."""
    entry = first
    while entry + 2 <= last:
        w0, w1 = sign * weights[entry], sign * weights[entry + 1]
        row0, row1 = theta[units[entry]], theta[units[entry + 1]]
        for x in range(len(spin)):
            row0[x] -= w0 * spin[x]
            row1[x] -= w1 * spin[x]
        entry += 2
    while entry < last:
        w0, row0 = sign * weights[entry], theta[units[entry]]
        for x in range(len(spin)):
            row0[x] -= w0 * spin[x]
        entry += 1


@_compiled
def _log_ratio(theta, spins, sites, start, units, weights, total):
    """total = log ψ(X_F s) − log ψ(s) for the set F of sites; θ is as before, but for rounding."""
    two = theta.dtype.type(2)
    total[:] = 0
    for index in range(len(sites)):
        site = sites[index]
        if index:
            before = sites[index - 1]
            _flip(theta, spins[before], start[before], start[before + 1], units, weights, two)
        _add_log_ratio(theta, spins[site], start[site], start[site + 1], units, weights, total)
    for index in range(len(sites) - 1):
        site = sites[index]
        _flip(theta, spins[site], start[site], start[site + 1], units, weights, -two)


@_compiled
def _forbid(spins, sites, total):
    """total = −∞ where the spins of a set of sites do not sum to 0: a flip of them would change Σσz."""
    for x in range(len(total)):
        summed = spins.dtype.type(0)
        for site in sites:
            # Not the padding.
            if site < len(spins) - 1:
                summed += spins[site, x]
        if summed != 0:
            total[x] = -np.inf


@_compiled
def _sweep_block(
    theta, spins, start, units, weights, moves, thresholds, signs, exchange, total, accept, moved
):
    """The proposals of one sweep for a block of chains, then the draw of its overall signs."""
    two, one, zero = theta.dtype.type(2), theta.dtype.type(1), theta.dtype.type(0)
    count = 0
    for proposal in range(len(moves)):
        sites = moves[proposal]
        _log_ratio(theta, spins, sites, start, units, weights, total)
        if exchange:
            _forbid(spins, sites, total)
        for x in range(len(total)):
            accept[x] = one if thresholds[proposal, x] < two * total[x] else zero
            count += thresholds[proposal, x] < two * total[x]
        for index in range(len(sites)):
            site = sites[index]
            if site == len(spins) - 1:  # padding
                continue
            for x in range(len(total)):
                moved[x] = accept[x] * spins[site, x]
                spins[site, x] -= two * moved[x]
            _flip(theta, moved, start[site], start[site + 1], units, weights, two)
    total[:] = 0
    for unit in range(len(theta)):
        for x in range(len(total)):
            total[x] += theta[unit, x]
    for x in range(len(total)):
        accept[x] = -one if signs[x] < -two * total[x] else one
    for unit in range(len(theta)):
        for x in range(len(total)):
            theta[unit, x] *= accept[x]
    for site in range(len(spins) - 1):
        for x in range(len(total)):
            spins[site, x] *= accept[x]
    return count


@_compiled
def _preactivations(spins, start, units, weights, theta):
    """θ = W s of a block of chains, from the lists."""
    theta[:] = 0
    for site in range(len(spins) - 1):
        for entry in range(start[site], start[site + 1]):
            w, row = weights[entry], theta[units[entry]]
            for x in range(len(row)):
                row[x] += w * spins[site, x]


@_compiled
def _sweep_and_ratios(
    spins, theta, start, units, weights, moves, thresholds, signs, exchange, flips,
    new_spins, new_theta, ratios, accepted,
):  # fmt: skip
    """One sweep of all chains and the log ratios of all flips after it; the last four arrays are written."""
    sites, chains = spins.shape
    hidden = len(new_theta)
    live = hidden
    if len(theta) == 0:
        live = 0
        for entry in range(start[sites]):
            live = max(live, units[entry] + 1)
    size = min(_MOST_CHAINS, _CACHE_BYTES // ((live + 1) * weights.itemsize) // 16 * 16)
    size = max(_LEAST_CHAINS, size)
    accepted[0] = 0
    for first in range(0, chains, size):
        last = min(chains, first + size)
        # Site lists are padded with the index `sites`: a spin that is always +1 and has no weights.
        block = np.ones((sites + 1, last - first), weights.dtype)
        block[:sites] = spins[:, first:last]
        own = np.empty((live, last - first), weights.dtype)
        if len(theta) == 0:
            _preactivations(block, start, units, weights, own)
        else:
            own[:] = theta[:, first:last]
        total, accept, moved = np.empty_like(block[0]), np.empty_like(block[0]), np.empty_like(block[0])
        if len(moves):
            accepted[0] += _sweep_block(
                own, block, start, units, weights, moves, thresholds[:, first:last], signs[first:last],
                exchange[0], total, accept, moved,
            )  # fmt: skip
        for flip in range(len(flips)):
            _log_ratio(own, block, flips[flip], start, units, weights, total)
            ratios[flip, first:last] = total
        new_spins[:, first:last] = block[:sites]
        new_theta[:live, first:last] = own
        new_theta[live:, first:last] = 0


@numba.njit(cache=True)
def _answer(address, scalar):
    """Answer a call of XLA with `_sweep_and_ratios`."""
    frame = words(address, FRAME_WORDS)
    if answers_metadata(frame):
        return 0
    given, made = words(frame[GIVEN], 10), words(frame[MADE], 4)
    _sweep_and_ratios(
        matrix(given, 0, scalar),
        matrix(given, 1, scalar),
        vector(given, 2, np.int32),
        vector(given, 3, np.int32),
        vector(given, 4, scalar),
        matrix(given, 5, np.int32),
        matrix(given, 6, scalar),
        vector(given, 7, scalar),
        vector(given, 8, np.int32),
        matrix(given, 9, np.int32),
        matrix(made, 0, scalar),
        matrix(made, 1, scalar),
        matrix(made, 2, scalar),
        vector(made, 3, np.int64),
    )
    return 0


def _answer_float32(address):
    return _answer(address, np.float32)


def _answer_float64(address):
    return _answer(address, np.float64)


@cache
def _target(dtype: str) -> str:
    """Name of the compiled target for a type of θ; compiled and registered at the first use."""
    answer = {"float32": _answer_float32, "float64": _answer_float64}[dtype]
    return registered(f"nqs_sweep_{dtype}", answer)


def sweep_and_ratios(
    spins: Array,
    theta: Array | None,
    starts: Array,
    units: Array,
    weights: Array,
    hidden: int,
    moves: Array,
    thresholds: Array,
    signs: Array,
    exchange: Array,
    flips: Array,
) -> tuple[Array, Array, Array, Array]:
    """One sweep of all chains, the draw of their overall signs, then the ratios of all flips.

    Args:
        spins: (sites, chains) ±1, of the weights' type.
        theta: (hidden, chains), W s of these spins; None: it is computed from the lists.
        starts: (sites + 2,) int32; a site's live weights are entries starts[i] … starts[i + 1] of the next
            two, and the site of index `sites`, with which lists of sites are padded, has none.
        units, weights: (capacity,) int32 and float32 or float64.
        hidden: rows of θ.
        moves: (proposals, width) int32, the sites that each proposal flips; none: no sweep is made.
        thresholds: (proposals, chains) logistic numbers, one for each decision.
        signs: (chains,) logistic numbers that draw the overall signs.
        exchange: int32 scalar; not 0: a proposal is refused where its spins do not sum to 0.
        flips: (flips, width) int32.

    Returns:
        Spins, θ (hidden, chains), log ψ(X_F s) − log ψ(s) (flips, chains) at the new spins, and the number
        of accepted proposals, (1,) int64.
    """
    dtype, chains = weights.dtype, spins.shape[1]
    shapes = (
        jax.ShapeDtypeStruct(spins.shape, dtype),
        jax.ShapeDtypeStruct((hidden, chains), dtype),
        jax.ShapeDtypeStruct((len(flips), chains), dtype),
        jax.ShapeDtypeStruct((1,), jnp.int64),
    )
    theta = jnp.zeros((0, chains), dtype) if theta is None else theta
    call = jax.ffi.ffi_call(_target(str(dtype)), shapes, vmap_method="sequential")
    return call(
        spins, theta, starts, units, weights, moves, thresholds, signs, jnp.reshape(exchange, 1), flips
    )
