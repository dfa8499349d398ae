"""Training of any Flax network: batched forwards, per-sample gradients, the same step as the fast path.

`nqs.training.train` knows a relu layer and its θ = W s. Here a network is log ψ(weights, spins) and no
more: a proposal is a forward of all chains, a flip ratio is a forward of the flipped spins, a row of the
Jacobian is a gradient. Random numbers are drawn as `nqs.sampling` draws them, so on a relu network both
paths make the same step. Everything large is made in chunks that follow from a limit in bytes.

Inside, spins are rows (samples, sites), as Flax networks take them; the state has them as columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nqs.hamiltonians import FlipForm
from nqs.linear_solve import solve, upper_blocks
from nqs.local_energies import diagonal_energies, flipped_energies
from nqs.moves import Moves, allowed
from nqs.sampling import draw_proposals
from nqs.training import Problem, StepInfo, StepRecords, TrainingState, make_steps

# Bytes of one chunk: activations of a forward, or gradients of a group of samples.
CHUNK_BYTES = 1 << 26
# The Jacobian (samples, live) in float64 is kept up to this many bytes, else made again where needed.
JACOBIAN_BYTES = 1 << 30


@dataclass(frozen=True)
class GeneralNetwork:
    """log ψ of a Flax module as a function of one flat vector of weights; static under jit.

    Equal modules make equal networks, so that a program is compiled once for both.

    Attributes:
        module: input (batch, sites) ±1, output (batch,) real.
        sites: spins of the lattice.
        tree: structure of the module's `params`.
        shapes: of its arrays, in the order in which the vector has them.
    """

    module: nn.Module
    sites: int
    tree: jax.tree_util.PyTreeDef
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Weights n, pruned ones included."""
        return sum(math.prod(shape) for shape in self.shapes)

    def flatten(self, params: dict) -> Array:
        """The weights (n,), float64, of the module's `params`.

        Raises:
            ValueError: the params are not those of this module.
        """
        leaves, tree = jax.tree.flatten(params)
        shapes = tuple(jnp.shape(leaf) for leaf in leaves)
        if (tree, shapes) != (self.tree, self.shapes):
            raise ValueError(
                f"params are {_described(tree, shapes)}; the network has {_described(self.tree, self.shapes)}"
            )
        return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in leaves])

    def unflatten(self, weights: Array) -> dict:
        """The module's `params`, all of the dtype of the weights (n,)."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(weights, ends[:-1])
        leaves = [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        return jax.tree.unflatten(self.tree, leaves)

    def initial_weights(self, key: Array) -> Array:
        """Random initial weights (n,), float64, as the module's initialisers draw them."""
        # One program: op by op, a small CNN's initialisers take seconds to compile.
        return self.flatten(jax.jit(self.module.init)(key, jnp.ones((1, self.sites)))["params"])

    def log_psi(self, weights: Array, spins: Array) -> Array:
        """log ψ of each row of spins (batch, sites): (batch,), all in the dtype of the weights (n,)."""
        # A batch axis even for one configuration: a module may reshape by it.
        output = self.module.apply({"params": self.unflatten(weights)}, spins.astype(weights.dtype))
        return output.astype(weights.dtype)


def _described(tree, shapes) -> str:
    return str(jax.tree.unflatten(tree, [" × ".join(map(str, shape)) or "scalar" for shape in shapes]))


def general_network(module: nn.Module, sites: int) -> GeneralNetwork:
    """The network of any Flax linen module with input (…, sites) ±1 and real output (…).

    Nothing is computed: the module is traced for its shapes alone.

    Raises:
        ValueError: the module cannot be hashed, keeps state besides its weights, or has complex or
            wrongly shaped weights or outputs.
    """
    name = type(module).__name__
    try:
        hash(module)
    except TypeError as error:
        raise ValueError(f"{name} cannot be a static argument: {error}; give tuples for lists") from error
    spins = jax.ShapeDtypeStruct((3, sites), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), spins)
    if set(variables) != {"params"}:
        raise ValueError(f"{name} has the collections {sorted(variables)}; only 'params' is possible")
    output = jax.eval_shape(module.apply, variables, spins)
    if jnp.issubdtype(output.dtype, jnp.complexfloating):
        raise ValueError(f"{name} has {output.dtype} output; log ψ must be real, since here ψ > 0")
    if output.shape != (3,):
        raise ValueError(f"{name} maps (3, {sites}) to {output.shape}; log ψ of 3 configurations is (3,)")
    leaves, tree = jax.tree.flatten(variables["params"])
    kinds = {str(leaf.dtype) for leaf in leaves if not jnp.issubdtype(leaf.dtype, jnp.floating)}
    if kinds:
        raise ValueError(f"{name} has {', '.join(sorted(kinds))} weights; they must be real")
    return GeneralNetwork(module, sites, tree, tuple(leaf.shape for leaf in leaves))


def padded_live(indices: np.ndarray, size: int, samples: int) -> np.ndarray:
    """Positions of the live weights, padded so that a whole trajectory needs few programs: int32.

    A list of positions and not a mask: its static length says which solve is the smaller one, and a
    pruned network's metric or Gram matrix costs what its live weights cost. Padding is `size`, the
    position of a weight that is not there: it has gradient 0 and gets no update.

    Lengths are powers of two, and `samples` and `size` themselves: to be padded past either would turn
    to the larger solve, or invent weights.

    Args:
        indices: (live,) ascending positions in the flat weights.
        size: weights of the network.
        samples: of a training step.
    """
    live = len(indices)
    power = 1 << max(live - 1, 0).bit_length()
    length = min(bound for bound in (power, samples, size) if bound >= live)
    padded = np.full(max(length, 1), size, np.int32)
    padded[:live] = indices
    return padded


class Chunks(NamedTuple):
    """How much is made at a time; static under jit, since it decides shapes.

    Attributes:
        forward: configurations of one forward.
        gradient: samples whose gradients are made together.
        keep_jacobian: whether the solve in samples holds all gradients, or makes them again.
    """

    forward: int
    gradient: int
    keep_jacobian: bool


def choose_chunks(
    network: GeneralNetwork,
    samples: int,
    live: int,
    dtype,
    chunk_bytes: int = CHUNK_BYTES,
    jacobian_bytes: int = JACOBIAN_BYTES,
) -> Chunks:
    """The chunks that keep within the limits, at least one configuration each.

    A function of shapes alone, never of free memory or timings: a resumed run takes the same chunks, and
    so rounds alike.

    Args:
        live: length of the padded live positions.
    """
    forward, gradient = _forward_bytes(network, dtype)[0], _gradient_bytes(network, live, dtype)[0]
    return Chunks(
        max(1, chunk_bytes // forward),
        min(samples, max(1, chunk_bytes // gradient)),
        8 * samples * live <= jacobian_bytes,
    )


def forward_chunk(network: GeneralNetwork, dtype) -> int:
    """Configurations of one forward that fit CHUNK_BYTES, at least one."""
    return max(1, CHUNK_BYTES // _forward_bytes(network, dtype)[0])


def estimated_bytes(
    network: GeneralNetwork, samples: int, live: int, flips: int, chunks: Chunks, dtype
) -> int:
    """An upper estimate of the memory of a step, besides its arguments.

    Every array that a forward or a gradient writes counts in full, although the compiler reuses and
    fuses many of them.

    Args:
        live: length of the padded live positions.
        flips: terms of the Hamiltonian that flip spins.
    """
    by_row, fixed = _forward_bytes(network, dtype)
    pairs = max(flips, 1) * samples
    # Spins, random numbers and ratios of all chains, with room for the copies that padding makes.
    energies = by_row * min(chunks.forward, pairs) + fixed + 8 * (4 * pairs + 10 * samples * network.sites)
    by_sample, fixed = _gradient_bytes(network, live, dtype)
    in_parameters = live <= samples
    solve = 8 * 5 * (live if in_parameters else samples) ** 2
    if not in_parameters and chunks.keep_jacobian:
        solve += 8 * 3 * samples * live
    return energies + by_sample * min(chunks.gradient, samples) + fixed + solve


def _forward_bytes(network: GeneralNetwork, dtype) -> tuple[int, int]:
    """Bytes of a forward: (for each configuration, besides)."""
    weights = jax.ShapeDtypeStruct((network.size,), dtype)
    return _by_row(lambda rows: jax.make_jaxpr(network.log_psi)(weights, rows), network.sites, dtype)


def _gradient_bytes(network: GeneralNetwork, live: int, dtype) -> tuple[int, int]:
    """Bytes of the gradients of a chunk: (for each sample, besides); two float64 tiles are held at once."""
    weights, positions = jax.ShapeDtypeStruct((network.size,), dtype), jax.ShapeDtypeStruct((live,), np.int32)
    by_row, fixed = _by_row(
        lambda rows: jax.make_jaxpr(partial(gradients, network))(weights, rows, positions),
        network.sites,
        dtype,
    )
    return by_row + 2 * 8 * live, fixed


def _by_row(trace, sites: int, dtype) -> tuple[int, int]:
    one, two = (
        _bytes_written(trace(jax.ShapeDtypeStruct((rows, sites), dtype)).jaxpr) + rows * sites * 8
        for rows in (1, 2)
    )
    return two - one, 2 * one - two


def _bytes_written(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        total += sum(var.aval.size * var.aval.dtype.itemsize for var in equation.outvars)
        for parameter in jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                total += _bytes_written(inner)
    return total


@partial(jax.tree_util.register_dataclass, data_fields=("live",), meta_fields=("network",))
@dataclass(frozen=True)
class GeneralLayout:
    """Any Flax network under a mask.

    Attributes:
        network: static under jit.
        live: positions of the live weights in the network's vector, from `padded_live`.
    """

    network: GeneralNetwork
    live: Array


@partial(jax.jit, static_argnames=("network", "dtype", "chunks"), donate_argnames="state")
def train_general(
    key: Array,
    problem: Problem,
    network: GeneralNetwork,
    live: Array,
    state: TrainingState,
    first: Array,
    count: Array,
    dtype=jnp.float32,
    chunks: Chunks | None = None,
) -> tuple[TrainingState, StepRecords]:
    """Make `count` ≤ RECORD_CAPACITY steps, numbered from `first`: `nqs.training.train` for any network.

    Args:
        key: of this level's training; step t uses fold_in(key, t) alone.
        live: positions of the live weights, from `padded_live`.
        state: with the flat weights (n,), pruned ones 0.
        dtype: of the network and its gradients; what is solved is float64.
        chunks: None: those of `choose_chunks`.

    Returns:
        The state, and the records with `count` valid entries.
    """

    def evaluate_step(key, state):
        return evaluate_general(key, problem, network, live, state.weights, state.spins, chunks, dtype)

    return make_steps(evaluate_step, key, problem, state, first, count)


@partial(jax.jit, static_argnames=("network", "chunks", "dtype"))
def evaluate_general(
    key: Array,
    problem: Problem,
    network: GeneralNetwork,
    live: Array,
    weights: Array,
    spins: Array,
    chunks: Chunks | None,
    dtype,
) -> tuple[Array, StepInfo]:
    """One sweep of the chains, then the SR direction at these weights: (spins, info).

    Args:
        live: positions of the live weights, padded with n.
        weights: (n,) float64, pruned ones 0.
        spins: (sites, chains) float32 ±1, one persistent chain a sample.
        chunks: None: those of `choose_chunks`.

    Returns:
        The spins after the sweep; the direction (n,) float64, 0 where pruned; the energies (chains,).
    """
    chunks = chunks or choose_chunks(network, spins.shape[1], len(live), dtype)
    weights, rows = weights.astype(dtype), spins.T.astype(dtype)
    rows, log_psi, accepted = sweep(key, problem.moves, network, weights, rows, chunks.forward)
    energies = local_energies(problem.form, network, weights, rows, log_psi, chunks.forward)
    direction = update(network, weights, rows, energies, live, problem.diagonal_shift, chunks)
    return rows.T.astype(jnp.float32), StepInfo(direction, energies, accepted)


@partial(jax.jit, static_argnames=("network", "dtype", "chunk"))
def equilibrate_general(
    key: Array,
    moves: Moves,
    network: GeneralNetwork,
    spins: Array,
    weights: Array,
    sweeps: int,
    dtype=jnp.float32,
    chunk: int | None = None,
) -> Array:
    """Spins (sites, chains) after so many sweeps at fixed weights (n,); the number is not compiled in.

    Args:
        chunk: configurations of one forward; None: as many as fit CHUNK_BYTES.
    """
    chunk = chunk or forward_chunk(network, dtype)
    weights = weights.astype(dtype)

    def one(index, rows):
        return sweep(jax.random.fold_in(key, index), moves, network, weights, rows, chunk)[0]

    return jax.lax.fori_loop(0, sweeps, one, spins.T.astype(dtype)).T.astype(spins.dtype)


def sweep(
    key: Array, moves: Moves, network: GeneralNetwork, weights: Array, rows: Array, chunk: int
) -> tuple[Array, Array, Array]:
    """One sweep: two forwards of all chains more than there are moves.

    Keys and numbers are used as in `nqs.sampling`: all chains try the moves in the same random order, and
    each draws its overall sign at the end.

    Args:
        rows: (chains, sites) ±1.
        chunk: configurations of one forward.

    Returns:
        The rows, their log ψ (chains,), and the fraction of moves accepted.
    """
    dtype = weights.dtype
    proposals = draw_proposals(key, moves, len(rows), dtype)

    def log_psi_of(rows):
        return _in_chunks(partial(network.log_psi, weights), chunk, rows)

    def propose(carry, inputs):
        rows, log_psi, accepted = carry
        chosen, threshold = inputs
        flipped = rows.at[:, chosen].multiply(-1, mode="drop")
        new_log_psi = log_psi_of(flipped)
        accept = threshold < 2 * (new_log_psi - log_psi)
        accept = accept & allowed(rows.T, chosen, proposals.exchange)
        rows = jnp.where(accept[:, None], flipped, rows)
        return (rows, jnp.where(accept, new_log_psi, log_psi), accepted + accept.mean(dtype=dtype)), None

    carry = (rows, log_psi_of(rows), jnp.zeros((), dtype))
    tried = (proposals.sites, proposals.thresholds)
    (rows, log_psi, accepted), _ = jax.lax.scan(propose, carry, tried)
    # |ψ(−s)|² / (|ψ(s)|² + |ψ(−s)|²) is the chance of a logistic number below 2 log ψ(−s)/ψ(s).
    opposite = log_psi_of(-rows)
    turn = proposals.signs < 2 * (opposite - log_psi)
    accepted = accepted / len(proposals.sites)
    return jnp.where(turn[:, None], -rows, rows), jnp.where(turn, opposite, log_psi), accepted


def local_energies(
    form: FlipForm, network: GeneralNetwork, weights: Array, rows: Array, log_psi: Array, chunk: int
) -> Array:
    """E_loc(s) = d(s) + Σ_k c_k(s) ψ(X_{F_k} s)/ψ(s) of each chain, (chains,) float64, units of J.

    Args:
        form: flips of any number of spins.
        rows: (chains, sites) ±1.
        log_psi: (chains,), of these rows.
        chunk: configurations of one forward, taken from all pairs of a flip and a chain.
    """
    spins = rows.T.astype(float)
    diagonal = diagonal_energies(form, spins)
    if not len(form.flip_sites):
        return diagonal
    ratios = flip_ratios(form, network, weights, rows, log_psi, chunk)
    return diagonal + flipped_energies(form, spins, ratios.astype(float))


def flip_ratios(
    form: FlipForm, network: GeneralNetwork, weights: Array, rows: Array, log_psi: Array, chunk: int
) -> Array:
    """ψ(X_F s)/ψ(s) of each flip of the form and each chain, (flips, chains); arguments of `local_energies`."""
    flips, (count, sites) = len(form.flip_sites), rows.shape
    # Site lists are padded with index `sites`: that column is cut off.
    signs = jnp.ones((flips, sites + 1), rows.dtype)
    signs = signs.at[jnp.arange(flips)[:, None], form.flip_sites].set(-1)[:, :sites]

    def ratios(pairs):
        flip, chain = jnp.divmod(pairs, count)
        return jnp.exp(network.log_psi(weights, rows[chain] * signs[flip]) - log_psi[chain])

    # Flips times chains numbers and not their running sum: a scatter-add is not the same twice on a GPU.
    return _in_chunks(ratios, chunk, jnp.arange(flips * count)).reshape(flips, count)


def log_psi_of(network: GeneralNetwork, weights: Array, rows: Array) -> Array:
    """log ψ of each row (chains, sites): (chains,), in chunks of bounded memory."""
    chunk = forward_chunk(network, weights.dtype)
    return _in_chunks(partial(network.log_psi, weights), chunk, rows)


def gradients(network: GeneralNetwork, weights: Array, rows: Array, live: Array) -> Array:
    """O_ij = ∂ log ψ(s_i) / ∂ w_j of the live weights: (samples, live), in the dtype of the weights.

    Args:
        rows: (samples, sites) ±1.
        live: positions of the live weights; padding gets 0.
    """

    def one(row):
        return jax.grad(lambda values: network.log_psi(values, row[None])[0])(weights)

    return jax.vmap(one)(rows).at[:, live].get(mode="fill", fill_value=0)


def update(
    network: GeneralNetwork,
    weights: Array,
    rows: Array,
    energies: Array,
    live: Array,
    shift: Array,
    chunks: Chunks,
) -> Array:
    """δ with (S + shift) δ = g, S = ⟨O O⟩_c, g = 2 ⟨O (E_loc − E)⟩: (n,) float64, 0 where pruned.

    Solved in parameters where there are no more (padded) live weights than samples, else in samples; the
    gradients are of the network's dtype, sums of their products float64.

    Args:
        rows: (samples, sites) ±1.
        energies: (samples,) local energies, float64.
        live: positions of the live weights, padded with n.
        shift: diagonal shift.
    """

    def tile(rows):
        return gradients(network, weights, rows, live).astype(float)

    forces = 2 * (energies - energies.mean()) / len(energies)
    if len(live) <= len(rows):
        direction = _solved_in_parameters(tile, rows, forces, shift, chunks.gradient, weights.dtype)
    elif chunks.keep_jacobian:
        jacobian = _in_chunks(tile, chunks.gradient, rows)
        direction = _solved_in_samples(jacobian @ jacobian.T, forces, shift, weights.dtype) @ jacobian
    else:
        kernel = _gram_matrix(tile, rows, chunks.gradient)
        factors = _solved_in_samples(kernel, forces, shift, weights.dtype)
        direction = _weighted_sum(tile, rows, factors, chunks.gradient)
    return jnp.zeros(network.size).at[live].set(direction, mode="drop")


def _solved_in_parameters(tile, rows: Array, forces: Array, shift: Array, chunk: int, dtype) -> Array:
    """δ (live,) from the metric Oᵀ O (live, live), added up over chunks of samples."""

    def add(sums, part):
        rows, forces, counted = part
        jacobian = tile(rows) * counted[:, None]
        metric, total, gradient = sums
        sums = (metric + jacobian.T @ jacobian, total + jacobian.sum(0), gradient + forces @ jacobian)
        return sums, None

    samples = len(rows)
    live = jax.eval_shape(tile, rows[:1]).shape[1]
    start = (jnp.zeros((live, live)), jnp.zeros(live), jnp.zeros(live))
    # A padded sample repeats another one, so it is finite where that one is; it counts 0.
    parts = [_chunked(array, chunk) for array in (rows, forces, jnp.ones(samples))]
    counted = jnp.arange(parts[2].size).reshape(parts[2].shape) < samples
    (metric, total, gradient), _ = jax.lax.scan(add, start, (parts[0], parts[1] * counted, counted))
    mean = total / samples
    # Padding has zero rows: its part of the solve is shift · δ = 0.
    metric = metric / samples - jnp.outer(mean, mean)
    return solve(upper_blocks(metric), shift, gradient, dtype)


def _solved_in_samples(kernel: Array, forces: Array, shift: Array, dtype) -> Array:
    """y (samples,) with δ = Oᵀ y, from the Gram matrix O Oᵀ (Chen and Heyl 2024)."""
    samples = len(forces)
    row = kernel.mean(0)
    centred = (kernel - row[None, :] - row[:, None] + row.mean()) / samples
    solved = solve(upper_blocks(centred), shift, forces, dtype)
    return solved - solved.mean()


def _gram_matrix(tile, rows: Array, chunk: int) -> Array:
    """O Oᵀ (samples, samples) from two tiles at a time: of c chunks, c (c + 1) / 2 gradients instead of c."""
    parts = _chunked(rows, chunk)
    count, size = parts.shape[:2]

    def add_block_row(i, kernel):
        left = tile(parts[i])

        def add_block(j, kernel):
            return jax.lax.dynamic_update_slice(kernel, left @ tile(parts[j]).T, (i * size, j * size))

        kernel = jax.lax.fori_loop(0, i, add_block, kernel)
        return jax.lax.dynamic_update_slice(kernel, left @ left.T, (i * size, i * size))

    lower = jax.lax.fori_loop(0, count, add_block_row, jnp.zeros((count * size, count * size)))
    lower = lower[: len(rows), : len(rows)]
    return jnp.tril(lower) + jnp.tril(lower, -1).T


def _weighted_sum(tile, rows: Array, factors: Array, chunk: int) -> Array:
    """Oᵀ y (live,), the gradients made once more."""
    factors = _chunked(factors, chunk)
    counted = jnp.arange(factors.size).reshape(factors.shape) < len(rows)

    def add(total, part):
        rows, factors = part
        return total + factors @ tile(rows), None

    live = jax.eval_shape(tile, rows[:1]).shape[1]
    return jax.lax.scan(add, jnp.zeros(live), (_chunked(rows, chunk), factors * counted))[0]


def _chunked(array: Array, chunk: int) -> Array:
    """(chunks, size, …) of an array (total, …), its first rows repeated at the end to fill the last.

    Chunks are made equal, so that few rows are computed twice: fewer than there are chunks.
    """
    total = len(array)
    count = -(-total // chunk)
    size = -(-total // count)
    padded = jnp.concatenate([array, array[: count * size - total]])
    return padded.reshape(count, size, *array.shape[1:])


def _in_chunks(function, chunk: int, array: Array) -> Array:
    """function(array), of at most `chunk` rows at a time."""
    if len(array) <= chunk:
        return function(array)
    result = jax.lax.map(function, _chunked(array, chunk))
    return result.reshape(-1, *result.shape[2:])[: len(array)]
