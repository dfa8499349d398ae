"""Networks as Flax modules, their initial weights by layer, and the ways to the engine and to NetKet.

A network's weights are a dict by layer: the prunable layers of its config, then the others.
"""

from __future__ import annotations

import math
from functools import lru_cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nqs.config import (
    Convolutional,
    FeedForward,
    FlaxNetwork,
    Hamiltonian,
    Network,
    ResidualConvolutional,
)
from nqs.general import general_network
from nqs.hamiltonians import flip_form
from nqs.moves import moves_of
from nqs.own_code import function_named
from nqs.tasks import NetworkWeights
from nqs.tied_layouts import TiedWeights, convolution

# Added to the variance before its root, as in Flax's layer norm.
_EPSILON = 1e-6


class FeedForwardModule(nn.Module):
    """log ψ(s) = Σ_j relu(Σ_i s_i W_ij); input (…, sites) ±1, output (…).

    Attributes:
        hidden: number of hidden units M.
        initial_std: spread of the normal initial weights.
    """

    hidden: int
    initial_std: float

    @nn.compact
    def __call__(self, spins: Array) -> Array:
        theta = nn.Dense(
            self.hidden,
            use_bias=False,
            param_dtype=float,
            kernel_init=nn.initializers.normal(self.initial_std),
            name="hidden",
        )(spins)
        # jax.nn.relu has slope 0 at 0; jnp.maximum would give ½ and another gradient.
        return jax.nn.relu(theta).sum(-1)


class ConvolutionalModule(nn.Module):
    """log ψ(s) = Σ gelu(kernels * s) over positions and kernels; input (…, L²) ±1, output (…).

    Site L·x + y is the pixel (x, y); gelu is the one by tanh, as in Flax.

    Attributes:
        kernels: how many there are.
        kernel_side: linear size of each.
        padding: "SAME", "VALID" or "CIRCULAR".
        initial: "he" or "lecun", both truncated normals, of variance 2 or 1 over kernel_side².
    """

    kernels: int
    kernel_side: int
    padding: str
    initial: str

    @nn.compact
    def __call__(self, spins: Array) -> Array:
        he = self.initial == "he"
        initial = nn.initializers.he_normal() if he else nn.initializers.lecun_normal()
        theta = _convolution(self.kernels, self.kernel_side, self.padding, initial, "kernel")(_image(spins))
        return jax.nn.gelu(theta).sum((-3, -2, -1))


class ResidualConvolutionalModule(nn.Module):
    """log ψ(s) = Σ γ_c LN(x)_c over positions and filters c; input (…, L²) ±1, output (…).

    x is an embedding convolution of s, then x ← x + conv gelu LN conv gelu LN x in each block, all without
    biases and with LeCun-normal kernels; LN is `masked_layer_norm`. The paper counts no parameters of a
    layer norm, but without γ, which starts at 1, log ψ would be 0: normalised features have mean 0.

    Attributes:
        blocks: how many there are, of two convolutions each.
        filters: channels of each convolution.
        kernel_side: linear size of the kernels.
        padding: "SAME" or "CIRCULAR".
    """

    blocks: int
    filters: int
    kernel_side: int
    padding: str

    @nn.compact
    def __call__(self, spins: Array) -> Array:
        def convolve(name, features):
            initial = nn.initializers.lecun_normal()
            return _convolution(self.filters, self.kernel_side, self.padding, initial, name)(features)

        features = convolve("embedding", _image(spins))
        for block in range(self.blocks):
            inner = features
            for conv in range(2):
                inner = convolve(f"block{block}_conv{conv}", jax.nn.gelu(masked_layer_norm(inner)))
            features = features + inner
        scale = self.param("final_scale", nn.initializers.ones, (self.filters,), float)
        return (masked_layer_norm(features) * scale).sum((-3, -2, -1))


def _image(spins: Array) -> Array:
    """(…, L, L, 1) from (…, L²)."""
    side = math.isqrt(spins.shape[-1])
    return spins.reshape(*spins.shape[:-1], side, side, 1)


def _convolution(features: int, kernel_side: int, padding: str, initial, name: str) -> nn.Conv:
    return nn.Conv(
        features,
        (kernel_side, kernel_side),
        padding=padding,
        use_bias=False,
        param_dtype=float,
        kernel_init=initial,
        name=name,
    )


def masked_layer_norm(features: Array) -> Array:
    """(x − mean) / √(variance + 1e-6) over the last axis, both of its non-zero entries only; 0 stays 0.

    (paper, ResCNN) Mean and variance of non-zero inputs, since a pruned filter gives exactly 0. The paper
    names no axis: the filters, as usual. It does not say what becomes of a zero either: shifted by the mean
    it would be −x/√1e-6 next to a single live filter x, so it is masked too.

    Args:
        features: (…, filters).
    """
    present = features != 0
    # Where all filters are pruned the sums are 0, and so is the result.
    count = jnp.maximum(present.sum(-1, keepdims=True), 1)
    centred = jnp.where(present, features - features.sum(-1, keepdims=True) / count, 0)
    variance = (centred**2).sum(-1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + _EPSILON)


def flax_module(network: Network, sites: int) -> nn.Module:
    """The Flax module of a network of the config on a lattice of that many sites.

    Raises:
        ValueError: the network does not fit the lattice.
    """
    network.check_fits(sites)
    match network:
        case FeedForward():
            return FeedForwardModule(network.hidden(sites), network.initial_std)
        case Convolutional():
            padding = network.padding.upper()
            return ConvolutionalModule(network.kernels, network.kernel_side, padding, network.initial)
        case ResidualConvolutional():
            padding = network.padding.upper()
            return ResidualConvolutionalModule(network.blocks, network.filters, network.kernel_side, padding)
        case FlaxNetwork():
            factory = function_named(network.factory, "factory")
            return factory(sites=sites, **dict(network.arguments))


def check_own_network(network: FlaxNetwork, sites: int) -> None:
    """Make a user's module and compare it with its config; trains nothing.

    Raises:
        ValueError: whatever is wrong with it, in one sentence.
    """
    try:
        general_network(flax_module(network, sites), sites)
        _params_paths(network, sites)
    except Exception as error:
        # The user's own code: whatever it raises is shown as a sentence.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            reason
            if isinstance(error, ValueError)
            else f"{network.factory!r} raises {type(error).__name__}: {reason}"
        ) from error


def initial_weights(key: Array, network: Network, sites: int) -> dict[str, Array]:
    """Random initial weights by layer, float64: the prunable layers in their order, then the others."""
    init = flax_module(network, sites).init
    if network.kind != "ffnn":
        # One program: op by op, the initialisers of convolutions take seconds to compile. It rounds
        # differently, and a feed-forward network's weights stay those of the runs there are.
        init = jax.jit(init)
    variables = init(key, jnp.ones((1, sites)))
    return from_params(network, sites, variables["params"])


def to_params(network: Network, sites: int, weights: dict[str, Array]) -> dict:
    """The module's `params` from full arrays by layer, zeros where pruned.

    Raises:
        ValueError: a layer is missing, unknown, complex or of the wrong shape.
    """
    _check_layers(_layer_shapes(network, sites), weights)
    paths, structure = _params_paths(network, sites)
    return jax.tree.unflatten(structure, [jnp.asarray(weights[name], float) for name in paths])


def from_params(network: Network, sites: int, params: dict) -> dict[str, Array]:
    """Full arrays by layer from the module's `params`: the prunable layers in their order, then the others.

    Raises:
        ValueError: a layer is missing, unknown, complex or of the wrong shape.
    """
    shapes = _layer_shapes(network, sites)
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    names = [_layer_name(path, shapes) for path, _ in leaves]
    several = sorted({name for name in names if names.count(name) > 1})
    if several:
        raise ValueError(f"layers {several} have a number of arrays that is not one, as with a bias")
    weights = {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
    _check_layers(shapes, weights)
    return {name: weights[name] for name in shapes}


def flat_offsets(network: Network, sites: int) -> dict[str, int]:
    """Where each layer begins in the flat vector of `nqs.general.general_network`, by layer."""
    shapes, (names, _) = _layer_shapes(network, sites), _params_paths(network, sites)
    # Its vector has the layers as jax flattens the params.
    ends = np.cumsum([math.prod(shapes[name]) for name in names])
    starts = {name: int(end) - math.prod(shapes[name]) for name, end in zip(names, ends, strict=True)}
    return {name: starts[name] for name in shapes}


@lru_cache(maxsize=64)
def _params_paths(network: Network, sites: int) -> tuple[tuple[str, ...], jax.tree_util.PyTreeDef]:
    """The layers in the order in which jax flattens the module's params, and the params' structure."""
    spins, shapes = jax.ShapeDtypeStruct((1, sites), jnp.float32), _layer_shapes(network, sites)
    params = jax.eval_shape(flax_module(network, sites).init, jax.random.key(0), spins)["params"]
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    found = {_layer_name(path, shapes): leaf.shape for path, leaf in leaves}
    if found != shapes:
        raise ValueError(f"the module has the layers {found}; the network's config says {shapes}")
    return tuple(found), structure


def _layer_name(path, shapes: dict[str, tuple[int, ...]]) -> str:
    """A layer is named by its array's path, or by that of the module whose only array it is."""
    names = [str(entry.key) for entry in path]
    whole = "/".join(names)
    return whole if whole in shapes or len(names) == 1 else "/".join(names[:-1])


def _layer_shapes(network: Network, sites: int) -> dict[str, tuple[int, ...]]:
    return network.layers(sites) | network.other_layers(sites)


def _check_layers(shapes: dict[str, tuple[int, ...]], weights: dict) -> None:
    if set(weights) != set(shapes):
        missing = [name for name in shapes if name not in weights]
        unknown = [name for name in weights if name not in shapes]
        raise ValueError(
            f"weights lack the layers {missing} and have the unknown layers {unknown}; the network has "
            f"{list(shapes)}"
        )
    for name, shape in shapes.items():
        if jnp.shape(weights[name]) != shape:
            raise ValueError(f"layer {name!r} has shape {jnp.shape(weights[name])}; the network has {shape}")
        if jnp.iscomplexobj(weights[name]):
            raise ValueError(f"layer {name!r} is complex; weights must be real, since here ψ > 0")


def network_of(weights: NetworkWeights) -> dict[str, np.ndarray]:
    """Full arrays by layer, float64 with zeros where pruned, from the live weights.

    Raises:
        ValueError: indices and values differ in number, or an index is outside of its layer.
    """
    full = {}
    for name, live in weights.items():
        if np.shape(live.indices) != np.shape(live.values):
            raise ValueError(f"layer {name!r} has {len(live.indices)} indices and {len(live.values)} values")
        array = np.zeros(math.prod(live.shape))
        if len(live.indices) and not 0 <= np.min(live.indices) <= np.max(live.indices) < array.size:
            raise ValueError(f"layer {name!r} has indices outside of its shape {tuple(live.shape)}")
        array[live.indices] = live.values
        full[name] = array.reshape(live.shape)
    return full


def tied_weights(network: Convolutional, side: int) -> TiedWeights:
    """The W of a convolutional network on a square lattice, for the fast path of `nqs.tied_layouts`.

    Raises:
        ValueError: the network is of another kind, or does not fit the lattice.
    """
    if network.kind != "cnn":
        raise ValueError(f"a network of kind {network.kind!r} has no tied weights; only 'cnn' has")
    network.check_fits(side**2)
    return convolution(side, network.kernel_side, network.kernels, network.padding.upper())


def to_netket(hamiltonian: Hamiltonian, network: Network, weights: dict[str, Array], samples: int):
    """A trained network as NetKet's MCState, one chain a sample.

    Where the Hamiltonian conserves Σσz the state is that within Σσz = 0, sampled by the engine's exchanges.

    Args:
        weights: by layer, full arrays with zeros where pruned; `network_of` makes them of live weights.
        samples: chains of the state's sampler.

    Raises:
        ValueError: the weights are not those of this network on this lattice.
    """
    import netket as nk

    from nqs.operators import netket_hilbert

    variables = {"params": to_params(network, hamiltonian.sites, weights)}
    hilbert, moves = netket_hilbert(hamiltonian), moves_of(flip_form(hamiltonian), hamiltonian.sites)
    if moves.exchange:
        graph = nk.graph.Graph(edges=moves.sites.tolist())
        sampler = nk.sampler.MetropolisExchange(hilbert, graph=graph, n_chains=samples)
    else:
        sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=samples)
    module = flax_module(network, hamiltonian.sites)
    return nk.vqs.MCState(sampler, module, n_samples=samples, variables=variables)


def from_netket(state, network: Network) -> dict[str, Array]:
    """Full arrays by layer of a NetKet state whose model computes what this network does.

    Args:
        state: an MCState or FullSumState; its model names its layers as the network's config does.

    Raises:
        ValueError: a layer is missing, unknown, complex or of the wrong shape; or with these weights the
            state's log ψ is complex or not the network's, as with another padding.
    """
    sites = state.hilbert.size
    weights = from_params(network, sites, state.variables["params"])
    # Equal arrays say nothing of padding or activation: a few configurations do.
    spins = np.random.default_rng(0).choice([-1.0, 1.0], (16, sites))
    found = state.log_value(spins)
    if jnp.iscomplexobj(found):
        raise ValueError(f"the state's log ψ is {found.dtype}; it must be real, since here ψ > 0")
    expected = flax_module(network, sites).apply({"params": to_params(network, sites, weights)}, spins)
    if not np.allclose(found, expected, rtol=1e-6, atol=1e-6):
        raise ValueError(
            f"with the same weights the state's log ψ is not that of a {network.kind!r} network: "
            f"{np.max(np.abs(found - expected)):.3g} apart; is its padding or activation another one?"
        )
    return weights
