"""Stochastic reconfiguration: (S + shift) δ = g with S = ⟨O O⟩_c and g = 2 ⟨O E_loc⟩_c.

The same δ comes from a solve in samples (kernel O Oᵀ, samples × samples) and from one in parameters
(metric Oᵀ O, live × live); the smaller one is made. For a relu layer O_ij = m_ij s_i a_j with
a_j = 1[θ_j > 0]: all entries are −1, 0 or 1, so both matrices are counts of bits, exact integers. With tied
weights an entry of O is a sum, and O itself is made: it has few columns.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nqs import bit_counts
from nqs.activations import slopes
from nqs.layouts import COLUMN_CHUNK, ListLayout, RowLayout
from nqs.linear_solve import BLOCK, solve, upper_blocks
from nqs.sampling import Chains
from nqs.tied_layouts import TiedLayout

_WORD = 32
_WORDS = COLUMN_CHUNK // _WORD


class Bits(NamedTuple):
    """Entries of O, packed: where a unit is on, and where the spin beside it is up.

    Attributes:
        on, up: (words, items) uint32.
    """

    on: Array
    up: Array


def pack(rows: Array) -> Array:
    """(words, items) uint32 from booleans (rows, items); words are padded to whole chunks."""
    chunks = -(-rows.shape[0] // COLUMN_CHUNK)
    words = chunks * _WORDS
    padded = jnp.pad(rows.astype(jnp.uint32), ((0, words * _WORD - rows.shape[0]), (0, 0)))
    # Word k has the rows k, k + words, k + 2 words, …: whole rows are shifted, none is moved.
    packed = padded[:words]
    for bit in range(1, _WORD):
        packed = packed | (padded[bit * words : (bit + 1) * words] << bit)
    return packed


def count_pairs(
    test,
    bits: tuple[Array, ...],
    chunks: Array | int,
    start: list[Array] | None = None,
    factor: Array | int = 1,
) -> list[Array]:
    """How many bits pass a test, for every pair of items: the upper half of a symmetric matrix.

    Args:
        test: from the words of an item and those of another, tuples as `bits`, to a word.
        bits: arrays (words, items) uint32.
        chunks: of words that are in use.
        start: block rows that `factor` times the counts are added to; None: zeros.

    Returns:
        Block rows of int32, each from its diagonal block on: (BLOCK, items − first).
    """
    items = bits[0].shape[1]
    firsts = range(0, items, BLOCK)
    if start is None:
        start = [jnp.zeros((min(BLOCK, items - first), items - first), jnp.int32) for first in firsts]

    def block_row(first: int, total: Array) -> Array:
        def add(chunk, total):
            corner = (jnp.int32(chunk) * _WORDS, jnp.int32(first))
            words = [jax.lax.dynamic_slice(b, corner, (_WORDS, items - first)) for b in bits]
            passed = 0
            for word in range(_WORDS):
                own = tuple(part[word, :BLOCK, None] for part in words)
                others = tuple(part[word, None, :] for part in words)
                passed = passed + jax.lax.population_count(test(own, others)).astype(jnp.int32)
            return total + factor * passed

        return jax.lax.fori_loop(0, chunks, add, total)

    return [block_row(first, total) for first, total in zip(firsts, start, strict=True)]


def _both(own, others):
    return own[0] & others[0]


def _differ(own, others):
    return own[0] ^ others[0]


def _signs_differ(own, others):
    (on, up), (other_on, other_up) = own, others
    return on & other_on & (up ^ other_up)


def gram_blocks(chains: Chains, layout: RowLayout) -> list[Array]:
    """O Oᵀ (samples, samples), exact, as block rows of the upper half, int32.

    Unpruned it is (SᵀS) ∘ (AᵀA). A lightly pruned network subtracts the pruned columns from that, a
    heavily pruned one adds up its live columns; a sum over columns counts those that both samples have on,
    which is also Aᵀ diag(degrees) A, less twice those where their signs differ.
    """
    up, on = chains.spins > 0, chains.theta > 0
    sites = chains.spins.shape[0]
    words = (pack(up), pack(on))
    opposite = count_pairs(_differ, words[:1], words[0].shape[0] // _WORDS)
    both_on = count_pairs(_both, words[1:], words[1].shape[0] // _WORDS)
    unpruned = [
        layout.hadamard * (sites - 2 * spins) * units for spins, units in zip(opposite, both_on, strict=True)
    ]

    # Sums start from each other, so that the matrix is written by a loop: XLA would make any expression of
    # several matrices anew for each of its uses.
    columns, sign = _column_bits(up, on, layout), layout.column_sign
    counted = jnp.where(layout.weighted, 0, layout.column_chunks)
    common = count_pairs(_both, (columns.on,), counted, unpruned, sign)

    def add_products(turn, blocks):
        # Depends on the turn (0), lest XLA move the products out of the loop and always make them.
        products = _weighted_products(on, layout.column_degrees + turn)
        return [block + sign * product for block, product in zip(blocks, products, strict=True)]

    # A loop of one turn or none: a lax.cond around products doubles their time on CPUs.
    common = jax.lax.fori_loop(0, layout.weighted, add_products, common)
    if not bit_counts.pays_off():
        return count_pairs(_signs_differ, columns, layout.column_chunks, common, -2 * sign)
    counts = bit_counts.count_differing(*columns, layout.column_chunks * _WORDS)
    firsts = range(0, counts.shape[0], BLOCK)
    return [
        block - 2 * sign * counts[first : first + len(block), first : first + block.shape[1]]
        for first, block in zip(firsts, common, strict=True)
    ]


def _column_bits(up: Array, on: Array, layout: RowLayout) -> Bits:
    """The listed columns of O; only the chunks in use are filled."""
    samples = up.shape[1]
    up = up.astype(jnp.uint32)
    on = jnp.concatenate([on.astype(jnp.uint32), jnp.zeros((1, samples), jnp.uint32)])
    words = layout.column_sites.shape[0] // _WORD

    def fill(chunk, bits):
        start = chunk * COLUMN_CHUNK
        sites = jax.lax.dynamic_slice_in_dim(layout.column_sites, start, COLUMN_CHUNK).reshape(_WORD, _WORDS)
        units = jax.lax.dynamic_slice_in_dim(layout.column_units, start, COLUMN_CHUNK).reshape(_WORD, _WORDS)
        parts = Bits(*(jnp.zeros((_WORDS, samples), jnp.uint32) for _ in range(2)))
        for bit in range(_WORD):
            parts = Bits(parts.on | (on[units[bit]] << bit), parts.up | (up[sites[bit]] << bit))
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, chunk * _WORDS, 0),
            bits,
            parts,
        )

    empty = jnp.zeros((words, samples), jnp.uint32)
    return jax.lax.fori_loop(0, layout.column_chunks, fill, Bits(empty, empty))


def _weighted_products(on: Array, degrees: Array) -> list[Array]:
    """Aᵀ diag(degrees) A as block rows of the upper half, int32; exact in float32 below 2²⁴."""
    active = on.astype(jnp.float32)
    weighted = active * degrees[:, None]
    items = on.shape[1]
    return [
        (weighted[:, first : first + BLOCK].T @ active[:, first:]).astype(jnp.int32)
        for first in range(0, items, BLOCK)
    ]


def _centred(blocks: list[Array]) -> list[Array]:
    """P K P / n with P = 1 − 1/n, float64: P on both sides removes the mean of O."""
    items = blocks[0].shape[1]
    totals, given = [], jnp.zeros(items, jnp.int64)
    for block in blocks:
        size = len(block)
        # A row's entries left of its diagonal block stand in the rows above, transposed.
        totals.append(given[:size] + block.sum(1, dtype=jnp.int64))
        given = given[size:] + block[:, size:].sum(0, dtype=jnp.int64)
    mean = jnp.concatenate(totals).astype(jnp.float64) / items
    half = mean - mean.mean() / 2
    return [(block - half[-block.shape[1] :] - half[_rows(block, items), None]) / items for block in blocks]


def _rows(block: Array, items: int) -> slice:
    first = items - block.shape[1]
    return slice(first, first + block.shape[0])


def update_in_samples(chains: Chains, energies: Array, layout: RowLayout, shift: Array, dtype) -> Array:
    """δ of a network in the row layout, (sites, hidden) float64, 0 where pruned.

    With X = O_c/√n, (XᵀX + shift)⁻¹ Xᵀ e = Xᵀ (X Xᵀ + shift)⁻¹ e (Chen and Heyl 2024).

    Args:
        energies: (chains,) local energies.
        shift: diagonal shift.
        dtype: of the factor, see `solve`.
    """
    samples = energies.shape[0]
    kernel = _centred(gram_blocks(chains, layout))
    energies = energies.astype(jnp.float64)
    solved = solve(kernel, shift, 2 * (energies - energies.mean()) / samples, dtype)
    # float64: a small shift makes these sums of large numbers that nearly cancel.
    weighted = chains.spins.astype(jnp.float64) * (solved - solved.mean())
    return layout.mask * (weighted @ (chains.theta > 0).astype(jnp.float64).T)


def update_in_parameters(chains: Chains, energies: Array, layout: ListLayout, shift: Array, dtype) -> Array:
    """δ of a network in the list layout, (bucket,) float64, 0 in the padding.

    Args:
        energies: (chains,) local energies.
        shift: diagonal shift.
        dtype: of the factor, see `solve`.
    """
    samples = energies.shape[0]
    up, on = chains.spins > 0, chains.theta > 0
    # Bits along the samples are packed by site and by unit, then combined for each weight.
    up, on = pack(up.T)[:, layout.weight_sites], pack(on.T)[:, layout.weight_units]
    bits = Bits(on, up)
    chunks = on.shape[0] // _WORDS
    both_on = count_pairs(_both, (on,), chunks)
    differ = count_pairs(_signs_differ, bits, chunks)
    plus, all_on = (jax.lax.population_count(part).sum(0).astype(jnp.float64) for part in (on & up, on))
    mean = (2 * plus - all_on) / samples
    # An integer divided by an integer is a float32 to jax.
    metric = [
        (common - 2 * part).astype(jnp.float64) / samples
        - mean[_rows(common, len(mean)), None] * mean[-common.shape[1] :]
        for common, part in zip(both_on, differ, strict=True)
    ]
    energies = energies.astype(jnp.float64)
    jacobian = chains.spins[layout.weight_sites] * (chains.theta > 0)[layout.weight_units]
    # float64: the solve divides the rounding of its weak directions by the shift.
    gradient = jacobian.astype(jnp.float64) @ (2 * (energies - energies.mean()) / samples)
    # Padding has zero rows: its part of the solve is shift · δ = 0.
    return solve(metric, shift, gradient, dtype)


def update_of_tied(chains: Chains, energies: Array, layout: TiedLayout, shift: Array, dtype) -> Array:
    """δ of a network in the tied layout, (bucket,) float64, 0 in the padding.

    Args:
        energies: (chains,) local energies.
        shift: diagonal shift.
        dtype: of the factor, see `solve`.
    """
    samples = energies.shape[0]
    jacobian = tied_jacobian(chains, layout).astype(jnp.float64)
    centred = jacobian - jacobian.mean(1, keepdims=True)
    energies = energies.astype(jnp.float64)
    gradient = centred @ (2 * (energies - energies.mean()) / samples)
    # Padding has zero rows: its part of the solve is shift · δ = 0.
    return solve(upper_blocks(centred @ centred.T / samples), shift, gradient, dtype)


def tied_jacobian(chains: Chains, layout: TiedLayout) -> Array:
    """O_k = Σ s_i f′(θ_j) over the entries (i, j) of each live parameter: (bucket, chains), 0 in the padding."""
    # The dummy unit's θ is 0, but there gelu has slope ½.
    steep = slopes(layout.activation, chains.theta).at[-1].set(0)

    def fill(position, jacobian):
        terms = chains.spins[layout.parameter_sites[position]] * steep[layout.parameter_units[position]]
        return jacobian.at[position].set(terms.sum(0))

    # As many turns as there are live parameters, whatever the bucket; sums of fixed order, since a
    # scatter-add is not the same twice on a GPU.
    empty = jnp.zeros((len(layout.parameter_sites), chains.spins.shape[1]), chains.theta.dtype)
    return jax.lax.fori_loop(0, layout.live, fill, empty)
