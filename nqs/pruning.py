"""Pruning with exact counts: which weights a level removes, and how many are left."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def removed_count(remaining: int, ratio: float) -> int:
    """Weights that one level removes: max(1, round-half-even(ratio · remaining))."""
    # Python's round is half-to-even, as the paper's counts need.
    return max(1, round(ratio * remaining))


@lru_cache(maxsize=4096)
def remaining_by_level(layer_sizes: tuple[int, ...], ratio: float, levels: int) -> tuple[int, ...]:
    """Prunable weights left at levels 0 … levels, each layer pruned by itself.

    Global pruning counts as one layer: give it the total alone. A single layer may then be empty long
    before the last count.

    Shorter than levels + 1 where a layer is used up before; the last count is then the first at
    which a layer is empty.
    """
    sizes, counts = list(layer_sizes), [sum(layer_sizes)]
    for _ in range(levels):
        sizes = [n - removed_count(n, ratio) for n in sizes]
        if min(sizes) < 1:
            counts.append(0)
            break
        counts.append(sum(sizes))
    return tuple(counts)


def prune_by_magnitude(indices: np.ndarray, values: np.ndarray, ratio: float) -> np.ndarray:
    """Indices that survive when the smallest |w| of a layer are removed; ties go by index.

    Exactly `removed_count` weights go, also where several have the magnitude of the last one.

    Args:
        indices: (live,) ascending positions of the live weights in the flattened layer.
        values: (live,) their trained values.
        ratio: fraction to remove.

    Returns:
        (live − removed,) ascending positions.
    """
    # A stable sort leaves equal magnitudes in index order: of a tie, the lower index goes first.
    order = np.argsort(np.abs(values), kind="stable")
    return np.sort(indices[order[removed_count(len(indices), ratio) :]])


def prune_at_random(generator: np.random.Generator, indices: np.ndarray, ratio: float) -> np.ndarray:
    """Indices (live,) of a layer that survive when `removed_count` of them, drawn uniformly, are removed."""
    return np.sort(
        generator.choice(indices, len(indices) - removed_count(len(indices), ratio), replace=False)
    )


def random_mask(generator: np.random.Generator, size: int, live: int) -> np.ndarray:
    """(live,) ascending positions drawn uniformly from a flattened layer of the given size."""
    return np.sort(generator.choice(size, live, replace=False))
