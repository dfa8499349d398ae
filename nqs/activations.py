"""Activations of a hidden layer, by name.

Each is x · (½ + an odd function), so that f(0) = 0 and f(−x) = f(x) − x. The engine relies on both: padding
at θ = 0 adds nothing to log ψ, and to flip all spins changes log ψ by −Σ θ.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

ACTIVATIONS = {
    # jax.nn.relu has slope 0 at 0; jnp.maximum would give ½ and another gradient.
    "relu": jax.nn.relu,
    # By tanh, as in Flax's nn.gelu by default.
    "gelu": jax.nn.gelu,
    "gelu_erf": partial(jax.nn.gelu, approximate=False),
}


def slopes(activation: str, theta: Array) -> Array:
    """f′ of every entry of θ."""
    return jax.jvp(ACTIVATIONS[activation], (theta,), (jnp.ones_like(theta),))[1]
