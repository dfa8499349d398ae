"""How a pruned network lies in memory, and which of two ways its SR step is solved.

Row layout, solved in samples: W as (sites, hidden) with zeros where pruned. List layout, solved in
parameters: the live weights alone, as one vector in a padded bucket; dead hidden units are gone. The
choice follows from live counts alone, so a resumed run compiles the same programs, and a whole trajectory
needs one for the rows and at most eight for the buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Made by numpy, so that what only counts needs no jax; on a device they are jax's.
Array = np.ndarray

# Live weights are padded to the next of these.
LIVE_BUCKETS = (64, 128, 256, 384, 512, 640, 832, 1024)
# Columns of the Gram matrix are packed into words of 32 bits, and words are counted eight at a time.
COLUMN_CHUNK = 256
# Counting one column of all pairs of samples takes a tenth of a unit's part in their float32 product.
WEIGHTED_COLUMNS = 10


class SiteLists(NamedTuple):
    """Each site's own live weights, one site after the other, for the compiled loops on CPUs.

    Attributes:
        starts: (sites + 2,) int32; site i has the entries starts[i] … starts[i + 1]; index `sites`, a
            spin that is always +1, has none.
        units: (capacity,) int32, the hidden unit of each entry.
        positions: (capacity,) int32, the weight of each entry in the flattened weights.
    """

    starts: Array
    units: Array
    positions: Array


class PaddedLists(NamedTuple):
    """The same with one length for all sites, for loops in jax.

    Attributes:
        weights: (sites + 1, degree) int32, positions in the live vector; padding points one past its end,
            at a weight that is 0.
        units: (sites + 1, degree) int32, the unit of each, each once for a site; padding is the dummy
            unit, the last one.
    """

    weights: Array
    units: Array


class RowLayout(NamedTuple):
    """A network that is solved in samples: full rows, and the columns that correct the Gram matrix.

    Attributes:
        mask: (sites, hidden) float64, 1 where live.
        hadamard: int32 scalar; 1: start from the Gram matrix of the unpruned network, 0: from nothing.
        column_sign: int32 scalar; −1 subtracts the listed (pruned) columns, +1 adds the (live) ones.
        column_chunks: int32 scalar, chunks of COLUMN_CHUNK columns in use.
        weighted: int32 scalar; 1: how often two samples have a column's unit on in common is one product
            with the units' degrees, 0: it is counted column by column.
        column_sites, column_units: (capacity,) int32, the site and unit of each listed weight; padding
            has unit `hidden`, a unit that is never on.
        column_degrees: (hidden,) float32, listed weights of each unit.
        lists: the live weights by site, or None where the loops over full rows are used.
    """

    mask: Array
    hadamard: Array
    column_sign: Array
    column_chunks: Array
    weighted: Array
    column_sites: Array
    column_units: Array
    column_degrees: Array
    lists: SiteLists | None


class ListLayout(NamedTuple):
    """A network that is solved in parameters: live weights as one padded vector.

    Attributes:
        weight_sites, weight_units: (bucket,) int32, site and unit of each live weight; padding has the
            dummy unit, the last one, which is never on.
        lists: the live weights by site, on CPUs.
        padded: the same padded, on other devices.
    """

    weight_sites: Array
    weight_units: Array
    lists: SiteLists | None
    padded: PaddedLists | None

    @property
    def bucket(self) -> int:
        """Padded length of the live vector."""
        return self.weight_sites.shape[-1]

    @property
    def units(self) -> int:
        """Rows of θ: live units at most, and the dummy."""
        return self.bucket + 1


def choose_layout(
    shape: tuple[int, int], indices: np.ndarray, samples: int, compiled: bool, degree: int | None = None
) -> RowLayout | ListLayout:
    """The layout of a network: solved in parameters where they are fewer than the samples.

    Both solves cost a cube; with fewer parameters the metric is smaller, at equal size the rows need no
    padding.

    Args:
        shape: (sites, hidden).
        indices: (live,) ascending positions of the live weights in the flattened layer.
        samples: of a training step.
        compiled: whether the compiled loops of `cpu_kernels` will run it.
        degree: length of padded lists; None: what this network needs.
    """
    bucket = live_bucket(len(indices), samples)
    if bucket is None:
        return row_layout(shape, indices, compiled)
    return list_layout(shape, indices, bucket, compiled, degree)


def live_bucket(live: int, samples: int) -> int | None:
    """Padded length of the live vector, or None where it would not be shorter than the samples."""
    return next((bucket for bucket in LIVE_BUCKETS if live <= bucket < samples), None)


def row_layout(shape: tuple[int, int], indices: np.ndarray, compiled: bool) -> RowLayout:
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
        np.int32(subtract),
        np.int32(-1 if subtract else 1),
        np.int32(-(-len(listed) // COLUMN_CHUNK)),
        np.int32(len(listed) > WEIGHTED_COLUMNS * hidden),
        column_sites,
        column_units,
        np.bincount(listed % hidden, minlength=hidden).astype(np.float32),
        _site_lists(sites, *np.divmod(indices, hidden), indices, sites * hidden) if compiled else None,
    )


def list_layout(
    shape: tuple[int, int], indices: np.ndarray, bucket: int, compiled: bool, degree: int | None = None
) -> ListLayout:
    """The list layout of a layer (sites, hidden) whose live weights are at `indices`.

    Raises:
        ValueError: more live weights than the bucket holds.
    """
    sites, hidden = shape
    live = len(indices)
    if live > bucket:
        raise ValueError(f"{live} live weights do not fit a bucket of {bucket}")
    weight_sites, weight_units = np.zeros(bucket, np.int32), np.full(bucket, bucket, np.int32)
    weight_sites[:live], units = np.divmod(indices, hidden)
    # Units are renumbered without gaps: θ has rows for the live ones alone.
    weight_units[:live] = np.unique(units, return_inverse=True)[1]
    if compiled:
        own = weight_sites[:live], weight_units[:live]
        return ListLayout(weight_sites, weight_units, _site_lists(sites, *own, np.arange(live), bucket), None)
    degree = degree or padded_degree(shape, indices)
    own = weight_sites[:live], weight_units[:live], np.arange(live)
    padded = padded_lists(sites, *own, bucket, bucket, degree)
    return ListLayout(weight_sites, weight_units, None, padded)


def padded_degree(shape: tuple[int, int], indices: np.ndarray) -> int:
    """Length of padded site lists: a power of two, at least 8, so that few programs serve all masks."""
    largest = int(np.bincount(indices // shape[1], minlength=shape[0]).max(initial=1))
    return max(8, 1 << (largest - 1).bit_length())


def _site_lists(sites: int, sites_of, units_of, positions, capacity: int) -> SiteLists:
    lists = SiteLists(
        np.searchsorted(sites_of, np.arange(sites + 2)).astype(np.int32),
        np.zeros(capacity, np.int32),
        np.zeros(capacity, np.int32),
    )
    lists.units[: len(units_of)], lists.positions[: len(positions)] = units_of, positions
    return lists


def padded_lists(
    sites: int, sites_of, units_of, positions, no_position: int, no_unit: int, degree: int
) -> PaddedLists:
    """Lists of one length by site, of entries with a site, a unit and a position in the live vector each.

    Args:
        no_position, no_unit: what padding points at.
        degree: the length.
    """
    lists = PaddedLists(
        *(np.full((sites + 1, degree), padding, np.int32) for padding in (no_position, no_unit))
    )
    for site in range(sites):
        own = np.flatnonzero(sites_of == site)
        lists.weights[site, : len(own)], lists.units[site, : len(own)] = positions[own], units_of[own]
    return lists
