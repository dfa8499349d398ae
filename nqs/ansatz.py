"""A network of the config under a mask: how it lies in memory, and its weights in and out of there.

The weights of a network are one vector: its layers flattened one after the other, the prunable ones first.
What is live of it is a list of positions; parameters that are never pruned are always live.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from nqs import full_summation
from nqs.config import Convolutional, DenseRun, FeedForward, Network, OddParity
from nqs.engine import compiled_log_psi
from nqs.general import GeneralLayout, general_network, padded_live
from nqs.layouts import RowLayout, choose_layout, padded_degree, row_layout
from nqs.networks import flat_offsets, flax_module, initial_weights, tied_weights
from nqs.tasks import LiveWeights, NetworkWeights
from nqs.tied_layouts import tied_degree, tied_layout

# Configurations of one call where ψ is made for all of them.
_CHUNK = 1 << 12


def layer_shapes(dense: DenseRun) -> dict[str, tuple[int, ...]]:
    """Shapes of all layers of a run's network, prunable ones first."""
    sites = dense.hamiltonian.sites
    return dense.network.layers(sites) | dense.network.other_layers(sites)


def by_layer(dense: DenseRun, indices: np.ndarray, values: np.ndarray) -> NetworkWeights:
    """Live weights (live,) of the whole vector as those of each layer."""
    layers, start = {}, 0
    for name, shape in layer_shapes(dense).items():
        end = start + math.prod(shape)
        own = slice(*np.searchsorted(indices, (start, end)))
        layers[name] = LiveWeights(shape, (indices[own] - start).astype(np.int32), values[own])
        start = end
    return layers


def joined(dense: DenseRun, weights: NetworkWeights) -> tuple[np.ndarray, np.ndarray]:
    """Positions (live,) int32 in the whole vector and values (live,) float64, from those of each layer.

    Raises:
        ValueError: the layers, or the shape of one, are not the network's.
    """
    shapes = layer_shapes(dense)
    found = {name: tuple(layer.shape) for name, layer in weights.items()}
    if found != shapes:
        raise ValueError(f"weights of the layers {found}; the network has {shapes}")
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes.values())])
    layers = [(start, weights[name]) for start, name in zip(starts, shapes, strict=False)]
    return (
        np.concatenate([layer.indices + start for start, layer in layers]).astype(np.int32),
        np.concatenate([layer.values for _, layer in layers]).astype(float),
    )


def starting_values(key: jax.Array, dense: DenseRun) -> np.ndarray:
    """The whole vector (n,) of a network that is not trained yet: random, or as it is built."""
    network, hamiltonian = dense.network, dense.hamiltonian
    if isinstance(network, OddParity):
        from nqs.toric_code import odd_parity_weights

        return odd_parity_weights(hamiltonian.side, network.magnitude, network.filters).ravel()
    layers = initial_weights(key, network, hamiltonian.sites)
    return np.concatenate([np.asarray(layers[name], float).ravel() for name in layer_shapes(dense)])


class Ansatz:
    """A network under a mask.

    Args:
        dense: whose network it is.
        indices: (live,) int32, ascending positions of the live weights.
        degree: length of padded site lists, see `common_degree`.

    Attributes:
        layout: in which it is trained.
        rows: in which chains outside of training run; the same program for many masks.
    """

    def __init__(self, dense: DenseRun, indices: np.ndarray, degree: int | None = None):
        self.dense, self.indices = dense, indices
        sites, samples = dense.hamiltonian.sites, dense.training.samples
        self.size = sum(math.prod(shape) for shape in layer_shapes(dense).values())
        compiled = jax.default_backend() == "cpu"
        if _is_hidden_layer(dense.network):
            shape = dense.network.layers(sites)["hidden"]
            self.layout = on_device(choose_layout(shape, indices, samples, compiled, degree))
            self.rows = on_device(row_layout(shape, indices, compiled))
        elif _is_tied(dense, len(indices)):
            tied = tied_weights(dense.network, math.isqrt(sites))
            self.layout = self.rows = on_device(tied_layout(tied, indices, samples, "gelu", degree))
        else:
            network, self._order = _general(dense.network, sites)
            live = np.sort(self._order[indices]).astype(np.int32)
            padded = padded_live(live, network.size, samples)
            self.layout = self.rows = GeneralLayout(network, jnp.asarray(padded))

    def weights(self, values: np.ndarray, layout) -> jax.Array:
        """Live values (live,) as the layout has them."""
        if isinstance(layout, RowLayout):
            full = np.zeros(self.size)
            full[self.indices] = values
            return jnp.asarray(full.reshape(layout.mask.shape))
        if isinstance(layout, GeneralLayout):
            full = np.zeros(self.size)
            full[self._order[self.indices]] = values
            return jnp.asarray(full)
        return jnp.asarray(np.pad(values, (0, layout.bucket - len(values))))

    def values(self, weights: jax.Array) -> np.ndarray:
        """Live values (live,) from the weights that training left."""
        weights = np.asarray(weights).ravel()
        if isinstance(self.layout, RowLayout):
            return weights[self.indices]
        if isinstance(self.layout, GeneralLayout):
            return weights[self._order[self.indices]]
        return weights[: len(self.indices)]

    def wave_function(self, values: np.ndarray) -> np.ndarray:
        """Normalised ψ over all configurations, (2^sites,)."""
        if _is_hidden_layer(self.dense.network):
            return full_summation.wave_function(np.asarray(self.weights(values, self.rows)))
        spins = full_summation.all_spins(self.dense.hamiltonian.sites)
        weights = self.weights(values, self.rows)
        log_psi = [
            np.asarray(compiled_log_psi(weights, self.rows, jnp.asarray(spins[:, start : start + _CHUNK])))
            for start in range(0, spins.shape[1], _CHUNK)
        ]
        return full_summation.normalised(np.concatenate(log_psi))


def common_degree(networks: Sequence[tuple[DenseRun, np.ndarray]]) -> int | None:
    """Length of padded site lists that serves all members of a batch; None where there are no lists.

    Args:
        networks: the dense run and the live positions of each member.
    """
    dense = networks[0][0]
    sites = dense.hamiltonian.sites
    if _is_hidden_layer(dense.network):
        shape = dense.network.layers(sites)["hidden"]
        return max(padded_degree(shape, indices) for _, indices in networks)
    if all(_is_tied(dense, len(indices)) for _, indices in networks):
        return max(
            tied_degree(tied_weights(dense.network, math.isqrt(sites)), indices) for _, indices in networks
        )
    return None


def on_device(arrays):
    """The same tree with arrays of jax."""
    return jax.tree.map(jnp.asarray, arrays)


def _is_hidden_layer(network: Network) -> bool:
    return isinstance(network, (FeedForward, OddParity))


def _is_tied(dense: DenseRun, live: int) -> bool:
    """Whether the tied lists serve the network: one convolution, solved in its few parameters."""
    return isinstance(dense.network, Convolutional) and live <= dense.training.samples


@lru_cache(maxsize=16)
def _general(network: Network, sites: int):
    """The network as the general path has it, and where each entry of our vector lies in its vector."""
    general = general_network(flax_module(network, sites), sites)
    shapes = network.layers(sites) | network.other_layers(sites)
    order = [
        start + np.arange(math.prod(shapes[name])) for name, start in flat_offsets(network, sites).items()
    ]
    return general, np.concatenate(order)
