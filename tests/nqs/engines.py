"""The same network in every way that the engine can hold it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from nqs.layouts import RowLayout, list_layout, row_layout

ENGINES = ("rows compiled", "rows jax", "lists compiled", "lists jax")


def sparse_network(sites=6, hidden=9, live=25, scale=0.5, seed=5):
    """Positions (live,) and full weights (sites, hidden) of a random pruned network."""
    generator = np.random.default_rng(seed)
    indices = np.sort(generator.choice(sites * hidden, live, replace=False)).astype(np.int32)
    weights = np.zeros(sites * hidden)
    weights[indices] = scale * generator.normal(size=live)
    return indices, weights.reshape(sites, hidden)


def laid_out(
    engine: str,
    weights: np.ndarray,
    indices: np.ndarray,
    dtype=jnp.float64,
    bucket: int | None = None,
    degree: int | None = None,
):
    """The layout that an engine would use for a network, and the weights in it.

    Args:
        bucket, degree: lengths of padded lists; None: as much as this network needs and five more.
    """
    kind, backend = engine.split()
    compiled = backend == "compiled"
    if kind == "rows":
        layout = row_layout(weights.shape, indices, compiled)
        return jax.tree.map(jnp.asarray, layout), jnp.asarray(weights, dtype)
    bucket = bucket or len(indices) + 5
    layout = list_layout(weights.shape, indices, bucket, compiled, degree)
    live = jnp.zeros(bucket, dtype).at[: len(indices)].set(jnp.asarray(weights.ravel()[indices], dtype))
    return jax.tree.map(jnp.asarray, layout), live


def live_values(values, layout, indices: np.ndarray) -> np.ndarray:
    """(live,) of an array in a layout; asserts that it is zero elsewhere."""
    values = np.asarray(values)
    if isinstance(layout, RowLayout):
        assert not np.delete(values.ravel(), indices).any()
        return values.ravel()[indices]
    assert not values[len(indices) :].any()
    return values[: len(indices)]
