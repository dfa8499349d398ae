"""How a pruned network lies in memory: full rows while it is dense, padded lists once it is sparse.

Row layout: W as (sites, hidden) with zeros where pruned; a flip touches every hidden unit. List layout:
each site has a padded list of its own live units; a flip touches those alone, and dead hidden units are
gone. Layout and padding follow from the live counts alone, so a resumed run compiles the same program.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax import Array

# Live weights are padded to the next of these, so that a whole trajectory needs few compilations;
# close together where the cubic solve would feel the padding.
LIVE_BUCKETS = (64, 128, 256, 416, 608, 800, 1024)
# The Gram matrix is summed over this many columns at a time, a dynamic number of times.
COLUMN_CHUNK = 256


class RowLayout(NamedTuple):
    """A network that is solved in samples: full rows, and the columns that correct the Gram matrix.

    Attributes:
        mask: (sites, hidden) float64, 1 where live.
        hadamard: float32 scalar; 1: start from the Gram matrix of the unpruned network, 0: from nothing.
        column_sign: float32 scalar; −1 subtracts the listed (pruned) columns, +1 adds the (live) ones.
        column_chunks: int32 scalar, chunks of COLUMN_CHUNK columns in use.
        column_sites, column_units: (capacity,) int32, the site and unit of each listed weight; padding
            has unit `hidden`, a unit that is never on.
    """

    mask: Array
    hadamard: Array
    column_sign: Array
    column_chunks: Array
    column_sites: Array
    column_units: Array


class ListLayout(NamedTuple):
    """A network that is solved in parameters: live weights as one padded vector.

    Attributes:
        weight_list: (sites, degree) int32, positions in the live vector; padding points one past its
            end, at a weight that is 0.
        unit_list: (sites, degree) int32, the unit of each; padding is the dummy unit, the last one.
        weight_sites, weight_units: (bucket,) int32, site and unit of each live weight; padding has the
            dummy unit.
        unit_is_live: (units,) bool, one for each row of θ; the dummy's is False.
    """

    weight_list: Array
    unit_list: Array
    weight_sites: Array
    weight_units: Array
    unit_is_live: Array


def choose_layout(shape: tuple[int, int], indices: np.ndarray, samples: int) -> RowLayout | ListLayout:
    """The layout whose step is estimated to be the faster one, a function of shape and live counts alone.

    Args:
        shape: (sites, hidden).
        indices: (live,) ascending positions of the live weights in the flattened layer.
    """
    bucket = live_bucket(len(indices), samples)
    if bucket is None:
        return row_layout(shape, indices)
    degree = _degree(np.bincount(indices // shape[1], minlength=shape[0]))
    if _row_seconds(shape, len(indices), samples) < _list_seconds(shape[0], degree, bucket, samples):
        return row_layout(shape, indices)
    return list_layout(shape, indices, bucket)


# Seconds of a step on one core of a server processor with AVX-512 (2026), where only their ratios
# matter: moves and local energies; Gram matrix; factorisation and solve.
def _row_seconds(shape: tuple[int, int], live: int, samples: int) -> float:
    listed = min(live, shape[0] * shape[1] - live)
    moves = 0.8e-9 * shape[0] * shape[1] * samples
    return moves + 1.0e-11 * listed * samples**2 + 1.3e-11 * samples**3


def _list_seconds(sites: int, degree: int, bucket: int, samples: int) -> float:
    return 1.9e-9 * sites * degree * samples + 1.4e-11 * bucket**2 * samples + 1.9e-11 * bucket**3


def _degree(live_by_site: np.ndarray) -> int:
    # Padded to a power of two, at least 8, so that few programs serve all masks.
    return max(8, 1 << int(live_by_site.max(initial=1) - 1).bit_length())


def live_bucket(live: int, samples: int) -> int | None:
    """Padded length of the live vector, or None where there are more live weights than samples."""
    if live > samples:
        return None
    return min(b for b in (*LIVE_BUCKETS, samples) if live <= b <= samples)


def row_layout(shape: tuple[int, int], indices: np.ndarray) -> RowLayout:
    """The row layout of a layer (sites, hidden) whose live weights are at `indices`."""
    sites, hidden = shape
    mask = np.zeros(sites * hidden)
    mask[indices] = 1
    pruned = np.flatnonzero(mask == 0)
    subtract = len(pruned) <= len(indices)
    listed = pruned if subtract else indices
    # At most half of all weights are ever listed: one capacity, one program at every density.
    capacity = -(-(sites * hidden // 2) // COLUMN_CHUNK) * COLUMN_CHUNK
    column_sites = np.zeros(capacity, np.int32)
    column_units = np.full(capacity, hidden, np.int32)
    column_sites[: len(listed)], column_units[: len(listed)] = np.divmod(listed, hidden)
    return RowLayout(
        mask.reshape(shape),
        np.float32(subtract),
        np.float32(-1 if subtract else 1),
        np.int32(-(-len(listed) // COLUMN_CHUNK)),
        column_sites,
        column_units,
    )


def list_layout(shape: tuple[int, int], indices: np.ndarray, bucket: int) -> ListLayout:
    """The list layout of a layer (sites, hidden) whose live weights are at `indices`.

    Raises:
        ValueError: more live weights than the bucket holds.
    """
    sites, hidden = shape
    if len(indices) > bucket:
        raise ValueError(f"{len(indices)} live weights do not fit a bucket of {bucket}")
    weight_sites = np.zeros(bucket, np.int32)
    # Units are renumbered without gaps, so θ has as many rows as there are live units at most.
    dummy = min(hidden, bucket)
    weight_units = np.full(bucket, dummy, np.int32)
    sites_of, units_of = np.divmod(indices, hidden)
    weight_sites[: len(indices)] = sites_of
    weight_units[: len(indices)] = np.unique(units_of, return_inverse=True)[1]
    degree = _degree(np.bincount(sites_of, minlength=sites))
    weight_list = np.full((sites, degree), bucket, np.int32)
    unit_list = np.full((sites, degree), dummy, np.int32)
    for site in range(sites):
        own = np.flatnonzero(sites_of == site)
        weight_list[site, : len(own)], unit_list[site, : len(own)] = own, weight_units[own]
    unit_is_live = np.arange(dummy + 1) <= weight_units[: len(indices)].max(initial=-1)
    return ListLayout(weight_list, unit_list, weight_sites, weight_units, unit_is_live)
