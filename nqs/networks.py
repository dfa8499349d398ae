"""Networks as Flax modules, their initial weights, and the way back to NetKet."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nqs.config import FeedForward, Hamiltonian


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


def flax_module(network: FeedForward, sites: int) -> nn.Module:
    """The Flax module of a network of the config on a lattice of that many sites."""
    return FeedForwardModule(network.hidden(sites), network.initial_std)


def initial_weights(key: Array, network: FeedForward, sites: int) -> dict[str, Array]:
    """Random initial weights by layer, float64; {"hidden": (sites, hidden)}."""
    params = flax_module(network, sites).init(key, jnp.ones((1, sites)))["params"]
    return {name: layer["kernel"] for name, layer in params.items()}


def to_netket(hamiltonian: Hamiltonian, network: FeedForward, weights: dict[str, Array], samples: int):
    """A trained network as NetKet's MCState, one chain a sample.

    Args:
        weights: by layer, full arrays with zeros where pruned.
        samples: chains of the state's sampler.
    """
    import netket as nk

    from nqs.hamiltonians import netket_graph

    hilbert = nk.hilbert.Spin(0.5, netket_graph(hamiltonian).n_nodes)
    sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=samples)
    variables = {"params": {name: {"kernel": jnp.asarray(kernel)} for name, kernel in weights.items()}}
    module = flax_module(network, hamiltonian.sites)
    return nk.vqs.MCState(sampler, module, n_samples=samples, variables=variables)
