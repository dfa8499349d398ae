"""Stochastic reconfiguration: (S + shift) δ = g with S = ⟨O O⟩_c and g = 2 ⟨O E_loc⟩_c.

The same δ comes from a solve in samples (kernel O Oᵀ, samples × samples) and from one in parameters
(metric Oᵀ O, live × live); the smaller one is chosen. For a relu layer O_ij = m_ij s_i a_j with
a_j = 1[θ_j > 0]: entries are −1, 0 or 1, so float32 products of them are exact.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from jax import Array

from nqs.layouts import COLUMN_CHUNK, ListLayout, RowLayout
from nqs.sampling import Chains

# The Gram matrix is symmetric: computed in this many block rows, only up to the diagonal.
GRAM_BLOCKS = 4


def update_in_samples(chains: Chains, energies: Array, layout: RowLayout, shift: Array) -> Array:
    """δ of a network in the row layout, (sites, hidden) float64, 0 where pruned.

    With X = O_c/√n, (XᵀX + shift)⁻¹ Xᵀ e = Xᵀ (X Xᵀ + shift)⁻¹ e (Chen and Heyl 2024).

    Args:
        energies: (chains,) local energies.
        shift: diagonal shift.
    """
    samples = energies.shape[0]
    active = (chains.theta > 0).astype(jnp.float32)
    spins = chains.spins.astype(jnp.float32)
    kernel = _centred(gram_blocks(spins, active, layout)) / samples + shift * jnp.eye(samples)
    energies = energies.astype(jnp.float64)
    solved = _solve(kernel, 2 * (energies - energies.mean()) / samples)
    solved = solved - solved.mean()
    return layout.mask * ((spins.astype(jnp.float64) * solved) @ active.astype(jnp.float64).T)


def gram_blocks(spins: Array, active: Array, layout: RowLayout) -> list[Array]:
    """O Oᵀ (samples, samples), exact in float32, as block rows that end with their diagonal block.

    Unpruned it is (SᵀS) ∘ (AᵀA), two thin products. A lightly pruned network subtracts the pruned
    columns from that, a heavily pruned one adds up its live columns. The part above the diagonal
    blocks follows by symmetry and is never computed.

    Args:
        spins: (sites, samples) ±1.
        active: (hidden, samples), 1 where a unit is on.
    """
    active_or_dummy = jnp.concatenate([active, jnp.zeros((1, active.shape[1]), active.dtype)])
    samples = spins.shape[1]
    edges = [samples * block // GRAM_BLOCKS for block in range(GRAM_BLOCKS + 1)]

    def lower(left: Array, right: Array) -> list[Array]:
        return [left[:, a:b].T @ right[:, :b] for a, b in itertools.pairwise(edges)]

    def add_columns(chunk, blocks):
        start = chunk * COLUMN_CHUNK
        sites = jax.lax.dynamic_slice_in_dim(layout.column_sites, start, COLUMN_CHUNK)
        units = jax.lax.dynamic_slice_in_dim(layout.column_units, start, COLUMN_CHUNK)
        columns = spins[sites] * active_or_dummy[units]
        return [block + part for block, part in zip(blocks, lower(layout.column_sign * columns, columns))]

    hadamard = [layout.hadamard * s * a for s, a in zip(lower(spins, spins), lower(active, active))]
    return jax.lax.fori_loop(0, layout.column_chunks, add_columns, hadamard)


def _centred(blocks: list[Array]) -> Array:
    """P K P with P = 1 − 1/n, float64, from the block rows of K; valid up to the diagonal.

    P on both sides removes the mean of O.
    """
    samples = blocks[-1].shape[1]
    row = jnp.zeros(samples)
    for block in blocks:
        start = block.shape[1] - block.shape[0]
        # A row's entries right of its diagonal block stand in the rows below, transposed.
        row = row.at[start : block.shape[1]].add(block.sum(1, dtype=jnp.float64))
        row = row.at[:start].add(block[:, :start].sum(0, dtype=jnp.float64))
    row = row / samples
    lower = jnp.concatenate([jnp.pad(b, ((0, 0), (0, samples - b.shape[1]))) for b in blocks])
    return lower.astype(jnp.float64) - row[None, :] - row[:, None] + row.mean()


def update_in_parameters(chains: Chains, energies: Array, layout: ListLayout, shift: Array) -> Array:
    """δ of a network in the list layout, (bucket,) float64, 0 in the padding.

    Args:
        energies: (chains,) local energies.
        shift: diagonal shift.
    """
    samples = energies.shape[0]
    spins = chains.spins.astype(jnp.float32)
    jacobian = spins[layout.weight_sites] * (chains.theta > 0)[layout.weight_units]
    mean = jacobian.mean(1, dtype=jnp.float64)
    metric = (jacobian @ jacobian.T).astype(jnp.float64) / samples - jnp.outer(mean, mean)
    energies = energies.astype(jnp.float64)
    gradient = 2 * (jacobian.astype(jnp.float64) @ (energies - energies.mean())) / samples
    # Padding has zero rows: its part of the solve is shift · δ = 0.
    return _solve(metric + shift * jnp.eye(len(mean)), gradient)


def _solve(matrix: Array, right: Array) -> Array:
    # Symmetric positive definite by the shift, and only the lower triangle is read. A failed
    # factorisation gives NaN, which ends the run as diverged.
    factor = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
    return jax.scipy.linalg.cho_solve((factor, True), right)
