"""Pruning with exact counts: which weights a level removes, and how many are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nqs.own_code import function_named


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


@dataclass(frozen=True)
class Candidates:
    """What a criterion chooses from: the live weights of one set that is pruned by itself.

    Attributes:
        indices: (live,) ascending positions in the flattened set: a layer, or with global pruning all prunable
            layers one after the other.
        trained: (live,) float64, their values at the end of the level before.
        rewound: (live,) float64, their values at the rewind point, the end of the dense run.
        removed: how many of them will go.
        generator: its seed is the run's and the level's, and the sets of a level draw from it in turn.
    """

    indices: np.ndarray
    trained: np.ndarray
    rewound: np.ndarray
    removed: int
    generator: np.random.Generator


# Candidates to (live,) real scores: the weights of smallest score go.
Criterion = Callable[[Candidates], np.ndarray]


def magnitudes(candidates: Candidates) -> np.ndarray:
    """Scores (live,): |w| of the trained weights."""
    return np.abs(candidates.trained)


def lots(candidates: Candidates) -> np.ndarray:
    """Scores (live,): 1 for those that a uniform draw keeps, 0 for the others."""
    live = len(candidates.indices)
    scores = np.zeros(live)
    scores[candidates.generator.choice(live, live - candidates.removed, replace=False)] = 1
    return scores


_CRITERIA: dict[str, Criterion] = {"imp_wr": magnitudes, "imp_ct": magnitudes, "irp_wr": lots}


def criterion_of(method: str) -> Criterion:
    """What a method scores weights by.

    Raises:
        ValueError: a user's "module:function" that is not there.
    """
    return _CRITERIA.get(method) or function_named(method, "pruning criterion")


def scores_of(method: str, candidates: Candidates) -> np.ndarray:
    """Scores (live,) that a method gives.

    Raises:
        ValueError: a user's criterion is not there, or does not give a real number for each weight.
    """
    scores, live = np.asarray(criterion_of(method)(candidates)), len(candidates.indices)
    if scores.shape != (live,) or scores.dtype.kind not in "biuf":
        raise ValueError(
            f"pruning criterion {method!r} returned an array of shape {scores.shape} and type {scores.dtype}; "
            f"allowed: real numbers of shape ({live},), a score for each live weight"
        )
    if wrong := int(np.isnan(scores).sum()):
        raise ValueError(f"pruning criterion {method!r} returned NaN for {wrong} of {live} weights")
    return scores


def survivors(indices: np.ndarray, scores: np.ndarray, ratio: float) -> np.ndarray:
    """Indices that survive when the weights of smallest score are removed; ties go by index.

    Exactly `removed_count` weights go, also where several have the score of the last one.

    Args:
        indices: (live,) ascending positions of the live weights in the flattened layer.
        scores: (live,) real, without NaN.
        ratio: fraction to remove.

    Returns:
        (live − removed,) ascending positions.
    """
    # A stable sort leaves equal scores in index order: of a tie, the lower index goes first.
    order = np.argsort(scores, kind="stable")
    return np.sort(indices[order[removed_count(len(indices), ratio) :]])


def random_mask(generator: np.random.Generator, size: int, live: int) -> np.ndarray:
    """(live,) ascending positions drawn uniformly from a flattened layer of the given size."""
    return np.sort(generator.choice(size, live, replace=False))
